"""Adapters written in the public key layouts, so that the code of others reads them.

    python -m radl_model.checkpoints.export ADAPTER FILE

An adapter of RaDL, MIGC or MIGC++ becomes one file (`.safetensors`, or `.ckpt` with the table under "state_dict", as
theirs); the layers of GLIGEN a file with diffusers' names, or with `--base` a UNet of diffusers with gated attention.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, load_folder
from radl_model.checkpoints.kinds import kind_of
from radl_model.checkpoints.public import SD_LAYERS
from radl_model.checkpoints.public_keys import HEADS, infer, original_block, public_key
from radl_model.checkpoints.tensors import first_line
from radl_model.errors import RadlError, UsageError
from radl_model.files import replacing
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.keys import public_key as gligen_key
from radl_model.layers.config import FusionConfig

SAMPLING = "active_fraction"
"""A setting of the layers that their weights do not depend on."""
SUFFIXES = (".safetensors", ".ckpt")


def public_tensors(adapter: FusionAdapter) -> dict[str, Tensor]:
    """Return the weights of RaDL, MIGC or MIGC++ by their public names.

    Raises:
        UsageError: the adapter has a part or a setting that no public module has.
    """
    modules = {name: _module(name, layer.state_dict()) for name, layer in adapter.named_layers()}
    own = adapter.fusion_config
    heads = {size["heads"] for size in adapter.config["sizes"].values()}
    if heads != {HEADS}:
        raise UsageError(f"Public modules have {HEADS} heads; this adapter has {', '.join(map(str, sorted(heads)))}.")
    for name, module in modules.items():
        found = infer(module, name, own.context).config
        differ = [key for key, value in found.to_dict().items() if getattr(own, key) != value and key != SAMPLING]
        if differ:
            settings = ", ".join(f"{key}={getattr(own, key)!r} (public: {getattr(found, key)!r})" for key in differ)
            raise UsageError(f"The public layout has no place for these settings of the adapter: {settings}.")
    infix = "radl" if own.relation else "migc"
    return {f"{_prefix(name, infix, own.fusion)}.{key}": t for name, m in modules.items() for key, t in m.items()}


def _module(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one layer by their names in a public module."""
    made = {}
    for ours, tensor in state.items():
        public = public_key(ours)
        if public is None:
            raise UsageError(f"The public layout has no place for the weight {ours} of {name}.")
        is_map = public.startswith(("sac.conv1.", "sac.conv2.")) and tensor.dim() == 2
        made[public] = (tensor[:, :, None, None] if is_map else tensor).contiguous()
    return made


def _prefix(name: str, infix: str, fusion: str) -> str:
    """MIGC++ has diffusers' names; the others the block numbers of the original code, where the base has those."""
    if fusion == "refined" or name.removesuffix(".transformer_blocks.0.attn2") not in SD_LAYERS:
        return f"{name}.processor.{infix}"
    return f"model.diffusion_model.{original_block(name)}.{infix}"


def gligen_tensors(adapter: GligenAdapter) -> dict[str, Tensor]:
    """Return the weights of GLIGEN's layers by their names in diffusers' UNet."""
    return {gligen_key(ours): tensor.contiguous() for ours, tensor in adapter.state_dict().items()}


def gated_unet(adapter: GligenAdapter, unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return diffusers' UNet with gated attention: the base's weights and the adapter's.

    Raises:
        UsageError: the adapter was made for another base, or has sizes that diffusers' class has not.
    """
    if adapter.settings.n_freqs != 8 or adapter.settings.position_hidden != 512:
        raise UsageError("diffusers' UNet has 8 frequencies and a hidden width of 512; this adapter has others.")
    adapter.attach(unet)
    adapter.detach(unet)
    # diffusers resets what it thinks was left to the default, unless the note of that is gone.
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    made = UNet2DConditionModel.from_config({**config, "attention_type": "gated"})
    try:
        made.load_state_dict({**unet.state_dict(), **gligen_tensors(adapter)})
    except RuntimeError as error:
        raise UsageError(f"The layers do not fit diffusers' UNet: {first_line(error)}") from None
    return made


def export(folder: Path, target: Path, base: str | None = None) -> list[str]:
    """Write the adapter in `folder` to `target`, and return remarks: settings that the file cannot say.

    Args:
        base: for GLIGEN: a base whose UNet goes along; `target` is a folder then.

    Raises:
        MissingWeights, BadInput: there is no such adapter, or it is damaged.
        UsageError: it has no public form.
    """
    if kind_of(folder) == GligenAdapter.__name__:
        return _export_gligen(load_folder(folder, GligenAdapter), target, base)
    if base is not None:
        raise UsageError("--base goes with GLIGEN; files of RaDL and MIGC hold the layers alone.")
    adapter = load_adapter(folder)
    _write(public_tensors(adapter), target)
    own = adapter.fusion_config.active_fraction
    return [] if own == FusionConfig().active_fraction else [_remark(SAMPLING, own)]


def _export_gligen(adapter: GligenAdapter, target: Path, base: str | None) -> list[str]:
    if base is None:
        _write(gligen_tensors(adapter), target)
    else:
        from radl_model.checkpoints.places import resolve_base

        place = resolve_base(base)
        if not place.is_dir():
            raise UsageError("--base needs the folder of a pipeline.")
        unet = UNet2DConditionModel.from_pretrained(str(place / "unet"))
        gated_unet(adapter, unet).save_pretrained(str(target))
    usual, own = GligenConfig().to_dict(), adapter.settings.to_dict()
    return [_remark(key, own[key]) for key in own if own[key] != usual[key]]


def _remark(key: str, value: object) -> str:
    return f"{key} = {value} is a setting of sampling, and is not in the file."


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file} should end in {' or '.join(SUFFIXES)}.")
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        if file.suffix == ".ckpt":
            torch.save({"state_dict": tensors}, part)
        else:
            save_file(tensors, part)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; errors are printed without a traceback."""
    parser = argparse.ArgumentParser(prog="radl_model.checkpoints.export", description=__doc__)
    parser.add_argument("adapter", type=Path, help="folder of an adapter")
    parser.add_argument("target", type=Path, help="file, or with --base a folder")
    parser.add_argument("--base", default=None, help="GLIGEN: write the whole UNet of this base too")
    given = parser.parse_args(arguments)
    try:
        for remark in export(given.adapter, given.target, given.base):
            print(remark)
    except RadlError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
