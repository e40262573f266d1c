"""Finding, checking and cutting down benchmarks: a folder with `benchmark.toml` and `samples.jsonl`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.own import is_bare, load_file
from radl_bench.benchmarks.samples import parse_samples
from radl_bench.benchmarks.strata import terciles
from radl_bench.benchmarks.toml import FIELDS, promises_of, read_file, read_paper, read_table, read_toml
from radl_bench.errors import BadInput, MissingData, UsageError, did_you_mean
from radl_bench.parsing import at_home, is_file, is_folder, shown
from radl_bench.types import Benchmark, Sample


def load_benchmark(
    name_or_path: str | Path,
    *,
    level: int | None = None,
    levels: str | Iterable[int] | None = None,
    limit: int | None = None,
    ids: Iterable[str] | None = None,
) -> Benchmark:
    """Return a benchmark after checking its sha256 and every row, cut down to what is asked for.

    Args:
        name_or_path: a name out of `benchmark_folders()` ("coco-mig"), the path of a folder, or that of a bare file of
            samples (`benchmarks.own`): JSON Lines, CSV or COCO JSON.
        level: keep the samples with this many instances.
        levels: keep these levels: "2-6", "2,4" or numbers; not together with `level`.
        limit: keep this many samples, spread evenly over the levels: the first of each level in file order, then the
            second of each, and so on. A smaller limit is always a part of a larger one.
        ids: keep these samples.

    The samples stay in file order, and `Benchmark.filter` holds the arguments that made a difference, so that
    `load_benchmark(name, **filter)` gives the same samples.

    Raises:
        UsageError: unknown name, level, or id; a limit under 1.
        MissingData: a file of the benchmark is not there.
        BadInput: a file is not what it should be; the sentence names the line or key.
    """
    benchmark = load_file(at_home(name_or_path)) if is_bare(name_or_path) else _load(benchmark_folder(name_or_path))
    if ids is not None:
        benchmark = _keep_ids(benchmark, list(dict.fromkeys(ids)))
    if level is not None and levels is not None:
        raise UsageError("Both level and levels are given. Give one of them, e.g. --levels 2-6.")
    if level is not None:
        levels = [level]
    if levels is not None:
        benchmark = _keep_levels(benchmark, parse_levels(levels))
    return benchmark if limit is None else _keep_balanced(benchmark, limit)


def benchmark_of(manifest: Mapping[str, Any]) -> Benchmark:
    """Return the benchmark, with its filter, that the run of this manifest was made on.

    Raises:
        MissingData: the samples changed since, or the benchmark is not on this machine.
    """
    recorded = manifest["benchmark"]
    benchmark = load_benchmark(recorded.get("source") or recorded["name"], **recorded["filter"])
    if benchmark.samples_sha256 != recorded["sha256"]:
        raise MissingData(
            f"The run was made on {recorded['name']} with samples {recorded['sha256'][:8]}, but those here are "
            f"{benchmark.samples_sha256[:8]} (version {benchmark.version}). Generate the run again or restore the file."
        )
    return benchmark


def benchmark_folders() -> dict[str, Path]:
    """Return the folder of every benchmark that can be called by name; packaged ones win over the user's."""
    found: dict[str, Path] = {}
    for root in _roots():
        for file in sorted(root.glob("*/benchmark.toml")):
            found.setdefault(file.parent.name.replace("_", "-"), file.parent)
    return found


def benchmark_folder(name_or_path: str | Path) -> Path:
    """Return the folder of a benchmark given by name or by path; raises `UsageError` or `MissingData`."""
    text = str(name_or_path)
    known = benchmark_folders()
    if not isinstance(name_or_path, Path) and text.replace("_", "-") in known:
        return known[text.replace("_", "-")]
    path = at_home(name_or_path)
    if path.name == "benchmark.toml":
        path = path.parent
    if is_file(path / "benchmark.toml"):
        return path
    if is_folder(path) or "/" in text or "\\" in text:
        raise MissingData(f"There is no benchmark.toml in {shown(text)}. Give the folder of a benchmark, or a name.")
    raise UsageError(did_you_mean(text, known, "benchmark"))


def source_of(name_or_path: str | Path) -> str | None:
    """Return the absolute path of a benchmark that cannot be found by name, None for the others."""
    if is_bare(name_or_path):
        return str(at_home(name_or_path).resolve())
    folder = benchmark_folder(name_or_path).resolve()
    return None if folder in {known.resolve() for known in benchmark_folders().values()} else str(folder)


def is_packaged(folder: Path) -> bool:
    """Say whether a benchmark's folder comes with the package, not from the user."""
    return folder.resolve().parent in {root.resolve() for root in _roots()[:-1]}


def packaged() -> list[str]:
    """Return the names of the benchmarks that come with the package."""
    return [name for name, folder in benchmark_folders().items() if is_packaged(folder)]


