"""Loading a base model: from the hub, a folder or a single safetensors file, with a sentence for what does not fit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffusers import StableDiffusionPipeline

from radl_model.errors import BadInput, UsageError

Pipe = TypeVar("Pipe", bound=StableDiffusionPipeline)
NEEDED = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


def load_pipeline(
    from_pretrained: Callable[..., Pipe], from_single_file: Callable[..., Pipe], base: str | Path, **kwargs: object
) -> Pipe:
    """Return the pipeline of a base, its shape checked.

    Args:
        base: hub id, pipeline folder, or `.safetensors` file in the layout of the original Stable Diffusion code.
        kwargs: passed on to diffusers. For a file, `config` names a configuration folder if it is not of v1's size.

    Raises:
        UsageError: the base is no Stable Diffusion v1: SDXL, inpainting, another architecture.
        BadInput: a part of it is missing or damaged.
    """
    path = Path(base).expanduser()
    try:
        if path.suffix == ".safetensors":
            pipe = _from_file(from_single_file, path, kwargs)
        else:
            if path.is_dir():
                check_index(path)
            pipe = from_pretrained(str(path if path.is_dir() else base), **kwargs)
    except (UsageError, BadInput):
        raise
    except Exception as error:  # diffusers, transformers and safetensors raise a dozen kinds here
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"The base model {base} cannot be loaded: {said}") from error
    check_shape(pipe, base)
    return pipe


def _from_file(loader: Callable[..., Pipe], file: Path, kwargs: dict[str, object]) -> Pipe:
    if not file.is_file():
        raise BadInput(f"There is no file {file}.")
    _check_keys(file)
    if "config" in kwargs:
        return loader(str(file), **kwargs)
    from radl_model.pipelines.sd14 import write_config

    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder))
        return loader(str(file), config=folder, local_files_only=True, **kwargs)


def _check_keys(file: Path) -> None:
    """Look at the names of the tensors only: is it the whole of a Stable Diffusion v1?"""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as tensors:
            names = set(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{file} is not a readable safetensors file: {error}.") from error
    if any(name.startswith("conditioner.embedders.1.") for name in names):
        raise UsageError(f"{file} holds Stable Diffusion XL; the layers are for Stable Diffusion v1 bases.")
    parts = {
        "UNet": "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.",
        "VAE": "first_stage_model.decoder.",
        "CLIP text encoder": "cond_stage_model.transformer.",
    }
    for part, prefix in parts.items():
        if not any(name.startswith(prefix) for name in names):
            raise UsageError(
                f"{file} is not a complete Stable Diffusion v1 checkpoint: it has no weights of the {part} ({prefix}*)."
            )


def check_index(folder: Path) -> None:
    """Check a pipeline folder by its model_index.json, before any weight is read."""
    index = folder / "model_index.json"
    try:
        parts = json.loads(index.read_text())
    except FileNotFoundError:
        raise BadInput(f"{folder} is not a diffusers pipeline folder: model_index.json is missing.") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{index} is no JSON: {error}.") from error
    kind = parts.get("_class_name", "something unnamed") if isinstance(parts, dict) else "something unnamed"
    alien = sorted({"text_encoder_2", "transformer", "prior", "image_unet"} & set(parts))
    missing = [name for name in NEEDED if name not in parts]
    if alien or missing:
        why = f"it has the part '{alien[0]}'" if alien else f"it has no part '{missing[0]}'"
        raise UsageError(f"{folder} holds {kind}, which is not shaped like Stable Diffusion v1: {why}.")
    for name in NEEDED:
        if not (folder / name).is_dir():
            raise BadInput(f"The base model {folder} is incomplete: its folder '{name}' is missing. Copy it again.")


def check_shape(pipe: StableDiffusionPipeline, base: object) -> None:
    """Raise `UsageError` unless the loaded parts fit together as in Stable Diffusion v1."""
    unet, text, vae = pipe.unet.config, pipe.text_encoder.config, pipe.vae.config
    say = f"{base} is not shaped like Stable Diffusion v1: "
    if getattr(unet, "addition_embed_type", None) or getattr(unet, "class_embed_type", None):
        raise UsageError(f"{say}its UNet wants more than latents, a timestep and text.")
    if unet.cross_attention_dim != text.hidden_size:
        raise UsageError(
            f"{say}its UNet reads text of width {unet.cross_attention_dim}, and its text encoder writes "
            f"{text.hidden_size}."
        )
    if unet.in_channels != vae.latent_channels:
        raise UsageError(
            f"{say}its UNet takes {unet.in_channels} channels and its latents have {vae.latent_channels} "
            "(inpainting and image-editing bases take more)."
        )
