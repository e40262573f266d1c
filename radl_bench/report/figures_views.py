"""What the judges saw in the pictures of a scored run, read back from its evidence: no judge, no model, no picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from radl_bench.benchmarks.loading import benchmark_of
from radl_bench.errors import MissingData
from radl_bench.report.collect import ScoredRun
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import judge
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Boxes, Match, Protocol, box_iou, match_instances, resolve_protocol
from radl_bench.types import Instance


@dataclass(frozen=True)
class RecordedJudge:
    """Stands where a detector and a segmenter do, and knows only what is in the evidence already."""

    signature: str
    needs_sample: bool = False

    def detect(self, images: Any, categories: Any) -> NoReturn:
        """Raise `MissingData`: nothing can be measured anew."""
        raise MissingData(f"The evidence of '{self.signature}' is not complete")

    def masks(self, image: Any, boxes: Any) -> NoReturn:
        """Raise `MissingData`: nothing can be measured anew."""
        raise MissingData(f"The evidence of '{self.signature}' is not complete")


@dataclass(frozen=True)
class Seen:
    """The views of a run under the protocol it was scored with, one an image that was asked for."""

    views: tuple[View, ...]
    rules: Protocol

    @cached_property
    def strong(self) -> tuple[dict[str, Boxes], ...]:
        """Detections above the protocol's score, by category, one dict a view."""
        return tuple({c: boxes.above(self.rules.score) for c, boxes in view.found.items()} for view in self.views)

    def instances(self) -> Iterator[tuple[View, dict[str, Boxes], Instance, Match, np.ndarray]]:
        """Yield view, strong detections, instance, match and colour shares [7] of every instance that was judged."""
        for view, strong in zip(self.views, self.strong, strict=True):
            if view.problem is None:
                for instance, match, share in zip(view.sample.instances, view.matches, view.shares, strict=True):
                    yield view, strong, instance, match, share


def seen_by(run: ScoredRun) -> Seen:
    """Read back what the detector and the segmenter of a run's scores saw.

    Raises:
        MissingData: the evidence, or the benchmark, is not there any more; the sentence says what to run.
        RadlBenchError: the run, or its evidence, cannot be read.
    """
    judges = run.data.get("judges", {})
    detector, segmenter = (_signature(judges.get(kind)) for kind in ("detector", "segmenter"))
    again = f"Run `radl-bench score {run.path}` again."
    if not detector or not segmenter:
        raise MissingData(f"The scores of {run.path} do not name their judges. {again}")
    folder = RunFolder.open(run.path)
    rules = resolve_protocol(str(run.data.get("protocol", "")), **run.data.get("thresholds", {}))
    pictures = list(_pictures(folder))
    segments = RecordedJudge(segmenter, needs_sample=segmenter.startswith("file@"))  # masks by image, not by bytes
    try:
        evidence = Evidence(folder.evidence_dir, _judge(folder, pictures, detector), segments)
        needs = frozenset({"detections", "coverage"})
        return Seen(tuple(judge(pictures, evidence, rules, needs)), rules)
    except MissingData as error:
        raise MissingData(f"{error}. {again}") from None


def rematched(seen: Seen, score: float) -> Iterator[Match]:
    """Yield the match of every judged instance when only detections of at least this score count."""
    for view in seen.views:
        if view.problem is None:
            found = {category: boxes.above(score) for category, boxes in view.found.items()}
            yield from match_instances(view.sample.instances, found, seen.rules)


def right_boxes(view: View, category: str, iou: float) -> np.ndarray:
    """Return bool [N]: which detections of a category are in place, best first, each instance taken once."""
    found = view.found[category]
    wanted = np.array([i.box for i in view.sample.instances if i.category == category], float)
    overlap = box_iou(found.boxes, wanted)
    right = np.zeros(len(found.scores), bool)
    for n in np.argsort(-found.scores, kind="stable"):
        best = int(overlap[n].argmax())
        if overlap[n, best] >= iou:
            right[n] = True
            overlap[:, best] = 0.0
    return right


def _signature(judge: Any) -> str:
    return str(judge.get("signature") or "") if isinstance(judge, dict) else ""


def _pictures(folder: RunFolder) -> Iterator[Picture]:
    """Yield every image that the run asks for; the evidence is enough, so its file need not be there any more."""
    rows = {(row["sample_id"], row["k"]): row for row in folder.rows()}
    for sample in benchmark_of(folder.manifest).samples:
        for k in range(folder.manifest["benchmark"]["images_per_sample"]):
            row = rows.get((sample.id, k), {"status": "absent"})
            if row["status"] == "ok":
                yield Picture(sample, k, folder.path / row["file"], row["sha256"])
            else:
                yield Picture(sample, k, None, problem=f"no picture: {row['status']}")


def _judge(folder: RunFolder, pictures: list[Picture], signature: str) -> RecordedJudge:
    """Return the detector; one that reads the sample files what it saw under picture and sample."""
    plain, by_sample = RecordedJudge(signature), RecordedJudge(signature, needs_sample=True)
    table = Evidence(folder.evidence_dir, plain, plain).found
    first = next((p for p in pictures if p.problem is None), None)
    if first is None:
        return plain
    category = first.sample.instances[0].category
    return by_sample if (first.own_key, category) in table else plain
