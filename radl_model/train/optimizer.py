"""The settings of a training loop, its optimiser and its learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from radl_model.errors import UsageError, did_you_mean
from radl_model.train.config import read_table
from radl_model.train.muon import Muon


@dataclass(frozen=True)
class LoopConfig:
    """Hyper-parameters of a run.

    Attributes:
        steps: optimiser steps in all; raise it to go on from a finished checkpoint.
        batch_size: samples a step, over all processes and turns.
        accumulate: turns in which a process takes its share of a step, one after the other; memory is that of one.
        lr: learning rate after a linear warm-up over `warmup` steps; constant from there on, as in the paper.
        decay: steps at the end over which it falls linearly to 2 %; 0, the default, is none. The recipes of the mini
            models state theirs.
        ema: decay of the weight average; 0 keeps none.
        precision: "bf16" or "fp16" (autocast; the latter on a GPU alone, with its loss scaled), "no", or "auto":
            whichever of "bf16" and "no" is faster here (`precision.py`).
        optimizer: "adamw" or "muon" (`muon.py`), whose matrices learn with `matrix_lr`.
        checkpoint_every: seconds between checkpoints.
        sample_every: steps between sample sheets.
        trackers: "tensorboard", "wandb", "mlflow": where the figures go beside `log.jsonl`.
        faster: multiples of the learning rate, for parameters whose name ends so.
    """

    steps: int
    batch_size: int
    lr: float
    accumulate: int = 1
    warmup: int = 200
    decay: int = 0
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "auto"
    optimizer: str = "adamw"
    matrix_lr: float = 6e-3
    seed: int = 0
    checkpoint_every: float = 180.0
    sample_every: int = 1000
    log_every: int = 50
    trackers: Sequence[str] = ()
    faster: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> LoopConfig:
        """Read the table `[loop]` of a training config; raises `UsageError`."""
        return read_table(cls, table, "loop")


def lr_factor(step: int, config: LoopConfig) -> float:
    """Warm-up, then constant, then a linear decay where the config has one; in (0, 1]."""
    up = min(1.0, (step + 1) / max(config.warmup, 1))
    down = min(1.0, (config.steps - step) / config.decay) if config.decay else 1.0
    return up * max(down, 0.02)


def build_optimizer(named: Iterable[tuple[str, nn.Parameter]], config: LoopConfig) -> torch.optim.Optimizer:
    """Return the optimiser that the configuration names; each group's `lr` is the peak of its learning rate.

    Raises:
        UsageError: there is none of this name, or `faster` is given for Muon, whose groups are its own.
    """
    if config.optimizer not in ("adamw", "muon"):
        raise UsageError(did_you_mean(config.optimizer, ("adamw", "muon"), "optimizer"))
    if config.optimizer == "muon":
        if config.faster:
            raise UsageError("'faster' goes with the optimizer adamw; muon has 'matrix_lr'.")
        return Muon(named, config.lr, config.matrix_lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay)
    groups = _groups(named, config)
    return torch.optim.AdamW(groups, config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay)


def _groups(named: Iterable[tuple[str, nn.Parameter]], config: LoopConfig) -> list[dict[str, Any]]:
    """Parameters by the multiple of the learning rate they take, see `LoopConfig.faster`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        times = next((times for end, times in config.faster.items() if name.endswith(end)), 1.0)
        groups.setdefault(times, []).append(parameter)
    return [{"params": members, "lr": config.lr * times} for times, members in groups.items()]
