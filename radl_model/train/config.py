"""Reading the configuration of a training: TOML files that may extend each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radl_model.errors import MissingData, UsageError


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    other = own.pop("extends", None)
    return own if other is None else merged(load_config(path.parent / other, shipped), own)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Values of `new` over those of `old`, tables merged."""
    both = {k: merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **both}
