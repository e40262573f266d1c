"""Devices by name, checked before anything is loaded onto them."""

from __future__ import annotations

import re
import warnings

from radl_bench.errors import UsageError

_NAME = re.compile(r"(cuda|mps|cpu|xpu)(?::(\d{1,3}))?")


def check_device(device: str | None) -> None:
    """Do nothing for None and for a device that is here.

    Raises:
        UsageError: there is no such device on this machine, or the name means none.
    """
    if device is None or device == "cpu":
        return
    match = _NAME.fullmatch(device)
    if not match:
        raise UsageError(f"'{device}' is not a device. Give cpu, cuda, cuda:1, ... or mps.")
    here = _count(match[1])
    if here == 0:
        raise UsageError(f"There is no {match[1]} device on this machine. Leave --device out, or give --device cpu.")
    if match[2] and int(match[2]) >= here:
        raise UsageError(f"There is no {device}; this machine has {here}, counted from {match[1]}:0.")


def _count(kind: str) -> int:
    """Return how many devices of a kind torch can use; what drivers have to say about it is not shown."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "mps":
            return int(torch.backends.mps.is_available())
        if kind == "cpu":
            return 1
        found = getattr(torch, kind, None)
        return found.device_count() if found is not None and found.is_available() else 0
