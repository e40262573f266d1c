"""How often the 95 % intervals hold the truth, and how often the tests see a winner where there is none.

    python benchmarks/statistics/coverage.py            under 15 CPU-minutes; writes the tables of docs/statistics.md

Every draw is seeded, so the tables come out the same. The truth of a case is the mean of the score over many made-up
runs of the same size. `tests/unit/test_statistics_hold.py` runs a short form of the same cases.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.statistics import worlds
from radl_bench.scoring.intervals import Interval, mean_interval, rate_interval, share_interval
from radl_bench.scoring.metrics.ap_parts import NAMES, ap_intervals, ap_tests, ap_values
from radl_bench.scoring.metrics.frechet import moments_of
from radl_bench.scoring.metrics.set_distances import fid_test, kernel_parts, kid_interval, kid_test, kid_value
from radl_bench.scoring.permutation import ALPHA, SwapTest, mean_test, tie_groups

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
STRENGTHS = {"weak": -3.0, "middling": -1.0, "strong": 2.0}
SUMS = {
    "R_inst": (worlds.successes, rate_interval),
    "mIoU": (worlds.overlaps, share_interval),
    "CLIP": (worlds.cosines, mean_interval),
}


@dataclass
class Tally:
    """Trials of a case: how many gave an interval, how many of these held the truth."""

    score: str
    case: str
    printed: int = 0
    held: int = 0
    trials: int = 0

    def add(self, interval: Interval, truth: float) -> None:
        """Count a trial."""
        self.trials += 1
        if interval.low == interval.low:
            self.printed += 1
            self.held += interval.low <= truth <= interval.high

    @property
    def share(self) -> float:
        """How often the truth was held, of the intervals that were given."""
        return self.held / self.printed if self.printed else float("nan")


def ap_coverage(n: int, images: int, strength: float, trials: int, truths: int, seed: int = 0) -> list[Tally]:
    """Return the tallies of AP, AP50 and AP75 over fresh layouts and images at each trial."""
    rng = np.random.default_rng([seed, n, images])

    def run() -> worlds.ApParts:
        return worlds.detections(rng, worlds.layouts(rng, n), strength, images)

    truth = np.mean([ap_values(run()) for _ in range(truths)], axis=0)
    tallies = [
        Tally(name.upper(), f"{n} x {images}, {100 * value:.1f}") for name, value in zip(NAMES, truth, strict=True)
    ]
    for trial in range(trials):
        found = ap_intervals(run(), subsets=200, seed=trial)
        for tally, name, value in zip(tallies, NAMES, truth, strict=True):
            tally.add(found[name], value)
    return tallies


def mean_coverage(score: str, n: int, images: int, strength: float, trials: int, seed: int = 0) -> Tally:
    """Return the tally of a mean over fresh layouts and images at each trial."""
    draw, interval = SUMS[score]
    many = np.random.default_rng([seed, 1])
    truth = draw(many, worlds.layouts(many, 200_000), strength, 1).value
    rng = np.random.default_rng([seed, n, images])
    tally = Tally(score, f"{n} x {images}, {truth if score == 'CLIP' else 100 * truth:.1f}")
    for _ in range(trials):
        tally.add(interval(draw(rng, worlds.layouts(rng, n), strength, images)), truth)
    return tally


def rate_coverage(n: int, images: int, rate: float, alike: float, trials: int, seed: int = 0) -> Tally:
    """Return the tally of a rate over prompts. The rate is spread evenly over a few points around the given one.

    With 20 prompts the coverage at one rate jumps with the rate, as that of any interval of a count does.
    """
    rng = np.random.default_rng([seed, n, images])
    tally = Tally("rate", f"{n} x {images}, {100 * rate:.0f}, alike {alike:g}")
    for _ in range(trials):
        truth = rate + rng.uniform(-1.0, 1.0) * min(0.03, 0.7 * (1.0 - rate))
        tally.add(rate_interval(worlds.rates(rng, n, images, truth, alike)), truth)
    return tally


def kid_coverage(n: int, images: int, shift: float, trials: int, truths: int, seed: int = 0) -> Tally:
    """Return the tally of KID against a given reference."""
    rng, reference = np.random.default_rng([seed, n, images]), worlds.photographs()

    def run() -> tuple[float, Interval]:
        parts = kernel_parts(*worlds.features(rng, n, images, shift), reference)
        return kid_value(parts), kid_interval(parts)

    truth = float(np.mean([run()[0] for _ in range(truths)]))
    tally = Tally("KID", f"{n} x {images}, {1000 * truth:.0f}")
    for _ in range(trials):
        tally.add(run()[1], truth)
    return tally


def winners(scores: str, n: int, trials: int, images: int = 1, seed: int = 0) -> list[float]:
    """Return how often two equal methods on the same layouts are told apart at 5 %, by each score of a kind."""
    rng = np.random.default_rng([seed, n])
    return list(np.mean([[t.p < ALPHA for t in null_tests(scores, rng, n, images)] for _ in range(trials)], axis=0))


def null_tests(scores: str, rng: np.random.Generator, n: int, images: int) -> list[SwapTest]:
    """Return the tests of two methods of one strength on the same layouts."""
    if scores == "FID, KID":
        (a, sample), (b, _) = (worlds.features(rng, n, images, 0.1) for _ in range(2))
        photographs = worlds.photographs()
        moments = moments_of([photographs], [photographs])
        return [fid_test(a, b, sample, moments), kid_test(a, b, sample, photographs)]
    of = worlds.layouts(rng, n)
    if scores in SUMS:
        return [mean_test(*(SUMS[scores][0](rng, of, -1.0, images) for _ in range(2)), permutations=1999)]
    tests = ap_tests(*(worlds.detections(rng, of, -1.0, images) for _ in range(2)), permutations=499)
    return list(tests.values())


def false_ties(methods: int, n: int, trials: int, seed: int = 0) -> tuple[float, float]:
    """Return how often a table of equal methods tells any apart, and how often it has a bold number."""
    rng = np.random.default_rng([seed, methods, n])
    apart = bold = 0
    for _ in range(trials):
        of = worlds.layouts(rng, n)
        sums = {str(m): worlds.overlaps(rng, of, -1.0) for m in range(methods)}
        values = {m: s.value for m, s in sums.items()}
        groups = tie_groups(values, lambda a, b, sums=sums: mean_test(sums[a], sums[b], permutations=1999).p)
        apart += max(groups.values()) > 1
        bold += list(groups.values()).count(1) == 1
    return apart / trials, bold / trials


def difference_coverage(score: str, n: int, trials: int, truths: int, seed: int = 0) -> Tally:
    """Return how often the interval of the difference of a strong and a middling method holds the true one."""
    rng = np.random.default_rng([seed, n, 5])

    def pair() -> tuple:
        of = worlds.layouts(rng, n)
        draw = SUMS[score][0] if score in SUMS else worlds.detections
        return draw(rng, of, 0.5), draw(rng, of, -0.5)

    def gap() -> float:
        a, b = pair()
        return (
            a.value - b.value if score in SUMS else ap_values(a)[NAMES.index(score)] - ap_values(b)[NAMES.index(score)]
        )

    truth = float(np.mean([gap() for _ in range(truths)]))
    tally = Tally(f"difference of {score}", f"{n} x 1, {truth if score == 'CLIP' else 100 * truth:.1f}")
    for _ in range(trials):
        test = mean_test(*pair(), permutations=999) if score in SUMS else ap_tests(*pair(), permutations=399)[score]
        tally.add(Interval(test.ci_low, test.ci_high, ""), truth)
    return tally


def intervals_table() -> Iterator[Tally]:
    """Yield the tallies of the long form."""
    for score in SUMS:
        for strength in STRENGTHS.values() if score != "CLIP" else (0.0,):  # a cosine's interval moves with its mean
            for n, images in ((20, 1), (20, 8), (40, 1), (160, 1), (160, 8), (800, 1)):
                yield mean_coverage(score, n, images, strength, 1500)
    for n, images in ((13, 1), (20, 1), (20, 8), (32, 8), (160, 4)):
        for rate in (0.5, 0.8, 0.95):
            for alike in (0.0,) if images == 1 else (0.3, 0.7, 1.0):
                yield rate_coverage(n, images, rate, alike, 3000)
    for n, images in ((20, 1), (40, 1), (40, 8), (160, 1), (160, 8)):
        for shift in (0.0, 0.3):
            yield kid_coverage(n, images, shift, 200 if n * images > 500 else 600, 300 if n * images > 500 else 1500)
    for strength in STRENGTHS.values():
        for n, images, trials in ((40, 1, 700), (160, 1, 500), (800, 1, 250), (40, 4, 500), (160, 4, 250)):
            yield from ap_coverage(n, images, strength, trials, 2 * trials)
    for score, n, trials in (
        ("R_inst", 40, 800),
        ("mIoU", 160, 500),
        ("CLIP", 40, 800),
        ("ap", 40, 300),
        ("ap50", 160, 150),
    ):
        yield difference_coverage(score, n, trials, 4 * trials)


def levels_table() -> Iterator[tuple[str, int, list[float]]]:
    """Yield for each score and number of images a sample the share of false winners at each of `LEVEL_SIZES`."""
    for scores, images in LEVEL_KINDS:
        shares = [winners(scores, n, trials_of(scores, n, images), images) for n in LEVEL_SIZES]
        for name, row in zip(scores.split(", "), zip(*shares, strict=True), strict=True):
            yield name, images, list(row)


LEVEL_SIZES = (4, 13, 20, 40, 160, 800)
LEVEL_KINDS = (("R_inst", 1), ("mIoU", 1), ("CLIP", 1), ("AP, AP50, AP75", 1), ("AP, AP50, AP75", 4), ("FID, KID", 1))


def trials_of(scores: str, n: int, images: int) -> int:
    """Return how many trials a cell of the second table has."""
    if scores.startswith("AP"):
        return {800: 100, 160: 300}.get(n, 600) // images
    if scores == "FID, KID":
        return {800: 80, 160: 300}.get(n, 800)
    return 1000 if n <= 160 else 300


def timed(label: str, work: Callable[[], object]) -> str:
    """Return a line of the table of costs."""
    start = time.process_time()
    work()
    return f"| {label} | {time.process_time() - start:.2f} |"


def costs() -> Iterator[str]:
    """Yield how many CPU-seconds a call takes at the size of COCO-MIG, 800 layouts."""
    rng = np.random.default_rng(1)
    of = worlds.layouts(rng, 800)
    a, b = worlds.detections(rng, of, 0.0), worlds.detections(rng, of, 0.0)
    x, y = worlds.overlaps(rng, of, 0.0), worlds.overlaps(rng, of, 0.0)
    yield timed("intervals of AP, AP50, AP75", lambda: ap_intervals(a))
    yield timed("paired test of AP, AP50, AP75, 1,999 swaps", lambda: ap_tests(a, b))
    yield timed("interval of a mean", lambda: share_interval(x))
    yield timed("paired test of a mean, 9,999 swaps", lambda: mean_test(x, y))
    vectors = [rng.normal(0, 1, (800, 2048)).astype(np.float32) for _ in range(3)]
    sample = np.arange(800)
    yield timed(
        "KID and its interval, 2,048 features", lambda: kid_interval(kernel_parts(vectors[0], sample, vectors[2]))
    )
    yield timed("paired test of KID, 2,048 features", lambda: kid_test(vectors[0], vectors[1], sample, vectors[2]))


def main() -> None:
    """Write the tables into the page, between its marks."""
    start = time.process_time()
    lines = ["| score | samples x images, true value | intervals given | hold the truth |", "| --- | --- | --- | --- |"]
    for t in intervals_table():
        lines.append(f"| {t.score} | {t.case} | {t.printed} of {t.trials} | {100 * t.share:.1f} % |")
        print(lines[-1], f"{time.process_time() - start:.0f} s", flush=True)
    lines += ["", "| equal methods told apart, samples | " + " | ".join(map(str, LEVEL_SIZES)) + " |"]
    lines.append("| --- |" + " --- |" * len(LEVEL_SIZES))
    for score, images, shares in levels_table():
        lines.append(
            f"| {score}, {images} image{'s' * (images > 1)} a sample | "
            + " | ".join(f"{100 * s:.1f} %" for s in shares)
            + " |"
        )
        print(lines[-1], f"{time.process_time() - start:.0f} s", flush=True)
    lines += ["", "| equal methods in a table | any told apart | a bold number |", "| --- | --- | --- |"]
    for methods in (2, 3, 6):
        apart, bold = false_ties(methods, 40, 400)
        lines.append(f"| {methods}, mIoU of 40 samples | {100 * apart:.1f} % | {100 * bold:.1f} % |")
    lines += ["", "| 800 samples | CPU-seconds |", "| --- | --- |", *costs()]
    text = PAGE.read_text("utf-8")
    before, rest = text.split("<!-- tables -->\n", 1)
    _, after = rest.split("<!-- end of tables -->", 1)
    PAGE.write_text(before + "<!-- tables -->\n\n" + "\n".join(lines) + "\n\n<!-- end of tables -->" + after, "utf-8")
    print(f"{time.process_time() - start:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
