"""`radl-bench ls`: what there is to choose from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, Runs, runs_option
from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.text import safe

if TYPE_CHECKING:
    from radl_bench.scoring.metrics.spec import ScoreSpec

_LAST = 30
"""Columns that the last cell of a row, mostly a sentence, needs at least."""


def ls(
    what: Annotated[str, typer.Argument(help="methods, benchmarks, metrics, judges or runs")],
    root: Runs = DEFAULT,
) -> None:
    """List methods, benchmarks, metrics, judges or runs."""
    tables: dict[str, Callable[[], None]] = {
        "methods": _methods,
        "benchmarks": _benchmarks,
        "metrics": _metrics,
        "judges": _judges,
        "runs": lambda: _runs(root),
    }
    if what not in tables:
        raise UsageError(did_you_mean(what, tables, "list"))
    tables[what]()


def show(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table, or one block a row where the terminal is too narrow; piped output is up to 200 columns wide."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    heads, cells = list(columns), [[safe(cell) for cell in row] for row in rows]
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    if _before_last(heads, cells) + _LAST > console.width:
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
    from radl_bench.registry import GENERATORS, known

    rows = [
        (name, "built-in" if name in GENERATORS else "plug-in", *_described("generators", name))
        for name in known("generators")
    ]
    show("Methods", ("name", "from", "models", "what it is"), rows)
    print("A method of your own: --method path/to/file.py:Class")


def _described(kind: str, name: str) -> tuple[str, str]:
    """Return the models of a method and what a part says it is, or why it cannot be used here."""
    from radl_bench.registry import resolve

    try:
        part = resolve(kind, name)
    except RadlBenchError as error:  # one broken plug-in must not hide the others
        return "", f"cannot be used here: {error}"
    words = " ".join((part.__doc__ or "").split("\n\n")[0].replace("`", "").split())
    return ", ".join(getattr(part, "models", ())), re.split(r"(?<=\.) (?=[A-Z])", words)[0]


def _benchmarks() -> None:
    from radl_bench.benchmarks.loading import benchmark_folders

    rows = [_benchmark_row(name, folder) for name, folder in benchmark_folders().items()]
    columns = ("name", "version", "samples", "by level", "images a sample", "source", "full size", "what")
    show("Benchmarks", columns, rows)


def _benchmark_row(name: str, folder: Path) -> tuple[object, ...]:
    from radl_bench.benchmarks.loading import is_packaged, load_benchmark

    try:
        b = load_benchmark(folder)
    except RadlBenchError as error:  # one broken set must not hide the others
        return name, "broken", "", "", "", folder, "", str(error)
    counts = Counter(s.level for s in b.samples)
    source = "embedded" if is_packaged(folder) else folder
    return name, b.version, len(b.samples), _levels(counts), b.images_per_sample, source, _full(name), b.description


def _levels(counts: Counter[int]) -> str:
    """`2-6: 160 each`, or every level with its number."""
    levels, sizes = sorted(counts), set(counts.values())
    if len(levels) > 1 and len(sizes) == 1 and levels == list(range(levels[0], levels[-1] + 1)):
        return f"{levels[0]}-{levels[-1]}: {sizes.pop()} each"
    return ", ".join(f"{level}: {counts[level]}" for level in levels)


def _full(name: str) -> str:
    """Whether the full-size version of an embedded benchmark is built, and how to build it."""
    from radl_bench.benchmarks.builders import BUILDERS, MANIFEST, full_folder

    if name not in BUILDERS:
        return ""
    built = (full_folder(name) / MANIFEST).is_file()
    return f"built: {name}-full" if built else f"not built: radl-bench data build {name}"


def _metrics() -> None:
    from radl_bench.registry import known

    rows = [row for name in known("metrics") for row in _metric_rows(name)]
    show("Metrics", ("metric", "score", "kind", "counts", "missing is", "better", "thresholds"), rows)
    print("A metric of your own: a file in the benchmark's folder, see docs/metrics.md")


def _metric_rows(name: str) -> list[tuple[object, ...]]:
    from radl_bench.registry import resolve

    try:
        found = resolve("metrics", name)
        metric = getattr(found, "METRIC", found)
        thresholds = ", ".join((*metric.thresholds, *metric.own, *metric.options)) or "–"
        return [(name, *_score_row(spec), thresholds) for spec in metric.scores]
    except (RadlBenchError, AttributeError, TypeError) as error:  # one broken plug-in must not hide the others
        return [(name, "broken", "", "", "", "", str(error))]


def _score_row(spec: ScoreSpec) -> tuple[object, ...]:
    missing = "left out" if spec.missing is None else f"{spec.missing:g}"
    return spec.heading, spec.kind, spec.unit, missing, "lower" if spec.lower_is_better else "higher"


def _judges() -> None:
    from radl_bench.registry import known

    kinds = {"detectors": "detector", "segmenters": "segmenter", "encoders": "encoder", "features": "features"}
    rows = [(kinds[kind], name, _described(kind, name)[1]) for kind in kinds for name in known(kind)]
    show("Judges", ("kind", "name", "what it is"), rows)


def _runs(root: Path) -> None:
    from radl_bench.runs.store import find_runs

    rows = [_run_row(path) for path in find_runs(root)]
    columns = ("run", "filter", "model", "status", "images", "failed", "scored")
    show(f"Runs under {root}", columns, rows)
    if not rows:
        print(f"None yet. Make one: radl-bench generate coco-mig --level 6{runs_option(root)}")


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
