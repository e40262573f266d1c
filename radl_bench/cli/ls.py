"""`radl-bench ls`: what there is to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radl_bench.cli import completing
from radl_bench.cli.runs_folder import DEFAULT, Runs, fetched
from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.hints import first_images
from radl_bench.text import safe

if TYPE_CHECKING:
    from radl_bench.scoring.metrics.spec import ScoreSpec

_LAST = 30
"""Columns that the last cell of a row, mostly a sentence, needs at least."""


def ls(
    what: Annotated[
        str,
        typer.Argument(
            help="methods, benchmarks, metrics, judges or runs",
            autocompletion=completing.one_of("methods", "benchmarks", "metrics", "judges", "runs"),
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only this one, with its settings and what it lacks here.")
    ] = None,
    root: Runs = DEFAULT,
) -> None:
    """List methods, benchmarks, metrics, judges or runs; with NAME, all about one of them."""
    tables: dict[str, Callable[[], None]] = {
        "methods": _methods,
        "benchmarks": _benchmarks,
        "metrics": _metrics,
        "judges": _judges,
        "runs": lambda: _runs(fetched(root)),
    }
    if what not in tables:
        raise UsageError(did_you_mean(what, tables, "list"))
    if name is None:
        tables[what]()
        return
    from radl_bench.cli.ls_one import ONE

    if what not in ONE:
        raise UsageError("`ls runs` lists all runs under --runs and takes no name.")
    ONE[what](name)


def show(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table, or one block a row where the terminal is too narrow; piped output is up to 200 columns wide."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    heads, cells = list(columns), [[safe(cell) for cell in row] for row in rows]
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    last = max((len(row[-1]) for row in cells), default=0)
    if _before_last(heads, cells) + min(_LAST, last) + 4 > console.width:
        console.print(Text(title, "italic"))
        for first, *rest in cells:
            console.print(Text(first, "bold"))
            for head, cell in zip(heads[1:], rest, strict=True):
                if cell:
                    console.print(Padding(Text(f"{head}: {cell}"), (0, 0, 0, 2)))
        return
    table = Table(title=title, title_justify="left")
    for column in heads:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _before_last(heads: list[str], rows: list[list[str]]) -> int:
    """Return the width of a table without its last column, borders included."""
    return sum(max(map(len, column)) + 3 for column in list(zip(heads, *rows, strict=True))[:-1])


def _methods() -> None:
    from radl_bench.registry import known

    rows = [(name, *_method(name)) for name in known("generators")]
    show("Methods", ("name", "ready here", "what it is"), rows)
    print("Settings, and what is missing here: radl-bench ls methods NAME")
    print("A method of your own: --method path/to/file.py:Class")


def _method(name: str) -> tuple[str, str]:
    """Return the models with which a method can run here and what it is, or why it cannot be used."""
    from radl_bench.described import first_sentence, lacks
    from radl_bench.registry import resolve

    try:
        part = resolve("generators", name)
    except RadlBenchError as error:  # one broken plug-in must not hide the others
        return "no", f"cannot be used here: {error}"
    models = getattr(part, "models", ())
    ready = ", ".join(model for model in models if not lacks(part, model)) if models else _yes(lacks(part, ""))
    return ready or "no", first_sentence(part.__doc__)


def _yes(lacking: str) -> str:
    return "no" if lacking else "yes"


def _benchmarks() -> None:
    from radl_bench.benchmarks.loading import benchmark_folders

    rows = [_benchmark_row(name, folder) for name, folder in benchmark_folders().items()]
    show("Benchmarks", ("name", "samples", "levels", "what it is"), rows)
    print("Source, full size and metrics: radl-bench ls benchmarks NAME")


def _benchmark_row(name: str, folder: Path) -> tuple[object, ...]:
    from radl_bench.benchmarks.loading import load_benchmark

    try:
        b = load_benchmark(folder)
    except RadlBenchError as error:  # one broken set must not hide the others
        return name, "broken", "", str(error)
    levels = sorted({s.level for s in b.samples})
    span = (
        f"{levels[0]}-{levels[-1]}" if levels == list(range(levels[0], levels[-1] + 1)) else ",".join(map(str, levels))
    )
    return name, len(b.samples), span, b.description


def _metrics() -> None:
    from radl_bench.registry import known

    rows = [row for name in known("metrics") for row in _metric_rows(name)]
    show("Metrics", ("metric", "score", "counts", "missing is", "better"), rows)
    print("Judges and thresholds of one: radl-bench ls metrics NAME")
    print("A metric of your own: a file in the benchmark's folder, see docs/metrics.md")


def _metric_rows(name: str) -> list[tuple[object, ...]]:
    from radl_bench.registry import resolve

    try:
        found = resolve("metrics", name)
        return [(name, *_score_row(spec)) for spec in getattr(found, "METRIC", found).scores]
    except (RadlBenchError, AttributeError, TypeError) as error:  # one broken plug-in must not hide the others
        return [(name, "broken", "", "", str(error))]


def _score_row(spec: ScoreSpec) -> tuple[object, ...]:
    missing = "left out" if spec.missing is None else f"{spec.missing:g}"
    return spec.heading, f"{spec.unit}s", missing, "lower" if spec.lower_is_better else "higher"


def _judges() -> None:
    from radl_bench.scoring.judging import roles

    rows = [row for role in roles() for row in _judge_rows(role.name, role.family)]
    show("Judges", ("kind", "name", "ready", "what it is"), rows)
    print("What is missing here, and thresholds: radl-bench ls judges NAME")
    print("A judge of your own: --detector path/to/file.py:Class, and so on")


def _judge_rows(role: str, family: str) -> list[tuple[object, ...]]:
    from radl_bench.described import first_sentence, lacks
    from radl_bench.registry import known, resolve

    rows: list[tuple[object, ...]] = []
    for name in known(family):
        try:
            part = resolve(family, name)
            rows.append((role, name, _yes(lacks(part)), first_sentence(part.__doc__)))
        except RadlBenchError as error:  # one broken plug-in must not hide the others
            rows.append((role, name, "no", f"cannot be used here: {error}"))
    return rows


def _runs(root: Path) -> None:
    from radl_bench.runs.store import find_runs

    rows = [_run_row(path) for path in find_runs(root)]
    columns = ("run", "filter", "model", "status", "images", "failed", "scored")
    show(f"Runs under {root}", columns, rows)
    if not rows:
        print(f"None yet. Make one: {first_images(root)}")


def _run_row(path: Path) -> tuple[object, ...]:
    from radl_bench.runs.store import RunFolder, find_scores

    try:
        run = RunFolder.open(path)
        statuses = Counter(row["status"] for row in run.rows())
    except RadlBenchError as error:
        return path, "", "", "broken", "", "", str(error)
    chosen = ", ".join(f"{key} {value}" for key, value in run.manifest["benchmark"]["filter"].items()) or "all"
    scored = "yes" if find_scores(path) else "no"
    images = f"{statuses['ok']}/{run.planned}"
    model = run.manifest["generator"].get("model") or ""
    return path, chosen, model, run.status, images, statuses["error"], scored
