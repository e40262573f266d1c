"""Which precision is faster on this machine: bfloat16 autocast or float32.

With AVX512-bf16 or AMX, or on a GPU, bfloat16 halves a step; on a processor without them it costs ten times as much.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

REPEATS = 3


def step_of(precision: str, device: str) -> Callable[[], None]:
    """One training step of a convolution and a linear layer of the mini UNet's sizes."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(96, 96, 3, padding=1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    linear = nn.Linear(96, 384).to(device)
    images = torch.randn(16, 96, 16, 16, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            out = linear(convolution(images).flatten(2).transpose(1, 2))
        out.float().square().mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def seconds_of(step: Callable[[], None], clock: Callable[[], float]) -> float:
    """The fastest of `REPEATS` calls, after one to warm up: what others do on the machine only makes a call slower."""
    step()
    took = []
    for _ in range(REPEATS):
        begin = clock()
        step()
        took.append(clock() - begin)
    return min(took)


def training_device() -> str:
    """ "cuda" where there is a GPU, else "cpu": where a training runs."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache
def faster_precision(device: str) -> str:
    """ "bf16" or "no" on "cpu" or "cuda", timed once a process; a training and its figures use the same."""
    # Processor time, so that a process that waits for its turn on a busy machine is not misled.
    clock = time.perf_counter if device == "cuda" else time.process_time
    with torch.random.fork_rng(), torch.enable_grad():
        took = {precision: seconds_of(step_of(precision, device), clock) for precision in ("bf16", "no")}
    return min(took, key=lambda name: took[name])


def autocast(device: str = "cpu") -> torch.autocast:
    """Context of the faster precision on a device; figures and sheets outside of a training loop are the CPU's."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=faster_precision(device) == "bf16")
