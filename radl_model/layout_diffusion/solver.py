"""DPM-Solver-fast (Lu et al., NeurIPS 2022): singlestep updates of order three on a grid uniform in half log-SNR.

Times run from 1 (noise) to 1e-4 (image) on the continuous variance-preserving schedule with beta from .1 to 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BETA_0, BETA_1 = 0.1, 20.0
START, END = 1.0, 1e-4

Noise = Callable[[Tensor, float], Tensor]
"""(x, t) -> the noise that the model sees in x."""


def log_alpha(t: float) -> float:
    """Return the logarithm of the signal's scale at a time t in 0..1."""
    return -(t**2) * (BETA_1 - BETA_0) / 4 - t * BETA_0 / 2


def sigma(t: float) -> float:
    """Return the scale of the noise at a time."""
    return math.sqrt(-math.expm1(2 * log_alpha(t)))


def half_log_snr(t: float) -> float:
    """Return lambda(t) = log(alpha / sigma)."""
    return log_alpha(t) - math.log(sigma(t))


def time_of(half_log_snr: float) -> float:
    """Return the time with this lambda."""
    spread = BETA_1 - BETA_0
    excess = 2 * spread * (math.log1p(math.exp(-2 * half_log_snr)) if half_log_snr > -300 else -2 * half_log_snr)
    return excess / (math.sqrt(BETA_0**2 + excess) + BETA_0) / spread


def orders(evaluations: int) -> tuple[int, ...]:
    """Return the orders of the updates whose sum is the number of evaluations: 3, ..., 3 and a shorter end."""
    whole = evaluations // 3
    return (*[3] * (whole - 1), 2, 1) if evaluations % 3 == 0 else (*[3] * whole, evaluations % 3)


@dataclass(frozen=True)
class Step:
    """From time s over a span of lambda; `at` and the coefficients of the exponential integrator."""

    s: float
    span: float

    def at(self, share: float) -> float:
        """Return the time after this share of the span."""
        return time_of(half_log_snr(self.s) + share * self.span)

    def move(self, x: Tensor, noise: Tensor, share: float) -> Tensor:
        """Return x after a share of the span under constant noise (the first-order update)."""
        t = self.at(share)
        return math.exp(log_alpha(t) - log_alpha(self.s)) * x - sigma(t) * math.expm1(share * self.span) * noise


def first(x: Tensor, step: Step, noise: Noise) -> Tensor:
    """First order, one evaluation."""
    return step.move(x, noise(x, step.s), 1.0)


def second(x: Tensor, step: Step, noise: Noise) -> Tensor:
    """Second order with its inner point half way, two evaluations."""
    here = noise(x, step.s)
    slope = noise(step.move(x, here, 0.5), step.at(0.5)) - here
    return step.move(x, here, 1.0) - sigma(step.at(1.0)) * math.expm1(step.span) * slope


def third(x: Tensor, step: Step, noise: Noise) -> Tensor:
    """Third order with inner points at one and two thirds, three evaluations."""
    r1, r2, h = 1 / 3, 2 / 3, step.span
    here = noise(x, step.s)
    slope = noise(step.move(x, here, r1), step.at(r1)) - here
    bend = math.expm1(r2 * h) / (r2 * h) - 1
    inner = step.move(x, here, r2) - r2 / r1 * sigma(step.at(r2)) * bend * slope
    slope = noise(inner, step.at(r2)) - here
    return step.move(x, here, 1.0) - sigma(step.at(1.0)) * (math.expm1(h) / h - 1) / r2 * slope


UPDATES = {1: first, 2: second, 3: third}


@torch.no_grad()
def solve(noise: Noise, x: Tensor, evaluations: int = 25) -> Tensor:
    """Carry noise x at time 1 to an image at time 1e-4.

    Args:
        noise: (x, t) -> noise of the same shape; called `evaluations` times.
        x: unit Gaussian noise of any shape.
        evaluations: at least 1; LayoutDiffusion's published figures use 25 (eight third-order updates and one first).
    """
    plan = orders(evaluations)
    span = (half_log_snr(END) - half_log_snr(START)) / len(plan)
    for n, order in enumerate(plan):
        x = UPDATES[order](x, Step(time_of(half_log_snr(START) + n * span), span), noise)
    return x
