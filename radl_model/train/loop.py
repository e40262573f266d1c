"""The training loop that every stage shares: precision, optimiser, EMA, learning rate, checkpoint, resume, loss log.

A batch is a function of its step (`make_batch(step)`), so a resumed training sees the batches that it would have seen.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from diffusers.training_utils import EMAModel
from torch import nn

from radl_model.errors import BadInput, UsageError
from radl_model.files import replacing, room_for
from radl_model.train.accelerating import accelerator_of
from radl_model.train.draws import Draws, Part
from radl_model.train.optimizer import LoopConfig, build_optimizer, lr_factor
from radl_model.train.precision import faster_precision, training_device
from radl_model.train.progress import CHECKPOINT, UNREADABLE, unreadable
from radl_model.train.signals import stop_asked

Batch = Any
LossFn = Callable[[Any, Batch, torch.Generator], torch.Tensor]
PartLossFn = Callable[[Any, Batch, Draws], torch.Tensor]


class Loop:
    """Train `module` with `loss_fn` on `make_batch`; the state lives in `out/checkpoint.pt`.

    Args:
        module: what is trained; parameters without `requires_grad` stay out of optimiser and checkpoint.
        make_batch: step -> batch.
        loss_fn: (module, batch, rng) -> scalar loss; `rng` is seeded by the step.
        on_sample: called with (module holding the EMA weights, step) for sample sheets and figures, by the first
            process alone, with the module on the CPU.

    Raises:
        UsageError: several processes or turns, for a stage whose batches cannot be cut (`SplitLoop` is for those).
    """

    splits = False
    figures_on_cpu = True
    """Whether `on_sample` gets the module on the CPU; batches come from there and are sent to the accelerator."""

    def __init__(
        self,
        module: nn.Module,
        make_batch: Callable[..., Batch],
        loss_fn: LossFn | PartLossFn,
        config: LoopConfig,
        out: Path,
        on_sample: Callable[[nn.Module, int], dict[str, float] | None] | None = None,
    ) -> None:
        self.config, self.out, self.on_sample = config, out, on_sample
        self.make_batch, self.loss_fn = make_batch, loss_fn
        out.mkdir(parents=True, exist_ok=True)
        precision = faster_precision(training_device()) if config.precision == "auto" else config.precision
        self.accelerator = accelerator_of(config, precision, out)
        self.parts = self._parts()
        self._say(f"precision: {precision}")
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.names = [n for n, p in module.named_parameters() if p.requires_grad]
        optimizer = build_optimizer(zip(self.names, self.parameters, strict=True), config)
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        # Not wrapped for several processes: the gradients of an adapter are small, and are averaged in `_train_step`.
        self.module = self.accelerator.prepare_model(module, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare(optimizer)
        # The average warms up as (1 + n) / (10 + n), so that it is of use after the first minutes.
        self.ema = EMAModel(self.parameters, decay=config.ema) if config.ema else None
        self.step, self.seconds, self.cpu, self._average = 0, 0.0, 0.0, 0.0

    @property
    def checkpoint(self) -> Path:
        return self.out / CHECKPOINT

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.accelerator.is_main_process

    def _parts(self) -> list[Part]:
        """The parts of a step that this process takes, in turn."""
        processes, turns = self.accelerator.num_processes, self.config.accumulate
        if not self.splits and processes * turns > 1:
            raise UsageError("This stage trains in one process and without `accumulate`; its batches cannot be cut.")
        if self.config.batch_size % (processes * turns):
            raise UsageError(
                f"batch_size {self.config.batch_size} cannot be shared by {processes} processes in {turns} turns each; "
                f"take a multiple of {processes * turns}."
            )
        size = self.config.batch_size // (processes * turns)
        begin = self.accelerator.process_index * turns
        return [Part(i * size, (i + 1) * size, self.config.batch_size) for i in range(begin, begin + turns)]

    def resume(self) -> bool:
        """Load the checkpoint if there is one; returns whether there was."""
        if not self.checkpoint.exists():
            return False
        state = self._read_checkpoint()
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)
            self.ema.decay = self.config.ema  # as with the learning rates, what the configuration says now holds
        self.step, self.seconds, self.cpu = state["step"], state["seconds"], state["cpu"]
        self._average = state["loss"]
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return True

    @property
    def loss(self) -> float:
        """The running average of the loss."""
        return self._average

    def _read_checkpoint(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
            if state["parameters"].keys() != set(self.names):
                raise BadInput(f"{self.checkpoint} is of another model. Use another --out.")
        except UNREADABLE as error:
            raise unreadable(self.checkpoint, error) from None
        return state

    def save(self) -> None:
        """Write the checkpoint, the old one staying until the new is whole."""
        if not self.first:
            return
        state = {
            "parameters": {n: p.detach() for n, p in zip(self.names, self.parameters, strict=True)},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else {},
            "step": self.step,
            "seconds": self.seconds,
            "cpu": self.cpu,
            "loss": self._average,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            "config": asdict(self.config),
        }
        with room_for(self.checkpoint), replacing(self.checkpoint) as part:
            torch.save(state, part)

    def _say(self, line: str) -> None:
        if self.first:
            print(line, flush=True)

    def _log(self, row: dict[str, float]) -> None:
        line = json.dumps({"step": self.step, "seconds": round(self.seconds, 1), "cpu": round(self.cpu, 1), **row})
        if self.first:
            log = self.out / "log.jsonl"
            with room_for(log), log.open("a") as file:
                file.write(line + "\n")
        if self.config.trackers:
            self.accelerator.log(row, step=self.step)
        self._say(line)

    def _loss(self, part: Part) -> torch.Tensor:
        """The loss of one part; a loop that does not split has one part, the whole step."""
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        batch = send_to_device(self.make_batch(self.step), self.accelerator.device)
        return self.loss_fn(self.module, batch, rng)  # type: ignore[arg-type]

    def _train_step(self) -> float:
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * lr_factor(self.step, self.config)
        total = torch.zeros((), device=self.accelerator.device)
        for part in self.parts:
            loss = self._loss(part) / len(self.parts)
            if loss.requires_grad:  # a part without an instance reaches no parameter
                self.accelerator.backward(loss)
            total += loss.detach()
        if self.accelerator.num_processes > 1:
            self._average_gradients()
            total = self.accelerator.reduce(total, "mean")
        self.accelerator.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.step(self.parameters)
        return float(total)

    def _average_gradients(self) -> None:
        """Mean over the processes; a parameter that some of them did not reach counts as zero there.

        One that none reached keeps no gradient: the optimizer passes it over, as it does in one process.
        """
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        reached = torch.tensor([float(p.grad is not None) for p in self.parameters], device=grads[0].device)
        flat = self.accelerator.reduce(torch.cat([reached, *(g.flatten() for g in grads)]), "mean")
        anywhere, *parts = flat.split([len(grads), *(g.numel() for g in grads)])
        for parameter, part, known in zip(self.parameters, parts, anywhere.tolist(), strict=True):
            parameter.grad = part.view_as(parameter).clone() if known else None

    def sample(self) -> None:
        """Run `on_sample` with the averaged weights and log what it measures."""
        if self.on_sample is None or not self.first:
            return
        with self.averaged() as module:
            measured = self.on_sample(module, self.step)
        if measured:
            self._log(measured)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Context in which the module holds the EMA weights, for figures on the CPU; gives the module."""
        module = self.accelerator.unwrap_model(self.module)
        if self.ema:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        try:
            yield module.to("cpu") if self.figures_on_cpu else module
        finally:
            module.to(self.accelerator.device)
            if self.ema:
                self.ema.restore(self.parameters)

    def run(self, minutes: float | None = None) -> bool:
        """Train up to `config.steps`, until `minutes` of this call are over or a signal asks to stop.

        SIGTERM and SIGUSR1 (a cluster that takes the machine back) end the loop after the step. There is always a
        checkpoint afterwards.

        Returns:
            whether the training is finished.
        """
        begin = last = saved = time.monotonic()
        used = time.process_time()
        with stop_asked() as asked:
            while self.step < self.config.steps:
                loss = self._train_step()
                if not math.isfinite(loss):
                    raise UsageError(f"The loss is not a number at step {self.step}. Lower the learning rate (`lr`).")
                self.step += 1
                self._average = loss if self.step == 1 else 0.98 * self._average + 0.02 * loss
                now = time.monotonic()
                self.seconds, last = self.seconds + now - last, now
                self.cpu, used = self.cpu + time.process_time() - used, time.process_time()
                if self.step % self.config.log_every == 0:
                    self._log({"loss": round(self._average, 5), **self._pace()})
                if now - saved > self.config.checkpoint_every:
                    self.save()
                    saved = now
                if self.step % self.config.sample_every == 0:
                    self.sample()
                if self._ends(asked() or (minutes is not None and now - begin > minutes * 60)):
                    break
        self.save()
        self.sample()
        if self.config.trackers:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return self.step >= self.config.steps

    def _pace(self) -> dict[str, float]:
        """More of a log row."""
        return {}

    def _ends(self, wanted: bool) -> bool:
        """Whether any process wants to stop: all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return wanted
        return bool(self.accelerator.reduce(torch.tensor(float(wanted), device=self.accelerator.device), "sum") > 0)


class SplitLoop(Loop):
    """A loop whose step can be shared by processes and taken in turns.

    `make_batch(step, part)` makes the samples of a part, and the loss takes `Draws` of the part, so that cutting a step
    changes its result by rounding alone.
    """

    splits = True
    figures_on_cpu = False

    def _loss(self, part: Part) -> torch.Tensor:
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        return self.loss_fn(self.module, self.make_batch(self.step, part), Draws(rng, part))  # type: ignore[arg-type]

    def _pace(self) -> dict[str, float]:
        each = self.seconds / max(self.step, 1)
        rate = self.config.batch_size / each if each else 0.0
        return {"images_per_second": round(rate, 2), "eta": round((self.config.steps - self.step) * each)}
