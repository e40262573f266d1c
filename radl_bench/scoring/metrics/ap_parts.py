"""What AP needs of a run, small enough to keep, and what can be said from it: value, interval, paired test.

Which detection is right in its image does not depend on other images, so a detection is a score and ten bits. Any set
of samples is scored by how often each counts: 0 or 1 for a part of them, or for those whose images two methods swapped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radl_bench.scoring.intervals import LEAST, Interval, bounded_interval, too_few
from radl_bench.scoring.metrics.ap_curve import ClassTable, weighted_ap
from radl_bench.scoring.metrics.matching import THRESHOLDS
from radl_bench.scoring.permutation import NO_TEST, SwapTest, common, swap_tests

NAMES = ("ap", "ap50", "ap75")
SUBSETS = 400
AP_PERMUTATIONS = 1_999
_LEFT_OUT = (0.4, 100)  # share of the samples that a subset leaves out, and the most
_BATCH = 250  # sets of samples at a time


@dataclass(frozen=True)
class ApParts:
    """The boxes of a run. Rows of detections stand in any order; `image` decides between equal scores.

    Attributes:
        samples: ids of the samples.
        categories: names of the categories.
        wanted: int [W, 2], sample and category of each box of the layouts, once for each image that asks for it.
        found: int [D, 3], sample, category and place of the image among those in the order of `image_order`.
        score: float64 [D]; bits: uint16 [D], bit t for a detection that is right at threshold t of `THRESHOLDS`.
    """

    samples: tuple[str, ...]
    categories: tuple[str, ...]
    wanted: np.ndarray
    found: np.ndarray
    score: np.ndarray
    bits: np.ndarray

    def take(self, samples: Sequence[str]) -> ApParts:
        """Return the parts of these samples, in this order; raises `KeyError` for one that is not here."""
        at = {sample: n for n, sample in enumerate(self.samples)}
        place = np.full(len(self.samples), -1)
        place[[at[sample] for sample in samples]] = np.arange(len(samples))
        wanted, found = self.wanted.copy(), self.found.copy()
        wanted[:, 0], found[:, 0] = place[wanted[:, 0]], place[found[:, 0]]
        keep = found[:, 0] >= 0
        return replace(
            self,
            samples=tuple(samples),
            wanted=wanted[wanted[:, 0] >= 0],
            found=found[keep],
            score=self.score[keep],
            bits=self.bits[keep],
        )

    def of_category(self, name: str) -> ApParts:
        """Return the boxes and detections of one category alone; none where no layout has it."""
        number = self.categories.index(name) if name in self.categories else -1
        wanted, found = self.wanted[:, 1] == number, self.found[:, 1] == number
        return replace(
            self, wanted=self.wanted[wanted], found=self.found[found], score=self.score[found], bits=self.bits[found]
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the parts as arrays for an npz file without pickles; `from_arrays` reads them."""
        names = {"samples": np.array(self.samples, str), "categories": np.array(self.categories, str)}
        return names | {key: getattr(self, key) for key in ("wanted", "found", "score", "bits")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ApParts:
        """Return what `arrays` gave; raises `ValueError` where they do not fit together."""
        samples, categories = (tuple(map(str, arrays[key])) for key in ("samples", "categories"))
        parts = cls(samples, categories, *(arrays[key] for key in ("wanted", "found", "score", "bits")))
        size = len(parts.score)
        whole = parts.wanted.shape[1:] == (2,) and parts.found.shape == (size, 3) and parts.bits.shape == (size,)
        if not whole or any(
            len(column) and not (column.min() >= 0 and column.max() < most)
            for table in (parts.wanted, parts.found)
            for column, most in ((table[:, 0], len(samples)), (table[:, 1], len(categories)))
        ):
            raise ValueError("the parts of AP do not fit together")
        return parts


def image_order(images: Sequence[tuple[str, int]]) -> np.ndarray:
    """Return int [N]: the place of each image (sample id, k) in the order that decides between equal scores.

    COCOeval sorts images by number. Ids are compared with each run of digits as one number, so `9` is before `10` and
    `s_2` before `s_10`; then k.
    """
    order = sorted(range(len(images)), key=lambda n: (_natural(images[n][0]), *images[n]))
    place = np.empty(len(images), np.intp)
    place[order] = np.arange(len(images))
    return place


def _natural(text: str) -> list[tuple[int, str]]:
    pieces = re.split(r"([0-9]+)", text)
    numbers = [piece.lstrip("0") if n % 2 else piece for n, piece in enumerate(pieces)]
    return [(len(piece) if n % 2 else 0, piece) for n, piece in enumerate(numbers)]


def class_tables(parts: ApParts) -> list[ClassTable]:
    """Return the table of each category that is wanted anywhere, detections by falling score as in COCOeval."""
    size = len(parts.samples)
    by_score = np.lexsort((parts.found[:, 2], -parts.score))
    by_class = by_score[np.argsort(parts.found[by_score, 1], kind="stable")]
    edges = np.searchsorted(parts.found[by_class, 1], np.arange(len(parts.categories) + 1))
    tables = []
    for c in range(len(parts.categories)):
        wanted = np.bincount(parts.wanted[parts.wanted[:, 1] == c, 0], minlength=size).astype(float)
        if wanted.any():
            at = by_class[edges[c] : edges[c + 1]]
            right = (parts.bits[at] >> np.arange(len(THRESHOLDS), dtype=np.uint16)[:, None]) & 1
            tables.append(ClassTable(parts.found[at, 0], right.astype(bool), wanted))
    return tables


def ap_values(parts: ApParts) -> np.ndarray:
    """Return float64 [3] in 0..1: AP, AP50, AP75; NaN without any box."""
    return weighted_ap(class_tables(parts), np.ones((1, len(parts.samples))))[0]


def ap_intervals(parts: ApParts, *, subsets: int = SUBSETS, seed: int = 0) -> dict[str, Interval]:
    """Return the 95 % intervals of `NAMES`, in 0..1.

    They speak of the mean of AP over benchmarks of this size. (AP grows when there are fewer samples, since a class
    with two boxes is right or wrong as a whole: the value at another size is another number.) A bootstrap would draw
    images twice, which AP takes for easy; a subset draws none twice. The standard error is that of AP over random
    subsets that leave out four tenths of the samples, at most 100, scaled to all (the delete-d jackknife of Shao and
    Wu 1989).
    """
    size, tables = len(parts.samples), class_tables(parts)
    if size < LEAST:
        return dict.fromkeys(NAMES, too_few(size))
    values = weighted_ap(tables, np.ones((1, size)))[0]
    kept = size - min(round(_LEFT_OUT[0] * size), _LEFT_OUT[1])
    rng = np.random.default_rng(seed)
    draws = []
    for start in range(0, subsets, _BATCH):
        ranks = np.argsort(rng.random((min(_BATCH, subsets - start), size)), axis=1)
        draws.append(weighted_ap(tables, (ranks < kept).astype(float)))
    errors = np.nanstd(np.concatenate(draws), axis=0, ddof=1) * np.sqrt(kept / (size - kept))
    telling = (_telling(parts, bit) for bit in (0, 0, 5))
    return {n: bounded_interval(*of) for n, of in zip(NAMES, zip(values, errors, telling, strict=True), strict=True)}


def _telling(parts: ApParts, bit: int) -> int:
    """Return how many samples have a right detection at a threshold, or how many have none for a box, if fewer."""
    size = len(parts.samples)
    right = np.bincount(parts.found[(parts.bits >> bit) & 1 == 1, 0], minlength=size)
    return min(int((right > 0).sum()), int((right < np.bincount(parts.wanted[:, 0], minlength=size)).sum()))


def ap_tests(a: ApParts, b: ApParts, *, permutations: int = AP_PERMUTATIONS, seed: int = 0) -> dict[str, SwapTest]:
    """Compare two runs in `NAMES` over the samples both have: differences a - b in 0..1, intervals and exact p."""
    ids = common(a.samples, b.samples)
    if not ids:
        return dict.fromkeys(NAMES, NO_TEST)
    a, b = a.take(ids), b.take(ids)
    tables = class_tables(_side_by_side(a, b))

    def swapped(signs: np.ndarray) -> np.ndarray:
        return np.concatenate([_gap(tables, part > 0) for part in np.array_split(signs, len(signs) // _BATCH + 1)])

    boxes = np.bincount(a.wanted[:, 0], minlength=len(ids)) + np.bincount(b.wanted[:, 0], minlength=len(ids))
    tests = swap_tests(swapped, boxes.astype(float), permutations=permutations, seed=seed)
    return dict(zip(NAMES, tests, strict=True))


def _gap(tables: list[ClassTable], kept: np.ndarray) -> np.ndarray:
    """Return float64 [R, 3]: AP of the first labels less that of the second, where `kept` bool [R, S] says whose."""
    first = np.concatenate([kept, ~kept], axis=1).astype(float)
    return weighted_ap(tables, first) - weighted_ap(tables, 1.0 - first)


def _side_by_side(a: ApParts, b: ApParts) -> ApParts:
    """Return both runs as one: sample s of b is sample S + s, and its images keep their places."""
    names = {name: n for n, name in enumerate(dict.fromkeys([*a.categories, *b.categories]))}
    wanted, found = [], []
    for shift, parts in ((0, a), (len(a.samples), b)):
        category = np.array([names[name] for name in parts.categories], np.intp)
        wanted.append(np.stack([parts.wanted[:, 0] + shift, category[parts.wanted[:, 1]]], axis=1))
        columns = [parts.found[:, 0] + shift, category[parts.found[:, 1]], parts.found[:, 2]]
        found.append(np.stack(columns, axis=1))
    samples = tuple(f"{side}{sample}" for side, parts in (("a:", a), ("b:", b)) for sample in parts.samples)
    score, bits = np.concatenate([a.score, b.score]), np.concatenate([a.bits, b.bits])
    return ApParts(samples, tuple(names), np.concatenate(wanted), np.concatenate(found), score, bits)
