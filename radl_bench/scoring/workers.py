"""Judging with several workers: each holds judges of its own, and what they saw is added to the evidence of the run.

Chunks are dealt as one process would take them, so that a judge is asked the same questions in the same batches; the
scores are then read from the evidence, as in any second scoring. Processes of this machine write the evidence, since a
kill then loses nothing; actors of a cluster get the images and send back rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from radl_bench.errors import MissingData, UsageError
from radl_bench.judges.checks import BadAnswer
from radl_bench.judges.contracts import Judge, Preparing
from radl_bench.judges.kinds import batches
from radl_bench.progress import stage
from radl_bench.runs.crews import check_crew, crew_of
from radl_bench.runs.dealing import Dealer, Job
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import CHUNK
from radl_bench.scoring.judging_work import Errand, JudgeRecipe, Rules, fixed_signatures, signatures_of
from radl_bench.scoring.parcels import Judged, Parcel, ParcelRecipe, absolute, versions


class Panel:
    """Workers that judge images; a context manager. They start at the first image that was not judged before.

    Args:
        options: the arguments of `make_judges`.
        workers: how many; one that is local leaves all to the process that scores.
        batch_size: images a call of a judge.
        engine: "local" for processes of this machine, "ray" for actors of a Ray cluster.
        address: of the cluster; None starts one on this machine.

    Raises:
        UsageError: an unknown engine, a number out of range, or an address without a cluster's engine.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        workers: int = 1,
        batch_size: int = 16,
        engine: str = "local",
        address: str | None = None,
    ) -> None:
        check_crew(workers, engine, address)
        self._recipe = JudgeRecipe(absolute(options), batch_size)
        self._workers, self._engine, self._address = workers, engine, address
        self._open = contextlib.ExitStack()
        self._dealer: Dealer[Any, int | Judged] | None = None

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
            UsageError: the judges of two workers differ, no worker can be set up, or a judge reads files and the
                workers are elsewhere.
            BadAnswer: a judge failed, or an image cost all the workers that had it in hand.
        """
        away = self._engine != "local"
        if self._workers == 1 and not away:
            return
        if away:
            _refuse_files(parties)
        todo = list(_unknown(run, rules, pictures, signatures_of(parties)))
        if not todo:
            return
        dealer = self._hired(parties)
        with stage("judge", len(pictures), resumed=len(pictures) - sum(map(len, todo))) as bar:
            errands = (Errand(run, rules, chunk) for chunk in todo)
            for done in dealer.results(map(Parcel.of, errands) if away else errands):
                bar.remark = dealer.remark()
                bar.advance(done.kept(run / "evidence") if isinstance(done, Judged) else done)

    def _hired(self, parties: Mapping[str, Judge | None]) -> Dealer[Any, int | Judged]:
        if self._dealer is None:
            away = self._engine != "local"
            job: Job = ParcelRecipe(self._recipe) if away else self._recipe
            spread = self._recipe.options.get("device") in (None, "cuda")
            crew = crew_of(job, self._workers, self._engine, self._address, spread)
            own = fixed_signatures(parties) | (versions() if away else {})
            dealer = Dealer[Any, "int | Judged"](crew, lambda _, facts: _check_alike(own, facts), _singles, _give_up)
            self._dealer = self._open.enter_context(dealer)
        return self._dealer


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
                "Use the same files, weights and versions everywhere."
            )


def _refuse_files(parties: Mapping[str, Judge | None]) -> None:
    for role, one in parties.items():
        if isinstance(one, Preparing):
            raise UsageError(f"The {role} reads files of results, which lie on this machine. Leave --engine out.")


def _singles(work: Errand | Parcel) -> Sequence[Errand | Parcel]:
    return work.singles()


def _give_up(work: Errand | Parcel, why: str) -> int:
    (picture,) = (work.errand if isinstance(work, Parcel) else work).pictures
    raise BadAnswer(f"The image {picture.sample.id}_{picture.k} cannot be judged: {why}. Score with --workers 1.")
