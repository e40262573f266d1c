"""Made-up runs whose truth can be known by making many: boxes, shares, cosines and features of methods by strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radl_bench.scoring.metrics.ap_parts import ApParts
from radl_bench.scoring.statistics import SampleSums

CATEGORIES = 75
DIMENSION = 16
_ZIPF = 1.0 / np.arange(1, CATEGORIES + 1)
_SKILL = np.random.default_rng(7).normal(0.0, 1.0, CATEGORIES)  # some classes are drawn better than others


@dataclass(frozen=True)
class Layouts:
    """`sample` and `category` int [B] of the boxes of n samples, `hard` float [n] of the samples."""

    n: int
    sample: np.ndarray
    category: np.ndarray
    hard: np.ndarray


def layouts(rng: np.random.Generator, n: int) -> Layouts:
    """Draw n layouts of two to six boxes of 75 classes, of which the k-th is 1/k as frequent as the first."""
    sample = np.repeat(np.arange(n), rng.integers(2, 7, n))
    category = rng.choice(CATEGORIES, len(sample), p=_ZIPF / _ZIPF.sum())
    return Layouts(n, sample, category, rng.normal(0.0, 1.0, n))


def detections(rng: np.random.Generator, of: Layouts, strength: float, images: int = 1) -> ApParts:
    """Draw what a method of some strength shows a detector: boxes found well or badly, missed, doubled, out of nowhere.

    AP is about 1 at a strength of -4, 7 at -2, 24 at 0, 50 at 2.
    """
    sample, category = np.repeat(of.sample, images), np.repeat(of.category, images)
    size = len(sample)
    quality = strength + _SKILL[category] + of.hard[sample] + rng.normal(0.0, 1.0, size)
    found = rng.random(size) < _logistic(quality)
    score = _logistic(quality + rng.normal(0.0, 1.0, size))
    thresholds = np.clip(np.round(5.0 + quality + 3.0 * rng.normal(0.0, 1.0, size)), 0, 10).astype(int)
    nowhere = rng.random(size) < 0.35
    false = _logistic(rng.normal(-1.0, 1.2, size) + 0.3 * of.hard[sample])
    return ApParts(
        tuple(map(str, range(of.n))),
        tuple(map(str, range(CATEGORIES))),
        np.stack([sample, category], axis=1),
        np.concatenate([np.stack([sample, category, sample], axis=1)[at] for at in (found, nowhere)]),
        np.concatenate([score[found], false[nowhere]]),
        np.concatenate([(1 << thresholds[found]) - 1, np.zeros(nowhere.sum(), int)]).astype(np.uint16),
    )


def successes(rng: np.random.Generator, of: Layouts, strength: float, images: int = 1) -> SampleSums:
    """Draw how many boxes of each sample are right: those of a sample share their luck, those of an image more."""
    luck = strength + of.hard[of.sample] + _SKILL[of.category]
    images_luck = [luck + rng.normal(0.0, 1.0, of.n)[of.sample] for _ in range(images)]
    return _sums(of, [rng.random(len(luck)) < _logistic(own) for own in images_luck])


def overlaps(rng: np.random.Generator, of: Layouts, strength: float, images: int = 1) -> SampleSums:
    """Draw the IoU of each box: 0 where it is missed, else between .5 and 1."""
    luck = strength + of.hard[of.sample] + _SKILL[of.category]
    size = len(luck)
    return _sums(of, [(rng.random(size) < _logistic(luck)) * rng.uniform(0.5, 1.0, size) for _ in range(images)])


def cosines(rng: np.random.Generator, of: Layouts, strength: float, images: int = 1) -> SampleSums:
    """Draw 100 times a cosine an image."""
    mean = 25.0 + strength + of.hard
    return SampleSums(
        tuple(map(str, range(of.n))),
        sum(mean + rng.normal(0.0, 2.0, of.n) for _ in range(images)),
        np.full(of.n, float(images)),
    )


def rates(rng: np.random.Generator, n: int, images: int, rate: float, alike: float) -> SampleSums:
    """Draw prompts that succeed at a mean rate; `alike` in 0..1 is the correlation between images of a prompt."""
    if alike in (0.0, 1.0):
        own = np.full(n, rate) if alike == 0.0 else (rng.random(n) < rate).astype(float)
    else:
        own = rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), n)
    return SampleSums(tuple(map(str, range(n))), rng.binomial(images, own).astype(float), np.full(n, float(images)))


def features(rng: np.random.Generator, n: int, images: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw vectors [n * images, 16], those of a sample near each other, and the sample of each."""
    sample = np.repeat(np.arange(n), images)
    own = rng.normal(0.0, 0.8, (n, DIMENSION))
    return own[sample] + rng.normal(0.0, 0.6, (len(sample), DIMENSION)) + shift, sample


def photographs(n: int = 400) -> np.ndarray:
    """Draw the vectors of the reference, the same at every call."""
    return np.random.default_rng(3).normal(0.0, 1.0, (n, DIMENSION))


def _sums(of: Layouts, images: list[np.ndarray]) -> SampleSums:
    num = np.bincount(of.sample, sum(np.asarray(values, float) for values in images), minlength=of.n)
    return SampleSums(tuple(map(str, range(of.n))), num, np.bincount(of.sample, minlength=of.n) * float(len(images)))


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
