"""Scores as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import MissingData, MissingExtra, UsageError
from radl_bench.hints import command
from radl_bench.report.collect import collect
from radl_bench.report.scored_run import ScoredRun
from radl_bench.runs.generate import Outcome

if TYPE_CHECKING:
    import pandas as pd

ROWS = (
    "method", "model", "benchmark", "sample_id", "k", "level", "instance", "phrase", "category", "color", "box",
    "metric", "value", "reason",
)  # fmt: skip
"""Columns of `Scores.rows`."""

TABLE = (
    "method", "model", "scale", "benchmark", "metric", "heading", "level", "value", "ci_low", "ci_high", "n",
    "n_missing", "status", "run", "signature",
)  # fmt: skip
"""Columns of `Scores.table`."""


@dataclass(frozen=True)
class Scores:
    """The scores of one or several runs.

    Attributes:
        scored: the runs with what their files say.
        notes: sentences about images, judges and scores.
    """

    scored: tuple[ScoredRun, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def runs(self) -> list[Path]:
        """Folders of the runs."""
        return [run.path for run in self.scored]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a score and level (None: all levels), with 95 % interval; the columns are `TABLE`."""
        import pandas as pd

        lines = [
            {**_about(run), **entry, "heading": run.specs[entry["metric"]].heading}
            for run in self.scored
            for entry in run.data["scores"]
        ]
        frame = pd.DataFrame(lines).reindex(columns=list(TABLE))
        frame["level"] = frame["level"].astype("Int64")
        return frame

    @cached_property
    def rows(self) -> pd.DataFrame:
        """A row a score of an image or instance (-1: the whole image); the columns are `ROWS`.

        `value` is per cent, 100 times a cosine, or NaN without evidence; `box` is xyxy in fractions, None for a whole
        image.
        """
        import pandas as pd

        frames = [_rows(run) for run in self.scored]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(ROWS))

    def _repr_html_(self) -> str:
        return self.table.drop(columns=["run", "signature"]).to_html(index=False)


def read_scores(*runs: str | Path | Outcome, notes: Sequence[str] = ()) -> Scores:
    """Return the newest scores of runs that are scored; raises `MissingData` for one that is not."""
    scored, unscored = collect([run_path(run) for run in runs])
    if unscored:
        raise MissingData(
            f"{unscored[0]} is not scored yet. Call score(run), or run `{command('score', unscored[0])}`."
        )
    return Scores(tuple(scored), tuple(dict.fromkeys([*notes, *(note for run in scored for note in run.notes)])))


def compare(a: str | Path | Outcome | Scores, b: str | Path | Outcome | Scores) -> pd.DataFrame:
    """Compare two scored runs on the samples both have: a row a score and level.

    The columns are those of `scoring.compare.Line`: the numbers of both, the difference with its 95 % interval, the
    paired p and the tie groups. `attrs["notes"]` says how far the runs can be compared.

    Raises:
        UsageError: the runs were measured differently, or are of two benchmarks.
        MissingData: a run is not scored.
    """
    import pandas as pd

    from radl_bench.scoring.compare import Line, compare_runs

    found = compare_runs(run_path(a), run_path(b))
    frame = pd.DataFrame([asdict(line) for line in found.lines], columns=list(Line.__dataclass_fields__))
    frame["level"] = frame["level"].astype("Int64")
    frame.attrs = {"a": found.a, "b": found.b, "notes": list(found.notes)}
    return frame


def wandb_table(scores: Scores) -> object:
    """Return the table of scores as a `wandb.Table`, to be logged; raises `MissingExtra` without wandb."""
    try:
        import wandb
    except ImportError as error:
        raise MissingExtra("A W&B table needs the package wandb. Run: pip install wandb") from error
    frame = scores.table.astype(object)
    return wandb.Table(columns=list(frame.columns), data=frame.where(frame.notna(), None).to_numpy().tolist())


def run_path(run: str | Path | Outcome | Scores) -> Path:
    """Return the folder of a run given in any form; raises `UsageError` for scores of several runs."""
    if isinstance(run, Scores):
        if len(run.scored) != 1:
            raise UsageError(f"One run is compared with one other, but these are the scores of {len(run.scored)}.")
        return run.scored[0].path
    if not isinstance(run, (str, Path, Outcome)):
        raise UsageError(
            f"A run is what generate() returned or a folder, not {type(run).__name__}. Images need samples."
        )
    return run.run if isinstance(run, Outcome) else Path(run)


def _about(run: ScoredRun) -> dict[str, object]:
    names = {"method": run.method, "model": run.model, "scale": run.scale, "benchmark": run.data["benchmark"]["name"]}
    return {**names, "status": run.status, "run": str(run.path)}


def _rows(run: ScoredRun) -> pd.DataFrame:
    import pandas as pd

    rows = run.rows()
    if rows is None:
        raise MissingData(f"The rows of {run.path} are not there any more. {run.again}")
    things = [
        (sample.id, n, i.phrase, i.category, i.color, i.box)
        for sample in run.plan.benchmark.samples
        for n, i in enumerate(sample.instances)
    ]
    about = pd.DataFrame(things, columns=["sample_id", "instance", "phrase", "category", "color", "box"], dtype=object)
    about["instance"] = about["instance"].astype(rows["instance"].dtype)
    joined = rows.merge(about, how="left", on=["sample_id", "instance"], validate="many_to_one")
    for column in ("phrase", "category", "color", "box"):
        joined[column] = joined[column].astype(object).where(joined[column].notna(), None)
    names = {key: value for key, value in _about(run).items() if key in ROWS}
    return joined.assign(**names)[list(ROWS)]
