"""Mutations of files for the fuzz test: a sound file in, a file with something wrong in it out.

JSON is changed as a structure (values, keys, lists) and then, like every other text, as bytes. A mutation is a function
of whole numbers, so that hypothesis can draw, shrink and repeat it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

RAW = ["1e309", "-1e309", "9" * 6000, "-" + "9" * 400, "NaN", "Infinity", "[" * 3000 + "]" * 3000, "1e-320", "1e18"]
"""Spellings that no Python value has; they are put in as text."""

NUMBERS: list[Any] = [0, -1, 1, 2, 7, 10**7, 2**31, 2**63, 10**18, 0.5, 1.5, -0.5, 1e18, 1e-9]
TEXTS: list[Any] = [
    "",
    " ",
    "a",
    "0",
    "nan",
    "x" * 300,
    "a\nb",
    "a\x00b",
    "\x1b[2J",
    "\ud800",
    "\u202e",
    "=1+1",
    "../up",
]
TEXTS += ["/", "é" * 200, "猫"]
LISTS: list[Any] = [[], {}, [[]], [None], [1], [0, 0, 0, 0], [1e18] * 6, [[0, 0, 1, 1]], {"": 1}, {"a": {"a": []}}]
LISTS += [list(range(50)), {"size": [100_000, 100_000], "counts": [10_000_000_000]}]
LISTS += [{"size": [100_000, 100_000], "counts": "`" * 50}]
VALUES = [None, True, False, *NUMBERS, *TEXTS, *LISTS, *(f"@raw{n}@" for n in range(len(RAW)))]

BYTES = [b"", b"\x00", b"\xff", b"\n", b"\r\n", b"\xef\xbb\xbf", b'"', b"[", b"}", b",", b":", b"-", b"=", b"#", b"? "]
BYTES += [b"9" * 6000, b"1e309", b"nan", b"\xed\xa0\x80", b"&a [*a, *a]\n", b"!!python/object:x.y {}\n", b"\t"]
BYTES += [b"[metrics.x]\n", b"x" * 70_000]


def mutate_json(value: Any, choices: list[tuple[int, int, int]]) -> bytes:
    """Return JSON of `value` after one change for each (place, kind, with what)."""
    root = {"root": copy.deepcopy(value)}
    for place, kind, what in choices:
        places = list(_places(root))
        if places:
            table, key = places[place % len(places)]
            _change(table, key, kind, copy.deepcopy(VALUES[what % len(VALUES)]))
    text = json.dumps(root.get("root"))
    for number, raw in enumerate(RAW):
        text = text.replace(f'"@raw{number}@"', raw)
    return text.encode()


def mutate_bytes(data: bytes, choices: list[tuple[int, int, int]]) -> bytes:
    """Return `data` after one change for each (place, kind, with what): cut, insert, swap, repeat or flip."""
    for place, kind, what in choices:
        at, length = place % (len(data) + 1), 1 + what % 40
        piece = BYTES[what % len(BYTES)]
        end = data.find(b"\n", at) + 1 or len(data)
        start = data.rfind(b"\n", 0, at) + 1
        data = [
            data[:at] + piece + data[at:],
            data[:at] + data[at + length :],
            data[:at],
            data[:start] + data[start:end] * 2 + data[end:],
            data[:start] + data[end:],
            data[:at] + bytes([(data[at] if at < len(data) else 0) ^ (1 << what % 8)]) + data[at + 1 :],
            data[:at] + piece + data[at + length :],
        ][kind % 7]
    return data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (table or list, key) of every value below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def _change(table: Any, key: Any, kind: int, value: Any) -> None:
    kind %= 8
    if kind <= 3:
        table[key] = value
    elif kind == 4:
        table[key] = [table[key], value]
    elif kind == 5:
        del table[key]
    elif isinstance(table, dict):
        table[str(value)[:300] if kind == 6 else f"{key}x"] = table.pop(key) if kind == 7 else table[key]
    else:
        table.insert(key, copy.deepcopy(table[key]) if kind == 6 else value)
