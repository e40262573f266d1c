"""Adapters on disk: a folder with `config.json` and safetensors, in half precision if asked for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapter_config import check_adapter_config
from radl_model.checkpoints.kinds import check_kind
from radl_model.checkpoints.public import convert_public
from radl_model.checkpoints.tensors import first_line, tensor_problems
from radl_model.errors import BadInput, MissingWeights, UsageError
from radl_model.files import room_for

Adapter = TypeVar("Adapter", bound=ModelMixin)


def save_adapter(adapter: ModelMixin, folder: str | Path, *, half: bool = True) -> None:
    """Write `folder/config.json` and `folder/diffusion_pytorch_model.safetensors`; `half` stores fp16.

    Raises `DiskFull`: there is no room for it.
    """
    stored = copy.deepcopy(adapter).half() if half else adapter
    with room_for(Path(folder)):
        stored.save_pretrained(str(folder))


def load_adapter(folder: str | Path, unet: nn.Module | None = None) -> FusionAdapter:
    """Read an adapter of RaDL or MIGC in float32, and attach it to `unet` if there is one.

    `folder` may be the file of a public checkpoint of MIGC, MIGC++ or RaDL, which is converted first.

    Raises:
        MissingWeights: no adapter is there.
        BadInput: it is another method's, or its configuration and weights do not belong together, or are damaged.
        UsageError: it was made for another base.
    """
    folder = Path(folder)
    return load_folder(convert_public(folder) if folder.is_file() else folder, FusionAdapter, unet)


def load_folder(folder: Path, kind: type[Adapter], unet: nn.Module | None = None) -> Adapter:
    """Read an adapter of one kind from its folder; the rest as in `load_adapter`."""
    if not (folder / "config.json").is_file():
        raise MissingWeights(f"There is no adapter at {folder}: config.json is missing.")
    check_kind(folder, kind.__name__)
    if not any(folder.glob("*.safetensors")):
        raise MissingWeights(f"There is no adapter at {folder}: its safetensors file is missing.")
    if kind is FusionAdapter:
        check_adapter_config(folder)
    _check_weights(folder)
    try:
        read, report = kind.from_pretrained(str(folder), output_loading_info=True, use_safetensors=True)
    except (UsageError, OSError, TypeError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise BadInput(f"The adapter at {folder} cannot be read: {first_line(error)}") from error
    for problem, keys in (("lacks", report["missing_keys"]), ("has the unknown", report["unexpected_keys"])):
        if keys:
            raise BadInput(f"The adapter at {folder} {problem} weight {sorted(keys)[0]} ({len(keys)} in all).")
    adapter: Adapter = read.to(torch.float32).eval()
    if unet is not None:
        adapter.attach(unet)
    return adapter


def _check_weights(folder: Path) -> None:
    """Raise `BadInput` for a file that is damaged, or holds what no weight can be."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            problems = tensor_problems(load_file(file))
        except (OSError, RuntimeError, SafetensorError, ValueError) as error:
            raise BadInput(f"The adapter at {folder} cannot be read: {first_line(error)}") from error
        if problems:
            more = f" ({len(problems)} in all)" if len(problems) > 1 else ""
            raise BadInput(f"The adapter at {folder} cannot be used{more}. {problems[0]}")
