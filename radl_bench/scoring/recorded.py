"""What the judges saw when a run was scored, read back from its evidence: no judge, no model, no image is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from radl_bench.errors import MissingData
from radl_bench.hints import command
from radl_bench.judges.kinds import batches
from radl_bench.runs.images import Picture
from radl_bench.runs.plan import RunImages
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Protocol, resolve_protocol

_AT_ONCE = 64


class RecordedViews:
    """The views that the scores of a run rest on.

    Args:
        images: the run.
        scores: content of its scores.json.
    """

    def __init__(self, images: RunImages, scores: Mapping[str, Any]) -> None:
        self.images, self._scores = images, scores

    @cached_property
    def rules(self) -> Protocol:
        """The protocol the run was scored under; raises `UsageError` for one that this version does not know."""
        return resolve_protocol(str(self._scores.get("protocol", "")), **self._scores.get("thresholds", {}))

    def of(self, pictures: Iterable[Picture], needs: Iterable[str]) -> Iterator[View]:
        """Yield the view of each image, in order, with the kinds of evidence in `needs`.

        Raises:
            MissingData: the judges are not named, or what they saw is not there any more; the message says what to run.
            RadlBenchError: the evidence, or the protocol, cannot be read.
        """
        again = f"Run `{command('score', self.images.run.path)}` again."
        try:
            for chunk in batches(pictures, _AT_ONCE):
                yield from self._evidence.views(chunk, self.rules, needs)
        except MissingData as error:
            raise MissingData(f"{error}. {again}") from None

    @cached_property
    def _evidence(self) -> Evidence:
        judges = self._scores.get("judges", {})
        entries = {role: judge for role, judge in judges.items() if isinstance(judge, Mapping)}
        signatures = {role: str(judge["signature"]) for role, judge in entries.items() if judge.get("signature")}
        if not {"detector", "segmenter"} <= signatures.keys():
            raise MissingData(f"The scores of {self.images.run.path} do not name their judges")
        return Evidence.recorded(self.images.run.evidence_dir, signatures)
