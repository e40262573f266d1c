"""Builders of full-size benchmarks from the annotations of COCO; each result is a function of its sources and a seed.

A builder is a function `build(options) -> Built` named in `BUILDERS`; `write_full` puts what it made into the user's
data folder as the benchmark `<name>-full`, with a manifest that holds the sha256 of every source and every file.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radl_bench import __version__
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.files import file_sha256, replace_file
from radl_bench.types import Sample
from radl_model.home import data_home

BUILDERS = {
    "coco-position": "radl_bench.benchmarks.builders.coco_position:build",
    "coco-mig": "radl_bench.benchmarks.builders.coco_mig:build",
}
"""Benchmarks with a full-size version -> the function that builds it."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Options:
    """What can be chosen about a build.

    Attributes:
        coco: folder with `instances_<split>.json`, itself or in `annotations/`, and the captions beside it.
        split: split of COCO; the papers use val2014.
        seed: base of every draw, the builder's own when None.
        count: number of layouts (COCO-Position) or of layouts a level (COCO-MIG), the builder's own when None.
    """

    coco: Path
    split: str = "val2014"
    seed: int | None = None
    count: int | None = None


@dataclass(frozen=True)
class Built:
    """What a builder made.

    Attributes:
        fields, metrics: contents of `benchmark.toml`, see `importers.benchmark_toml`.
        sources: file name -> sha256 of what was read.
        rules: the filters and their limits; counts: how many images each of them left out, in order.
        lists: text files that belong to the benchmark, name -> lines.
    """

    name: str
    samples: tuple[Sample, ...]
    fields: Mapping[str, object]
    metrics: Mapping[str, Mapping[str, object]]
    sources: Mapping[str, str]
    rules: Mapping[str, object]
    counts: Mapping[str, int]
    seed: int
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def build(name: str, options: Options) -> Built:
    """Build the benchmark `name`, a key of `BUILDERS`; raises what its builder raises."""
    module, _, function = BUILDERS[name].partition(":")
    built: Built = getattr(importlib.import_module(module), function)(options)
    return built


def write_full(built: Built, home: Path | None = None) -> Path:
    """Write a built benchmark under `home` (`data_home()` by default) and return its folder.

    The manifest goes last: a folder with one is complete.
    """
    folder = full_folder(built.name, home)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, lines in built.lists.items():
        replace_file(folder / name, "".join(f"{line}\n" for line in lines).encode())
    write_benchmark(folder, built.samples, built.fields, built.metrics)
    names = ("samples.jsonl", *built.lists)
    manifest = {
        "schema_version": 1,
        "benchmark": built.fields["name"],
        "version": built.fields["version"],
        "built_by": f"radl-bench {__version__}",
        "seed": built.seed,
        "rules": dict(built.rules),
        "counts": dict(built.counts),
        "sources": dict(built.sources),
        "files": {name: file_sha256(folder / name) for name in names},
    }
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    return folder


def full_folder(name: str, home: Path | None = None) -> Path:
    """Return where the full-size version of the benchmark `name` ("coco-mig") is or would be."""
    return (home or data_home()) / "benchmarks" / f"{name}-full".replace("-", "_")


def version_of(version: str, seed: int, default_seed: int, count: int, default_count: int, split: str) -> str:
    """Return the version of a build; whatever is not the default stands in it, e.g. `1+n.40.split.val2017`."""
    parts = [f"seed.{seed}"] * (seed != default_seed) + [f"n.{count}"] * (count != default_count)
    parts += [f"split.{split}"] * (split != "val2014")
    return "+".join([version, *[".".join(parts)] * bool(parts)])
