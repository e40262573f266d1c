"""Evidence: what the judges saw, measured once and kept as Parquet by (image sha256, judge signature).

Three tables a run: detections by (image, category), colour coverage by (image, box), cosines by (image, text, box).
What is in a table is never measured again, so a second scoring loads no model and a new threshold runs no detector.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radl_bench.errors import BadInput, RadlBenchError
from radl_bench.picture import FULL, Picture, crop_square
from radl_bench.protocol import Boxes
from radl_bench.registry import describe_error
from radl_bench.types import Sample

if TYPE_CHECKING:
    pass

FLOOR = 0.05
"""Least score of a detection that is kept; AP is computed from all of them."""

_FLUSH = 4096  # rows a Parquet part


class EvidenceTable:
    """A table of measured values by key, in Parquet parts of one folder; rows are added, never changed.

    Args:
        folder: where the parts lie; made at the first flush.
        signature: the judge's; it is written into every part, and a part of another signature is refused.
        keys, values: the columns, in order. A key column holds strings, a value column numbers or lists of numbers.
    """

    def __init__(self, folder: Path, signature: str, keys: Sequence[str], values: Sequence[str]) -> None:
        self.folder, self.signature, self.keys, self.values = folder, signature, tuple(keys), tuple(values)
        self._data: dict[tuple[str, ...], tuple[Any, ...]] = {}
        self._pending: list[tuple[str, ...]] = []
        for part in sorted(folder.glob("*.parquet")):
            self._read(part)

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._data

    def __getitem__(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        return self._data[key]

    def add(self, key: tuple[str, ...], value: tuple[Any, ...]) -> None:
        """Keep `value` under `key`; it reaches the disk with the next flush."""
        self._data[key] = value
        self._pending.append(key)
        if len(self._pending) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last flush as a new part, atomically."""
        if not self._pending:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [*zip(*self._pending, strict=True), *zip(*(self._data[k] for k in self._pending), strict=True)]
        table = pa.table({name: list(column) for name, column in zip(self.keys + self.values, columns, strict=True)})
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{uuid.uuid4().hex[:12]}.parquet"
        pq.write_table(table.replace_schema_metadata({"signature": self.signature}), part.with_suffix(".tmp"))
        os.replace(part.with_suffix(".tmp"), part)
        self._pending.clear()

    def _read(self, part: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(part)
            signature = (table.schema.metadata or {}).get(b"signature", b"").decode()
            columns = [table.column(name).to_pylist() for name in self.keys + self.values]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadInput(f"The evidence in {part} cannot be read ({error}). Delete it and score again.") from error
        if signature != self.signature:
            raise BadInput(f"The evidence in {part} is of '{signature}', not '{self.signature}'. Delete this folder.")
        cut = len(self.keys)
        self._data.update((row[:cut], row[cut:]) for row in zip(*columns, strict=True))


class Evidence:
    """The tables of one run and the judges that fill them.

    Args:
        folder: the run's evidence folder.
        detector, segmenter, encoder: judges by the contracts of `radl_bench.judges`; the encoder may be None.
        batch_size: pictures a call of a judge.
    """

    def __init__(self, folder: Path, detector: Any, segmenter: Any, encoder: Any = None, batch_size: int = 16) -> None:
        self.detector, self.segmenter, self.encoder, self.batch_size = detector, segmenter, encoder, batch_size
        self._takes_samples = "samples" in inspect.signature(detector.detect).parameters
        self._texts: dict[str, np.ndarray] = {}
        self.found = _table(folder, "detections", detector.signature, ("image", "category"), ("boxes", "scores"))
        # masks do not depend on who prompted them, so coverage is keyed by the box alone
        self.colors = _table(folder, "coverage", segmenter.signature, ("image", "box"), ("coverage",))
        self.cosines = (
            _table(folder, "cosines", encoder.signature, ("image", "text", "box"), ("cosine",)) if encoder else None
        )

    def flush(self) -> None:
        """Write all tables to disk."""
        for table in (self.found, self.colors, self.cosines):
            if table is not None:
                table.flush()

    def measure_detections(self, pictures: Sequence[Picture]) -> None:
        """Ask the detector for the categories of each picture's own layout, where that is not known yet."""
        todo = [p for p in pictures if not all((self._key(p), c) in self.found for c in _categories(p.sample))]
        for batch in batches((p for p in todo if p.load() is not None), self.batch_size):
            queries = [_categories(p.sample) for p in batch]
            extra = {"samples": [p.sample for p in batch]} if self._takes_samples else {}
            with _asking(self.detector):
                results = self.detector.detect([p.load() for p in batch], queries, **extra)
                _check_length(self.detector, len(results), len(batch))
                found = [[(d.category, [float(v) for v in d.box], float(d.score)) for d in seen] for seen in results]
            for picture, wanted, seen in zip(batch, queries, found, strict=True):
                for category in wanted:
                    kept = [(box, score) for name, box, score in seen if name == category and score >= FLOOR]
                    boxes = [v for box, _ in kept for v in box]
                    self.found.add((self._key(picture), category), (boxes, [score for _, score in kept]))

    def detections(self, picture: Picture) -> dict[str, Boxes]:
        """Return the raw detections of a measured picture, down to score 0.05, by category."""
        out = {}
        for category in _categories(picture.sample):
            boxes, scores = self.found[self._key(picture), category]
            out[category] = Boxes(np.array(boxes, float).reshape(-1, 4), np.array(scores, float))
        return out

    def measure_coverage(self, picture: Picture, boxes: Iterable[Sequence[float]]) -> None:
        """Segment these boxes, where not known yet, and measure the share of each mask in each colour."""
        from radl_bench.judges.color import coverage

        todo = {box_key(b): tuple(b) for b in boxes if (picture.sha256, box_key(b)) not in self.colors}
        image = picture.load() if todo else None
        if image is None:
            return
        rgb = np.asarray(image)
        with _asking(self.segmenter):
            shares = coverage(rgb, self.segmenter.masks(rgb, np.array(list(todo.values()), float)))
        for key, share in zip(todo, shares, strict=True):
            self.colors.add((picture.sha256, key), (share.tolist(),))

    def coverage(self, picture: Picture, box: Sequence[float]) -> np.ndarray:
        """Return float64 [7]: the share of the mask of a measured box in each of `types.COLORS`."""
        return np.array(self.colors[picture.sha256, box_key(box)][0], float)

    def measure_cosines(self, pictures: Sequence[Picture]) -> None:
        """Encode pictures with their prompts and crops with their phrases, where not known yet."""
        if self.cosines is None:
            return
        todo = [(p, text, box) for p in pictures for text, box in _texts(p.sample)]
        todo = [t for t in todo if (t[0].sha256, t[1], box_key(t[2])) not in self.cosines and t[0].load() is not None]
        for batch in batches(todo, self.batch_size):
            crops = [crop_square(image, box) for p, _, box in batch if (image := p.load()) is not None]
            with _asking(self.encoder):
                images = np.asarray(self.encoder.encode_images(crops), np.float64)
                _check_length(self.encoder, len(images), len(batch))
                cosines = (images * self._encode_texts([text for _, text, _ in batch])).sum(axis=1)
            for (picture, text, box), cosine in zip(batch, cosines, strict=True):
                self.cosines.add((picture.sha256, text, box_key(box)), (float(cosine),))

    def cosine(self, picture: Picture, text: str, box: Sequence[float] = FULL) -> float:
        """Return the cosine of a measured picture, or its crop, with a text; NaN where there is no encoder."""
        return float("nan") if self.cosines is None else float(self.cosines[picture.sha256, text, box_key(box)][0])

    def _encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            features = self.encoder.encode_texts(new)
            self._texts.update(zip(new, np.asarray(features, np.float64), strict=True))
        return np.stack([self._texts[text] for text in texts])

    def _key(self, picture: Picture) -> str:
        # equal bytes may belong to two samples (two black images): a judge that reads the sample must not mix them up
        by_sample = getattr(self.detector, "needs_sample", False)
        return f"{picture.sha256}:{picture.sample.id}" if by_sample else picture.sha256


def box_key(box: Sequence[float]) -> str:
    """Return the text under which a box is filed; boxes closer than 1e-6 are one."""
    return ",".join(f"{float(v):.6f}" for v in box)


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _table(folder: Path, kind: str, signature: str, keys: Sequence[str], values: Sequence[str]) -> EvidenceTable:
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in signature)[:40]
    digest = hashlib.sha256(json.dumps([kind, signature]).encode()).hexdigest()[:8]
    return EvidenceTable(folder / f"{kind}-{slug}-{digest}", signature, keys, values)


def _categories(sample: Sample) -> list[str]:
    return sorted({instance.category for instance in sample.instances})


def _texts(sample: Sample) -> Iterator[tuple[str, tuple[float, ...]]]:
    yield sample.prompt, FULL
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
