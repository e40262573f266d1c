"""Comparison tables out of scored runs. Reads `scores.json` and `rows.parquet` only, and never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import MissingData, UsageError
from radl_bench.hints import command, judge_options

if TYPE_CHECKING:
    from radl_bench.report.choice import Choice
    from radl_bench.report.reported import ReportedTable
    from radl_bench.report.tables import Section


_SUFFIXES = {"markdown": "md", "latex": "tex", "harness": "results.json", "model-index": "model-index.md"}
FOLDER_FORMATS = frozenset({"html"})
"""Formats whose writer is `writer(report, folder) -> Path` of the page to open; others are `writer(report) -> str`."""


@dataclass(frozen=True)
class Report:
    """Sections of comparable runs, sentences about runs that could not be shown, and what papers report."""

    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    reported: tuple[ReportedTable, ...] = ()


def build_report(
    runs: Sequence[Path], reported: bool = False, choice: Choice | None = None, by: Sequence[str] = ()
) -> Report:
    """Read scored run folders and lay out their tables.

    Args:
        runs: run folders.
        reported: also take the published tables of the same benchmarks (`reports/reported.json`).
        choice: which scores of a run that was scored several ways; the newest when not given.
        by: also tables by these strata, words of `strata.BY`.

    Raises:
        UsageError: there is no such stratum.
        MissingData: none of the runs is scored, or a path is not a run; the sentence says what to run.
        BadInput: a score file is broken.
    """
    from radl_bench.report.collect import collect, group_runs
    from radl_bench.report.headline import headline
    from radl_bench.report.reported import reported_tables
    from radl_bench.report.strata import check_by, with_strata
    from radl_bench.report.tables import build_section
    from radl_bench.report.titles import titles
    from radl_bench.report.unguided import with_unguided

    check_by(by)
    scored, unscored = collect(runs, choice)
    wanted = f"with {', '.join(choice.judges)}" if choice is not None and choice.judges else "yet"
    judges = judge_options(choice.judges if choice is not None else ())
    notes = tuple(
        f"Not scored {wanted}: {_short(path)}. Run `{command('score', _short(path), **judges)}`." for path in unscored
    )
    if not scored:
        raise MissingData(" ".join(notes) or "There is no run to report. Run `radl-bench generate coco-mig` first.")
    groups = group_runs(scored)
    published = reported_tables({group.benchmark["name"] for group in groups}) if reported else ()
    plain = [(build_section(group, title), group) for group, title in zip(groups, titles(groups), strict=True)]
    sections = [with_strata(with_unguided(section, group), group, by) for section, group in plain]
    return Report(tuple(replace(one, headline=headline(one)) for one in sections), notes, published)


def report_runs(runs: Sequence[Path], format: str = "markdown", out: Path | None = None, reported: bool = False) -> str:
    """Write a report about run folders and return its text ("" for a format that is a folder).

    Args:
        runs: run folders (`runs/<benchmark>/<method>/<hash>`); those without scores are named in the report.
        format: a name out of `registry.REPORT_FORMATS`: "markdown", "latex", "csv", "json", ...
        out: file or folder to write to; `reports/report.md` (.tex, .csv, .json) when not given.
        reported: as in `build_report`.

    Raises:
        UsageError: an unknown format. Otherwise as `build_report`.
    """
    return write_report(build_report(runs, reported), format, out)[0]


def write_report(report: Report, format: str = "markdown", out: Path | None = None, **options: Any) -> tuple[str, Path]:
    """Write a laid-out report and return its text and file; a file is written aside first, then put in its place.

    `options` go to the writer of a folder: those of `html.write_html`.
    """
    from radl_bench.files import replace_file

    writer = find_writer(format)
    file = _file_of(format, out)
    try:
        if format in FOLDER_FORMATS:
            return "", writer(report, file, **options)
        text = writer(report)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text.encode())
    except OSError as error:
        raise UsageError(f"The report cannot be written to {file} ({error.strerror}). Give another --out.") from None
    return text, file


def show(report: Report) -> None:
    """Print a report on the terminal; where the output is no terminal, as plain text of 100 columns."""
    from rich.console import Console

    from radl_bench.report.terminal import terminal

    console = Console()
    if not console.is_terminal:
        console = Console(width=100)
    for part in terminal(report):
        console.print(part)


def find_writer(format: str) -> Callable[..., Any]:
    """Return the writer of a format (`registry.REPORT_FORMATS`); raises `UsageError` when there is none."""
    from radl_bench.registry import resolve

    return resolve("report_formats", format)


def _file_of(format: str, out: Path | None) -> Path:
    if format in FOLDER_FORMATS:
        return out or Path("reports") / format
    name = f"report.{_SUFFIXES.get(format, format)}"
    if out is None:
        return Path("reports") / name
    return out / name if out.is_dir() else out


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
