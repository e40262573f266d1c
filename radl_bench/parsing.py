"""Reading text files of others: JSON whose keys are unique, numbers that are finite, names that can be files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeGuard

LARGEST = 1e300
"""Numbers beyond are as little use as infinity; whole numbers of any length would overflow a float."""

_DIGITS = 300


def read_json(text: str | bytes) -> Any:
    """Return what JSON says; raises `ValueError` with half a sentence, also where a key is given twice in an object.

    A whole number of more than 300 digits becomes infinity, as 1e309 does: `is_number` then refuses both.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_int=_int)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_number(value: object) -> TypeGuard[int | float]:
    """Say whether a value is a finite number, neither a boolean nor too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -LARGEST < value < LARGEST  # False for NaN


def whole(value: object) -> int | None:
    """Return a whole number, also one written as 640.0, or None for anything else."""
    return int(value) if is_number(value) and math.isfinite(value) and value == int(value) else None


def at_home(path: str | Path) -> Path:
    """Return a path with `~` in its place; one whose user is not known stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_file(path: Path) -> bool:
    """Say whether there is such a file; a name that no file system takes (NUL, too long) names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Say whether there is such a folder; a name that no file system takes (NUL, too long) names none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def shown(value: object, most: int = 80) -> str:
    """Return a value as it stands in a message: plain ASCII, cut when it is long."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # whole numbers of more digits than Python prints, nested endlessly
        return "a value too long to show"
    return text if len(text) <= most else text[: most - 3] + "..."


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} is given twice in one object")
    return found


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else math.inf if digits[0] != "-" else -math.inf
