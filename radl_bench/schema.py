"""Holding JSON of others to a table of kinds, so that what reads it afterwards can rely on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from radl_bench.parsing import LARGEST, shown

Kinds = Mapping[str, tuple[type, ...]]
"""Path -> types. "a.b" is the key b of the table a, "a[].b" that of every entry of the list a."""

NONE = type(None)
NUMBER = (int, float)


def problem_of(data: object, needed: Kinds, optional: Kinds | None = None) -> str | None:
    """Return what is wrong with `data` as half a sentence ("'a.b' must be ..."), None for nothing.

    Booleans are no numbers, and numbers must be finite. Half a surrogate pair is refused wherever it stands, since no
    file can hold it.

    Args:
        needed: paths that must be there, tables before their keys; optional: those that may be.
    """
    if not isinstance(data, dict):
        return "it is not a table of keys"
    for path, kinds in {**needed, **(optional or {})}.items():
        for where, table, key in _places(data, path):
            if not isinstance(table, dict) or (key not in table and path in needed):
                return f"it has no '{where}'"
            if key in table and not _is_one(table[key], kinds):
                names = " or ".join(kind.__name__ for kind in kinds if kind is not NONE)
                return f"'{where}' must be given as {names}, not {shown(table[key], 60)}"
    text = next(_halves(data), None)
    return None if text is None else f"the text {shown(text, 60)} holds half a surrogate pair, which is not text"


def _places(data: dict[str, object], path: str) -> Iterator[tuple[str, object, str]]:
    """Yield the name of each place of a path, the table it is in and its key."""
    head, lists, rest = path.partition("[].")
    *tables, last = head.split(".")
    table: object = data
    for part in tables:
        table = table.get(part) if isinstance(table, dict) else None
        if table is None:
            return
    if not lists:
        yield head, table, last
        return
    for number, item in enumerate((table.get(last) if isinstance(table, dict) else None) or ()):
        yield f"{head}[{number}].{rest}", item, rest


def _is_one(value: object, kinds: tuple[type, ...]) -> bool:
    if type(value) not in kinds:
        return False
    return not isinstance(value, NUMBER) or -LARGEST < value < LARGEST


def _halves(value: object) -> Iterator[str]:
    """Yield every text of a JSON value that is no Unicode."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            todo += item
        elif isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item):
            yield item
