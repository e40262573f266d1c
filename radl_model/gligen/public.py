"""GLIGEN's public checkpoints, read from the user's disk: the published pickle, diffusers' UNet, or the layers alone.

Only position net and gated layers are kept. Every key of a file is accounted for, and none of them can run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from radl_model.checkpoints.adapters import load_folder
from radl_model.checkpoints.conversion import Conversion, converted, refuse
from radl_model.checkpoints.kinds import kind_of
from radl_model.checkpoints.tensors import read_tensors, stand_in, tensor_problems
from radl_model.errors import BadInput, MissingWeights
from radl_model.gligen.adapter import GligenAdapter, block_sizes
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.keys import is_base_key, our_key, public_key

FORMAT = 1
"""Version of the conversion; a new one makes old folders in the cache stale."""
FILES = tuple(f"diffusion_pytorch_model.{kind}" for kind in ("safetensors", "bin", "fp16.safetensors", "fp16.bin"))
"""Weights of a UNet's folder, best first."""
STAND_INS = tuple(
    stand_in(name)
    for name in (
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "typing.Any",
        "collections.defaultdict",
        "builtins.dict",
        "builtins.list",
        "builtins.int",
    )
)
"""What the published file holds beside tensors: the configuration of its training, which is not needed."""


def load_gligen(place: str | Path, unet: nn.Module) -> GligenAdapter:
    """Read GLIGEN's layers in float32 and attach them to `unet`.

    Args:
        place: an adapter's folder; the folder of a diffusers pipeline with gated attention, or of its UNet; or a file:
            the published `diffusion_pytorch_model.bin`, or one with just these layers.

    Raises:
        MissingWeights: nothing is there.
        BadInput: it is another method's, incomplete or damaged; a sentence for each weight.
        UsageError: it was made for another base.
    """
    place = Path(place).expanduser()
    if place.is_dir() and kind_of(place) not in ("UNet2DConditionModel", ""):
        return load_folder(place, GligenAdapter, unet)
    return load_folder(convert_gligen(weight_file(place), unet), GligenAdapter, unet)


def weight_file(place: Path) -> Path:
    """Return the file of weights at a place; raises `MissingWeights`."""
    if place.is_file():
        return place
    for folder in (place, place / "unet"):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    raise MissingWeights(f"There are no weights of GLIGEN at {place}: it holds neither of {FILES[0]} and {FILES[1]}.")


def convert_gligen(file: Path, unet: nn.Module) -> Path:
    """Return the adapter folder of a checkpoint in the user's cache, see `converted`; errors as `read_gligen`."""
    sizes = block_sizes(unet)
    heads = {name: size["heads"] for name, size in sizes.items()}
    return converted(file, {"method": "gligen", "format": FORMAT, "heads": heads}, lambda own: read_gligen(own, heads))


def read_gligen(file: Path, heads: Mapping[str, int]) -> Conversion:
    """Read and check a checkpoint.

    Args:
        heads: of each transformer block of the base, by name; all of them must have a layer.

    Raises:
        MissingWeights: no such file.
        BadInput: it cannot be read, or keys are unknown, missing or of another shape; a sentence for each.
    """
    state, problems, notes = _sorted(read_tensors(file, "model", STAND_INS), file)
    problems += [f"There is no gated layer for the block {name}." for name in heads if not _has(state, _prefix(name))]
    have = {key.split(".")[1].replace("-", ".") for key in state if key.startswith("fusers.")}
    problems += [f"The block {name} is none that this base has." for name in sorted(have - set(heads))]
    problems += tensor_problems({public_key(key): tensor for key, tensor in state.items()})
    refuse(file, problems)
    with torch.device("meta"):
        adapter = _shaped(state, heads, file)
    wanted = {key: tuple(value.shape) for key, value in adapter.state_dict().items()}
    problems = [f"The weight {public_key(key)} is missing." for key in wanted if key not in state]
    for key, tensor in state.items():
        if key not in wanted:
            problems.append(f"The key {public_key(key)} is unknown.")
        elif tuple(tensor.shape) != wanted[key]:
            problems.append(f"{public_key(key)} has the shape {tuple(tensor.shape)}, not {wanted[key]}.")
    refuse(file, problems)
    adapter.load_state_dict({key: tensor.contiguous() for key, tensor in state.items()}, assign=True)
    return Conversion("GLIGEN", adapter, tuple(notes))


def _sorted(tensors: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Split a table into weights by our names, problems, and a note on what is left out."""
    state = {ours: tensor for key, tensor in tensors.items() if (ours := our_key(key)) is not None}
    if not _has(state, "fusers.") and not _has(state, "position_net."):
        raise BadInput(
            f"The checkpoint {file} is none of GLIGEN: no key names a gated layer ('.fuser.') or the position net. Its "
            f"first key is {next(iter(tensors), 'missing')}."
        )
    others = [key for key in tensors if our_key(key) is None]
    base = [key for key in others if is_base_key(key)]
    problems = [f"The key {key} is unknown." for key in others if not is_base_key(key)]
    for key in ("conv_in.weight", "input_blocks.0.0.weight"):
        if key in tensors and tensors[key].dim() == 4 and tensors[key].shape[1] == 9:
            problems.insert(0, "It is the inpainting model; the one for generation is wanted.")
    notes = [f"{len(base)} weights of the base's UNet were left out; the base runs with its own."] if base else []
    return state, problems, notes


def _has(state: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)


def _prefix(name: str) -> str:
    return f"fusers.{name.replace('.', '-')}."


def _shaped(state: Mapping[str, Tensor], heads: Mapping[str, int], file: Path) -> GligenAdapter:
    """Return an adapter of the sizes that the weights state."""

    def shape(key: str, dims: int) -> tuple[int, ...]:
        if key not in state or state[key].dim() != dims:
            raise BadInput(f"The checkpoint {file} does not fit. The weight {public_key(key)} is missing or misshapen.")
        return tuple(state[key].shape)

    hidden, _ = shape("position_net.linears.0.weight", 2)
    (text_dim,) = shape("position_net.null_positive_feature", 1)
    (freqs,) = shape("position_net.null_position_feature", 1)
    channels = {name: shape(_prefix(name) + "linear.weight", 2)[0] for name in heads}
    for name, width in channels.items():
        if width % heads[name]:
            raise BadInput(f"The checkpoint {file} does not fit. {name} has {width} channels for {heads[name]} heads.")
    config = GligenConfig(n_freqs=max(1, freqs // 8), position_hidden=hidden)
    sizes = {name: {"channels": channels[name], "heads": heads[name]} for name in heads}
    return GligenAdapter(sizes, text_dim, config.to_dict())
