"""What a weight read from a file must be: a dense tensor of finite floating-point numbers that is really there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def tensor_problems(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return a sentence for each tensor that cannot be a weight, in the order of the table."""
    return [f"The weight {name} {why}." for name, tensor in tensors.items() if (why := _why_not(tensor))]


def _why_not(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "is a meta tensor, which has a shape and no numbers"
    if tensor.layout != torch.strided or tensor.is_quantized:
        return "is no dense tensor"
    if not tensor.is_floating_point():
        return f"is of {str(tensor.dtype).removeprefix('torch.')}, not of floating-point numbers"
    if not bool(torch.isfinite(tensor.float()).all()):
        return "holds numbers that are not finite (NaN or infinity)"
    return ""
