"""Reading the configuration of a training: TOML files that may extend each other, and tables into dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from radl_model.errors import MissingData, UsageError, did_you_mean

Made = TypeVar("Made")


def load_config(path: Path, shipped: Path | None = None) -> dict[str, Any]:
    """Read a TOML file; with `extends = "other.toml"`, its values replace those of that neighbour, table by table.

    Args:
        shipped: folder that the error names when there is no such file.

    Raises:
        MissingData: no such file; UsageError: it is no valid TOML.
    """
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    if not path.is_file():
        where = f" The shipped ones are in {shipped}." if shipped else ""
        raise MissingData(f"No training config at {path}.{where}")
    try:
        own = tomllib.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    other = own.pop("extends", None)
    if other is None:
        return own
    if not isinstance(other, str):
        raise UsageError(f"'extends' of {path} should be the name of another config.")
    try:
        return merged(load_config(path.parent / other, shipped), own)
    except RecursionError:
        raise UsageError(f"{path} extends itself, by {other}.") from None


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Values of `new` over those of `old`, tables merged."""
    both = {k: merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **both}


_KINDS = {int: "a whole number", float: "a number", str: "text"}
_AT_LEAST_ONE = ("steps", "batch_size", "accumulate", "side", "instances", "sample_every", "log_every")


def read_table(kind: type[Made], table: Mapping[str, object], name: str) -> Made:
    """Make a dataclass of the table `name`; raises `UsageError` for a key or a value that it cannot take."""
    kinds = get_type_hints(kind)
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(did_you_mean(key, kinds, f"key of [{name}]"))
        wanted = kinds[key]
        taken = (int, float) if wanted is float else (wanted,)
        if wanted in _KINDS and type(value) not in taken:
            raise UsageError(f"'{key}' of [{name}] should be {_KINDS[wanted]}, not {value!r:.60}.")
        if key in _AT_LEAST_ONE and isinstance(value, int) and value < 1:
            raise UsageError(f"'{key}' of [{name}] should be at least 1, not {value}.")
    try:
        return kind(**table)
    except TypeError as error:
        raise UsageError(f"[{name}] of the training config is not complete: {error}.") from None