def family(benchmark: str, known: Iterable[str]) -> str:
    """Return which of the `known` benchmarks this one is or is a variant of, or its own name."""
    return next((name for name in known if benchmark == name or benchmark.startswith(f"{name}-")), benchmark)


def parse_levels(levels: str | Iterable[int]) -> list[int]:
    """Return the sorted levels of "2-6", "2,4", "3" or an iterable of numbers; raises `UsageError`."""
    if not isinstance(levels, str):
        return sorted(set(levels))
    found: set[int] = set()
    for part in levels.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UsageError(f"'{levels}' are not levels. Write a range like 2-6 or a list like 2,4,6.")
        found.update(range(first, last + 1))
    return sorted(found)


def _roots() -> list[Path]:
    from radl_model.home import data_home

    package = Path(__file__).parents[1]
    return [package / "_benchmarks", package.parent / "benchmarks", data_home() / "benchmarks"]


def _load(folder: Path) -> Benchmark:
    fields = read_toml(folder / "benchmark.toml")
    file = folder / "samples.jsonl"
    data = read_file(file)
    digest = hashlib.sha256(data).hexdigest()
    # First, since a sentence about a line says more than one about a sum.
    samples = parse_samples(data, str(file), **promises_of(fields))
    if digest != fields["samples_sha256"]:
        raise BadInput(
            f"{file} has sha256 {digest}, but benchmark.toml says {fields['samples_sha256']}. Restore the file; "
            "if it was changed on purpose, write the new sum into benchmark.toml and raise its version."
        )
    _check_levels(samples, fields, file)
    strata = terciles(samples)
    _check_strata(strata, fields, file)
    return Benchmark(
        samples=samples,
        metrics=fields.get("metrics", {}),
        description=str(fields.get("description", "")),
        table=read_table(fields.get("table"), str(file.with_name("benchmark.toml"))),
        folder=folder,
        colors=promises_of(fields)["colors"],
        strata=strata,
        paper=read_paper(fields.get("paper"), str(file.with_name("benchmark.toml"))),
        **{k: fields[k] for k in FIELDS},
    )


def _check_levels(samples: tuple[Sample, ...], fields: Mapping[str, Any], file: Path) -> None:
    counts = Counter(sample.level for sample in samples)
    for level, count in fields.get("levels", {}).items():
        if counts[int(level)] != count:
            raise BadInput(
                f"{file} has {counts[int(level)]} samples of level {level}; benchmark.toml promises {count}."
            )


def _check_strata(strata: Mapping[str, list[float]], fields: Mapping[str, Any], file: Path) -> None:
    for fact, cuts in fields.get("strata", {}).items():
        if list(map(float, cuts)) != strata[fact]:
            raise BadInput(
                f"{file.with_name('benchmark.toml')}: [strata]: '{fact}' is {cuts}, but the terciles of the samples "
                f"are {strata[fact]}. Write these."
            )


def _keep_ids(benchmark: Benchmark, ids: list[str]) -> Benchmark:
    known = {s.id for s in benchmark.samples}
    for sample_id in ids:
        if sample_id not in known:
            example = benchmark.samples[0].id
            raise UsageError(f"{benchmark.name} has no sample '{sample_id}'; its ids look like '{example}'.")
    wanted = set(ids)
    return _cut(benchmark, [s for s in benchmark.samples if s.id in wanted], {"ids": sorted(wanted)})


def _keep_levels(benchmark: Benchmark, levels: list[int]) -> Benchmark:
    known = sorted({s.level for s in benchmark.samples})
    absent = [level for level in levels if level not in known]
    if absent or not levels:
        word = f"level {absent[0]}" if absent else "such level"
        raise UsageError(f"{benchmark.name} has no {word}. Its levels: {', '.join(map(str, known))}.")
    if levels == known:
        return benchmark
    wanted = {"level": levels[0]} if len(levels) == 1 else {"levels": levels}
    return _cut(benchmark, [s for s in benchmark.samples if s.level in levels], wanted)


def _keep_balanced(benchmark: Benchmark, limit: int) -> Benchmark:
    if limit < 1:
        raise UsageError(f"A limit of {limit} leaves no samples. Give --limit 1 or more.")
    if limit >= len(benchmark.samples):
        return benchmark
    seen: dict[int, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for position, sample in enumerate(benchmark.samples):
        rank = seen[sample.level] = seen.get(sample.level, 0) + 1
        ranked.append((rank, sample.level, position))
    chosen = sorted(position for _, _, position in sorted(ranked)[:limit])
    return _cut(benchmark, [benchmark.samples[i] for i in chosen], {"limit": limit})


def _cut(benchmark: Benchmark, samples: list[Sample], what: dict[str, Any]) -> Benchmark:
    if not samples:
        raise UsageError(f"No sample of {benchmark.name} is left.")
    return replace(benchmark, samples=tuple(samples), filter={**benchmark.filter, **what})
