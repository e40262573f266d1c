"""The training loop that every stage shares: precision, optimiser, EMA, learning rate, checkpoint, resume, loss log.

A batch is a function of its step (`make_batch(step)`), so a resumed training sees the batches that it would have seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn

from radl_model.errors import UsageError, did_you_mean
from radl_model.files import replacing
from radl_model.train.muon import Muon
from radl_model.train.precision import faster_precision

Batch = Any
LossFn = Callable[[Any, Batch, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class LoopConfig:
    """Hyper-parameters of a run.

    Attributes:
        steps: optimiser steps in all; raise it to go on from a finished checkpoint.
        batch_size: samples a step.
        lr: learning rate after a linear warm-up over `warmup` steps; constant from there on, as in the paper.
        decay: steps at the end over which it falls linearly to 2 %; 0, the default, is none. The recipes of the mini
            models state theirs.
        ema: decay of the weight average; 0 keeps none.
        precision: "bf16" (autocast), "no", or "auto": whichever of both is faster here (`precision.py`).
        optimizer: "adamw" or "muon" (`muon.py`), whose matrices learn with `matrix_lr`.
        checkpoint_every: seconds between checkpoints.
        sample_every: steps between sample sheets.
        faster: multiples of the learning rate, for parameters whose name ends so.
    """

    steps: int
    batch_size: int
    lr: float
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
    faster: Mapping[str, float] = field(default_factory=dict)


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


class Loop:
    """Train `module` with `loss_fn` on `make_batch`; the state lives in `out/checkpoint.pt`.

    Args:
        module: what is trained; parameters without `requires_grad` stay out of optimiser and checkpoint.
        make_batch: step -> batch.
        loss_fn: (module, batch, rng) -> scalar loss; `rng` is seeded by the step.
        on_sample: called with (module holding the EMA weights, step) for sample sheets and figures.
    """

    def __init__(
        self,
        module: nn.Module,
        make_batch: Callable[[int], Batch],
        loss_fn: LossFn,
        config: LoopConfig,
        out: Path,
        on_sample: Callable[[nn.Module, int], dict[str, float] | None] | None = None,
    ) -> None:
        self.config, self.out, self.on_sample = config, out, on_sample
        self.make_batch, self.loss_fn = make_batch, loss_fn
        out.mkdir(parents=True, exist_ok=True)
        precision = faster_precision() if config.precision == "auto" else config.precision
        print(f"precision: {precision}", flush=True)
        self.accelerator = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.names = [n for n, p in module.named_parameters() if p.requires_grad]
        optimizer = build_optimizer(zip(self.names, self.parameters, strict=True), config)
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)
        # The average warms up as (1 + n) / (10 + n), so that it is of use after the first minutes.
        self.ema = EMAModel(self.parameters, decay=config.ema) if config.ema else None
        self.step, self.seconds, self.cpu, self._average = 0, 0.0, 0.0, 0.0

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def resume(self) -> bool:
        """Load the checkpoint if there is one; returns whether there was."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
            self.ema.decay = self.config.ema  # as with the learning rates, what the configuration says now holds
        self.step, self.seconds, self.cpu = state["step"], state["seconds"], state["cpu"]
        self._average = state["loss"]
        return True

    def save(self) -> None:
        """Write the checkpoint, the old one staying until the new is whole."""
        state = {
            "parameters": {n: p.detach() for n, p in zip(self.names, self.parameters, strict=True)},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else {},
            "step": self.step,
            "seconds": self.seconds,
            "cpu": self.cpu,
            "loss": self._average,
            "config": asdict(self.config),
        }
        with replacing(self.checkpoint) as part:
            torch.save(state, part)

    def _log(self, row: dict[str, float]) -> None:
        line = json.dumps({"step": self.step, "seconds": round(self.seconds, 1), "cpu": round(self.cpu, 1), **row})
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def _train_step(self) -> float:
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * lr_factor(self.step, self.config)
        loss = self.loss_fn(self.module, self.make_batch(self.step), rng)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters)
        return float(loss.detach())

    def sample(self) -> None:
        """Run `on_sample` with the averaged weights and log what it measures."""
        if self.on_sample is None:
            return
        with self.averaged():
            measured = self.on_sample(self.accelerator.unwrap_model(self.module), self.step)
        if measured:
            self._log(measured)

    def averaged(self) -> _Averaged:
        """Context in which the module holds the EMA weights."""
        return _Averaged(self)

    def run(self, minutes: float | None = None) -> None:
        """Train up to `config.steps`, or until `minutes` of this call are over; always leaves a checkpoint."""
        begin = last = saved = time.monotonic()
        used = time.process_time()
        while self.step < self.config.steps:
            loss = self._train_step()
            if not loss == loss:
                raise FloatingPointError(f"The loss is not a number at step {self.step}; lower the learning rate.")
            self.step += 1
            self._average = loss if self.step == 1 else 0.98 * self._average + 0.02 * loss
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            self.cpu, used = self.cpu + time.process_time() - used, time.process_time()
            if self.step % self.config.log_every == 0:
                self._log({"loss": round(self._average, 5)})
            if now - saved > self.config.checkpoint_every:
                self.save()
                saved = now
            if self.step % self.config.sample_every == 0:
                self.sample()
            if minutes is not None and now - begin > minutes * 60:
                break
        self.save()
        self.sample()


class _Averaged:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def __enter__(self) -> None:
        if self.loop.ema:
            self.loop.ema.store(self.loop.parameters)
            self.loop.ema.copy_to(self.loop.parameters)

    def __exit__(self, *_: object) -> None:
        if self.loop.ema:
            self.loop.ema.restore(self.loop.parameters)
