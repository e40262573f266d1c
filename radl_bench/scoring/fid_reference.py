"""Reference statistics of FID and KID: which images, seen by which judge, and their moments.

A reference is an `.npz` with `mu` [D], `sigma` [D, D], `n`, `judge` (a signature), `ids` and `images_sha256`, and
`vectors`, up to 2,048 of the feature vectors, which KID needs. Files of other suites with `mu` and `sigma` alone are
read too; what made them is then unknown.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_bench import __version__
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import file_sha256, replace_file
from radl_bench.hints import command
from radl_bench.judges.checks import asking, check_vectors
from radl_bench.judges.contracts import FeatureExtractor, declared
from radl_bench.judges.kinds import batches
from radl_bench.parsing import at_home, is_file, is_folder, shown
from radl_bench.runs.image_folder import ImageFolder, read_folder, stem_of
from radl_bench.runs.image_reading import BadImage, read_image
from radl_bench.scoring.metrics.frechet import Moments, moments_of
from radl_bench.types import Benchmark
from radl_model.home import data_home

if TYPE_CHECKING:
    from PIL.Image import Image

RENDERED = 2048
"""Least number of scenes of a rendered reference."""

VECTORS = 2048
MOST = 10**10
"""Most images that a reference can say it has."""

_BATCH = 64


@dataclass(frozen=True)
class Reference:
    """What generated images are compared with.

    Attributes:
        name: what it is called in a signature.
        moments: of all its feature vectors; `n` is 0 where the file does not say it.
        judge: signature of the feature judge, or None where the file does not say it.
        ids, images_sha256: which images, and the sum over `id sha256` lines of theirs.
        vectors: float32 [M, D], M <= 2,048 of them, or None.
        file: where it was read from, or None.
    """

    name: str
    moments: Moments
    judge: str | None
    ids: tuple[str, ...]
    images_sha256: str
    vectors: np.ndarray | None
    file: Path | None = None

    @property
    def setting(self) -> str:
        """Part of a signature: `ref:coco-val2014:40504:1a2b3c4d`."""
        return f"ref:{self.name}:{self.moments.n or 'unknown'}:{self.images_sha256[:8] or 'unknown'}"


def find_reference(benchmark: Benchmark, wanted: str | None, judge: FeatureExtractor) -> Reference:
    """Return the reference for a run: the given file, or scenes rendered for the mini judge.

    Args:
        wanted: path of a file, or the name of one in `fid/` of the user's data folder.

    Raises:
        MissingData: the judge sees real images and no file is given, or it is not there.
        BadInput: the file is none, or is of another judge.
    """
    own = benchmark.metrics.get("fid", {}).get("reference")
    if declared(judge).scale == "mini" and wanted in (None, own):  # what a benchmark names are photographs
        return rendered_reference(benchmark, judge)
    if wanted is None:
        raise MissingData(
            f"FID of {benchmark.name} needs statistics of real images. Build them with `radl-bench data fid-reference "
            "FOLDER --out FILE` and give --fid-reference FILE, or leave FID and KID out with --features none."
        )
    reference = read_reference(reference_file(wanted))
    if reference.judge not in (None, judge.signature):
        raise BadInput(
            f"The reference {wanted} was made with {reference.judge}, but these images are seen by {judge.signature}. "
            "Give another --fid-reference or another --features."
        )
    return reference


def reference_file(wanted: str) -> Path:
    """Return the file of a path, or of a name in `fid/` of the user's data folder."""
    path = at_home(wanted)
    return path if path.suffix == ".npz" or is_file(path) else data_home() / "fid" / f"{wanted}.npz"


