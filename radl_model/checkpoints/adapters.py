"""Adapters on disk: a folder with `config.json` and safetensors, in half precision if asked for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapter_config import check_adapter_config
from radl_model.checkpoints.public import convert_public
from radl_model.checkpoints.tensors import first_line
from radl_model.errors import BadInput, MissingWeights


def save_adapter(adapter: FusionAdapter, folder: str | Path, *, half: bool = True) -> None:
    """Write `folder/config.json` and `folder/diffusion_pytorch_model.safetensors`; `half` stores fp16."""
    holder, adapter.holder = adapter.holder, type(adapter.holder)()
    try:
        stored = copy.deepcopy(adapter).half() if half else adapter
    finally:
        adapter.holder = holder
    stored.save_pretrained(str(folder))


def load_adapter(folder: str | Path, unet: Any = None) -> FusionAdapter:
    """Read an adapter in float32, and attach it to `unet` if there is one.

    `folder` may be the file of a public checkpoint of MIGC, MIGC++ or RaDL, which is converted first.

    Raises:
        MissingWeights: no adapter is there.
        BadInput: its configuration and weights do not belong together, or are damaged.
        UsageError: it was made for another base.
    """
    folder = Path(folder)
    if folder.is_file():
        folder = convert_public(folder)
    if not (folder / "config.json").is_file():
        raise MissingWeights(f"There is no adapter at {folder}: config.json is missing.")
    if not any(folder.glob("*.safetensors")):
        raise MissingWeights(f"There is no adapter at {folder}: its safetensors file is missing.")
    check_adapter_config(folder)
    try:
        adapter, report = FusionAdapter.from_pretrained(str(folder), output_loading_info=True, use_safetensors=True)
    except (OSError, TypeError, KeyError, ValueError, RuntimeError) as error:
        raise BadInput(f"The adapter at {folder} cannot be read: {first_line(error)}") from error
    for problem, keys in (("lacks", report["missing_keys"]), ("has the unknown", report["unexpected_keys"])):
        if keys:
            raise BadInput(f"The adapter at {folder} {problem} weight {sorted(keys)[0]} ({len(keys)} in all).")
    adapter = adapter.to(torch.float32).eval()
    if unet is not None:
        adapter.attach(unet)
    return adapter
