"""What a judging worker does: its errands, and the judges that it holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from radl_bench.judges.contracts import Judge, Preparing
from radl_bench.runs.images import Picture
from radl_bench.runs.plan import RunImages
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.judging import Judges, judge, make_judges
from radl_bench.scoring.protocol import Protocol
from radl_bench.scoring.seen_files import SeenFiles

Rules = Sequence[tuple[Protocol, Set[str]]]
"""Rules, and the kinds of measurement that are needed under them."""


class Errand(NamedTuple):
    """A chunk of images to be judged; `run` is the folder that their evidence goes to."""

    run: Path
    rules: Rules
    pictures: list[Picture]

    def singles(self) -> list[Errand]:
        """Return its images one by one."""
        return [self._replace(pictures=[picture]) for picture in self.pictures]


@dataclass(frozen=True)
class JudgeRecipe:
    """How a worker sets its judges up: the arguments of `make_judges`, and how many images a call of a judge takes."""

    options: Mapping[str, Any]
    batch_size: int = 16

    def open(self) -> JudgingMaker:
        """Return the judges, ready but not loaded; raises what `make_judges` raises."""
        return JudgingMaker(make_judges(**self.options), self.batch_size)


class JudgingMaker:
    """The judges of a worker, with the evidence of the run that is judged."""

    def __init__(self, judges: Judges, batch_size: int) -> None:
        self._judges, self._batch_size = judges, batch_size
        self._run: Path | None = None
        self._evidence: Evidence | None = None
        self._files: SeenFiles | None = None

    @property
    def facts(self) -> dict[str, str]:
        """Signatures by role."""
        return fixed_signatures(self._judges.standing())

    @property
    def tables(self) -> Iterable[EvidenceTable]:
        """The evidence of the run that is judged."""
        return [] if self._evidence is None else self._evidence.tables

    def make(self, errand: Errand) -> int:
        """Have a chunk judged and the evidence written; returns the number of images."""
        evidence = self._evidence if self._run == errand.run and self._evidence is not None else self._turn_to(errand)
        for n, (rules, needs) in enumerate(errand.rules):
            views = judge(errand.pictures, evidence, rules, needs, self._files if n == 0 else None)
            deque(views, maxlen=0)
        return len(errand.pictures)

    def _turn_to(self, errand: Errand) -> Evidence:
        if self._evidence is not None and self._files is not None:
            self._evidence.close()
            self._files.table.close()
        kinds = frozenset[str]().union(*(needs for _, needs in errand.rules))
        parties = self._judges.standing() | self._judges.of(kinds)
        if any(isinstance(one, Preparing) for one in parties.values()):
            self._judges.prepare(list(RunImages.open(errand.run).planned()))
        folder = errand.run / "evidence"
        self._run, self._files = errand.run, SeenFiles(folder)
        self._evidence = Evidence(folder, self._batch_size, **parties)
        return self._evidence


def signatures_of(parties: Mapping[str, Judge | None]) -> dict[str, str]:
    """Return the signatures of the judges that are there, by role."""
    return {role: one.signature for role, one in parties.items() if one is not None}


def fixed_signatures(parties: Mapping[str, Judge | None]) -> dict[str, str]:
    """Return the signatures that no run changes, as it does those of judges that read files."""
    return signatures_of({role: one for role, one in parties.items() if not isinstance(one, Preparing)})
