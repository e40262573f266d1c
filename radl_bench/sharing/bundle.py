"""A run as one file for others: rows, evidence, scores, benchmark and sums; images by choice.

    bundle.json           what it is, and the sha256 of every file
    run/manifest.json     without the command line and the folders of the machine it was made on
    run/generations-*.jsonl, run/evidence/*.sqlite, run/scores/*/*, run/import.json, run/images/*.png
    benchmark/            benchmark.toml and samples.jsonl

Nothing in a bundle is ever run: metrics that are files of the benchmark stay behind.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

from radl_bench import __version__
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.loading import benchmark_of
from radl_bench.benchmarks.own_colors import as_table
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import file_sha256, replacing
from radl_bench.hints import command
from radl_bench.parsing import read_json, shown
from radl_bench.runs.store import RunFolder, config_hash, find_scores, slug
from radl_bench.schema import problem_of
from radl_bench.scoring.seen_files import RECORD
from radl_bench.types import Benchmark

INDEX = "bundle.json"
_NAME = re.compile(
    r"bundle\.json|benchmark/(?:benchmark\.toml|samples\.jsonl)|run/(?:manifest\.json|import\.json|"
    r"generations-\d+of\d+\.jsonl|images/[A-Za-z0-9][A-Za-z0-9._-]*\.png|evidence/[A-Za-z0-9][A-Za-z0-9._-]*\.sqlite|"
    r"scores/[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*\.(?:json|parquet|npz))"
)
_LARGEST = 200 * 2**30
"""Bytes of all files of a bundle, unpacked, at most."""

_DATE = (1980, 1, 1, 0, 0, 0)


def pack(path: Path, out: Path | None = None, images: bool = False) -> Path:
    """Write the bundle of a scored run; equal runs give equal bytes.

    Args:
        path: the run.
        out: the file; `<benchmark>-<method>-<hash>.radl.zip` in the current folder when not given.
        images: whether the images go along.

    Raises:
        MissingData: there is no such run, it is not scored, or its benchmark is not here.
    """
    run = RunFolder.open(path)
    if not find_scores(path):
        raise MissingData(f"{path} is not scored yet. Run `{command('score', path)}`.")
    manifest = {key: value for key, value in run.manifest.items() if key != "argv"}
    manifest["benchmark"] = {key: value for key, value in manifest["benchmark"].items() if key != "source"}
    names = (manifest["benchmark"]["name"], slug(manifest["generator"]["name"]), config_hash(manifest))
    contents: dict[str, bytes | Path] = {"run/manifest.json": _json(manifest)}
    contents |= {f"run/{file.relative_to(path).as_posix()}": file for file in _files(run, images)}
    contents |= _benchmark(benchmark_of(run.manifest))
    sums = {name: _sum(content) for name, content in sorted(contents.items())}
    index = {"schema_version": 1, "run": "/".join(names), "radl_bench": __version__, "images": images, "files": sums}
    contents[INDEX] = _json(index)
    target = out or Path(f"{'-'.join(names)}.radl.zip")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, zipfile.ZipFile(part, "w") as bundle:
        for name in sorted(contents):
            _add(bundle, name, contents[name])
    return target


def unpack(file: Path, folder: Path) -> Path:
    """Unpack a bundle into `folder` and return the run in it, `folder/run`; every file is held to its sum.

    Raises:
        MissingData: there is no such file.
        BadInput: it is no bundle, holds a file that no bundle has, or a file differs from its sum.
    """
    if not file.is_file():
        raise MissingData(f"There is no bundle {file}.")
    try:
        with zipfile.ZipFile(file) as bundle:
            sums = _check_index(bundle, file)
            for name in sums:
                _extract(bundle, name, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{file} is not a bundle: {error}.") from None
    for name, digest in sums.items():
        if file_sha256(folder / name) != digest:
            raise BadInput(f"{file}: {name} is not what {INDEX} says. Do not trust this bundle.")
    run = folder / "run"
    manifest = RunFolder.open(run).manifest
    manifest["benchmark"]["source"] = str((folder / "benchmark").resolve())
    (run / "manifest.json").write_bytes(_json(manifest))
    return run


def install(file: Path, root: Path) -> Path:
    """Unpack a bundle as a run under `root` and return its folder; raises as `unpack`, and `UsageError` if taken."""
    import tempfile

    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as folder:
        run = RunFolder.open(unpack(file, Path(folder)))
        recorded = run.manifest
        target = root / recorded["benchmark"]["name"] / slug(recorded["generator"]["name"]) / config_hash(recorded)
        if target.exists():
            raise UsageError(f"{target} is there already. Give another folder with --runs.")
        shutil.move(str(Path(folder) / "benchmark"), run.path / "benchmark")
        recorded["benchmark"]["source"] = str((target / "benchmark").absolute())
        (run.path / "manifest.json").write_bytes(_json(recorded))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(run.path), target)
    return target


def _files(run: RunFolder, images: bool) -> list[Path]:
    patterns = ["generations-*of*.jsonl", "import.json", "evidence/*.sqlite", "scores/*/*.*"]
    found = [file for pattern in patterns for file in run.path.glob(pattern) if not file.name.startswith(".")]
    made = [file for file in run.images().values() if file.is_file()] if images else []
    return [file for file in found if file.name != RECORD] + made  # which holds times of this machine's files


def _benchmark(benchmark: Benchmark) -> dict[str, bytes | Path]:
    """Return the two files of a benchmark, made where it is a bare file."""
    import tempfile

    folder = benchmark.folder
    if folder is not None and folder.is_dir():
        return {f"benchmark/{name}": (folder / name).read_bytes() for name in ("benchmark.toml", "samples.jsonl")}
    from radl_bench.benchmarks.loading import load_benchmark

    whole = load_benchmark(folder) if folder is not None else benchmark
    names = ("name", "version", "license", "citation", "description", "images_per_sample", "resolution")
    fields: dict[str, object] = {name: getattr(whole, name) for name in names} | {"colors": as_table(whole.colors)}
    with tempfile.TemporaryDirectory() as made:
        write_benchmark(Path(made), whole.samples, fields, whole.metrics)
        return {f"benchmark/{file.name}": file.read_bytes() for file in Path(made).iterdir()}


def _check_index(bundle: zipfile.ZipFile, file: Path) -> dict[str, str]:
    names = bundle.namelist()
    odd = next((name for name in names if not _NAME.fullmatch(name) or ".." in name), None)
    if odd is not None or INDEX not in names or len(set(names)) < len(names):
        what = f"it holds {shown(odd)}" if odd else f"it has no {INDEX}, or a file twice"
        raise BadInput(f"{file} is not a bundle of a run: {what}.")
    if sum(info.file_size for info in bundle.infolist()) > _LARGEST:
        raise BadInput(f"{file} unpacks to more than {_LARGEST // 2**30} GiB.")
    try:
        index = read_json(bundle.read(INDEX))
    except ValueError as error:
        raise BadInput(f"{file}: {INDEX} is not JSON: {error}.") from None
    problem = problem_of(index, {"schema_version": (int,), "files": (dict,)})
    if problem or index["schema_version"] != 1:
        raise BadInput(f"{file}: {INDEX} cannot be used: {problem or 'it is of another schema version'}.")
    sums: dict[str, str] = index["files"]
    if sums.keys() != set(names) - {INDEX}:
        apart = sorted(sums.keys() ^ (set(names) - {INDEX}))[0]
        raise BadInput(f"{file}: {shown(apart)} is in the bundle or in {INDEX}, but not in both.")
    return sums


def _extract(bundle: zipfile.ZipFile, name: str, folder: Path) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(name) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _add(bundle: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    with bundle.open(info, "w", force_zip64=True) as sink:
        if isinstance(content, bytes):
            sink.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, sink)


def _sum(content: bytes | Path) -> str:
    return sha256(content).hexdigest() if isinstance(content, bytes) else file_sha256(content)


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
