"""FID and KID: how far the features of the generated images are from those of a reference, over all levels.

FID is the squared Frechet distance of two Gaussians, biased upwards by few images, so it stands beside its number of
images and is compared at equal numbers only. KID (a squared MMD with a cubic kernel, times 1,000) is unbiased at any
size; only pairs of images of different samples count, since those of one layout look alike. The reference counts as
given: intervals speak of the generated images alone. FID has none, see `set_distances`. Missing images are left out,
and counted as missing.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.fid_reference import Reference, find_reference
from radl_bench.scoring.intervals import no_interval, scaled
from radl_bench.scoring.metrics import Context, Estimate, Metric, View
from radl_bench.scoring.metrics.frechet import frechet_distance, moments_of
from radl_bench.scoring.metrics.set_distances import FID_NOTE, kernel_parts, kid_interval, kid_value, spread_evenly
from radl_bench.scoring.metrics.spec import ScoreSpec

if TYPE_CHECKING:
    from radl_bench.scoring.metrics.spec import Setting

ENOUGH = 2048
"""Images below which a Frechet distance carries a warning."""

_BLOCK = 1024
_NAN = float("nan")


class FeaturePool:
    """Keeps the vectors of all images in a temporary file, so that memory holds one block of them."""

    form = "features"

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
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

    def kept(self) -> dict[str, np.ndarray]:
        """Return where the reference is; the vectors are evidence. See `metrics.Comparable`."""
        file = self.reference.file
        return {"reference": np.array("" if file is None else str(file)), "setting": np.array(self.reference.setting)}

    def _fid(self) -> Estimate:
        n = len(self._sample_of)
        if n < 2:
            return self._none("A Frechet distance needs two images at least.")
        value = frechet_distance(moments_of(self._blocks(), self._blocks()), self.reference.moments)
        few = f"FID of {n} images, fewer than {ENOUGH:,}, is biased upwards; look at KID." if n < ENOUGH else None
        note = " ".join(filter(None, (few, few_images(self.reference)))) or None
        return Estimate.of(value, no_interval(FID_NOTE), n + self.n_missing, self.n_missing, note)

    def _kid(self) -> Estimate:
        n = len(self._sample_of)
        if self.reference.vectors is None or len(set(self._sample_of)) < 2:
            why = "has no vectors" if self.reference.vectors is None else "is there, but fewer than two samples are"
            return self._none(f"No KID: the reference {self.reference.name} {why}.")
        chosen = spread_evenly(n)
        samples = np.unique(np.array(self._sample_of)[chosen], return_inverse=True)[1]
        parts = kernel_parts(np.stack([self._vector(i) for i in chosen]), samples, self.reference.vectors)
        ends = scaled(kid_interval(parts), 1000.0)
        return Estimate.of(1000.0 * kid_value(parts), ends, n + self.n_missing, self.n_missing)

    def _vector(self, number: int) -> np.ndarray:
        self._file.seek(4 * self._dimension * number)
        return np.frombuffer(self._file.read(4 * self._dimension), np.float32)

    def _none(self, why: str) -> Estimate:
        return Estimate.of(_NAN, no_interval(why), len(self._sample_of) + self.n_missing, self.n_missing)


def few_images(reference: Reference) -> str | None:
    """Return a sentence where a reference says that it has fewer than `ENOUGH` images."""
    n = reference.moments.n
    if n >= ENOUGH:
        return None
    return f"The reference {reference.name} has {n} images, fewer than {ENOUGH:,}." if n else None


def make_pool(context: Context) -> FeaturePool:
    """Return the pool of a run; finds its reference first, so that a missing one is told before anything is judged."""
    wanted = context.parameters.get("reference")
    assert context.features is not None, "required by the metric"
    reference = find_reference(context.benchmark, None if wanted is None else str(wanted), context.features)
    return FeaturePool(reference)


def pairs(conditions: Conditions) -> str:
    """Which pairs of images KID takes, where that makes a difference."""
    return "pairs:samples" if conditions.images_per_sample > 1 else ""


def _distance(name: str, heading: str, place: int, decimals: int = 1, settings: tuple[Setting, ...] = ()) -> ScoreSpec:
    return ScoreSpec(
        name,
        heading,
        "distance",
        "image",
        missing=None,
        lower_is_better=True,
        decimals=decimals,
        place=place,
        settings=("features", *settings),
    )


METRIC = Metric(
    name="fid",
    scores=(
        _distance("fid", "FID", 50),
        _distance(
            "kid", "KID ×1000", 51, decimals=2, settings=(pairs,)
        ),  # times 1,000 already, and told apart below 1 as well
    ),
    requires=frozenset({"features"}),
    pool=make_pool,
    options=("reference",),
)
