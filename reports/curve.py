"""How long a training would take to reach a bar: `python reports/curve.py BAR SECONDS:PERCENT:N ...`.

A logistic line over the logarithm of the processor time is fitted to shares of N images or objects, and extended to the
bar. The interval has 95 %: it is drawn from the fit's normal distribution, widened where the points scatter more about
the line than their sizes allow (quasi-binomial). It takes the line for true; where a training stops following it, no
interval helps.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

DRAWS, SEED = 20_000, 0

Floats = NDArray[np.float64]


def fit(seconds: Floats, shares: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return (intercept, slope) of the logit over ln(seconds), and their covariance [2, 2].

    Args:
        seconds, shares in 0..1, counts: of two points or more, at different times.
    """
    design = np.stack([np.ones_like(seconds), np.log(seconds)], 1)
    line = np.zeros(2)
    for _ in range(100):  # Newton's method; from 0 it converges for a logistic line
        expected = 1 / (1 + np.exp(-design @ line))
        weights = counts * expected * (1 - expected)
        information = design.T @ (weights[:, None] * design)
        line = line + np.linalg.solve(information, design.T @ (counts * (shares - expected)))
    expected = 1 / (1 + np.exp(-design @ line))
    weights = counts * expected * (1 - expected)
    chi2 = float((counts**2 * (shares - expected) ** 2 / weights).sum())
    scatter = max(1.0, chi2 / max(1, len(seconds) - 2))
    return line, np.linalg.inv(design.T @ (weights[:, None] * design)) * scatter


def time_to(bar: float, line: Floats, covariance: Floats) -> tuple[float, float, float]:
    """Return the seconds at which the line reaches `bar` (0..1), and the ends of its interval; infinite for never."""
    goal = np.log(bar / (1 - bar))
    drawn = np.random.default_rng(SEED).multivariate_normal(line, covariance, DRAWS)
    rising = drawn[:, 1] > 0
    with np.errstate(over="ignore"):
        times = np.where(rising, np.exp((goal - drawn[:, 0]) / np.where(rising, drawn[:, 1], 1.0)), np.inf)
        best = float(np.exp((goal - line[0]) / line[1])) if line[1] > 0 else np.inf
    low, high = np.quantile(times, [0.025, 0.975], method="nearest")
    return best, float(low), float(high)


def main(arguments: list[str]) -> None:
    """Print the line and the time to the bar, in CPU-hours."""
    bar = float(arguments[0]) / 100
    points = np.array([[float(part) for part in argument.split(":")] for argument in arguments[1:]])
    line, covariance = fit(points[:, 0], points[:, 1] / 100, points[:, 2])
    hours = [f"{seconds / 3600:.3g}" for seconds in time_to(bar, line, covariance)]
    print(f"logit = {line[0]:.3f} + {line[1]:.3f} ln(seconds)")
    print(f"{100 * bar:g} % after {hours[0]} CPU-hours [{hours[1]}, {hours[2]}]")


if __name__ == "__main__":
    main(sys.argv[1:])
