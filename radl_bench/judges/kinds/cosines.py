"""Cosines: an image with its prompt, and each instance's crop with its phrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from radl_bench.judges.checks import asking, check_same_space, check_vectors
from radl_bench.judges.contracts import Encoder, Role
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, batches, box_key, sound
from radl_bench.judges.templates import Look, sentences
from radl_bench.runs.images import FULL, Picture, crop_square, stretched, swapped
from radl_bench.scoring.protocol import Match, Protocol

ENCODER = Role("encoder", "encoders", ("encode_images", "encode_texts"), default="mini", early=True)

Question = tuple[Picture, str, "tuple[float, ...] | None"]
"""Image, text, and the box it is about; None for the whole image."""


class Cosines(Kind[Encoder]):
    """Fields `clip` and `local_clip`, which is NaN for an instance that has nothing to be cut out."""

    key, role = "cosines", ENCODER
    store = Store("cosines", ("image", "text", "box"), {"cosine": "number"})

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Encoder]) -> None:
        """See `Kind.measure`; images and crops in batches, every text once."""
        look = look_of(desk.facts.ensembles, desk.rules)
        asked = [q for p, known in zip(pictures, seen, strict=True) for q in _questions(p, known, desk.rules) if q]
        todo = [q for q in asked if _key(q, look) not in desk.table and q[0].load() is not None]
        for batch in batches(todo, desk.batch_size):
            for question, cosine in zip(batch, _cosines(batch, look, desk), strict=True):
                desk.table.add(_key(question, look), (float(cosine),))

    def read(self, picture: Picture, seen: Seen, desk: Desk[Encoder]) -> Seen:
        """See `Kind.read`."""
        look = look_of(desk.facts.ensembles, desk.rules)
        asked = _questions(picture, seen, desk.rules)
        whole, *local = (float(sound(desk.table[_key(q, look)][0])) if q else float("nan") for q in asked)
        return {"clip": whole, "local_clip": tuple(local)}


def _cosines(batch: Sequence[Question], look: Look, desk: Desk[Encoder]) -> np.ndarray:
    judge = desk.asked
    images = [(image, box) for p, _, box in batch if (image := p.load()) is not None]
    crops = [crop_square(stretched(image, look.side), box or FULL) for image, box in images]
    shown = [swapped(crop) for crop in crops] if look.bgr else crops
    with asking(judge):
        seen = check_vectors(judge, judge.encode_images(shown), len(batch), unit=True)
        texts = _encoded([(text, look.phrase if box else "plain") for _, text, box in batch], desk)
    check_same_space(judge, seen, texts)
    return np.asarray((seen * texts).sum(axis=1))


def _encoded(texts: Sequence[tuple[str, str]], desk: Desk[Encoder]) -> np.ndarray:
    """Return float64 [N, D]: the mean of the unit vectors of each text's sentences, so a mean of cosines.

    Each text is a call of its own: in a batch its last bits would depend on what else is asked, and so on which worker
    saw which images.
    """
    for text, look in dict.fromkeys(texts):
        if (text, look) not in desk.memo:
            lines = list(dict.fromkeys(asked := sentences(text, look)))
            made = check_vectors(desk.asked, desk.asked.encode_texts(lines), len(lines), unit=True, what="texts")
            vector = dict(zip(lines, made, strict=True))
            desk.memo[text, look] = np.mean([vector[line] for line in asked], axis=0)
    return np.stack([desk.memo[text] for text in texts])


def look_of(ensembles: bool, rules: Protocol) -> Look:
    """Return how an encoder sees under a protocol; one without `ensembles` reads a phrase as it stands."""
    how = "articles" if rules.articles == "repaired" else rules.articles
    return Look(rules.clip_bgr, how if ensembles else "plain", rules.squash)


def _questions(picture: Picture, seen: Seen, rules: Protocol) -> list[Question | None]:
    """Return what is asked: the prompt, then each instance's phrase, None where its crop would be of nothing."""
    instances = picture.sample.instances
    boxes: list[tuple[float, ...] | None] = [instance.box for instance in instances]
    if rules.crop == "det":
        boxes = [match.box for match in cast("tuple[Match, ...]", seen["matches"])]
    local = [(picture, i.phrase, box) if box else None for i, box in zip(instances, boxes, strict=True)]
    return [(picture, picture.sample.prompt, None), *local]


def _key(question: Question, look: Look) -> tuple[str, str, str]:
    picture, text, box = question
    return picture.sha256, look.key(text, box is not None), box_key(box or FULL)


COSINES = Cosines()
