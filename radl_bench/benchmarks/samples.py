"""Reading `samples.jsonl`: every row is checked, every complaint names its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from radl_bench.benchmarks.agreement import names_category, names_color
from radl_bench.errors import BadInput, did_you_mean
from radl_bench.parsing import read_json, shown
from radl_bench.types import COLORS, Box, Instance, OwnColor, Relation, Sample
from radl_model.boxes import four_numbers, fraction_box

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SAMPLE_KEYS = ("id", "prompt", "instances", "relations", "verbs", "tags")
_INSTANCE_KEYS = ("phrase", "category", "color", "box", "attributes")


T = TypeVar("T")
R = TypeVar("R")


class _Bad(ValueError):
    """What is wrong with a row, as a half sentence; `parse_samples` adds file and line."""


def parse_samples(
    data: bytes,
    origin: str,
    *,
    levels: Collection[int] | None = None,
    free_phrases: bool = False,
    colors: Sequence[OwnColor] = (),
) -> tuple[Sample, ...]:
    """Return the samples of a JSON Lines file, in file order.

    Args:
        data: UTF-8 bytes, one JSON object a line with the keys `id`, `prompt`, `instances` and optionally
            `relations` (`[[0, "left of", 1]]`), `verbs`, `tags`. An instance has `phrase`, `category`,
            `color` (one of `COLORS` and `colors`, or null), `box` (xyxy, fractions of the image side) and optionally
            `attributes` (words); its phrase names its category, colour and attributes.
        origin: name of the file for error messages.
        levels: the numbers of instances that occur, any when None.
        free_phrases: take phrases that do not name their category ("a man" for "person").
        colors: colours beside the seven.

    Raises:
        BadInput: a row is not as described, an id comes twice, or there is no row; names the line.
    """
    samples: list[Sample] = []
    for row in _rows(data, origin, levels, free_phrases, colors):
        if isinstance(row, BadInput):
            raise row
        samples.append(row)
    return tuple(samples)


def find_problems(
    data: bytes,
    origin: str,
    *,
    levels: Collection[int] | None = None,
    free_phrases: bool = False,
    colors: Sequence[OwnColor] = (),
) -> list[str]:
    """Return what is wrong with a JSON Lines file, a sentence a line of it; arguments as in `parse_samples`."""
    return [str(row) for row in _rows(data, origin, levels, free_phrases, colors) if isinstance(row, BadInput)]


def _rows(
    data: bytes, origin: str, levels: Collection[int] | None, free_phrases: bool, colors: Sequence[OwnColor]
) -> Iterator[Sample | BadInput]:
    """The sample of each line, or what is wrong with the line."""
    lines_of_ids: dict[str, int] = {}
    number = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            sample = _read_line(line, origin, number, colors)
            _check_promises(sample, levels, free_phrases)
        except BadInput as error:
            yield error
            continue
        except _Bad as error:
            yield BadInput(f"{origin}, line {number}: {error}.")
            continue
        # Ids become file names, and some file systems do not tell "A" from "a".
        first = lines_of_ids.setdefault(sample.id.casefold(), number)
        if first != number:
            yield BadInput(f"{origin}, line {number}: the id '{sample.id}' is taken by line {first}; make ids unique.")
        else:
            yield sample
    if not data.strip():
        yield BadInput(f"{origin} holds no sample; expected one JSON object a line.")


def _check_promises(sample: Sample, levels: Collection[int] | None, free_phrases: bool) -> None:
    if levels is not None and sample.level not in levels:
        promised = ", ".join(map(str, sorted(levels)))
        raise _Bad(f"it has {sample.level} instances, but benchmark.toml promises the levels {promised}")
    _each(sample.instances, lambda item, index: _check_phrase(item, index, free_phrases))


def _check_phrase(item: Instance, index: int, free_phrases: bool) -> None:
    where = f"instance {index}: the phrase {shown(item.phrase)} does not name its"
    if item.color is not None and not names_color(item.phrase, item.color):
        raise _Bad(f"{where} color '{item.color}'")
    for word in item.attributes:
        if not names_category(item.phrase, word):
            raise _Bad(f"{where} attribute {shown(word)}")
    if not free_phrases and not names_category(item.phrase, item.category):
        raise _Bad(
            f'{where} category {shown(item.category)} (if it need not, write phrases = "free" into benchmark.toml)'
        )


def _each(items: Sequence[T], make: Callable[[T, int], R]) -> tuple[R, ...]:
    """Return what `make(item, index)` gives for each; all that is wrong is told at once."""
    made, wrong = [], []
    for index, item in enumerate(items):
        try:
            made.append(make(item, index))
        except _Bad as error:
            wrong.append(str(error))
    if wrong:
        raise _Bad("; ".join(wrong))
    return tuple(made)


def checked_sample(row: object, *, free_phrases: bool = False, colors: Sequence[OwnColor] = ()) -> Sample:
    """Return the sample of a JSON row, its phrases checked; raises `ValueError` with what is wrong, half a sentence."""
    sample = sample_from_dict(row, colors)
    _check_promises(sample, None, free_phrases)
    return sample


def sample_from_dict(row: object, colors: Sequence[OwnColor] = ()) -> Sample:
    """Return the sample that a JSON row stands for; raises `ValueError` with half a sentence."""
    names = (*COLORS, *(color.name for color in colors))
    table = _known_keys(row, _SAMPLE_KEYS, "the row")
    instances = _each(_list(table, "instances"), lambda item, index: _instance(item, index, names))
    if not instances:
        raise _Bad("'instances' is empty; a layout needs at least one")
    return Sample(
        id=_sample_id(table),
        prompt=_text(table, "prompt", "the row"),
        instances=instances,
        relations=tuple(_relation(item, len(instances)) for item in _list(table, "relations", [])),
        verbs=_string(table.get("verbs", ""), "'verbs'"),
        tags=tuple(_string(tag, "a tag") for tag in _list(table, "tags", [])),
        colors=tuple(colors),
    )


def _read_line(line: bytes, origin: str, number: int, colors: Sequence[OwnColor]) -> Sample:
    try:
        return sample_from_dict(_decode(line), colors)
    # Deeply nested JSON ends in RecursionError, an integer of a thousand digits in OverflowError.
    except (ValueError, RecursionError, OverflowError) as error:
        raise BadInput(f"{origin}, line {number}: {error}.") from error


def _decode(line: bytes) -> Any:
    try:
        return read_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Bad(f"byte {error.start + 1} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _Bad(f"not JSON ({error.msg} at column {error.colno})") from error


def _sample_id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _Bad(f"'id' must be 1 to 128 of A-Z a-z 0-9 . _ - and start with a letter or digit, not {shown(value)}")
    return value


def _instance(item: object, index: int, names: Sequence[str]) -> Instance:
    where = f"instance {index}"
    table = _known_keys(item, _INSTANCE_KEYS, where)
    color = table.get("color")
    if color is not None and color not in names:
        raise _Bad(f"{where}: " + did_you_mean(_word(color), names, "color").rstrip("."))
    return Instance(
        _text(table, "phrase", where),
        _text(table, "category", where),
        color,
        _box(table.get("box"), where),
        tuple(_text({"attributes": word}, "attributes", where) for word in _list(table, "attributes", [])),
    )


def _box(value: object, where: str) -> Box:
    if four_numbers(value) is None:
        raise _Bad(f"{where}: 'box' must be four finite numbers [x0, y0, x1, y1], not {shown(value)}")
    box = fraction_box(value)
    if box is None:
        raise _Bad(f"{where}: 'box' must have 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, not {shown(value)}")
    return box


def _relation(item: object, count: int) -> Relation:
    if isinstance(item, list) and len(item) == 3:
        subject, predicate, target = item
        ends_ok = _is_index(subject, count) and _is_index(target, count) and subject != target
        if ends_ok and isinstance(predicate, str) and predicate.strip():
            return Relation(subject, _string(predicate, "a predicate"), target)
    raise _Bad(f"a relation must be [i, 'left of', j] with two different indices below {count}, not {shown(item)}")


def _is_index(value: object, count: int) -> bool:
    return type(value) is int and 0 <= value < count


def _known_keys(item: object, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise _Bad(f"{where} must be a JSON object, not {shown(item)}")
    for key in item:
        if key not in known:  # a misspelt "colour" would otherwise silently free the colour
            raise _Bad(f"{where}: " + did_you_mean(_word(key), known, "key").rstrip("."))
    return item


def _list(row: dict[str, Any], key: str, default: object = None) -> list[Any]:
    value = row.get(key, default)
    if not isinstance(value, list):
        raise _Bad(f"'{key}' must be a list, not {shown(value)}")
    return value


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = _string(row.get(key), f"{where}: '{key}'")
    if not value.strip():
        raise _Bad(f"{where}: '{key}' is empty")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{what} must be a string, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Bad(f"{what} holds half a surrogate pair, which is not text") from error
    return value


def _word(value: object) -> str:
    return shown(str(value))[1:-1]
