"""Reading `manifest.json` of a run: every value that others rely on is checked here, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.types import MAX_IMAGES

SCHEMA_VERSION = 1

_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
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
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "created": (str,),
    "scale": (str, _NONE),
    "benchmark.source": (str, _NONE),
    "benchmark.filter.level": (int,),
    "benchmark.filter.levels": (list, str),
    "benchmark.filter.limit": (int,),
    "benchmark.filter.ids": (list,),
    "generator.revision": (str, _NONE),
    "generator.model": (str, _NONE),
    "generator.params": (dict, _NONE),
    "generator.weights_sha256": (str, _NONE),
    "environment": (dict,),
    "git": (dict,),
    "argv": (list,),
    "resumed_with": (list,),
}
_MOST_SAMPLES = 10_000_000


def read_manifest(file: Path) -> dict[str, Any]:
    """Return the content of a manifest; raises `MissingData` where there is none, `BadInput` naming the key."""
    try:
        manifest = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise MissingData(f"{file.parent} is no run: manifest.json is not there. See `radl-bench ls runs`.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not JSON: {error}.") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise BadInput(
            f"{file} was written by a newer radl-bench (schema {version}). Upgrade: pip install -U radl-bench."
        )
    if version != SCHEMA_VERSION:
        raise BadInput(f"{file} is no manifest of a run.")
    for key, kinds in (_KINDS | _OPTIONAL).items():
        _check(manifest, key, kinds, file)
    _check_filter(manifest["benchmark"]["filter"], file)
    _check_size(manifest["benchmark"], file)
    return manifest


def _check(manifest: dict[str, Any], key: str, kinds: tuple[type, ...], file: Path) -> None:
    table: Any = manifest
    *path, last = key.split(".")
    for part in path:
        table = table[part]
    if last not in table:
        if key in _KINDS:
            raise BadInput(f"{file} is no manifest of a run: it has no '{key}'.")
        return
    if type(table[last]) not in kinds:
        names = " or ".join(kind.__name__ for kind in kinds if kind is not _NONE)
        raise BadInput(f"{file}: '{key}' must be given as {names}, not {ascii(table[last])[:60]}.")


def _check_filter(chosen: dict[str, Any], file: Path) -> None:
    for key in chosen:
        if f"benchmark.filter.{key}" not in _OPTIONAL:
            raise BadInput(f"{file}: 'benchmark.filter' knows level, levels, limit and ids, not {ascii(key)[:60]}.")
    for key, kind in (("levels", int), ("ids", str)):
        if isinstance(chosen.get(key), list) and any(type(item) is not kind for item in chosen[key]):
            raise BadInput(f"{file}: 'benchmark.filter.{key}' must be a list of {kind.__name__}.")


def _check_size(recorded: dict[str, Any], file: Path) -> None:
    for key, most in (("images_per_sample", MAX_IMAGES), ("n_samples", _MOST_SAMPLES)):
        if not 1 <= recorded[key] <= most:
            shown = str(recorded[key])[:60] if abs(recorded[key]) < 10**100 else "a number of hundreds of digits"
            raise BadInput(f"{file}: 'benchmark.{key}' must be at least 1 and at most {most}, not {shown}.")
