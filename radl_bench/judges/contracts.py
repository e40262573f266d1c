"""What a judge is: the typed contract of each role, and what a judge may declare about itself.

A judge is any class with `signature: str` and the methods of its role; nothing is inherited. Building one must be
cheap and tell its signature: weights are loaded at the first question, so that scoring from kept evidence loads no
model. Its answers are held against `radl_bench.judges.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.types import SCALES, Detection

if TYPE_CHECKING:
    from PIL.Image import Image

    from radl_bench.runs.images import Picture

NONE = "none"
"""Name of the judge that is left out, with the scores that need it."""


class Judge(Protocol):
    """What all judges have: `signature` names what its answers depend on, such as the sum of its weights."""

    @property
    def signature(self) -> str:
        """One line without bars or spaces."""
        ...


class Detector(Judge, Protocol):
    """Finds things by category."""

    def detect(self, images: Sequence[Image], queries: Sequence[Sequence[str]]) -> Sequence[Sequence[Detection]]:
        """Return the detections of the categories asked of each image, in any order and of any score."""
        ...


class Segmenter(Judge, Protocol):
    """Cuts out what a box shows."""

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W] for `image` uint8 RGB [H, W, 3] and `boxes` float [N, 4], fractions of its sides."""
        ...


class Encoder(Judge, Protocol):
    """Puts images and texts into one space."""

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """Return float [N, D], rows of length 1."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float [N, D], rows of length 1."""
        ...


class FeatureExtractor(Judge, Protocol):
    """Gives the vectors of FID and KID."""

    def features(self, images: Sequence[Image]) -> np.ndarray:
        """Return float [N, D]."""
        ...


class Answerer(Judge, Protocol):
    """Answers questions about an image; no judge of this role ships."""

    def answer(self, images: Sequence[Image], questions: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
        """Return one answer to each question asked of each image."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A judge that wants to see all images of a run first, such as a file of results whose names are matched."""

    def prepare(self, pictures: Sequence[Picture]) -> None:
        """Look at the images; what is found may become part of the signature."""
        ...


@runtime_checkable
class Remarking(Protocol):
    """A judge with something to say about the images of a run, such as a file of results that lacks some."""

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return sentences that stand beside the scores."""
        ...


@dataclass(frozen=True)
class Role:
    """A part that judges play.

    Attributes:
        name: what it is called in messages, options, scores.json, and as a keyword of `Evidence`.
        family: key of `registry.KINDS` under which its judges have names.
        methods: what such a judge must have.
        default: name of the judge when none is chosen; None where it has to be chosen.
        beside: the role whose judge may name another default, in its `companions`.
        early: made before any run is read, so that missing weights are named at once; others when a metric needs them.
        files: it may be a file of results, `file:PATH`.
    """

    name: str
    family: str
    methods: tuple[str, ...]
    default: str | None = None
    beside: str | None = None
    early: bool = False
    files: bool = False


EXTRAS = ("device", "spec", "samples", "pictures", "picture")
"""Words of `Declared.takes`."""


@dataclass(frozen=True)
class Declared:
    """What a judge's class may say about itself, as attributes of these names and types.

    Attributes:
        takes: keyword arguments it wants: of its constructor "device" and "spec" (what follows `name:`); of `detect`
            "samples" and "pictures", one an image; of `masks` "picture".
        needs_sample: its answers depend on the sample and not on the image alone.
        ensembles: an encoder that reads phrases through the 80 templates of ImageNet.
        scale: "mini" when it knows the sprite world alone, which makes every number it measures a mini number; "paper"
            for one of the literature; None for one that is of neither, such as `oracle`.
        companions: names of the judges that go with it, by role: `{"segmenter": "mini"}`.
        thresholds: of the protocol that a detector was made for, by name: they replace the benchmark's and the
            protocol's own, and those of the command line replace them.
    """

    takes: tuple[str, ...] = ()
    needs_sample: bool = False
    ensembles: bool = False
    scale: str | None = None
    companions: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)


def declared(judge: object) -> Declared:
    """Return what a judge, or its class, declares; raises `UsageError` for a declaration that means nothing."""
    given = {f.name: getattr(judge, f.name) for f in fields(Declared) if hasattr(judge, f.name)}
    name = judge.__name__ if isinstance(judge, type) else type(judge).__name__
    for key, value in given.items():
        problem = _problem(key, value)
        if problem:
            raise UsageError(f"The judge {name} declares {key} = {value!r}; {problem}")
    return Declared(**given)


def _problem(key: str, value: object) -> str | None:
    if key == "takes":
        if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
            return f"it must be a tuple of words out of {', '.join(EXTRAS)}."
        strange = [word for word in value if word not in EXTRAS]
        return did_you_mean(strange[0], EXTRAS, "argument") if strange else None
    if key == "scale":
        return None if value is None or value in SCALES else f"it must be {' or '.join(SCALES)}, or left out."
    if key == "companions":
        ok = isinstance(value, Mapping) and all(isinstance(v, str) for pair in value.items() for v in pair)
        return None if ok else 'it must name judges by role: {"segmenter": "mini"}.'
    if key == "thresholds":
        ok = isinstance(value, Mapping) and all(isinstance(v, int | float) and 0 <= v <= 1 for v in value.values())
        return None if ok else 'it must be fractions by name of a threshold: {"nms": 1.0}.'
    return None if isinstance(value, bool) else "it must be True or False."
