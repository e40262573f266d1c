"""Finding scored runs and sorting them into groups whose numbers may stand in one column."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.report.labels import told_apart
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec, read_spec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

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

_MINI = re.compile(r"(?<![A-Za-z])mini(?![A-Za-z])")  # "mini-detector@1", not "gemini"

USUAL_SEEDS = "hashed"

REFERENCE = "sprites"
"""Pictures rendered from the layout itself."""

REFERENCES = frozenset({"real", REFERENCE})
"""Pictures that are right by construction (photos are imported with `--name real`): they calibrate the judges and take
no part in the contest. So do those whose generator says "ceiling" or "floor" of itself."""

FLOOR = "floor"
"""What a generator says whose pictures are wrong by construction."""


@dataclass(frozen=True)
class ScoredRun:
    """What `scores/scores.json` of one run says; the rows are read only when they are asked for."""

    path: Path
    data: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.data["generator"]["name"])

    @property
    def model(self) -> str:
        """Name of the model: "mini", "sd14", the last part of a path, or "-" where the method has none."""
        return Path(str(self.data["generator"].get("model") or "-")).name

    @property
    def reference(self) -> bool:
        """Whether these pictures are right or wrong by construction and so take no part in the contest."""
        return self.method in REFERENCES or self.data["generator"].get("reference") is not None

    @property
    def floor(self) -> bool:
        """Whether these pictures are wrong by construction: what they score is the judges' own fault."""
        return self.data["generator"].get("reference") == FLOOR

    @property
    def title(self) -> str:
        """Name of the method in a table; that of a floor says what is wrong in its pictures."""
        wrong = (self.data["generator"].get("params") or {}).get("wrong")
        return f"floor: wrong {wrong} (rendered)" if self.floor and wrong else METHODS.get(self.method, self.method)

    @property
    def complete(self) -> bool:
        return self.data.get("status") == "complete"

    @property
    def status(self) -> str:
        """How far the run is: "complete"; "partial", images were still to come when it was scored; "outdated", the run
        was asked for more images since."""
        return "outdated" if self.complete and self.planned > self.images else str(self.data.get("status"))

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
    def mini(self) -> bool:
        """Whether these are mini numbers: made by the embedded model or measured by an embedded judge."""
        judges = " ".join(map(str, _leaves(self.data.get("judges", {}))))
        return self.model == "mini" or self.method == REFERENCE or bool(_MINI.search(judges))

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
        """`rows.parquet` (one row an instance or image), or None when the file is not there."""
        file = self.path / "scores" / "rows.parquet"
        if not file.is_file():
            return None
        import pandas as pd

        try:
            return pd.read_parquet(file, columns=["sample_id", "k", "level", "metric", "value"])
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(f"{file} cannot be read ({error}). Run `radl-bench score {self.path}` again.") from None

    @cached_property
    def draws(self) -> dict[str, np.ndarray]:
        """Bootstrap draws of the scores without rows by `metric@level` (`metric@all`); {} where there are none."""
        import numpy as np

        try:
            with np.load(self.path / "scores" / "draws.npz", allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # older scores: their intervals stand
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
    def mini(self) -> bool:
        return self.runs[0].mini

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


def collect(paths: Sequence[Path]) -> tuple[list[ScoredRun], list[Path]]:
    """Read the scores of run folders; return the scored runs and the folders that have no scores yet.

    Raises:
        MissingData: a folder is not a run.
        BadInput: a `scores.json` is broken or of another version.
    """
    scored, unscored = [], []
    for path in dict.fromkeys(Path(p).resolve() for p in paths):
        if (path / "scores" / "scores.json").is_file():
            scored.append(_read(path))
        elif (path / "manifest.json").is_file():
            unscored.append(path)
        else:
            raise MissingData(f"{path} is not a run: it has no manifest.json. `radl-bench ls runs` lists the runs.")
    return scored, unscored


def group_runs(runs: Sequence[ScoredRun]) -> list[Group]:
    """Sort runs into groups that may share a table. Only the number of samples and the seeds differ within a group."""
    groups: list[Group] = []
    for run in sorted(runs, key=_order):
        signatures = {key: comparable(str(score.get("signature", ""))) for key, score in run.cells.items()}
        home = next((g for g in groups if g.identity == _identity(run) and g.takes(run, signatures)), None)
        if home is None:
            home = Group(_identity(run))
            groups.append(home)
        home.runs.append(run)
        home.signatures = {**signatures, **home.signatures}
        home.specs = {**run.specs, **home.specs}
    return groups


def comparable(signature: str) -> str:
    """Return what has to be equal for two numbers to share a column: a signature without size and seeds."""
    return "|".join(part for part in signature.split("|") if not part.startswith(("n:", "seed:")))


def _identity(run: ScoredRun) -> tuple:
    benchmark = run.data["benchmark"]
    kept = {key: value for key, value in benchmark.get("filter", {}).items() if key != "limit"}
    what = (benchmark["name"], str(benchmark["version"]), benchmark["sha256"], json.dumps(kept, sort_keys=True))
    return (*what, run.data.get("protocol", ""), run.mini)


def _order(run: ScoredRun) -> tuple:
    names = list(METHODS)
    place = names.index(run.method) if run.method in names else len(names) - 1.5
    return (*_identity(run), place, run.method, run.floor, run.title, run.model, str(run.path))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _read(path: Path) -> ScoredRun:
    file = path / "scores" / "scores.json"
    again = f"Run `radl-bench score {path}` again."
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not JSON ({error}). {again}") from None
    if not isinstance(data, dict) or data.get("schema_version") != 1:
        raise BadInput(f"{file} is not of schema version 1. {again}")
    problem = _problem(data)
    if problem:
        raise BadInput(f"{file} {problem}. {again}")
    return ScoredRun(path, data)


def _problem(data: dict[str, Any]) -> str | None:
    for table, keys in {"benchmark": ("name", "version", "sha256"), "generator": ("name",)}.items():
        missing = [key for key in keys if key not in (data.get(table) or {})]
        if missing:
            return f"has no {table}.{missing[0]}"
    scores = data.get("scores")
    keys_of_score = {"metric", "level", "value", "ci_low", "ci_high", "n", "n_missing"}
    if not isinstance(scores, list) or not all(isinstance(s, dict) and keys_of_score <= s.keys() for s in scores):
        return "has no list of scores with metric, level, value, interval, n and n_missing"
    facts = data.get("facts", {})
    if not isinstance(facts, dict) or not all(isinstance(table, dict) for table in facts.values()):
        return "has 'facts' that are no table by score"
    try:
        _ = [read_spec(name, table) for name, table in facts.items()]
    except ValueError as error:
        return f"has facts that are not understood ({error})"
    return None
