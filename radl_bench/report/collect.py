"""Finding scored runs and sorting them into groups whose numbers may stand in one column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import MissingData
from radl_bench.report.choice import Choice
from radl_bench.report.labels import told_apart
from radl_bench.report.scored_run import METHODS, SCALE_ORDER, USUAL_SEEDS, ScoredRun, read_scored
from radl_bench.runs.store import find_scores
from radl_bench.scoring.metrics.spec import ScoreSpec

if TYPE_CHECKING:
    pass


@dataclass
class Group:
    """Runs whose numbers were measured alike: same benchmark, filter, protocol, scale and signatures.

    Sizes and seeds may differ, since pictures made elsewhere have unknown seeds; a label or a note says so.
    """

    identity: tuple
    runs: list[ScoredRun] = field(default_factory=list)
    signatures: dict[tuple[str, int | None], str] = field(default_factory=dict)
    specs: dict[str, ScoreSpec] = field(default_factory=dict)

    @property
    def scale(self) -> str | None:
        return self.runs[0].scale

    @property
    def benchmark(self) -> dict[str, Any]:
        return self.runs[0].data["benchmark"]

    @property
    def table(self) -> object:
        """The `[table]` of the benchmark, as the scores carry it; None where none of them does."""
        return next((run.data["table"] for run in self.runs if run.data.get("table")), None)

    def takes(self, run: ScoredRun, signatures: dict[tuple[str, int | None], str]) -> bool:
        """Say whether all scores that the group and the run share were measured alike and mean the same."""
        alike = all(self.signatures[key] == signatures[key] for key in self.signatures.keys() & signatures.keys())
        return alike and all(self.specs[n].same_rules(run.specs[n]) for n in self.specs.keys() & run.specs.keys())

    def labels(self) -> list[str]:
        """Return a name for each run; runs of one method and model are told apart by settings, or else by folder."""
        out = [run.title for run in self.runs]
        for model in {run.model for run in self.runs}:
            at = [n for n, run in enumerate(self.runs) if run.model == model]
            alike = [self.runs[n] for n in at]
            params = [run.data["generator"].get("params") or {} for run in alike]
            for n, label in zip(
                at, told_apart([out[n] for n in at], params, [r.path.name for r in alike]), strict=True
            ):
                out[n] = label
        return [
            label + (f" (seeds {run.seeds})" if self.seeds_differ and run.seeds != USUAL_SEEDS else "")
            for label, run in zip(out, self.runs, strict=True)
        ]

    @property
    def seeds_differ(self) -> bool:
        return len({run.seeds for run in self.runs}) > 1


def collect(paths: Sequence[Path], choice: Choice | None = None) -> tuple[list[ScoredRun], list[Path]]:
    """Read the scores of run folders; return the scored runs and the folders that have no such scores yet.

    A run that was scored under several judge sets or protocols gives its newest scores, or those of the `choice`.

    Raises:
        MissingData: a folder is not a run.
        BadInput: a `scores.json` is broken or of another version.
    """
    scored, unscored = [], []
    for path in dict.fromkeys(Path(p).resolve() for p in paths):
        found = (choice or Choice()).of([read_scored(path, file) for file in find_scores(path)])
        if found:
            scored += found
        elif (path / "manifest.json").is_file():
            unscored.append(path)
        else:
            raise MissingData(f"{path} is not a run: it has no manifest.json. `radl-bench ls runs` lists the runs.")
    return scored, unscored


def group_runs(runs: Sequence[ScoredRun]) -> list[Group]:
    """Sort runs into groups that may share a table. Only the number of samples, the seeds and how an
    interval was made differ within a group."""
    groups: list[Group] = []
    for run in sorted(runs, key=_order):
        signatures = {key: comparable(str(score.get("signature", ""))) for key, score in run.cells.items()}
        home = next((g for g in groups if _at_home(run, g) and g.takes(run, signatures)), None)
        if home is None:
            home = Group(_identity(run))
            groups.append(home)
        home.runs.append(run)
        home.signatures = {**signatures, **home.signatures}
        home.specs = {**run.specs, **home.specs}
    return groups


def comparable(signature: str) -> str:
    """Return what has to be equal for two numbers to share a column: a signature without size, seeds and interval."""
    return "|".join(part for part in signature.split("|") if not part.startswith(("n:", "seed:", "ci:")))


def _at_home(run: ScoredRun, group: Group) -> bool:
    # two scorings of one run are two columns of numbers about the same images
    return group.identity == _identity(run) and all(run.path != other.path for other in group.runs)


def _identity(run: ScoredRun) -> tuple:
    benchmark = run.data["benchmark"]
    kept = {key: value for key, value in benchmark.get("filter", {}).items() if key != "limit"}
    what = (benchmark["name"], str(benchmark["version"]), benchmark["sha256"], json.dumps(kept, sort_keys=True))
    return (*what, run.data.get("protocol", ""), SCALE_ORDER.index(run.scale))


def _order(run: ScoredRun) -> tuple:
    names = list(METHODS)
    place = names.index(run.method) if run.method in names else len(names) - 1.5
    return (*_identity(run), place, run.method, run.floor, run.title, run.model, str(run.path))
