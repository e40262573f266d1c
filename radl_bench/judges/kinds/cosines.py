"""Cosines: an image with its prompt, and each instance's crop with its phrase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.judges.checks import asking, check_same_space, check_vectors
from radl_bench.judges.contracts import Encoder, Role
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, batches, box_key
from radl_bench.judges.templates import Look, sentences
from radl_bench.runs.images import FULL, Picture, crop_square
from radl_bench.scoring.protocol import Protocol
from radl_bench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

ENCODER = Role("encoder", "encoders", ("encode_images", "encode_texts"), default="mini", early=True)

Question = tuple[Picture, str, "tuple[float, ...] | None"]
"""Image, text, and the box it is about; None for the whole image."""


class Cosines(Kind[Encoder]):
    """Fields `clip` and `local_clip`."""

    key, role = "cosines", ENCODER
    store = Store("cosines", ("image", "text", "box"), {"cosine": "number"})

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Encoder]) -> None:
        """See `Kind.measure`; images and crops in batches, every text once."""
        look = look_of(desk.facts.ensembles, desk.rules)
        asked = [(p, text, box) for p in pictures for text, box in _texts(p.sample)]
        todo = [q for q in asked if _key(q, look) not in desk.table and q[0].load() is not None]
        for batch in batches(todo, desk.batch_size):
            for question, cosine in zip(batch, _cosines(batch, look, desk), strict=True):
                desk.table.add(_key(question, look), (float(cosine),))

    def read(self, picture: Picture, seen: Seen, desk: Desk[Encoder]) -> Seen:
        """See `Kind.read`."""
        look = look_of(desk.facts.ensembles, desk.rules)
        whole, *local = (float(desk.table[_key((picture, *t), look)][0]) for t in _texts(picture.sample))  # type: ignore[arg-type]
        return {"clip": whole, "local_clip": tuple(local)}


def _cosines(batch: Sequence[Question], look: Look, desk: Desk[Encoder]) -> np.ndarray:
    judge = desk.asked
    crops = [crop_square(image, box or FULL) for p, _, box in batch if (image := p.load()) is not None]
    shown = [_swapped(crop) for crop in crops] if look.bgr else crops
    with asking(judge):
        images = check_vectors(judge, judge.encode_images(shown), len(batch), unit=True)
        texts = _encoded([(text, look.phrase if box else "plain") for _, text, box in batch], desk)
    check_same_space(judge, images, texts)
    return np.asarray((images * texts).sum(axis=1))


def _encoded(texts: Sequence[tuple[str, str]], desk: Desk[Encoder]) -> np.ndarray:
    """Return float64 [N, D]: the mean of the unit vectors of each text's sentences, so a mean of cosines."""
    new = {text: sentences(*text) for text in texts if text not in desk.memo}
    if new:
        asked = list(dict.fromkeys(sentence for lines in new.values() for sentence in lines))
        made = check_vectors(desk.asked, desk.asked.encode_texts(asked), len(asked), unit=True, what="texts")
        vector = dict(zip(asked, made, strict=True))
        desk.memo.update({text: np.mean([vector[line] for line in lines], axis=0) for text, lines in new.items()})
    return np.stack([desk.memo[text] for text in texts])


def look_of(ensembles: bool, rules: Protocol) -> Look:
    """Return how an encoder sees under a protocol; one without `ensembles` reads a phrase as it stands."""
    how = "articles" if rules.articles == "repaired" else rules.articles
    return Look(rules.clip_bgr, how if ensembles else "plain")


def _texts(sample: Sample) -> Iterator[tuple[str, tuple[float, ...] | None]]:
    yield sample.prompt, None
    for instance in sample.instances:
        yield instance.phrase, instance.box


def _key(question: Question, look: Look) -> tuple[str, str, str]:
    picture, text, box = question
    return picture.sha256, look.key(text, box is not None), box_key(box or FULL)


def _swapped(image: Image) -> Image:
    from PIL import Image as pil

    return pil.fromarray(np.ascontiguousarray(np.asarray(image)[..., ::-1]))


COSINES = Cosines()
