"""One scored run, as its files say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import BadInput
from radl_bench.hints import command
from radl_bench.parsing import read_json
from radl_bench.report.scores_schema import problem_of_scores
from radl_bench.report.sums import Sums, read_sums
from radl_bench.runs.plan import RunImages
from radl_bench.runs.scale import MINI, PAPER, scale_of_scores
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

SCALE_ORDER = (PAPER, MINI, None)
"""In the order of the sections of a report."""

USUAL_SEEDS = "hashed"

REFERENCES = frozenset({"real", "sprites"})
"""Pictures that are right by construction (photos are imported with `--name real`): they calibrate the judges and take
no part in the contest. So do those whose generator says "ceiling" or "floor" of itself."""

FLOOR = "floor"
"""What a generator says whose pictures are wrong by construction."""

WAYS_TO_BE_WRONG = ("color", "class", "place", "lookalike")
"""The floors that the rendered scenes have, keys of `radl_bench.mini.wrong.KINDS`."""


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
        """Whether these pictures are right or wrong by construction and so take no part in the contest."""
        return self.method in REFERENCES or self.data["generator"].get("reference") is not None

    @property
    def floor(self) -> bool:
        """Whether these pictures are wrong by construction: what they score is the judges' own fault."""
        return self.data["generator"].get("reference") == FLOOR

    @property
    def ceiling(self) -> bool:
        """Whether these pictures are right by construction: no method can score more."""
        return self.reference and not self.floor

    @property
    def wrong(self) -> str | None:
        """What is wrong in the pictures of a floor, one of `WAYS_TO_BE_WRONG`; None where it is not said."""
        wrong = (self.data["generator"].get("params") or {}).get("wrong")
        return safe(str(wrong)) if wrong else None

    @property
    def title(self) -> str:
        """Name of the method in a table; that of a floor says what is wrong in its pictures."""
        if self.floor and self.wrong:
            return f"floor: wrong {self.wrong} (rendered)"
        return METHODS.get(self.method, self.method)

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
    def unguided(self) -> tuple[int, int] | None:
        """How many instances of its images got no guidance, of how many; None where no image's row tells of any."""
        told = self.data.get("unguided") or {}
        return (told["n"], told["of"]) if told.get("of") and "n" in told else None

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
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
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
    def sums(self) -> Sums:
        """Sums over samples of every score with rows, by (metric, level); {} when the file of rows is not there."""
        file = part_of(self.file, self.data, "rows")
        if not file.is_file():
            return {}
        try:
            return read_sums(file, self.specs)
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(f"{file} cannot be read ({error}). {self.again}") from None

    def rows(self) -> pd.DataFrame | None:
        """Read the rows of the scores (one an instance or image); None when the file is not there.

        They are large, and kept by nobody: what needs sums alone takes `sums`.
        """
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
        return f"Run `{command('score', self.path)}` again."

    @cached_property
    def tests(self) -> dict[tuple[str, str, int | None, frozenset[str] | None, str | None], SwapTest | None]:
        """Tests against other runs that were made already: file of the other, metric, level, samples."""
        return {}


def read_scored(path: Path, file: Path) -> ScoredRun:
    """Read the scores of a run; raises `BadInput` for a `scores.json` that cannot be used."""
    again = f"Run `{command('score', path)}` again."
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
