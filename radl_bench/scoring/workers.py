"""Judging with several processes: each holds judges of its own and adds what they saw to the evidence of the run.

Chunks are dealt as one process would take them, so that a judge is asked the same questions in the same batches; the
scores are then read from the evidence, as in any second scoring.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from radl_bench.errors import MissingData, UsageError
from radl_bench.judges.checks import BadAnswer
from radl_bench.judges.contracts import Judge, Preparing
from radl_bench.judges.kinds import batches
from radl_bench.progress import stage
from radl_bench.runs.dealing import Dealer
from radl_bench.runs.images import Picture
from radl_bench.runs.local_workers import LocalCrew
from radl_bench.runs.plan import RunImages
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import CHUNK, Judges, judge, make_judges
from radl_bench.scoring.protocol import Protocol
from radl_bench.scoring.seen_files import SeenFiles

Rules = Sequence[tuple[Protocol, Set[str]]]
"""Rules, and the kinds of measurement that are needed under them."""


class Errand(NamedTuple):
    """A chunk of images to be judged; `run` is the folder that their evidence goes to."""

    run: Path
    rules: Rules
    pictures: list[Picture]


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
        return _fixed(self._judges.standing())

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


class Panel:
    """Processes that judge images; a context manager. They start at the first image that was not judged before.

    Args:
        options: the arguments of `make_judges`.
        workers: number of processes; 1 for none, which leaves all to the process that scores.
        batch_size: images a call of a judge.
    """

    def __init__(self, options: Mapping[str, Any], workers: int, batch_size: int = 16) -> None:
        self._recipe, self._workers = JudgeRecipe(options, batch_size), workers
        self._open = contextlib.ExitStack()
        self._dealer: Dealer[Errand, int] | None = None

    def __enter__(self) -> Panel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def measure(
        self, run: Path, rules: Rules, pictures: Sequence[Picture], parties: Mapping[str, Judge | None]
    ) -> None:
        """Have the images of a run judged that are not judged yet.

        Args:
            run: its folder.
            parties: the judges, by role, that this process holds; those of the workers have to be alike.

        Raises:
            UsageError: the judges of two workers differ, or no worker can be set up.
            BadAnswer: a judge failed, or an image cost all the workers that had it in hand.
        """
        if self._workers == 1:
            return
        todo = list(_unknown(run, rules, pictures, signatures_of(parties)))
        if not todo:
            return
        dealer = self._hired(parties)
        with stage("judge", len(pictures), resumed=len(pictures) - sum(map(len, todo))) as bar:
            for done in dealer.results(Errand(run, rules, chunk) for chunk in todo):
                bar.remark = dealer.remark()
                bar.advance(done)

    def _hired(self, parties: Mapping[str, Judge | None]) -> Dealer[Errand, int]:
        if self._dealer is None:
            spread = self._recipe.options.get("device") in (None, "cuda")
            crew = LocalCrew(self._recipe, self._workers, spread)
            own = _fixed(parties)
            dealer = Dealer[Errand, int](crew, lambda _, facts: _check_alike(own, facts), _singles, _give_up)
            self._dealer = self._open.enter_context(dealer)
        return self._dealer


def signatures_of(parties: Mapping[str, Judge | None]) -> dict[str, str]:
    """Return the signatures of the judges that are there, by role."""
    return {role: one.signature for role, one in parties.items() if one is not None}


def _fixed(parties: Mapping[str, Judge | None]) -> dict[str, str]:
    """Return the signatures that no run changes, as it does those of judges that read files."""
    return signatures_of({role: one for role, one in parties.items() if not isinstance(one, Preparing)})


def _unknown(
    run: Path, rules: Rules, pictures: Sequence[Picture], signatures: Mapping[str, str]
) -> Iterator[list[Picture]]:
    """Yield the chunks in which something is not known yet."""
    evidence = Evidence.recorded(run / "evidence", signatures)
    with contextlib.closing(evidence):
        for chunk in batches(pictures, CHUNK):
            try:
                for of, needs in rules:
                    evidence.views(chunk, of, needs)
            except (MissingData, UsageError):
                yield chunk


def _check_alike(own: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    for role, signature in theirs.items():
        if own.get(role) != signature:
            raise UsageError(
                f"The workers do not agree: the {role} is {own.get(role)} in one place and {signature} in another. "
                "Use the same files and weights everywhere."
            )


def _singles(errand: Errand) -> list[Errand]:
    return [errand._replace(pictures=[picture]) for picture in errand.pictures]


def _give_up(errand: Errand, why: str) -> int:
    (picture,) = errand.pictures
    raise BadAnswer(f"The image {picture.sample.id}_{picture.k} cannot be judged: {why}. Score with --workers 1.")
