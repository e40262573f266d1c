"""What a piece of a model costs, counted on tensors that have shapes and no memory: FLOPs, and bytes at the peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """FLOPs (a multiplication and an addition are two), and bytes alive at the peak beside those alive before."""

    flops: int
    peak: int


def shapes_only() -> FakeTensorMode:
    """Context in which modules are built without memory; they can then be called with real inputs."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def cost_of(call: Callable[[], object], backward: bool = False) -> Cost:
    """Call a model of fake tensors and count; with `backward`, differentiate what it returns too."""
    with FlopCounterMode(display=False) as flops, PeakBytes() as memory:
        result = call()
        if backward and isinstance(result, torch.Tensor):
            result.backward()
    return Cost(flops.get_total_flops(), memory.peak)


class PeakBytes(TorchDispatchMode):
    """Context that follows the bytes of all tensors made in it, from their first sight until they are freed.

    What an allocator rounds up or keeps, and what kernels take for themselves, is not in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self.seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        given = {_storage(leaf) for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and _storage(leaf) not in given:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.seen:
            return
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        self.seen[key] = weakref.ref(storage, lambda _: self._drop(key, size))

    def _drop(self, key: int, size: int) -> None:
        self.seen.pop(key, None)
        self.now -= size


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
