"""The world a number belongs to: what the generator and the judges declare, recorded in manifests and scores.

"mini" is the embedded sprite world, "paper" that of the literature; None is a generator that declares neither. Numbers
of two worlds never share a column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from radl_bench.errors import BadInput, UsageError
from radl_bench.types import SCALES

MINI, PAPER = SCALES

LABELS = {PAPER: "", MINI: "mini", None: "scale not stated"}
"""What stands in brackets behind a title."""

_OLD_NAME = "mini"  # how recordings without a scale name the embedded model and the embedded judges
_OLD_METHOD = "sprites"  # and the method that draws their world


def declared_scale(generator: object) -> str | None:
    """Return the `scale` that a generator declares, None where it declares none; raises `UsageError` for another."""
    scale = getattr(generator, "scale", None)
    if scale is not None and scale not in SCALES:
        name = getattr(generator, "name", type(generator).__name__)
        raise UsageError(
            f"The method {name} declares scale = {scale!r}; it must be {' or '.join(SCALES)}, or left out."
        )
    return scale


def scale_of_manifest(manifest: Mapping[str, object]) -> str | None:
    """Return the scale of a run's images; that of a manifest without the field follows from its names."""
    if "scale" in manifest:
        return _known(manifest["scale"])
    return _by_names(_table(manifest, "generator"), {})


def scale_of_scores(content: Mapping[str, object]) -> str | None:
    """Return the scale of a scores.json; that of one without the field follows from its names."""
    if "scale" in content:
        return _known(content["scale"])
    return _by_names(_table(content, "generator"), _table(content, "judges"))


def _known(scale: object) -> str | None:
    return next((known for known in SCALES if known == scale), None)


def measured_scale(images: str | None, judges: Iterable[str | None]) -> str | None:
    """Return the scale of numbers: mini where the images or any of the judges are of the mini world."""
    return MINI if MINI in (images, *judges) else images


def _table(content: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = content.get(key)
    return table if isinstance(table, Mapping) else {}


def _by_names(generator: Mapping[str, object], judges: Mapping[str, object]) -> str:
    names = [judge.get("name") if isinstance(judge, Mapping) else judge for judge in judges.values()]
    small = _OLD_NAME in (generator.get("model"), *names) or generator.get("name") == _OLD_METHOD
    return MINI if small else PAPER


def base_scale(base: Path) -> str:
    """Return the scale that a base declares: `scale` in its `scale.json`; "paper" where it has no such file.

    Raises:
        BadInput: the file says something else.
    """
    file = base / "scale.json"
    if not file.is_file():
        return "paper"
    try:
        scale = json.loads(file.read_text("utf-8"))["scale"]
    except (OSError, ValueError, KeyError, TypeError):
        scale = None
    if scale not in SCALES:
        raise BadInput(f'{file} does not say the scale of the model: {{"scale": "mini"}} or {{"scale": "paper"}}.')
    return str(scale)
