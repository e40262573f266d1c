"""`benchmark.toml`: its keys, checked, with an error that names the file, the key and the remedy for every other."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, TypedDict

from radl_bench.benchmarks.own_colors import read_colors
from radl_bench.benchmarks.strata import FACTS
from radl_bench.errors import BadInput, MissingData, did_you_mean
from radl_bench.parsing import is_number, shown
from radl_bench.types import MAX_IMAGES, MAX_SIDE, OwnColor, PaperRun, TableLayout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
FIELDS: dict[str, type] = {
    "name": str,
    "version": str,
    "license": str,
    "citation": str,
    "images_per_sample": int,
    "resolution": int,
    "samples_sha256": str,
}
_OPTIONAL = ("description", "levels", "phrases", "metrics", "table", "colors", "strata", "paper")


def read_toml(file: Path) -> dict[str, Any]:
    """Return the checked fields of a `benchmark.toml`; raises `MissingData` or `BadInput` naming the key."""
    try:
        fields = tomllib.loads(read_file(file).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not TOML: {error}.") from error
    _check_keys(fields, (*FIELDS, *_OPTIONAL), str(file))
    for key, kind in FIELDS.items():
        if type(fields.get(key)) is not kind:
            raise BadInput(f"{file}: '{key}' must be given as {kind.__name__}, not {shown(fields.get(key))}.")
    if not _NAME.fullmatch(fields["name"]):
        raise BadInput(
            f"{file}: 'name' must be lower-case letters, digits, dots and dashes, not {shown(fields['name'])}."
        )
    if not re.fullmatch(r"[0-9a-f]{64}", fields["samples_sha256"]):
        raise BadInput(
            f"{file}: 'samples_sha256' must be 64 hexadecimal digits, not {shown(fields['samples_sha256'])}."
        )
    for key, most in (("images_per_sample", MAX_IMAGES), ("resolution", MAX_SIDE)):
        if not 1 <= fields[key] <= most:
            raise BadInput(f"{file}: '{key}' must be at least 1 and at most {most}, not {shown(fields[key])}.")
    _check_tables(fields, file)
    return fields


def _check_tables(fields: Mapping[str, Any], file: Path) -> None:
    levels = fields.get("levels", {})
    if not isinstance(levels, dict) or not all(_is_level(*item) for item in levels.items()):
        raise BadInput(f"{file}: 'levels' must be a table of numbers of samples by level, e.g. 6 = 160.")
    if fields.get("phrases", "named") not in ("named", "free"):
        raise BadInput(f'{file}: \'phrases\' must be "named" or "free", not {fields["phrases"]!r:.60}.')
    read_colors(fields.get("colors", {}), str(file))
    metrics = fields.get("metrics", {})
    if not isinstance(metrics, dict) or not all(isinstance(table, dict) for table in metrics.values()):
        raise BadInput(f"{file}: 'metrics' must be tables, e.g. [metrics.success].")
    for name, table in metrics.items():
        for key, value in table.items():
            _check_value(f"{file}: 'metrics.{name}.{key}'", key, value)
    read_table(fields.get("table"), str(file))
    _check_strata(fields.get("strata", {}), str(file))
    read_paper(fields.get("paper"), str(file))


def read_paper(table: object, where: str) -> PaperRun | None:
    """Return the `[paper]` of a `benchmark.toml`, None without one; raises `BadInput` naming `where` and the key."""
    from radl_bench.runs.seeds import SEED_POLICIES

    if table is None:
        return None
    where = f"{where}: [paper]"
    if not isinstance(table, dict):
        raise BadInput(f"{where}: it must be a table, e.g. images_per_sample = 8 and steps = 60.")
    _check_keys(table, [f.name for f in fields_of(PaperRun)], where)
    for key, least, most in (("images_per_sample", 1, MAX_IMAGES), ("steps", 1, 1000), ("seed", 0, 2**31 - 1)):
        value = table.get(key, 0 if key == "seed" else None)
        if type(value) is not int or not least <= value <= most:
            raise BadInput(f"{where}: '{key}' must be a whole number from {least} to {most}, not {shown(value)}.")
    if table.get("seed_policy", "hashed") not in SEED_POLICIES:
        raise BadInput(
            f"{where}: 'seed_policy' must be {' or '.join(SEED_POLICIES)}, not {shown(table['seed_policy'])}."
        )
    return PaperRun(**table)


def _check_strata(strata: object, where: str) -> None:
    if not isinstance(strata, dict):
        raise BadInput(f"{where}: 'strata' must be a table, e.g. [strata] with size = [0.08, 0.2].")
    _check_keys(strata, FACTS, f"{where}: [strata]")
    for key, cuts in strata.items():
        if not (isinstance(cuts, list) and len(cuts) == 2 and all(map(is_number, cuts)) and cuts[0] <= cuts[1]):
            raise BadInput(f"{where}: [strata]: '{key}' must be two rising fractions, not {shown(cuts)}.")


def _check_value(where: str, key: str, value: object) -> None:
    """Refuse what no metric can mean: a threshold that is no fraction, NaN and infinity, text of several lines."""
    from radl_bench.scoring.protocol import Protocol

    is_threshold = any(item.name == key and item.type == "float" for item in fields_of(Protocol))
    if is_threshold and not (is_number(value) and 0 <= value <= 1):
        raise BadInput(f"{where} must be a fraction from 0 to 1, not {shown(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where} must be a finite number, not {shown(value)}.")
    if isinstance(value, str) and not (value.isprintable() and 0 < len(value) <= 200):
        raise BadInput(f"{where} must be one line of 1 to 200 characters, not {shown(value)}.")


def read_table(table: object, where: str) -> TableLayout | None:
    """Return the `[table]` of a `benchmark.toml`, None without one; raises `BadInput` naming `where` and the key."""
    if table is None:
        return None
    if not isinstance(table, dict):
        raise BadInput(f"{where}: 'table' must be a table, e.g. [table] with columns = [\"success_inst\"].")
    _check_keys(table, [f.name for f in fields_of(TableLayout)], f"{where}: [table]")
    for key, kind in {"name": str, "what": str, "by_level": bool}.items():
        if type(table.get(key, kind())) is not kind:
            raise BadInput(f"{where}: [table]: '{key}' must be given as {kind.__name__}, not {shown(table[key])}.")
    for key in ("columns", "differences"):
        names = table.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadInput(f'{where}: [table]: \'{key}\' must be a list of scores, e.g. ["success_inst", "miou"].')
    return TableLayout(
        name=table.get("name", ""),
        what=table.get("what") or "scores",
        columns=tuple(table.get("columns", ())),
        by_level=table.get("by_level", False),
        differences=tuple(table.get("differences", ())),
    )


def _check_keys(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            raise BadInput(f"{where}: {did_you_mean(key, known, 'key')}")


def _is_level(level: str, count: object) -> bool:
    return level.isascii() and level.isdigit() and 0 < len(level) < 4 and type(count) is int and count > 0


class Promises(TypedDict):
    """What a `benchmark.toml` says of its samples: arguments of `parse_samples`."""

    levels: list[int] | None
    free_phrases: bool
    colors: tuple[OwnColor, ...]


def promises_of(fields: Mapping[str, object]) -> Promises:
    """Return the arguments of `parse_samples` for the fields of a `benchmark.toml`."""
    levels = fields.get("levels")
    known = [int(level) for level in levels] if isinstance(levels, dict) else None
    colors = read_colors(fields.get("colors", {}), "benchmark.toml")
    return {"levels": known, "free_phrases": _is_free(fields), "colors": colors}


def _is_free(fields: Mapping[str, object]) -> bool:
    return fields.get("phrases", "named") == "free"


def read_file(file: Path) -> bytes:
    """Return the bytes of a benchmark's file; raises `MissingData`."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise MissingData(f"{file} cannot be read ({error.strerror}); a benchmark needs it.") from error
