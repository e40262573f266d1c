"""Comparison tables out of scored runs. Reads `scores.json` and `rows.parquet` only, and never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import MissingData, UsageError

if TYPE_CHECKING:
    from radl_bench.report.tables import Section


_SUFFIXES = {"markdown": "md"}


@dataclass(frozen=True)
class Report:
    """Sections of comparable runs, and sentences about runs that could not be shown."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def build_report(runs: Sequence[Path]) -> Report:
    """Read scored run folders and lay out their tables.

    Raises:
        MissingData: none of the runs is scored, or a path is not a run; the sentence says what to run.
        BadInput: a score file is broken.
    """
    from radl_bench.report.collect import collect, group_runs
    from radl_bench.report.tables import build_section

    scored, unscored = collect(runs)
    notes = tuple(f"Not scored yet: {_short(path)}. Run `radl-bench score {_short(path)}`." for path in unscored)
    if not scored:
        raise MissingData(" ".join(notes) or "There is no run to report. Run `radl-bench generate coco-mig` first.")
    return Report(tuple(build_section(group) for group in group_runs(scored)), notes)


def report_runs(runs: Sequence[Path], format: str = "markdown", out: Path | None = None) -> str:
    """Write a report about run folders and return its text.

    Args:
        runs: run folders (`runs/<benchmark>/<method>/<hash>`); those without scores are named in the report.
        format: "markdown", "json" or "csv".
        out: file or folder to write to; `reports/report.md` (.json, .csv) under the current folder when not given.

    Raises:
        UsageError: an unknown format. Otherwise as `build_report`.
    """
    return write_report(build_report(runs), format, out)[0]


def write_report(report: Report, format: str = "markdown", out: Path | None = None) -> tuple[str, Path]:
    """Write a laid-out report under a temporary name, put it in place, and return its text and file."""
    from radl_bench.files import replace_file

    text = find_writer(format)(report.sections, report.notes)
    file = _file_of(format, out)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text.encode())
    except OSError as error:
        raise UsageError(f"The report cannot be written to {file} ({error.strerror}). Give another --out.") from None
    return text, file


def show(report: Report) -> None:
    """Print a report on the terminal; where the output is no terminal, as plain text of 100 columns."""
    from rich.console import Console

    from radl_bench.report.formats import terminal

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    for part in terminal(report.sections, report.notes):
        console.print(part)


def find_writer(format: str) -> Callable[[Sequence[Section], Sequence[str]], str]:
    """Return the writer of a format (`registry.REPORT_FORMATS`); raises `UsageError` when there is none."""
    from radl_bench.registry import resolve

    return resolve("report_formats", format)


def _file_of(format: str, out: Path | None) -> Path:
    name = f"report.{_SUFFIXES.get(format, format)}"
    if out is None:
        return Path("reports") / name
    return out / name if out.is_dir() else out


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
