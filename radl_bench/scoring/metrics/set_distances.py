"""KID and FID over samples: KID's value and interval, and the paired tests of both.

Images of one sample share a layout and a prompt, and often look alike. A kernel distance over pairs of *different
samples* says how far images of a new layout are from the reference, and is unbiased for that with any number of images
a sample. FID has no interval: at the sizes of this suite (hundreds of images, up to 2,048 features) its bias is larger
than its noise, and the value extrapolated to endless images would need thousands. Its paired test is exact all the
same, since both methods carry the same bias under the null hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radl_bench.scoring.intervals import LEAST, Interval, jackknife_error, no_interval, t_quantile, too_few
from radl_bench.scoring.metrics.frechet import Frechet, Moments, frechet_distance, moments_of
from radl_bench.scoring.permutation import NO_TEST, SwapTest, additive_test

KID_IMAGES = 2048
"""Most images that KID takes."""

_MOST_SKEWED = 2.5
_LEAST_OF_PAIRS = 0.8  # of the variance of pairs; with all of it, the simulation finds the intervals a little wide
_ROWS = 256  # of a kernel matrix at a time
FID_NOTE = "FID has no interval: its bias at this size is larger than its noise. Its paired test is exact; look at KID."


@dataclass(frozen=True)
class KernelParts:
    """What KID needs of a run and its reference, by sample.

    Attributes:
        size: float64 [S] images a sample.
        across: float64 [S] sum over a sample's images of their mean kernel with the reference.
        between: float64 [S, S] sum of the kernels between the images of two samples, 0 on the diagonal.
        other: mean kernel of two different vectors of the reference.
    """

    size: np.ndarray
    across: np.ndarray
    between: np.ndarray
    other: float


def spread_evenly(n: int) -> np.ndarray:
    """Return int [M]: which of n images KID takes, at most `KID_IMAGES`, spread evenly over the run."""
    return np.unique(np.linspace(0, n - 1, KID_IMAGES).round().astype(int)) if n else np.zeros(0, int)


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return float64 [N, M]: the kernel `(x.y / D + 1)^3` of vectors [N, D] and [M, D]."""
    product = x.astype(np.float64) @ y.astype(np.float64).T
    product /= x.shape[1]
    product += 1.0
    return product**3


def kernel_parts(vectors: np.ndarray, samples: np.ndarray, reference: np.ndarray) -> KernelParts:
    """Return the parts of `vectors` [N, D] of the samples int [N], numbered from 0, and a reference [M, D], M >= 2."""
    count = int(samples.max()) + 1 if len(samples) else 0
    across = np.concatenate([np.zeros(0), *(cubic(rows, reference).mean(axis=1) for rows in _blocks(vectors))])
    m = len(reference)
    total = sum(float(cubic(rows, reference).sum()) for rows in _blocks(reference))
    alone = float((((reference.astype(np.float64) ** 2).sum(axis=1) / reference.shape[1] + 1.0) ** 3).sum())
    return KernelParts(
        np.bincount(samples, minlength=count).astype(float),
        np.bincount(samples, across, minlength=count),
        _between(vectors, vectors, samples, count),
        (total - alone) / (m * (m - 1)),
    )


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[n : n + _ROWS] for n in range(0, len(rows), _ROWS)]


def _between(x: np.ndarray, y: np.ndarray, samples: np.ndarray, count: int) -> np.ndarray:
    """Return float64 [S, S]: sums of the kernels of x's rows of a sample with y's rows of another; 0 for its own."""
    order = np.argsort(samples, kind="stable")
    numbers, starts = np.unique(samples[order], return_index=True)
    sums = np.zeros((count, count))
    for rows in _blocks(np.arange(len(x))):
        by_sample = np.zeros((len(rows), count))
        by_sample[:, numbers] = np.add.reduceat(cubic(x[rows], y[order]), starts, axis=1)
        np.add.at(sums, samples[rows], by_sample)
    np.fill_diagonal(sums, 0.0)
    return sums


def kid_value(parts: KernelParts) -> float:
    """Return the squared MMD over pairs of different samples, not yet times 1,000; NaN under two samples."""
    n, pairs = parts.size.sum(), parts.size.sum() ** 2 - (parts.size**2).sum()
    if pairs <= 0:
        return float("nan")
    return float(parts.between.sum() / pairs + parts.other - 2.0 * parts.across.sum() / n)