def read_reference(file: Path) -> Reference:
    """Read a reference; raises `MissingData` or `BadInput`."""
    if not is_file(file):
        raise MissingData(
            f"There is no reference {file}. Build it: {command('data', 'fid-reference', 'FOLDER', out=file)}"
        )
    try:
        with np.load(file, allow_pickle=False) as data:
            found = {key: np.asarray(data[key]) for key in data.files}
        moments = _moments(found)
    except Exception as error:  # numpy raises whatever its parts raise for a file that is empty, torn or something else
        raise BadInput(f"{file} is not a reference with mu and sigma ({error}).") from error
    text = {key: str(found[key]) for key in ("name", "judge", "images_sha256") if key in found}
    ids, vectors = tuple(map(str, found.get("ids", ()))), found.get("vectors")
    problem = _problem(moments, text, ids, vectors)
    if problem:
        raise BadInput(f"{file} is not a reference: {problem}.")
    sha = text.get("images_sha256") or file_sha256(file)
    return Reference(text.get("name", file.stem), moments, text.get("judge") or None, ids, sha, vectors, file.resolve())


def _moments(found: dict[str, np.ndarray]) -> Moments:
    """Return n, mu and sigma as they are in a file; raises `ValueError` and `KeyError` for what is no number."""
    n, mean, cov = found.get("n", np.array(0)), found["mu"], found["sigma"]
    if any(part.dtype.kind not in "fiu" for part in (n, mean, cov)) or n.ndim or float(n) != int(n):
        raise ValueError("n must be a whole number, mu and sigma real ones")
    return Moments(int(n), mean.astype(float), cov.astype(float))


def _problem(moments: Moments, text: dict[str, str], ids: Sequence[str], vectors: np.ndarray | None) -> str | None:
    """Return what is wrong with the parts of a reference, as half a sentence, or None."""
    n, mean, cov = moments.n, moments.mean, moments.cov
    size = len(mean) if mean.ndim == 1 else 0
    if not size or cov.shape != (size, size) or not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        return f"mu {mean.shape} and sigma {cov.shape} do not fit"
    if n != 0 and not 2 <= n <= MOST:  # 0 is "not stated"
        return f"n must be a number of images from 2 on, not {n}"
    if ids and n and len(ids) != n:
        return f"n is {n}, but it has {len(ids)} ids"
    if not _is_covariance(cov):
        return "sigma is not a covariance: it must be symmetric and without negative variances in any direction"
    if vectors is not None:
        rows = vectors if vectors.ndim == 2 and vectors.dtype.kind == "f" else np.zeros((0, 0))
        if rows.shape[0] < 2 or rows.shape[1] != size or not np.isfinite(rows).all():
            return f"its vectors {vectors.shape} are not finite ones of {size} numbers"
    odd = [key for key, value in text.items() if not value.isprintable() or "|" in value or len(value) > 500]
    return f"its {odd[0]} is not a line that a signature can have" if odd else None


def _is_covariance(cov: np.ndarray) -> bool:
    """Say whether a matrix is symmetric and positive semidefinite, but for what rounding of float32 leaves."""
    scale = max(float(np.abs(cov).max()), 1e-30)
    if float(np.abs(cov - cov.T).max()) > 1e-4 * scale:
        return False
    try:
        np.linalg.cholesky((cov + cov.T) / 2 + 1e-5 * scale * np.eye(len(cov)))
    except np.linalg.LinAlgError:
        return False
    return True


def write_reference(reference: Reference, file: Path) -> None:
    """Write a reference, atomically."""
    stream = io.BytesIO()
    texts = {"name": reference.name, "judge": reference.judge or "", "images_sha256": reference.images_sha256}
    arrays = {"mu": reference.moments.mean, "sigma": reference.moments.cov, "n": np.array(reference.moments.n)}
    arrays |= {key: np.array(text) for key, text in texts.items()} | {"ids": np.array(reference.ids)}
    if reference.vectors is not None:
        arrays["vectors"] = reference.vectors
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, stream.getvalue())


