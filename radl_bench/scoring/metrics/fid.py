"""FID and KID: how far the features of the generated images are from those of a reference, over all levels.

FID is the squared Frechet distance of two Gaussians, biased upwards by few images, so it stands beside its number of
images and is compared at equal numbers only. KID (a squared MMD with a cubic kernel, times 1,000) is unbiased at any
size. The reference counts as given: intervals speak of the generated images alone. That of FID is a cluster bootstrap
of the first-order effect of each image, a third too wide at `2 D` images and not given below; that of KID is a cluster
bootstrap of its pairs. Missing images are left out, and counted as missing.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Mapping

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.scoring.fid_reference import Reference, find_reference
from radl_bench.scoring.metrics import Context, Estimate, Metric, View
from radl_bench.scoring.metrics.frechet import Frechet, kernel_distance, kernel_sums, moments_of
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.statistics import SampleSums, percentile_interval, ratio_draws, resample_counts

ENOUGH = 2048
"""Images below which a Frechet distance carries a warning."""

KID_IMAGES = 2048
"""Images that KID takes, spread evenly over the run."""

_BLOCK = 1024
_DRAWS = 128  # draws of KID at a time
_NAN = float("nan")


class FeaturePool:
    """Keeps the vectors of all images in a temporary file, so that memory holds one block of them."""

    def __init__(self, reference: Reference, resamples: int = 1000, seed: int = 0) -> None:
        self.reference, self.resamples, self.seed = reference, resamples, seed
        self.settings: Mapping[str, str] = {"ref": reference.setting, "form": "form:float64-eigh/cubic-x1000"}
        self.n_missing = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._dimension = len(reference.moments.mean)
        self._numbers: dict[str, int] = {}
        self._sample_of = array("l")

    def add(self, view: View) -> None:
        """Take the vector of an image; one without is missing."""
        number = self._numbers.setdefault(view.sample.id, len(self._numbers))
        if view.features is None:
            self.n_missing += 1
            return
        if len(view.features) != self._dimension:
            raise BadInput(
                f"The reference {self.reference.name} has features of {self._dimension} numbers, the feature judge of "
                f"{len(view.features)}. Give another --fid-reference or another --features."
            )
        self._file.write(np.asarray(view.features, np.float32).tobytes())
        self._sample_of.append(number)

    def estimates(self, level: int | None) -> dict[str, Estimate]:
        """Return fid and kid over all levels; {} for a single one, whose images are too few to say anything."""
        return {"fid": self._fid(), "kid": self._kid()} if level is None else {}

    def _blocks(self) -> Iterator[np.ndarray]:
        self._file.seek(0)
        while data := self._file.read(_BLOCK * self._dimension * 4):
            yield np.frombuffer(data, np.float32).reshape(-1, self._dimension)

    def _fid(self) -> Estimate:
        n = len(self._sample_of)
        if n < 2:
            return self._estimate(_NAN, None, "none", "A Frechet distance needs two images at least.")
        frechet = Frechet(moments_of(self._blocks(), self._blocks()), self.reference.moments)
        note = f"FID of {n} images, fewer than {ENOUGH:,}, is biased upwards; look at KID." if n < ENOUGH else None
        if n < 2 * self._dimension:
            return self._estimate(frechet.value, None, "none", note)
        sums = self._sums(frechet.influence(self._blocks()))
        draws = frechet.value + ratio_draws(sums, self.resamples, self.seed)
        return self._estimate(frechet.value, draws, f"linear-cluster-bootstrap-{self.resamples}", note)

    def _sums(self, effects: np.ndarray) -> SampleSums:
        samples = np.frombuffer(self._sample_of, np.dtype("l"))
        num = np.bincount(samples, effects, minlength=len(self._numbers))
        den = np.bincount(samples, minlength=len(self._numbers)).astype(float)
        return SampleSums(tuple(self._numbers), num, den)

    def _kid(self) -> Estimate:
        chosen = np.unique(np.linspace(0, len(self._sample_of) - 1, KID_IMAGES).round().astype(int))
        if self.reference.vectors is None or len(self._sample_of) < 2:
            why = "has no vectors" if self.reference.vectors is None else "is there, but fewer than two images are"
            return self._estimate(_NAN, None, "none", f"No KID: the reference {self.reference.name} {why}.")
        sums = kernel_sums(np.stack([self._vector(n) for n in chosen]), self.reference.vectors)
        samples = np.frombuffer(self._sample_of, np.dtype("l"))[chosen]
        counts = resample_counts(len(self._numbers), self.resamples, self.seed)
        parts = (part for drawn in counts for part in np.array_split(drawn, max(1, len(drawn) // _DRAWS)))
        draws = np.concatenate([kernel_distance(sums, part[:, samples]) for part in parts])
        ci = f"cluster-bootstrap-{self.resamples}"
        return self._estimate(1000.0 * float(kernel_distance(sums)[0]), 1000.0 * draws, ci, None)

    def _vector(self, number: int) -> np.ndarray:
        self._file.seek(4 * self._dimension * number)
        return np.frombuffer(self._file.read(4 * self._dimension), np.float32)

    def _estimate(self, value: float, draws: np.ndarray | None, ci: str, note: str | None) -> Estimate:
        low, high = (_NAN, _NAN) if draws is None else percentile_interval(draws)
        return Estimate(value, low, high, len(self._sample_of) + self.n_missing, self.n_missing, ci, note, draws)


def make_pool(context: Context) -> FeaturePool:
    """Return the pool of a run; finds its reference first, so that a missing one is told before anything is judged."""
    wanted = context.parameters.get("reference")
    reference = find_reference(context.benchmark, None if wanted is None else str(wanted), context.features)
    return FeaturePool(reference, context.resamples)


def _distance(name: str, heading: str, place: int, decimals: int = 1) -> ScoreSpec:
    return ScoreSpec(
        name,
        heading,
        "distance",
        "image",
        missing=None,
        lower_is_better=True,
        decimals=decimals,
        place=place,
        settings=("features",),
    )


METRIC = Metric(
    name="fid",
    scores=(
        _distance("fid", "FID", 50),
        _distance("kid", "KID ×1000", 51, decimals=2),  # times 1,000 already, and told apart below 1 as well
    ),
    requires=frozenset({"features"}),
    pool=make_pool,
    options=("reference",),
)
