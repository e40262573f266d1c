"""One run as the gallery reads it: its pictures, the rows of each, and what the detector saw in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.loading import benchmark_of
from radl_bench.errors import BadInput, UsageError
from radl_bench.report.collect import ScoredRun
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence import EvidenceTable
from radl_bench.scoring.protocol import Boxes, Protocol, match_instances, resolve_protocol, suppress
from radl_bench.types import Benchmark, Sample

ScoreRow = tuple[int, str, float, str]
"""Instance (-1: the whole image), metric, value (NaN where nothing was measured), reason."""


class GalleryRun:
    """A scored run, opened for looking at its pictures. Raises `RadlBenchError` where it cannot be read."""

    def __init__(self, scored: ScoredRun, label: str) -> None:
        self.scored, self.label = scored, label
        self.folder = RunFolder.open(scored.path)
        self._generated = {(row["sample_id"], row["k"]): row for row in self.folder.rows()}

    @cached_property
    def benchmark(self) -> Benchmark:
        """The samples the run was made on; raises `MissingData` where they are not at hand or have changed."""
        return benchmark_of(self.folder.manifest)

    @property
    def images_per_sample(self) -> int:
        """Images a sample that the manifest asks for."""
        return int(self.folder.manifest["benchmark"]["images_per_sample"])

    @property
    def going(self) -> str | None:
        """A sentence when the run is not complete, or has grown since it was scored; else None."""
        done, planned = len(self._generated), self.folder.planned
        status = self.folder.manifest["status"]
        if done < planned:
            state = "still going" if status == "running" else "unfinished"
            return f"{self.label}: this run is {state}, {done:,} of {planned:,} images are made."
        if not self.scored.complete or 0 < len(self.scores) < planned:
            again = f"Run `radl-bench score {self.name}` again."
            return f"{self.label}: this run was scored before it was complete. {again}"
        return None

    @property
    def name(self) -> str:
        """The last three parts of the path: benchmark, method, hash."""
        return "/".join(self.scored.path.parts[-3:])

    @cached_property
    def scores(self) -> dict[tuple[str, int], list[ScoreRow]]:
        """Rows of `rows.parquet` by (sample id, k); {} where the file is not there."""
        file = self.scored.path / "scores" / "rows.parquet"
        if not file.is_file():
            return {}
        columns = ["sample_id", "k", "instance", "metric", "value", "reason"]
        found: dict[tuple[str, int], list[ScoreRow]] = {}
        for sample, k, *row in zip(*_columns(file, columns, self.scored.path), strict=True):
            found.setdefault((sample, k), []).append((row[0], row[1], _number(row[2]), row[3]))
        return found

    def picture(self, sample: Sample, k: int) -> Picture:
        """Return the picture of (sample, k); its `problem` says why there is none."""
        row = self._generated.get((sample.id, k))
        if row is None:
            asked = k < self.images_per_sample and any(s.id == sample.id for s in self.benchmark.samples)
            return Picture(sample, k, None, problem="not made yet" if asked else "not part of this run")
        if row["status"] != "ok":
            return Picture(sample, k, None, problem=f"generating it failed: {row.get('error')}")
        file = self.scored.path / row["file"]
        return Picture(sample, k, file, row["sha256"], None if file.is_file() else f"the file {file.name} is gone")

    def generated(self, sample_id: str, k: int) -> dict[str, Any]:
        """Return the row of the generation, {} where there is none."""
        return self._generated.get((sample_id, k), {})

    def detections(self, picture: Picture) -> list[list[Any]] | None:
        """Return `[category, x0, y0, x1, y1, score, instance, iou]` a box above the protocol's threshold, or None.

        `instance` is the index of the instance that the box was matched with, -1 for none; None instead of a list says
        that the detector was not asked, or that its evidence is gone.
        """
        found = {c: self._boxes(picture, c) for c in sorted({i.category for i in picture.sample.instances})}
        if self.rules is None or any(boxes is None for boxes in found.values()):
            return None
        strong = {c: suppress(b, self.rules.nms).above(self.rules.score) for c, b in found.items() if b is not None}
        owners = _owners(picture.sample, strong, self.rules)
        out = []
        for category, boxes in strong.items():
            for box, score in zip(boxes.boxes.tolist(), boxes.scores.tolist(), strict=True):
                out.append([category, *box, score, *owners.get((category, tuple(box)), (-1, 0.0))])
        return out

    @cached_property
    def rules(self) -> Protocol | None:
        """The protocol the run was scored under, None for one that this version does not know."""
        try:
            return resolve_protocol(self.scored.data.get("protocol", ""), **self.scored.data.get("thresholds", {}))
        except (UsageError, TypeError, ValueError):
            return None  # scores of another version: their numbers stand, only the boxes cannot be drawn

    def _boxes(self, picture: Picture, category: str) -> Boxes | None:
        import numpy as np

        if self._evidence is None:
            return None
        # a judge that reads the sample files what it saw under both
        for image in (picture.sha256, picture.own_key):
            if (image, category) in self._evidence:
                boxes, scores = self._evidence[image, category]
                return Boxes(np.array(boxes, float).reshape(-1, 4), np.array(scores, float))
        return None

    @cached_property
    def _evidence(self) -> EvidenceTable | None:
        wanted = (self.scored.data.get("judges", {}).get("detector") or {}).get("signature")
        for folder in sorted(self.folder.evidence_dir.glob("detections-*")):
            if wanted and _signature(folder) == wanted:
                return EvidenceTable(folder, wanted, ("image", "category"), ("boxes", "scores"))
        return None


def _owners(sample: Sample, found: dict[str, Boxes], rules: Protocol) -> dict[tuple[str, tuple], tuple[int, float]]:
    """Return (instance, IoU) by (category, box): which box was matched with which instance."""
    matches = match_instances(sample.instances, found, rules)
    pairs = zip(range(len(matches)), sample.instances, matches, strict=True)
    return {(i.category, m.box): (n, m.iou) for n, i, m in pairs if m.box is not None}


def _signature(folder: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in sorted(folder.glob("*.parquet")):
        try:
            return (pq.read_schema(part).metadata or {}).get(b"signature", b"").decode()
        except (pa.ArrowException, OSError):
            return None
    return None


def _columns(file: Path, names: Sequence[str], run: Path) -> list[list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=list(names))
        return [table.column(name).to_pylist() for name in names]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BadInput(f"{file} cannot be read ({error}). Run `radl-bench score {run}` again.") from None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
