"""Boxes for what a caption speaks of, where a detector of open vocabulary finds it: how MIGC made its training set.

Source: MIGC (Zhou et al. 2024, arXiv:2402.05408), its data preparation: noun phrases of the caption, boxes by
GroundingDINO with both thresholds .25, overlapping boxes of a phrase dropped from IoU .8 on. It parses captions with
stanza; here noun phrases are read by spaCy, or by rules that know the classes of COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from radl_bench.benchmarks.builders.coco import Thing
from radl_bench.judges.contracts import Detector
from radl_bench.scoring.protocol import Boxes, suppress
from radl_bench.training_set.phrases import noun_phrases

if TYPE_CHECKING:
    from PIL.Image import Image

SCORE, OVERLAP = 0.25, 0.8
LEADING = ("a ", "an ", "the ", "his ", "her ", "its ", "their ", "some ")


class Located(NamedTuple):
    """A thing, and the caption's phrase for it."""

    thing: Thing
    phrase: str


class Locator:
    """Asks a detector for the noun phrases of a caption.

    Args:
        extractor: reader of noun phrases, "rules" or "spacy".
    """

    def __init__(self, detector: Detector, extractor: str) -> None:
        self.detector, self.extractor = detector, extractor

    def caption(self, captions: Sequence[str]) -> str | None:
        """The caption that speaks of the most things, the first of several; None where there is none."""
        return max(captions, key=lambda text: len(noun_phrases(text, self.extractor)), default=None)

    def locate(self, image: Image, caption: str) -> list[Located]:
        """Return what is found of the caption's phrases; a thing's class is its phrase without the article."""
        phrases = {without_article(text): text for text in noun_phrases(caption, self.extractor)}
        found = self.detector.detect([image], [list(phrases)])[0]
        made = []
        for name, phrase in phrases.items():
            own = [d for d in found if d.category == name and d.score >= SCORE]
            boxes = np.array([d.box for d in own], dtype=np.float64).reshape(-1, 4).clip(0, 1)
            kept = suppress(Boxes(boxes, np.array([d.score for d in own], dtype=np.float64)), OVERLAP)
            inside = [box for box in kept.boxes.tolist() if box[0] < box[2] and box[1] < box[3]]
            made += [Located(Thing(name, (x0, y0, x1, y1), False), phrase) for x0, y0, x1, y1 in inside]
        return made


def without_article(phrase: str) -> str:
    """Return a phrase as a detector is asked for it: "a red car" -> "red car"."""
    return next((phrase[len(word) :] for word in LEADING if phrase.startswith(word)), phrase)


def make_locator(detector: str, extractor: str, device: str | None) -> Locator:
    """Return a locator by the name of its detector.

    Raises:
        UsageError: no such detector.
        MissingWeights, MissingExtra: its weights, or spaCy, are not on this machine.
    """
    from radl_bench.scoring.judging import make_judge, roles

    role = next(role for role in roles() if role.name == "detector")
    noun_phrases("a dog", extractor)  # a reader that is not installed should not be met in the middle
    return Locator(make_judge(role, detector, device), extractor)  # type: ignore[arg-type]
