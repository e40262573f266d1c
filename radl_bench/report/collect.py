"""Finding scored runs and sorting them into groups whose numbers may stand in one column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.parsing import read_json
from radl_bench.report.choice import Choice
from radl_bench.report.labels import told_apart
from radl_bench.report.scores_schema import problem_of_scores
from radl_bench.runs.plan import RunImages
from radl_bench.runs.scale import MINI, PAPER, scale_of_scores
from radl_bench.runs.store import find_scores
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec, read_spec
from radl_bench.scoring.recorded import RecordedViews
from radl_bench.scoring.score_files import RowWriter, part_of, read_parts
from radl_bench.text import safe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from radl_bench.scoring.permutation import SwapTest

METHODS = {
    "real": "real images",
    "sprites": "real (rendered)",
    "stable-diffusion": "Stable Diffusion (text only)",
    "multidiffusion": "MultiDiffusion",
    "layout-guidance": "TFLCG",
    "boxdiff": "BoxDiff",
    "layout-diffusion": "LayoutDiffusion",
    "gligen": "GLIGEN",
    "migc": "MIGC",
    "radl": "RaDL",
}
"""Generator name -> name in a table, in the order of the literature; unknown methods stand before RaDL."""

_SCALES = (PAPER, MINI, None)
"""In the order of the sections of a report."""

USUAL_SEEDS = "hashed"

REFERENCES = frozenset({"real", "sprites"})
"""Pictures that are right by construction (photos are imported with `--name real`): they calibrate the judges and take
no part in the contest."""


@dataclass(frozen=True)
class ScoredRun:
    """What one scores.json of a run says; everything else is read only when it is asked for."""

    path: Path
    data: dict[str, Any]
    file: Path
    """The scores.json; a run has one a judge set and protocol."""

    @property
    def method(self) -> str:
        return safe(self.data["generator"]["name"])

    @property
    def model(self) -> str:
        """Name of the model: "mini", "sd14", the last part of a path, or "-" where the method has none."""
        return safe(Path(str(self.data["generator"].get("model") or "-")).name)

    @property
    def reference(self) -> bool:
        """Whether these pictures are right by construction and so take no part in the contest."""
        return self.method in REFERENCES

    @property
    def complete(self) -> bool:
        return self.data.get("status") == "complete"

    @property
    def status(self) -> str:
        """How far the run is: "complete"; "partial", images were still to come when it was scored; "outdated", the run
        was asked for more images since."""
        return "outdated" if self.complete and self.planned > self.images else str(self.data.get("status"))

    @property
    def notes(self) -> list[str]:
        """What was odd about the images of the run and about how they were judged, as sentences."""
        return [note for note in self.data.get("notes") or [] if isinstance(note, str)]

    @property
    def images(self) -> int:
        """Number of images that the scores speak of, failed ones included."""
        return int(self.data.get("images", {}).get("n", 0))

    @cached_property
    def planned(self) -> int:
        """Number of images that the manifest asks for today; that of the scores where the manifest does not say."""
        try:
            recorded = json.loads((self.path / "manifest.json").read_text("utf-8"))["benchmark"]
            return int(recorded["n_samples"]) * int(recorded["images_per_sample"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.images

    @property
    def scale(self) -> str | None:
        """World of these numbers, see `runs.scale`."""
        return scale_of_scores(self.data)

    @cached_property
    def plan(self) -> RunImages:
        """The images the run was asked for, and what became of each; raises `RadlBenchError`."""
        return RunImages.open(self.path)

    @cached_property
    def views(self) -> RecordedViews:
        """What the judges saw in them."""
        return RecordedViews(self.plan, self.data)

    @property
    def seeds(self) -> str:
        """Seed policy and base as the signatures say it: "hashed", "fixed+7", "unknown"."""
        parts = str(self.data["scores"][0].get("signature", "")).split("|") if self.data["scores"] else []
        return next((part.removeprefix("seed:") for part in parts if part.startswith("seed:")), "unknown")

    @cached_property
    def cells(self) -> dict[tuple[str, int | None], dict[str, Any]]:
        """Scores by (metric, level); the level None is all levels together."""
        return {(score["metric"], score["level"]): score for score in self.data["scores"]}

    @cached_property
    def specs(self) -> dict[str, ScoreSpec]:
        """The facts of each score, as its metric declared them when it was scored; older scores carry none."""
        facts = self.data.get("facts", {})
        names = dict.fromkeys(metric for metric, _ in self.cells)
        return {name: read_spec(name, facts[name]) if name in facts else known_spec(name) for name in names}

    @cached_property
    def rows(self) -> pd.DataFrame | None:
        """The rows of the scores (one an instance or image), or None when the file is not there."""
        file = part_of(self.file, self.data, "rows")
        if not file.is_file():
            return None
        import pandas as pd

        try:
            return pd.read_parquet(file, columns=list(RowWriter.COLUMNS))
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(f"{file} cannot be read ({error}). {self.again}") from None

    @cached_property
    def _parts(self) -> dict[str, dict[str, np.ndarray]]:
        file = part_of(self.file, self.data, "parts")
        try:
            return read_parts(file)
        except ValueError as error:
            raise BadInput(f"{file} cannot be read ({error}). {self.again}") from None

    def kept(self, score: str) -> dict[str, np.ndarray] | None:
        """Return what a score without rows is tested by, see `metrics.Comparable`; None where there is nothing."""
        return next((kept for kept in self._parts.values() if score in map(str, kept.get("scores", ()))), None)

    @property
    def again(self) -> str:
        """What to do where its files are broken, as a sentence."""
        return f"Run `radl-bench score {self.path}` again."

    @cached_property
    def tests(self) -> dict[tuple[str, str, int | None, frozenset[str] | None], SwapTest | None]:
        """Tests against other runs that were made already: file of the other, metric, level, samples."""
        return {}


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
        out = [METHODS.get(run.method, run.method) for run in self.runs]
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
        found = (choice or Choice()).of([_read(path, file) for file in find_scores(path)])
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
    return (*what, run.data.get("protocol", ""), _SCALES.index(run.scale))


def _order(run: ScoredRun) -> tuple:
    names = list(METHODS)
    place = names.index(run.method) if run.method in names else len(names) - 1.5
    return (*_identity(run), place, run.method, run.model, str(run.path))


def _read(path: Path, file: Path) -> ScoredRun:
    again = f"Run `radl-bench score {path}` again."
    try:
        data = read_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} is not JSON ({error}). {again}") from None
    if not isinstance(data, dict) or data.get("schema_version") != 1:
        raise BadInput(f"{file} is not of schema version 1. {again}")
    problem = problem_of_scores(data)
    if problem:
        raise BadInput(f"{file} cannot be used: {problem}. {again}")
    return ScoredRun(path, data, file)
