"""Checkpoints as tables of named tensors, and what a tensor must be to be a weight; no file can run code."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radl_model.errors import BadInput, MissingWeights


def read_tensors(file: Path, under: str = "state_dict", stand_ins: Sequence[type] = ()) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors`, `.ckpt`, `.pt` or `.bin` file, at its top level or in a table there.

    Args:
        under: name of that table.
        stand_ins: classes without code of their own, see `stand_in`, that objects in the file may become.

    Raises:
        MissingWeights: there is no such file.
        BadInput: it holds more than tensors, is cut short, or is no table of names.
    """
    if not file.is_file():
        raise MissingWeights(f"There is no checkpoint at {file}.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(file)
        else:
            with _allowed(stand_ins):
                loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"The checkpoint {file} holds more than tensors, or is not a checkpoint. It was not loaded: that could run "
            f"code: {first_line(error)}"
        ) from error
    except Exception as error:
        # A damaged archive fails in many ways: RuntimeError, EOFError, KeyError, SafetensorError, ...
        raise BadInput(f"The checkpoint {file} cannot be read; it may be cut short: {first_line(error)}") from error
    if isinstance(loaded, dict) and isinstance(loaded.get(under), dict):
        loaded = loaded[under]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(k, str) for k in loaded):
        raise BadInput(f"The checkpoint {file} is not a table of named tensors.")
    return {key: value for key, value in loaded.items() if isinstance(value, Tensor)}


def stand_in(name: str) -> type:
    """Return an empty class in the place of `name` ("package.module.Class") in a pickle; it drops its state."""
    module, _, own = name.rpartition(".")
    return type(own, (_Dropped,), {"__module__": module, "__qualname__": own})


@contextmanager
def _allowed(stand_ins: Sequence[type]) -> Iterator[None]:
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(list(stand_ins))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


class _Dropped:
    def __new__(cls, *_: object) -> _Dropped:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, its type when it says nothing."""
    return (str(error).strip() or type(error).__name__).split("\n")[0][:300]


def tensor_problems(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return a sentence for each tensor that cannot be a weight, in the order of the table."""
    return [f"The weight {name} {why}." for name, tensor in tensors.items() if (why := _why_not(tensor))]


def _why_not(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "is a meta tensor, which has a shape and no numbers"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "is not a dense tensor"
    if not tensor.is_floating_point():
        return f"is of {str(tensor.dtype).removeprefix('torch.')}, not of floating-point numbers"
    if not bool(torch.isfinite(tensor.float()).all()):
        return "holds numbers that are not finite (NaN or infinity)"
    return ""