def kid_interval(parts: KernelParts) -> Interval:
    """Return the 95 % interval of `kid_value`; the reference is given.

    The jackknife over samples counts the part of the variance that belongs to pairs twice (Efron and Stein 1981), which
    is most of it where the images are as the reference: one of the two is taken off, and the other stays, since it is
    known well where the jackknife is not. The value leans to the right, and
    its error grows with it: Student's t stands on a shifted log scale that has the skewness of the value.
    """
    kept = np.flatnonzero(parts.size)
    size, across, between = parts.size[kept], parts.across[kept], parts.between[np.ix_(kept, kept)]
    count = len(size)
    if count < LEAST:
        return too_few(count)
    n, rows = size.sum() - size, between.sum(axis=1)
    pairs = n**2 - ((size**2).sum() - size**2)
    left_out = (rows.sum() - 2.0 * rows) / pairs - 2.0 * (across.sum() - across) / n
    rest = _of_pairs_alone(between / np.outer(size, size)) / (count * (count - 1))
    twice = jackknife_error(left_out) ** 2
    of_pairs = 2.0 * float((rest**2).sum()) * (count - 1) / (count - 3)
    error = float(np.sqrt(max(twice - of_pairs, _LEAST_OF_PAIRS * of_pairs)))
    if not error > 0.0:
        return no_interval("All samples have the same features: no interval.")
    third = _third_moment((left_out.mean() - left_out) * (count - 1) / count, rest)
    bend = min(max(third / error**3, 1e-3), _MOST_SKEWED) / 3.0
    reach, quantile, value = error / bend, t_quantile(count - 1), kid_value(parts)
    low, high = (float(value + reach * np.expm1(side * quantile * bend)) for side in (-1.0, 1.0))
    return Interval(low, high, "jackknife-log-t")


def _of_pairs_alone(kernel: np.ndarray) -> np.ndarray:
    """Return a kernel [S, S] without a diagonal less what its rows explain: each row sums to 0."""
    n = len(kernel)
    rows, mean = kernel.sum(axis=1) / (n - 2), kernel.sum() / ((n - 1) * (n - 2))
    rest = kernel - rows[:, None] - rows[None, :] + mean
    np.fill_diagonal(rest, 0.0)
    return rest


def _third_moment(single: np.ndarray, pair: np.ndarray) -> float:
    """Return the third central moment of a sum of parts of samples `single` [S] and of pairs `pair` [S, S].

    The parts of samples are estimates, and hold a noise of the pairs that adds 24 tr(pair^3) to the second term.
    """
    triangles = float(((pair @ pair) * pair).sum())
    crossed = 6.0 * float(single @ pair @ single) - 24.0 * triangles
    return float((single**3).sum()) + crossed + 8.0 * triangles + 12.0 * float(single @ (pair**2).sum(axis=1))


def kid_test(a: np.ndarray, b: np.ndarray, samples: np.ndarray, reference: np.ndarray, *, seed: int = 0) -> SwapTest:
    """Compare KID of two methods, image by image of the same samples; exact.

    Args:
        a, b: vectors [N, D] of both, row by row of the same image (sample and k).
        samples: int [N], the sample of each row, numbered from 0.
        reference: vectors [M, D].

    When both have the same images, the difference of the two distances is a sum over samples, and a swap turns the sign
    of a sample's part: `<h_i, m_j>`, with h half the difference of the methods and m their mean in the kernel's space.
    """
    if len(a) == 0:
        return NO_TEST
    size = np.bincount(samples).astype(float)
    pairs = size.sum() ** 2 - (size**2).sum()
    if pairs <= 0:
        return NO_TEST._replace(n=len(size))
    count = len(size)
    rows = (_between(a, a, samples, count) - _between(b, b, samples, count)).sum(axis=1)
    across = _between(a, b, samples, count)
    rows += across.sum(axis=1) - across.sum(axis=0)
    near = [np.concatenate([cubic(block, reference).mean(axis=1) for block in _blocks(x)]) for x in (a, b)]
    parts = rows / pairs - 2.0 * np.bincount(samples, near[0] - near[1]) / size.sum()
    return additive_test(parts, size, seed=seed)


def fid_test(a: np.ndarray, b: np.ndarray, samples: np.ndarray, reference: Moments, *, seed: int = 0) -> SwapTest:
    """Compare FID of two methods, arguments as in `kid_test`; p is exact, the interval is to first order.

    The statistic is the difference of the mean first-order effects that the images of a and b have on the distance of
    *both sets together* from the reference. Swaps leave that set as it is, so a sample's part only turns its sign. The
    interval has the parts scaled to sum to the difference of the two distances, where they agree to a factor of two;
    else there is none.
    """
    if len(a) == 0:
        return NO_TEST
    both = np.concatenate([a, b])
    effects = Frechet(moments_of(_blocks(both), _blocks(both)), reference).influence(_blocks(both))
    size = np.bincount(samples).astype(float)
    parts = np.bincount(samples, effects[: len(a)] - effects[len(a) :]) / len(a)
    test = additive_test(parts, size, seed=seed)
    ends = [frechet_distance(moments_of(_blocks(x), _blocks(x)), reference) for x in (a, b)]
    gap = ends[0] - ends[1]
    scale = gap / test.value if test.value else 0.0
    if not 0.5 <= scale <= 2.0:
        return SwapTest(gap, float("nan"), float("nan"), test.p, test.n)
    return SwapTest(gap, test.ci_low * scale, test.ci_high * scale, test.p, test.n)
