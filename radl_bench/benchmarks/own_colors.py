"""Colours that a benchmark defines beside the seven: `[colors]` in its `benchmark.toml`, or `--color` of `data new`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from radl_bench.errors import BadInput, UsageError
from radl_bench.parsing import shown
from radl_bench.types import COLORS, OwnColor

LIMITS = {"h": 180, "s": 255, "v": 255}
"""Largest value of each channel of OpenCV's 8-bit HSV."""

_NAME = re.compile(r"[a-z][a-z]{0,29}")
_EXAMPLE = "purple = [{ h = [129, 158], s = [50, 255], v = [70, 255] }]"


def read_colors(table: object, where: str) -> tuple[OwnColor, ...]:
    """Return the colours of a `[colors]` table, in order of their names.

    Args:
        table: name -> list of ranges `{h = [low, high], s = [low, high], v = [low, high]}`, both ends included.

    Raises:
        BadInput: a name or a range is not as described, or the name is one of the seven; names `where` and the colour.
    """
    if not isinstance(table, Mapping):
        raise BadInput(f"{where}: 'colors' must be a table, e.g. [colors] with {_EXAMPLE}.")
    return tuple(_color(name, table[name], f"{where}: [colors]") for name in sorted(table, key=str))


def parse_color(text: str) -> tuple[str, list[dict[str, list[int]]]]:
    """Return name and ranges of "purple=129-158,50-255,70-255", several ranges joined by "+"; raises `UsageError`."""
    name, equals, rest = text.partition("=")
    ranges = [re.fullmatch(r"\s*(\d+)-(\d+)\s*,\s*(\d+)-(\d+)\s*,\s*(\d+)-(\d+)\s*", one) for one in rest.split("+")]
    if not equals or None in ranges:
        raise UsageError(
            f"{shown(text)} is no colour. Write --color NAME=H-H,S-S,V-V, e.g. --color purple=129-158,50-255,70-255; "
            "join several ranges by +."
        )
    values = [[int(v) for v in match.groups()] for match in ranges if match]
    return name.strip(), [{"h": v[0:2], "s": v[2:4], "v": v[4:6]} for v in values]


def as_table(colors: Sequence[OwnColor]) -> dict[str, list[dict[str, list[int]]]]:
    """Return what `read_colors` read."""
    return {
        color.name: [{c: [low[n], high[n]] for n, c in enumerate(LIMITS)} for low, high in color.ranges]
        for color in colors
    }


def _color(name: object, ranges: object, where: str) -> OwnColor:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(f"{where}: a colour's name must be one word of lower-case letters, not {shown(name)}.")
    if name in COLORS:
        raise BadInput(f"{where}: '{name}' is one of the seven colours, whose ranges are fixed. Give another name.")
    if not isinstance(ranges, Sequence) or isinstance(ranges, str) or not ranges:
        raise BadInput(f"{where}: '{name}' must be a list of HSV ranges, e.g. {_EXAMPLE}.")
    return OwnColor(name, tuple(_range(entry, f"{where}: '{name}'") for entry in ranges))


def _range(entry: object, where: str) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    wrong = BadInput(f"{where} must have h (0 to 180), s and v (0 to 255) as [low, high], not {shown(entry)}.")
    if not isinstance(entry, Mapping) or set(entry) != set(LIMITS):
        raise wrong
    pairs = [entry[channel] for channel in LIMITS]
    for pair, most in zip(pairs, LIMITS.values(), strict=True):
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(value) is int for value in pair)
        if not whole or not 0 <= pair[0] <= pair[1] <= most:
            raise wrong
    (h0, h1), (s0, s1), (v0, v1) = pairs
    return (h0, s0, v0), (h1, s1, v1)
