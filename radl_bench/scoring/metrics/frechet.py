"""The Frechet distance between two sets of feature vectors (Heusel et al. 2017).

Float64 throughout. The square root of the product of two covariances is taken in its symmetric form, by eigenvalues: it
needs no `sqrtm`, cannot turn complex, and holds for covariances of any rank.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Mean float64 [D] and covariance float64 [D, D] (divisor n - 1) of `n` vectors."""

    n: int
    mean: np.ndarray
    cov: np.ndarray


def moments_of(blocks: Iterable[np.ndarray], again: Iterable[np.ndarray]) -> Moments:
    """Return the moments of vectors that come in blocks [N, D], read twice; raises `ValueError` under two vectors."""
    n, total = 0, None
    for block in blocks:
        sums = block.sum(axis=0, dtype=np.float64)
        total = sums if total is None else total + sums
        n += len(block)
    if total is None or n < 2:
        raise ValueError("moments need two vectors")
    mean = total / n
    scatter = np.zeros((len(mean), len(mean)))
    for block in again:
        centred = block.astype(np.float64) - mean
        scatter += centred.T @ centred
    return Moments(n, mean, scatter / (n - 1))


class Frechet:
    """The squared Frechet distance of the Gaussians of two sets, and how each vector of the first set moves it.

    `value` is `|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))`, at least 0. With `C1 = A A'` of rank r, the last
    trace is the sum of the square roots of the eigenvalues of `A' C2 A` [r, r].
    """

    def __init__(self, seen: Moments, wanted: Moments) -> None:
        self.seen, self.gap = seen, seen.mean - wanted.mean
        self._root, self._inverse = _factor(seen)
        self._product = self._root.T @ wanted.cov @ self._root
        roots = np.sqrt(_clean(np.linalg.eigvalsh(self._product)))
        distance = self.gap @ self.gap + np.trace(seen.cov) + np.trace(wanted.cov) - 2.0 * roots.sum()
        self.value = max(float(distance), 0.0)

    def influence(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Return float64 [N]: the first-order effect of each vector of the first set, as if it had n times its weight.

        The mean of the effects is 0, and the distance of a re-weighted set is `value` plus their weighted mean, to
        first order. With T the optimal map of the first Gaussian to the second, the effect of x is
        `2 (x - m1)'(m1 - m2) + (x - m1)'(I - T)(x - m1)`, less its mean.
        """
        eigenvalues, axes = np.linalg.eigh(self._product)
        weights = np.sqrt(_clean(eigenvalues))
        whiten = self._inverse(axes)  # vectors times this have unit covariance
        effects = [np.zeros(0)]
        for block in blocks:
            centred = block.astype(np.float64) - self.seen.mean
            mapped = (centred @ whiten) ** 2 @ weights
            effects.append(2.0 * centred @ self.gap + (centred**2).sum(axis=1) - mapped)
        found = np.concatenate(effects)
        return found - found.mean() if len(found) else found


def _factor(seen: Moments) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return A with `C = A A'` and a function that multiplies with the inverse of A' (on the range of C).

    Cholesky's factor where there are vectors enough, since it takes a tenth of the time; else that of the eigenvalues.
    """
    from scipy.linalg import solve_triangular

    with contextlib.suppress(np.linalg.LinAlgError):
        if seen.n > 2 * len(seen.mean):
            lower = np.linalg.cholesky(seen.cov)
            return lower, lambda x: solve_triangular(lower.T, x)
    values, vectors = np.linalg.eigh(seen.cov)
    keep = _clean(values) > 0
    root = vectors[:, keep] * np.sqrt(values[keep])
    return root, lambda x: (root / values[keep]) @ x


def _clean(eigenvalues: np.ndarray) -> np.ndarray:
    """Return ascending eigenvalues with rounding errors of 0 set to 0: their roots would not be small."""
    return np.where(eigenvalues > eigenvalues[-1:] * len(eigenvalues) * np.finfo(float).eps, eigenvalues, 0.0)


def frechet_distance(seen: Moments, wanted: Moments) -> float:
    """Return the squared Frechet distance, float64, at least 0; about 3 s of one core for 2,048 dimensions."""
    return Frechet(seen, wanted).value
