"""Reading the rows of a run, of which there may be millions: each is checked, and takes little time and memory."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, cast

from radl_bench.errors import BadInput, UsageError
from radl_bench.runs.writer import ImageRow, image_file
from radl_bench.text import safe
from radl_bench.types import MAX_IMAGES

_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "sample_id": (str,),
    "k": (int,),
    "status": (str,),
    "file": (str, _NONE),
    "sha256": (str, _NONE),
    "width": (int, _NONE),
    "height": (int, _NONE),
    "error": (str, _NONE),
    "note": (str, _NONE),
    "at": (str, _NONE),
    "bytes": (int, _NONE),
    "mtime_ns": (int, _NONE),
}
_KEYS = frozenset({*_KINDS, "seed", "seconds"})
_AHEAD = 60.0
"""Seconds by which the clocks of two machines may differ."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class _Holder:
    """Objects of one class share the keys of their `__dict__`, which is half the size of any other dict."""


def read_rows(file: Path) -> Iterator[ImageRow]:
    """Yield the rows of one shard in the order written, without a last line that was cut short.

    Raises:
        BadInput: another line is no row.
    """
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            row = _parse(line)
            if row is None:
                raise BadInput(
                    f"{file}, line {number} is not a row of an image. Delete that line; "
                    "the image is then generated again."
                )
            yield row


def check_clock(latest: str) -> None:
    """Raise `UsageError` where a row was written later than now: by another machine, whose clock differs."""
    try:
        ahead = (datetime.fromisoformat(latest) - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, TypeError):  # a time that nobody wrote, or one without a zone
        return
    if ahead > _AHEAD:
        raise UsageError(
            f"A row of this run was written at {latest}, {ahead:,.0f} s from now: the clocks of two machines differ. "
            "Rows are told apart by their time, so set the clock of the machine that is wrong, then go on."
        )


def newest_rows(files: Iterable[Path]) -> dict[tuple[str, int], ImageRow]:
    """Return the newest row of every image, by sample id and k, in no order; raises as `read_rows`."""
    newest: dict[tuple[str, int], ImageRow] = {}
    for file in files:
        for row in read_rows(file):
            key = row["sample_id"], row["k"]
            if key not in newest or (newest[key].get("at") or "") <= (row.get("at") or ""):
                newest[key] = row
    return newest


def _parse(line: bytes) -> ImageRow | None:
    try:
        row = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not _as_declared(tuple(map(type, map(row.get, _KINDS)))):
        return None
    if row["status"] not in ("ok", "error") or not 0 <= row["k"] < MAX_IMAGES:
        return None
    for key in ("error", "note"):
        if isinstance(row.get(key), str):
            row[key] = safe(row[key])
    row["sample_id"], row["status"] = sys.intern(row["sample_id"]), sys.intern(row["status"])
    if row["status"] == "ok" and not _at_its_place(row):
        return None
    return cast("ImageRow", _lean(row))  # its keys and kinds are checked above


@cache
def _as_declared(types: tuple[type, ...]) -> bool:
    return all(found in kinds for found, kinds in zip(types, _KINDS.values(), strict=True))


def _at_its_place(row: dict[str, Any]) -> bool:
    """Say whether a file's name is its own image's: a row is data, and must not lead a reader anywhere else."""
    file, name = row.get("file"), f"{row['sample_id']}_{row['k']}.png"
    if not isinstance(file, str) or not isinstance(row.get("sha256"), str) or not _NAME.fullmatch(name):
        return False
    return file == f"images/{name}" or file == image_file(row["sample_id"], row["k"], nested=True)


def _lean(row: dict[str, Any]) -> dict[str, Any]:
    if not row.keys() <= _KEYS:
        return row
    holder = _Holder()
    for key, value in row.items():
        setattr(holder, key, value)
    return vars(holder)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
