"""Evidence: what the judges saw, measured once and kept as Parquet by (image sha256, judge signature).

Four tables a run: detections by (image, category), colour coverage by (image, box), cosines by (image, text, box), and
features by image.
What is in a table is never measured again, so a second scoring loads no model and a new threshold runs no detector.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from radl_bench.errors import RadlBenchError
from radl_bench.judges.templates import Look, sentences
from radl_bench.registry import describe_error
from radl_bench.runs.images import FULL, Picture, crop_square
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.protocol import Boxes, Protocol
from radl_bench.types import Sample

FLOOR = 0.05
"""Least score of a detection that is kept; AP is computed from all of them."""

_VECTORS = 512  # feature vectors a Parquet part: they are long

_PLAIN = Look()


class Evidence:
    """The tables of one run and the judges that fill them.

    Args:
        folder: the run's evidence folder.
        detector, segmenter, encoder, features: judges by the contracts of `radl_bench.judges`; encoder and features
            may be None.
        batch_size: pictures a call of a judge.
    """

    def __init__(
        self,
        folder: Path,
        detector: Any,
        segmenter: Any,
        encoder: Any = None,
        batch_size: int = 16,
        features: Any = None,
    ) -> None:
        self.detector, self.segmenter, self.encoder, self.batch_size = detector, segmenter, encoder, batch_size
        self.featurer = features
        self._detector_takes = {"samples", "pictures"}.intersection(inspect.signature(detector.detect).parameters)
        self._segmenter_takes_picture = "picture" in inspect.signature(segmenter.masks).parameters
        self._texts: dict[tuple[str, str], np.ndarray] = {}
        self.found = _table(folder, "detections", detector.signature, ("image", "category"), ("boxes", "scores"))
        # masks do not depend on who prompted them, so coverage is keyed by the box alone
        self.colors = _table(folder, "coverage", segmenter.signature, ("image", "box"), ("coverage",))
        self.cosines = (
            _table(folder, "cosines", encoder.signature, ("image", "text", "box"), ("cosine",)) if encoder else None
        )
        self.vectors = (
            _table(folder, "features", features.signature, ("image",), ("features",), _VECTORS) if features else None
        )

    def flush(self) -> None:
        """Write all tables to disk."""
        for table in (self.found, self.colors, self.cosines, self.vectors):
            if table is not None:
                table.flush()

    def measure_detections(self, pictures: Sequence[Picture]) -> None:
        """Ask the detector for the categories of each picture's own layout, where that is not known yet."""
        todo = [
            p for p in pictures if not all((_key(p, self.detector), c) in self.found for c in _categories(p.sample))
        ]
        for batch in batches((p for p in todo if p.load() is not None), self.batch_size):
            queries = [_categories(p.sample) for p in batch]
            known = {"samples": [p.sample for p in batch], "pictures": batch}
            extra = {name: known[name] for name in self._detector_takes}
            with _asking(self.detector):
                results = self.detector.detect([p.load() for p in batch], queries, **extra)
                _check_length(self.detector, len(results), len(batch))
                found = [[(d.category, [float(v) for v in d.box], float(d.score)) for d in seen] for seen in results]
            for picture, wanted, seen in zip(batch, queries, found, strict=True):
                for category in wanted:
                    kept = [(box, score) for name, box, score in seen if name == category and score >= FLOOR]
                    boxes = [v for box, _ in kept for v in box]
                    self.found.add((_key(picture, self.detector), category), (boxes, [score for _, score in kept]))

    def detections(self, picture: Picture) -> dict[str, Boxes]:
        """Return the raw detections of a measured picture, down to score 0.05, by category."""
        out = {}
        for category in _categories(picture.sample):
            boxes, scores = self.found[_key(picture, self.detector), category]
            out[category] = Boxes(np.array(boxes, float).reshape(-1, 4), np.array(scores, float))
        return out

    def measure_coverage(self, picture: Picture, boxes: Iterable[Sequence[float]]) -> None:
        """Segment these boxes, where not known yet, and measure the share of each mask in each colour."""
        from radl_bench.judges.color import coverage

        image_key = _key(picture, self.segmenter)
        todo = {box_key(b): tuple(b) for b in boxes if (image_key, box_key(b)) not in self.colors}
        image = picture.load() if todo else None
        if image is None:
            return
        rgb = np.asarray(image)
        with _asking(self.segmenter):
            extra = {"picture": picture} if self._segmenter_takes_picture else {}
            shares = coverage(rgb, self.segmenter.masks(rgb, np.array(list(todo.values()), float), **extra))
        for key, share in zip(todo, shares, strict=True):
            self.colors.add((image_key, key), (share.tolist(),))

    def coverage(self, picture: Picture, box: Sequence[float]) -> np.ndarray:
        """Return float64 [7]: the share of the mask of a measured box in each of `types.COLORS`."""
        return np.array(self.colors[_key(picture, self.segmenter), box_key(box)][0], float)

    def look(self, rules: Protocol) -> Look:
        """Return how the encoder sees under a protocol; one without `ensembles` reads a phrase as it stands."""
        how = "articles" if rules.articles == "repaired" else rules.articles
        return Look(rules.clip_bgr, how if getattr(self.encoder, "ensembles", False) else "plain")

    def measure_cosines(self, pictures: Sequence[Picture], look: Look = _PLAIN) -> None:
        """Encode pictures with their prompts and crops with their phrases, where not known yet."""
        if self.cosines is None:
            return
        todo = [(p, text, box) for p in pictures for text, box in _texts(p.sample)]
        todo = [t for t in todo if self._cosine_key(*t, look) not in self.cosines and t[0].load() is not None]
        for batch in batches(todo, self.batch_size):
            crops = [crop_square(image, box or FULL) for p, _, box in batch if (image := p.load()) is not None]
            shown = [_swapped(crop) for crop in crops] if look.bgr else crops
            with _asking(self.encoder):
                images = np.asarray(self.encoder.encode_images(shown), np.float64)
                _check_length(self.encoder, len(images), len(batch))
                texts = [(text, look.phrase if box else "plain") for _, text, box in batch]
                cosines = (images * self._encode_texts(texts)).sum(axis=1)
            for item, cosine in zip(batch, cosines, strict=True):
                self.cosines.add(self._cosine_key(item[0], item[1], item[2], look), (float(cosine),))

    def cosine(self, picture: Picture, text: str, box: Sequence[float] | None = None, look: Look = _PLAIN) -> float:
        """Return the cosine of a measured picture with a text, or of a box with a phrase; NaN without an encoder."""
        if self.cosines is None:
            return float("nan")
        return float(self.cosines[self._cosine_key(picture, text, box, look)][0])

    @staticmethod
    def _cosine_key(picture: Picture, text: str, box: Sequence[float] | None, look: Look) -> tuple[str, str, str]:
        return picture.sha256, look.key(text, box is not None), box_key(box or FULL)

    def measure_features(self, pictures: Sequence[Picture]) -> None:
        """Ask the feature judge for a vector of each picture, where it is not known yet."""
        if self.vectors is None:
            return
        todo = {p.sha256: p for p in pictures if (p.sha256,) not in self.vectors}
        for batch in batches((p for p in todo.values() if p.load() is not None), self.batch_size):
            with _asking(self.featurer):
                vectors = np.asarray(self.featurer.features([p.load() for p in batch]), np.float32)
                _check_length(self.featurer, len(vectors), len(batch))
            for picture, vector in zip(batch, vectors, strict=True):
                self.vectors.add((picture.sha256,), (vector,))

    def features(self, picture: Picture) -> np.ndarray | None:
        """Return the float32 [D] vector of a measured picture; None where there is no feature judge."""
        return None if self.vectors is None else np.array(self.vectors[(picture.sha256,)][0], np.float32)

    def _encode_texts(self, texts: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return float64 [N, D]: the mean of the unit vectors of each text's sentences, so a mean of cosines."""
        wanted = dict.fromkeys(texts)
        new = [sentence for text in wanted if text not in self._texts for sentence in sentences(*text)]
        if new:
            features = np.asarray(self.encoder.encode_texts(list(dict.fromkeys(new))), np.float64)
            vector = dict(zip(dict.fromkeys(new), features, strict=True))
            found = {text: [vector[s] for s in sentences(*text)] for text in wanted if text not in self._texts}
            self._texts.update({text: np.mean(vectors, axis=0) for text, vectors in found.items()})
        return np.stack([self._texts[text] for text in texts])


def _key(picture: Picture, judge: Any) -> str:
    # equal bytes may belong to two images (both black): a judge that reads the sample must not mix them up
    return picture.own_key if getattr(judge, "needs_sample", False) else picture.sha256


def box_key(box: Sequence[float]) -> str:
    """Return the text under which a box is filed; boxes closer than 1e-6 are one."""
    return ",".join(f"{float(v):.6f}" for v in box)


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _table(
    folder: Path, kind: str, signature: str, keys: Sequence[str], values: Sequence[str], *flush_rows: int
) -> EvidenceTable:
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in signature)[:40]
    digest = hashlib.sha256(json.dumps([kind, signature]).encode()).hexdigest()[:8]
    return EvidenceTable(folder / f"{kind}-{slug}-{digest}", signature, keys, values, *flush_rows)


def _categories(sample: Sample) -> list[str]:
    return sorted({instance.category for instance in sample.instances})


def _swapped(image: Any) -> Any:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(np.asarray(image)[..., ::-1]))


def _texts(sample: Sample) -> Iterator[tuple[str, tuple[float, ...] | None]]:
    yield sample.prompt, None
    for instance in sample.instances:
        yield instance.phrase, instance.box


@contextlib.contextmanager
def _asking(judge: Any) -> Iterator[None]:
    """Turn whatever a judge raises into a sentence; errors of our own pass."""
    try:
        yield
    except RadlBenchError:
        raise
    except Exception as error:
        raise RadlBenchError(f"The judge '{judge.signature}' failed: {describe_error(error)}.") from error


def _check_length(judge: Any, got: int, wanted: int) -> None:
    if got != wanted:
        raise RadlBenchError(f"The judge '{judge.signature}' gave {got} results for {wanted} pictures, not one each.")
