"""What a caller may pass as layouts, checked and brought into one form: a list of layouts, one a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast, runtime_checkable

from radl_model.boxes import Four, fraction_box
from radl_model.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """What one image should show.

    Attributes:
        prompt: the global prompt.
        phrases: text of each instance; boxes: its xyxy box in fractions of the image side.
        verbs: what the instances do with each other, for methods that read it; "" states no relation, None leaves it
            to the method to read it out of the prompt.
        related: indices of the instances that the relation is about.
        categories: bare class name of each instance ("car" for "a red car"), or empty.
    """

    prompt: str
    phrases: tuple[str, ...] = ()
    boxes: tuple[Four, ...] = ()
    verbs: str | None = None
    related: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()


@runtime_checkable
class Listable(Protocol):
    """Arrays and tensors."""

    def tolist(self) -> list[object]:
        """Return the values as nested lists."""
        ...


Texts = str | Sequence[str] | None
Values = Sequence[object] | Listable | None
"""A list, or B lists, or an array or tensor of them."""


def as_layouts(
    prompt: Texts,
    phrases: Values = None,
    boxes: Values = None,
    verbs: str | Sequence[str | None] | None = None,
    related: Values = None,
) -> list[Layout]:
    """Return one `Layout` a prompt from a single layout or from lists of them.

    Args:
        prompt: a text, or a list of B texts.
        phrases: list of texts (one prompt), or B such lists; None or empty lists mean no layout.
        boxes: list of xyxy boxes in fractions, or B such lists.
        verbs: a text or None, or B of them.
        related: indices of the instances that the relation is about, or B such lists.

    Raises:
        UsageError: counts that do not match, an empty phrase, a bad box or verb.
    """
    if isinstance(prompt, str):
        if verbs is not None and not isinstance(verbs, str):
            raise UsageError(f"There is one prompt, so verbs must be one text, not {verbs!r:.80}.")
        prompt, phrases, boxes, verbs = [prompt], [phrases or []], [_plain(boxes)], [verbs]
        related = None if related is None else [related]
    prompts = _texts(prompt)
    columns = []
    for name, value in (("phrases", phrases), ("boxes", boxes), ("verbs", verbs), ("related", related)):
        column = [None] * len(prompts) if value is None else value if isinstance(value, str) else _plain(value)
        if isinstance(column, str) or len(column) != len(prompts):
            raise UsageError(f"There are {len(prompts)} prompts, so {name} must be a list of {len(prompts)} entries.")
        columns.append(column)
    rows = enumerate(zip(prompts, *columns, strict=True))
    return [_layout(f"Layout {i} ({row[0]!r})", *row) for i, row in rows]


def check_count(layouts: Iterable[Layout], limit: int | None) -> None:
    """Raise `UsageError` for a layout with more instances than a method takes; None is no limit."""
    for index, layout in enumerate(layouts):
        if limit is not None and len(layout.phrases) > limit:
            raise UsageError(
                f"Layout {index} ({layout.prompt!r}) has {len(layout.phrases)} instances; the layers take at most "
                f"{limit}."
            )


def _texts(prompt: object) -> list[str]:
    if not isinstance(prompt, (list, tuple)) or not all(isinstance(p, str) for p in prompt) or not prompt:
        raise UsageError(f"The prompt must be a text or a list of texts, not {prompt!r:.80}.")
    return list(prompt)


def _layout(where: str, prompt: str, phrases: object, boxes: object, verbs: object, related: object) -> Layout:
    texts, places = _plain(phrases), _plain(boxes)
    if len(texts) != len(places):
        raise UsageError(f"{where} has {len(texts)} phrases but {len(places)} boxes; each phrase needs one box.")
    for phrase in texts:
        if not isinstance(phrase, str) or not phrase.strip():
            raise UsageError(f"{where} has an empty phrase; write what should be in the box.")
    if verbs is not None and not isinstance(verbs, str):
        raise UsageError(f"{where} has the verbs {verbs!r:.80}; write one text, or None.")
    named = _plain(related)
    if not all(isinstance(i, int) and 0 <= i < len(texts) for i in named):
        raise UsageError(f"{where} names the related instances {named}; write indices from 0 to its last phrase.")
    return Layout(
        prompt,
        cast("tuple[str, ...]", tuple(texts)),
        tuple(_box(where, box) for box in places),
        None if verbs is None else verbs.strip(),
        cast("tuple[int, ...]", tuple(named)),
    )


def _box(where: str, box: object) -> Four:
    try:
        found = fraction_box([float(v) for v in cast("Iterable[float]", box)])  # numbers of arrays and tensors too
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None:
        raise UsageError(f"{where} has the box {box!r}; write [x0, y0, x1, y1] in fractions, x0 < x1 and y0 < y1.")
    return found


def _plain(values: object) -> list[object]:
    """Lists out of lists, arrays, tensors or None."""
    if values is None:
        return []
    return values.tolist() if isinstance(values, Listable) else list(cast("Iterable[object]", values))
