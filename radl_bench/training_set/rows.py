"""From an image of COCO to a row of the training set, or to the reason why there is none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from radl_bench.benchmarks.builders.coco import CocoImage, Thing
from radl_bench.runs.image_reading import BadImage, read_image
from radl_bench.training_set.phrases import LOCATED, Phrase, instance_phrases, named
from radl_model.train.layout_rows import LayoutRow

if TYPE_CHECKING:
    from PIL.Image import Image

    from radl_bench.training_set.locating import Locator

NO_CAPTION = "images without a caption"
NO_INSTANCE = "images without a box that is kept"
NO_FILE = "images whose file is missing"
BROKEN = "images whose file is broken"
CROWD = "boxes of crowds"
SMALL = "boxes that are too small"
SURPLUS = "boxes beyond the largest"

LABELS = "a photo of {}"
"""Prompt of an image without a caption, when captions are made from labels."""


@dataclass(frozen=True)
class Rules:
    """What becomes an instance, and of what text.

    Attributes:
        min_area: least share of the image that a box covers (MIGC and RaDL: .02).
        max_instances: the largest boxes that are kept of an image (6).
        captions: "coco", or "labels": made from the phrases, for sets that have none.
        extractor: reader of relations, see `extract_verbs`, and of the noun phrases that are located.
        locate: detector that finds the boxes of the caption's noun phrases; "" takes the annotated boxes.
    """

    min_area: float = 0.02
    max_instances: int = 6
    captions: str = "coco"
    extractor: str = "rules"
    locate: str = ""


class ImageFile(NamedTuple):
    """A file as it was found, and what it shows: upright RGB."""

    content: bytes
    pixels: Image


class RowMaker:
    """Makes rows; `counts` says what is left out and why, `phrases` where the phrases come from.

    Args:
        photographs: folder of the images.
        verbs: caption -> relation text.
        locator: finds the boxes, where they are not annotated.
    """

    def __init__(
        self, photographs: Path, rules: Rules, verbs: Callable[[str], str], locator: Locator | None = None
    ) -> None:
        self.photographs, self.rules, self.verbs, self.locator = photographs, rules, verbs, locator
        self.counts: Counter[str] = Counter()
        self.phrases: Counter[str] = Counter()

    def row(self, image: CocoImage) -> LayoutRow | None:
        """Return the row of an image; None, counted, when it has none."""
        return self._annotated(image) if self.locator is None else self._located(image, self.locator)

    def _annotated(self, image: CocoImage) -> LayoutRow | None:
        things = self._kept(image.things)
        caption = self._caption(image, things)
        if not things or caption is None:
            self.counts[NO_CAPTION if things else NO_INSTANCE] += 1
            return None
        file = self._file(image.file_name)
        if file is None:
            return None
        said = "" if self.rules.captions == "labels" else caption
        phrases = instance_phrases(said, [thing.category for thing in things])
        return self._made(image, file, caption, things, phrases)

    def _located(self, image: CocoImage, locator: Locator) -> LayoutRow | None:
        caption = locator.caption(image.captions)
        if caption is None:
            self.counts[NO_CAPTION] += 1
            return None
        file = self._file(image.file_name)
        if file is None:
            return None
        found = {pair.thing: pair.phrase for pair in locator.locate(file.pixels, caption)}
        things = self._kept(tuple(found))
        if not things:
            self.counts[NO_INSTANCE] += 1
            return None
        return self._made(image, file, caption, things, [Phrase(found[thing], LOCATED) for thing in things])

    def _kept(self, things: Sequence[Thing]) -> list[Thing]:
        alone = [thing for thing in things if not thing.crowd]
        large = [thing for thing in alone if thing.area >= self.rules.min_area]
        kept = sorted(large, key=lambda thing: -thing.area)[: self.rules.max_instances]
        self.counts[CROWD] += len(things) - len(alone)
        self.counts[SMALL] += len(alone) - len(large)
        self.counts[SURPLUS] += len(large) - len(kept)
        return kept

    def _caption(self, image: CocoImage, things: list[Thing]) -> str | None:
        """The caption that names most of the kept classes; the first of several."""
        categories = [thing.category for thing in things]
        if self.rules.captions == "labels":
            phrases = [phrase.text for phrase in instance_phrases("", categories)]
            return LABELS.format(" and ".join(phrases)) if phrases else None
        return max(image.captions, key=lambda text: named(text, categories), default=None)

    def _file(self, name: str) -> ImageFile | None:
        try:
            content = (self.photographs / name).read_bytes()
        except OSError:
            self.counts[NO_FILE] += 1
            return None
        try:
            return ImageFile(content, read_image(content)[0])
        except BadImage:
            self.counts[BROKEN] += 1
            return None

    def _made(
        self, image: CocoImage, file: ImageFile, caption: str, things: Sequence[Thing], phrases: Sequence[Phrase]
    ) -> LayoutRow:
        self.phrases.update(phrase.source for phrase in phrases)
        return LayoutRow(
            id=str(image.id),
            image=file.content,
            width=file.pixels.width,
            height=file.pixels.height,
            caption=caption,
            phrases=[phrase.text for phrase in phrases],
            categories=[thing.category for thing in things],
            boxes=[list(thing.box) for thing in things],
            sources=[phrase.source for phrase in phrases],
            verbs=self.verbs(caption),
            license=image.license,
            sha256=hashlib.sha256(file.content).hexdigest(),
        )