def build_reference(name: str, images: Iterable[tuple[str, str, Image]], judge: FeatureExtractor) -> Reference:
    """Measure a reference.

    Args:
        images: (id, sha256, image), one after the other; only a batch is held at once.

    Raises:
        UsageError: fewer than two images.
    """
    ids: list[str] = []
    parts = []
    total = hashlib.sha256()
    for batch in batches(images, _BATCH):
        ids += [identity for identity, _, _ in batch]
        total.update("".join(f"{identity} {sha}\n" for identity, sha, _ in batch).encode())
        with asking(judge):
            vectors = check_vectors(judge, judge.features([image for _, _, image in batch]), len(batch))
        parts.append(vectors.astype(np.float32))
    if len(ids) < 2:
        raise UsageError(f"A reference needs two images at least; {name} has {len(ids)}.")
    vectors = np.concatenate(parts)
    spread = np.linspace(0, len(vectors) - 1, min(len(vectors), VECTORS)).round().astype(int)
    return Reference(
        name, moments_of([vectors], [vectors]), judge.signature, tuple(ids), total.hexdigest(), vectors[spread]
    )


def rendered_reference(benchmark: Benchmark, judge: FeatureExtractor) -> Reference:
    """Return scenes of the benchmark's own layouts, drawn by the mini world under seeds that no run has; cached."""
    from radl_bench.mini.scenes import render

    times = math.ceil(RENDERED / len(benchmark.samples))
    canary = hashlib.sha256(render(benchmark.samples[0], 0).tobytes()).hexdigest()  # of the atlas and its drawing
    what = [judge.signature, benchmark.samples_sha256, benchmark.filter, times, __version__, canary]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    file = data_home() / "fid" / f"rendered-{benchmark.name}-{digest[:12]}.npz"
    if file.is_file():
        return read_reference(file)
    reference = build_reference(f"{benchmark.name}-rendered", _scenes(benchmark, times), judge)
    write_reference(reference, file)
    return replace(reference, file=file.resolve())


def _scenes(benchmark: Benchmark, times: int) -> Iterator[tuple[str, str, Image]]:
    from PIL import Image

    from radl_bench.mini.scenes import render

    for sample in benchmark.samples:
        for k in range(times):
            # seeds of runs are hashes of `base:benchmark:sample:k`, with a number for base
            seed = int(hashlib.sha256(f"reference:{benchmark.name}:{sample.id}:{k}".encode()).hexdigest()[:8], 16)
            pixels = render(sample, seed)
            yield f"{sample.id}_{k}", hashlib.sha256(pixels.tobytes()).hexdigest(), Image.fromarray(pixels)


def folder_images(folder: Path, ids: Sequence[str] | None = None) -> Iterator[tuple[str, str, Image]]:
    """Yield (id, sha256 of the file, image) of the images in a folder and its subfolders, or of these ids alone.

    An id is a path without the ending, or the name alone where only one file has it.

    Raises:
        MissingData: no folder, no image, or one of the ids has none.
        BadInput: an image cannot be read, two files are one image, or an id may be several.
    """
    found = read_folder(folder) if is_folder(folder) else ImageFolder(folder)
    if not found.files:
        raise MissingData(f"There are no images in {folder}.")
    for identity, file in _chosen(found, ids):
        data = (folder / file).read_bytes()
        try:
            yield identity, hashlib.sha256(data).hexdigest(), read_image(data)[0]
        except BadImage as error:
            raise BadInput(f"{folder / file} cannot be read: {error}.") from error


def _chosen(found: ImageFolder, ids: Sequence[str] | None) -> Iterator[tuple[str, Path]]:
    by_stem: dict[str, list[Path]] = {}
    for file in found.files:
        for name in dict.fromkeys((stem_of(file), file.as_posix(), *([file.stem] if ids is not None else []))):
            by_stem.setdefault(name, []).append(file)
    for identity in dict.fromkeys(map(stem_of, found.files)) if ids is None else ids:
        files = by_stem.get(identity, [])
        if not files:
            raise MissingData(f"There is no image {shown(identity)} in {found.folder}.")
        if len(files) > 1:
            pair = " = ".join(map(str, files[:2]))
            raise BadInput(f"1 image has several files in {found.folder} ({pair}). Leave one of each.")
        yield identity, files[0]
