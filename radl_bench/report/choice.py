"""Which scores of a run are looked at, where it was scored under several judge sets or protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radl_bench.scoring.score_files import scores_key

if TYPE_CHECKING:
    from radl_bench.report.scored_run import ScoredRun


@dataclass(frozen=True)
class Choice:
    """Which of the scores of a run are taken, one folder a judge set and protocol.

    Attributes:
        every: all that fit, instead of the newest.
        judges: only scores in which a judge has this name, or a signature that starts so, for each of these words.
    """

    every: bool = False
    judges: tuple[str, ...] = ()

    def of(self, scored: Sequence[ScoredRun]) -> list[ScoredRun]:
        """Return those of one run that are chosen; `scored` is the newest first."""
        newest = {scores_key(run.data): run for run in reversed(scored)}
        fitting = [run for run in scored if newest[scores_key(run.data)] is run and self._fits(run)]
        return fitting if self.every else fitting[:1]

    def _fits(self, run: ScoredRun) -> bool:
        entries = [j for j in run.data.get("judges", {}).values() if isinstance(j, dict)]
        return all(
            any(word == j.get("name") or str(j.get("signature")).startswith(word) for j in entries)
            for word in self.judges
        )


def scored_alike(one: Sequence[ScoredRun], other: Sequence[ScoredRun]) -> tuple[ScoredRun, ScoredRun]:
    """Return the newest scores of two runs under the same judges and protocol; the newest of each where none are."""
    keys = {scores_key(run.data): run for run in reversed(other)}
    return next(((run, keys[key]) for run in one if (key := scores_key(run.data)) in keys), (one[0], other[0]))
