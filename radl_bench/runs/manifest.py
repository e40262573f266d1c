"""Reading `manifest.json` of a run: every value that others rely on is checked here, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.parsing import read_json, shown
from radl_bench.schema import NONE, Kinds, problem_of
from radl_bench.types import MAX_IMAGES

SCHEMA_VERSION = 1

_NEEDED: Kinds = {
    "status": (str,),
    "benchmark": (dict,),
    "benchmark.name": (str,),
    "benchmark.version": (str,),
    "benchmark.sha256": (str,),
    "benchmark.filter": (dict,),
    "benchmark.images_per_sample": (int,),
    "benchmark.n_samples": (int,),
    "generator": (dict,),
    "generator.name": (str,),
    "seeds": (dict,),
}
_OPTIONAL: Kinds = {
    "created": (str,),
    "scale": (str, NONE),
    "images": (str,),
    "benchmark.source": (str, NONE),
    "benchmark.filter.level": (int,),
    "benchmark.filter.levels": (list, str),
    "benchmark.filter.limit": (int,),
    "benchmark.filter.ids": (list,),
    "generator.revision": (str, NONE),
    "generator.model": (str, NONE),
    "generator.params": (dict, NONE),
    "generator.weights_sha256": (str, NONE),
    "seeds.policy": (str,),
    "seeds.base": (int, NONE),
    "environment": (dict,),
    "git": (dict,),
    "argv": (list,),
    "resumed_with": (list,),
    "resumed_with[].environment": (dict,),
}
_MOST_SAMPLES = 10_000_000


def read_manifest(file: Path) -> dict[str, Any]:
    """Return the content of a manifest; raises `MissingData` where there is none, `BadInput` naming the key."""
    try:
        manifest = read_json(file.read_bytes())
    except OSError as error:
        raise MissingData(f"{file.parent} is not a run: manifest.json is missing. See `radl-bench ls runs`.") from error
    except ValueError as error:
        raise BadInput(f"{file} is not JSON: {error}.") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise BadInput(f"{file} was written by a newer radl-bench (schema {shown(version)}). Upgrade radl-bench.")
    if version != SCHEMA_VERSION:
        raise BadInput(f"{file} is not the manifest of a run.")
    argv = manifest.pop("argv", [])  # as it was typed, which need not be Unicode
    problem = problem_of(manifest, _NEEDED, _OPTIONAL) or _filter(manifest["benchmark"]["filter"])
    problem = problem or _size(manifest["benchmark"])
    if problem:
        raise BadInput(f"{file} is not the manifest of a run: {problem}.")
    return {**manifest, "argv": argv}


def _filter(chosen: dict[str, Any]) -> str | None:
    for key in chosen:
        if f"benchmark.filter.{key}" not in _OPTIONAL:
            return f"'benchmark.filter' knows level, levels, limit and ids, not {shown(key, 60)}"
    for key, kind in (("levels", int), ("ids", str)):
        if isinstance(chosen.get(key), list) and any(type(item) is not kind for item in chosen[key]):
            return f"'benchmark.filter.{key}' must be a list of {kind.__name__}"
    return None


def _size(recorded: dict[str, Any]) -> str | None:
    for key, most in (("images_per_sample", MAX_IMAGES), ("n_samples", _MOST_SAMPLES)):
        if not 1 <= recorded[key] <= most:
            return f"'benchmark.{key}' must be at least 1 and at most {most}, not {shown(recorded[key], 60)}"
    return None
