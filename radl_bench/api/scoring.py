"""Scores out of runs, or of images that are at hand."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from radl_bench.api.frames import Scores, read_scores, run_path
from radl_bench.errors import UsageError
from radl_bench.runs.generate import Outcome
from radl_bench.types import Benchmark, Sample

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack

Runs = str | Path | Outcome
Images = Mapping[str, "Image | Sequence[Image]"] | Sequence["Image"]


class Options(TypedDict, total=False):
    """How to score: the options of `scoring.score.score_each`."""

    detector: str
    segmenter: str | None
    encoder: str
    features: str | None
    protocol: str
    iou: float | None
    score_threshold: float | None
    coverage: float | None
    nms: float | None
    fid_reference: str | Path | None
    device: str | None
    box_format: str
    judges: Mapping[str, str] | None
    batch_size: int
    workers: int
    engine: str
    address: str | None


def score(
    images: Runs | Sequence[Runs] | Images,
    samples: str | Path | Benchmark | Sequence[Sample] | None = None,
    *,
    name: str | None = None,
    scale: str | None = None,
    runs: str | Path = "runs",
    **options: Unpack[Options],
) -> Scores:
    """Score images. What the judges saw is kept in the run, so scoring again is quick.

    Args:
        images: one or several runs (what `generate` returned, or folders); or, with `samples`, a folder of images
            named `<sample id>.png` or `<sample id>_<k>.png`, images in the order of the samples, or images by sample id
            (one, or a list).
        samples: a benchmark by name, folder or file, a loaded one, or samples; None for runs.
        name: of the method, for images that are no run; "images" when they have no folder.
        scale: "paper" or "mini", the world of those images.
        runs: folder that images at hand become a run in.
        options: judges, protocol and thresholds, see `Options`.

    Raises:
        RadlBenchError: what is wrong with the call, or what is missing.
    """
    from radl_bench.scoring.score import score_each

    if samples is None:
        folders = [run_path(run) for run in ([images] if isinstance(images, Runs) else images)]  # type: ignore[arg-type]
    else:
        folders = [_import(images, samples, name, scale, Path(runs))]
    scored = score_each(folders, **options)
    return read_scores(*folders, notes=[note for outcome in scored for note in outcome.notes])


def _import(
    images: object,
    samples: str | Path | Benchmark | Sequence[Sample],
    name: str | None,
    scale: str | None,
    runs: Path,
) -> Path:
    from radl_bench.runs.image_import import import_images

    benchmark, source = _benchmark(samples, runs)
    if isinstance(images, (str, Path)):
        return import_images(Path(images), benchmark, name=name, out=runs, source=source, scale=scale).run
    with tempfile.TemporaryDirectory() as folder:
        for file, image in _named(images, benchmark).items():
            image.save(Path(folder) / file)
        return import_images(Path(folder), benchmark, name=name or "images", out=runs, source=source, scale=scale).run


def _benchmark(samples: str | Path | Benchmark | Sequence[Sample], runs: Path) -> tuple[Benchmark, str | None]:
    """Return the benchmark of images, and where it is found again; samples at hand are written beside the runs."""
    from radl_bench.benchmarks.importers import samples_bytes, write_benchmark
    from radl_bench.benchmarks.loading import load_benchmark, source_of
    from radl_bench.benchmarks.own import METRICS, UNSTATED
    from radl_bench.benchmarks.own_colors import as_table

    if isinstance(samples, (str, Path)):
        return load_benchmark(samples), source_of(samples)
    if isinstance(samples, Benchmark):
        return samples, None if samples.folder is None else source_of(samples.folder)
    if not samples or not all(isinstance(sample, Sample) for sample in samples):
        raise UsageError("samples must be a benchmark, its name, folder or file, or a list of radl_bench.Sample.")
    fields: dict[str, object] = {"name": "samples", "version": "1", "license": UNSTATED, "citation": UNSTATED}
    fields |= {"images_per_sample": 1, "resolution": 512, "phrases": "free", "colors": as_table(samples[0].colors)}
    folder = runs.absolute() / ".benchmarks" / f"samples-{sha256(samples_bytes(samples)).hexdigest()[:8]}"
    write_benchmark(folder, samples, fields, METRICS)
    return load_benchmark(folder), str(folder)


def _named(images: object, benchmark: Benchmark) -> dict[str, Image]:
    """Return images by the names that an import reads."""
    ids = [sample.id for sample in benchmark.samples]
    if isinstance(images, Mapping):
        unknown = [key for key in images if key not in ids]
        if unknown:
            raise UsageError(f"{benchmark.name} has no sample {unknown[0]!r:.80}; its ids look like '{ids[0]}'.")
        listed = {key: value if isinstance(value, (list, tuple)) else [value] for key, value in images.items()}
    else:
        at_hand = list(images)  # type: ignore[call-overload]
        if len(at_hand) != len(ids):
            raise UsageError(
                f"There are {len(at_hand)} images for {len(ids)} samples. Give one for each, or a dict by sample id."
            )
        listed = {key: [image] for key, image in zip(ids, at_hand, strict=True)}
    found = {f"{key}_{k}.png": image for key, many in listed.items() for k, image in enumerate(many)}
    for file, image in found.items():
        if not hasattr(image, "save") or not re.fullmatch(r"[^/\\]+", file):
            raise UsageError(f"What is given for {file} is no PIL image, but {type(image).__name__}.")
    return found
