"""The prompts of the public DrawBench: a CSV with the columns `Prompt` and `Category`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from radl_bench.benchmarks.importers.public_files import quoted
from radl_bench.errors import BadInput, did_you_mean
from radl_bench.parsing import shown

KINDS = {"Colors": "attribute", "Counting": "quantity", "Positional": "relation"}
"""Categories of the CSV that are read, and the kind of clause they state."""

_OTHERS = (
    *("Conflicting", "DALL-E", "Descriptions", "Gary Marcus et al.", "Misspellings", "Rare Words", "Reddit", "Text"),
)
_COLUMNS = ("Prompt", "Category")


class Prompt(NamedTuple):
    """A prompt whose clause a machine can check; `id` is category and place, `kind` is that of the clause."""

    id: str
    text: str
    kind: str


def prompt_key(text: str) -> str:
    """Return what two spellings of a prompt share."""
    return " ".join(text.split()).rstrip(".").casefold()


def read_prompts(table: Path) -> tuple[list[Prompt], list[str]]:
    """Return the prompts of the three categories, and the problems of lines that cannot be read as prompts.

    Raises:
        BadInput: the file is no CSV in UTF-8, or has other columns.
    """
    found: list[Prompt] = []
    problems: list[str] = []
    first: dict[str, int] = {}
    for number, (line, row) in enumerate(_rows(table), start=1):
        text, category = ((row.get(key) or "").strip() for key in _COLUMNS)
        if not text and not category:
            continue
        problem = _problem(row, text, category)
        if problem is None and category in KINDS:
            earlier = first.setdefault(prompt_key(text), line)
            problem = None if earlier == line else f"the prompt {quoted(text)} is given twice, first in line {earlier}."
        if problem:
            problems.append(f"{table}, line {line}: {problem}")
        elif category in KINDS:
            found.append(Prompt(f"{category.lower()}_{number:03d}", text, KINDS[category]))
    return found, problems


def _problem(row: Mapping[str | None, object], text: str, category: str) -> str | None:
    if None in row:
        return f"it has more cells than the first line; put quotes around a prompt with commas: {quoted(text)}."
    if not text or not category:
        return f"it has no {'category' if text else 'prompt'}: {quoted(text or category)}."
    if category not in KINDS and category not in _OTHERS:
        return did_you_mean(category, (*KINDS, *_OTHERS), "category")
    return None


def _rows(table: Path) -> Iterator[tuple[int, dict[str | None, str]]]:
    """Yield line and cells of each row."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            names = list(reader.fieldnames or ())
            if not set(_COLUMNS) <= set(names) or len(set(names)) < len(names):
                raise BadInput(
                    f"{table} needs a first line with the columns Prompt,Category, and prompts below it; it has "
                    f"{shown(','.join(map(str, names)))}."
                )
            for row in reader:
                yield reader.line_num, row  # type: ignore[misc]
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{table} is not a CSV file in UTF-8 ({error}). Save it as CSV in UTF-8.") from error
