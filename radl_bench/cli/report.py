"""`radl-bench report`: tables out of scored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli import completing
from radl_bench.cli.runs_folder import DEFAULT, Runs, fetched, no_runs, run_at
from radl_bench.errors import MissingData, UsageError, did_you_mean
from radl_bench.text import safe


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders; every run under --runs when not given."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="markdown, latex, json, csv, html, harness or model-index.",
            autocompletion=completing.part("report_formats"),
        ),
    ] = "markdown",
    out: Annotated[
        Path | None, typer.Option("--out", help="File or folder to write to; reports/ when not given.")
    ] = None,
    root: Runs = DEFAULT,
    reported: Annotated[
        bool, typer.Option("--reported", help="Also show what papers print, in tables of their own.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder to draw figures into, as SVG and PNG.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Method that the figure of differences compares with.")
    ] = None,
    scores: Annotated[
        str, typer.Option("--scores", help="Which scores of a run that was scored in several ways: newest or all.")
    ] = "newest",
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judges", metavar="NAME", help="Only scores by this judge (name or signature); may be repeated."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="STRATUM", help="Also tables by level, size, overlap, class or color; may be repeated."
        ),
    ] = None,
    pictures: Annotated[
        str,
        typer.Option(
            "--pictures", help="With html: copy the images (smaller, the folder is complete) or link to the originals."
        ),
    ] = "copy",
    stdout: Annotated[bool, typer.Option("--stdout", help="Also print the text of latex, json or csv.")] = False,
    sheet: Annotated[
        str | None,
        typer.Option("--sheet", metavar="ID,ID,...", help="Write these samples across all methods as PNG and PDF."),
    ] = None,
) -> None:
    """Compare scored runs: the tables of the literature with 95 % intervals and tie groups, and figures."""
    from radl_bench.report import build_report, find_writer, show, write_report
    from radl_bench.report.choice import Choice
    from radl_bench.runs.store import find_runs

    find_writer(format)  # an unknown format is named before anything is read
    fetched(root, images=format == "html")
    folders = [run_at(run, root) for run in runs] if runs else find_runs(root)
    if not folders:
        raise MissingData(no_runs(root))
    if scores not in ("newest", "all"):
        raise UsageError(did_you_mean(scores, ("newest", "all"), "choice of scores"))
    built = build_report(folders, reported, Choice(scores == "all", tuple(judges or ())), by or ())
    if sheet is not None:
        _sheets(built, [one.strip() for one in sheet.split(",") if one.strip()], out)
        return
    options = {"pictures": pictures, "baseline": baseline} if format == "html" else {}
    text, file = write_report(built, format, out, **options)
    if format == "markdown":
        show(built)
    elif stdout:
        typer.echo(text, nl=False)
    typer.echo(f"Report: {file}", err=stdout and format != "markdown")
    if figures is not None:
        _draw(built, figures, baseline)


def _sheets(built, ids: list[str], out: Path | None) -> None:
    from radl_bench.report.sheet import write_sheets

    if not ids:
        raise UsageError("--sheet needs ids of samples, e.g. --sheet mig-000017,mig-000042.")
    for file in write_sheets(built, ids, out or Path("reports")):
        typer.echo(f"Sheet: {file}")


def _draw(built, folder: Path, baseline: str | None) -> None:
    from radl_bench.report.figures import write_figures

    drawn = write_figures(built, folder, baseline)
    for figure in drawn.figures:
        typer.echo(f"Figure: {figure.svg}", err=True)
    for note in drawn.notes:
        typer.echo(safe(note), err=True)
