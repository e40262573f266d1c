"""`radl-bench ls`: what there is to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from radl_bench.errors import RadlBenchError, UsageError, did_you_mean


def ls(
    what: Annotated[str, typer.Argument(help="methods, benchmarks, metrics, judges or runs")],
    root: Annotated[Path, typer.Option(help="Where the runs are.")] = Path("runs"),
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
    """Print a table; piped output is as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if console.is_terminal else 200).print(table)


def _methods() -> None:
    from radl_bench.registry import GENERATORS, known

    rows = [(name, "built-in" if name in GENERATORS else "plug-in", spec) for name, spec in known("generators").items()]
    show("Methods", ("name", "from", "class"), rows)
    print("A method of your own: --method path/to/file.py:Class")


def _benchmarks() -> None:
    from radl_bench.benchmark import benchmark_folders, load_benchmark

    rows: list[tuple[object, ...]] = []
    for name, folder in benchmark_folders().items():
        try:
            b = load_benchmark(folder)
        except RadlBenchError as error:  # one broken set must not hide the others
            rows.append((name, "broken", "", "", "", str(error)))
            continue
        levels = ", ".join(f"{level}: {count}" for level, count in sorted(Counter(s.level for s in b.samples).items()))
        rows.append((name, b.version, len(b.samples), levels, b.images_per_sample, b.description))
    show("Benchmarks", ("name", "version", "samples", "samples by level", "images a sample", "what"), rows)


def _metrics() -> None:
    from radl_bench.registry import known

    show("Metrics", ("name", "module"), known("metrics").items())


def _judges() -> None:
    from radl_bench.registry import known

    kinds = ("detectors", "segmenters", "encoders")
    show("Judges", ("kind", "name", "class"), [(kind[:-1], *item) for kind in kinds for item in known(kind).items()])


def _runs(root: Path) -> None:
    from radl_bench.store import find_runs

    rows = [_run_row(path) for path in find_runs(root)]
    columns = ("run", "filter", "model", "status", "images", "failed", "scored")
    show(f"Runs under {root}", columns, rows)
    if not rows:
        print("None yet. Make one: radl-bench generate coco-mig --level 6")


def _run_row(path: Path) -> tuple[object, ...]:
    from radl_bench.store import RunFolder

    try:
        run = RunFolder.open(path)
        statuses = Counter(row["status"] for row in run.rows())
    except RadlBenchError as error:
        return path, "", "", "broken", "", "", str(error)
    chosen = ", ".join(f"{key} {value}" for key, value in run.manifest["benchmark"]["filter"].items()) or "all"
    scored = "yes" if (run.scores_dir / "scores.json").exists() else "no"
    images = f"{statuses['ok']}/{run.planned}"
    model = run.manifest["generator"].get("model") or ""
    return path, chosen, model, run.manifest["status"], images, statuses["error"], scored
