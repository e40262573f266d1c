"""Training configs: TOML files that may extend a neighbour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radl_bench.errors import MissingData, UsageError

CONFIGS = Path(__file__).parent / "configs"


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file; with `extends = "other.toml"`, its values replace those of that neighbour, table by table.

    Raises:
        MissingData: no such file; UsageError: it is no valid TOML.
    """
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    if not path.exists():
        raise MissingData(f"No training config at {path}. The shipped ones are in {CONFIGS}.")
    try:
        own = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    other = own.pop("extends", None)
    return own if other is None else merged(load_config(path.parent / other), own)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Values of `new` over those of `old`, tables merged."""
    both = {k: merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **both}
