"""What a caller may pass as layouts, checked and brought into one form: a list of layouts, one a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from radl_model.boxes import Four, fraction_box
from radl_model.errors import UsageError
from radl_model.verbs.extract import extract_verbs


@dataclass(frozen=True)
class Layout:
    """One image's wishes: `boxes` are xyxy fractions, one a phrase; `verbs` is the text of Relation Attention."""

    prompt: str
    phrases: tuple[str, ...]
    boxes: tuple[Four, ...]
    verbs: str
    related: tuple[int, ...] = ()


def as_layouts(
    prompt: Any,
    phrases: Any = None,
    boxes: Any = None,
    verbs: Any = None,
    related: Any = None,
    *,
    limit: int,
    verb_mode: str = "verb_phrase_or_prep",
) -> list[Layout]:
    """Return one `Layout` a prompt from a single layout or from lists of them.

    Args:
        prompt: a text, or a list of B texts.
        phrases: list of texts (one prompt), or B such lists; None or empty lists mean no layout.
        boxes: list of xyxy boxes in fractions, or B such lists.
        verbs: a text, B texts, or None to extract them from the prompt; "" switches Relation Attention off.
        related: indices of the instances that the relation is about, or B such lists.
        limit: most instances the layers take; verb_mode: what is extracted, see `verbs.py`.

    Raises:
        UsageError: counts that do not match, an empty phrase, a bad box, or too many instances.
    """
    if isinstance(prompt, str):
        prompt, phrases, boxes, verbs = [prompt], [phrases or []], [_plain(boxes)], [verbs]
        related = None if related is None else [related]
    prompts = _texts(prompt)
    columns = []
    for name, value in (("phrases", phrases), ("boxes", boxes), ("verbs", verbs), ("related", related)):
        column = [None] * len(prompts) if value is None else _plain(value)
        if isinstance(column, str) or len(column) != len(prompts):
            raise UsageError(f"There are {len(prompts)} prompts, so {name} must be a list of {len(prompts)} entries.")
        columns.append(column)
    rows = enumerate(zip(prompts, *columns, strict=True))
    return [_layout(i, p, ph, bx, text, near, limit, verb_mode) for i, (p, ph, bx, text, near) in rows]


def _texts(prompt: Any) -> list[Any]:
    if not isinstance(prompt, (list, tuple)) or not all(isinstance(p, str) for p in prompt) or not prompt:
        raise UsageError(f"The prompt must be a text or a list of texts, not {prompt!r:.80}.")
    return list(prompt)


def _layout(
    index: int, prompt: str, phrases: Any, boxes: Any, verbs: str | None, related: Any, limit: int, verb_mode: str
) -> Layout:
    phrases, boxes = list(phrases or []), _plain(boxes)
    where = f"Layout {index} ({prompt!r})"
    if len(phrases) != len(boxes):
        raise UsageError(f"{where} has {len(phrases)} phrases but {len(boxes)} boxes; each phrase needs one box.")
    if len(phrases) > limit:
        raise UsageError(f"{where} has {len(phrases)} instances; the layers take at most {limit}.")
    for phrase in phrases:
        if not isinstance(phrase, str) or not phrase.strip():
            raise UsageError(f"{where} has an empty phrase; write what should be in the box.")
    named = tuple(_plain(related))
    if not all(isinstance(i, int) and 0 <= i < len(phrases) for i in named):
        raise UsageError(f"{where} names the related instances {list(named)}; write indices from 0 to its last phrase.")
    text = extract_verbs(prompt, verb_mode) if verbs is None else verbs.strip()
    return Layout(prompt, tuple(phrases), tuple(_box(where, box) for box in boxes), text, named)


def _box(where: str, box: Sequence[float]) -> Four:
    try:
        found = fraction_box([float(v) for v in box])  # numbers of arrays and tensors too
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None:
        raise UsageError(f"{where} has the box {box!r}; write [x0, y0, x1, y1] in fractions, x0 < x1 and y0 < y1.")
    return found


def _plain(values: Any) -> list[Any]:
    """Lists out of lists, arrays, tensors or None."""
    if values is None:
        return []
    return values.tolist() if hasattr(values, "tolist") else list(values)
