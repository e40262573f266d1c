"""The accelerator of a training: precision, processes, and the trackers that its figures go to."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from radl_model.errors import MissingExtra, UsageError, did_you_mean
from radl_model.train.optimizer import LoopConfig

PRECISIONS = ("bf16", "fp16", "no")
TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
"""Trackers of accelerate, and the packages of which one has to be installed."""
PATIENCE = timedelta(hours=2)
"""How long the other processes wait while the first validates or writes."""


def accelerator_of(config: LoopConfig, precision: str, out: Path) -> Accelerator:
    """Return the accelerator of a training that writes to `out`.

    Raises:
        UsageError: an unknown precision or tracker, or float16 without a GPU.
        MissingExtra: a tracker that is not installed.
    """
    if precision not in PRECISIONS:
        raise UsageError(did_you_mean(precision, ("auto", *PRECISIONS), "precision"))
    if precision == "fp16" and not torch.cuda.is_available():
        raise UsageError("precision = 'fp16' needs a GPU; take 'bf16', 'no' or 'auto' here.")
    for name in config.trackers:
        if name not in TRACKERS:
            raise UsageError(did_you_mean(name, TRACKERS, "tracker"))
        if not any(importlib.util.find_spec(package) for package in TRACKERS[name]):
            raise MissingExtra(f"The tracker {name} is not installed. Run: pip install {TRACKERS[name][0]}")
    made = Accelerator(
        mixed_precision=precision,
        cpu=not torch.cuda.is_available(),
        log_with=list(config.trackers) or None,
        project_dir=str(out),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if config.trackers:
        flat = {key: value for key, value in asdict(config).items() if isinstance(value, (int, float, str))}
        made.init_trackers(out.name or "radl", flat)
    return made
