"""`radl-bench view`: the report in a browser, while runs go on."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, Runs, run_at
from radl_bench.errors import MissingData, UsageError
from radl_bench.text import safe

EVERY_SECONDS = 2.0
"""Time between two looks for new scores."""


def view(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN|REPORT]...", help="Run folders, all under --runs when not given; or one report."),
    ] = None,
    root: Runs = DEFAULT,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on this machine; 0: any free.")] = 8000,
    figures: Annotated[bool, typer.Option(help="Draw the figures, which takes some seconds.")] = True,
    browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Serve the report on this machine: progress and newest images of running methods, tables as soon as they score."""
    from radl_bench.report.html_folder import MARK

    given = [run_at(path, root) for path in runs or []]
    if any((path / MARK).is_file() for path in given):
        if len(given) > 1:
            raise UsageError(f"One report is served, or runs, not {len(given)} folders of both kinds.")
        _serve(given[0], port, browser)
    else:
        _serve_runs(given, root, port, figures, browser)


def _serve_runs(given: list[Path], root: Path, port: int, figures: bool, browser: bool) -> None:
    from radl_bench.runs.store import find_runs
    from radl_bench.view.desk import Desk
    from radl_bench.view.server import follow

    for path in given:
        if not find_runs(path):
            raise MissingData(f"{path} is no run and no report. Give folders below {root}/, or none for all of them.")
    if not given and not root.is_dir():
        raise MissingData(f"There is no folder {root}/. Make a run first, or name their folder with --runs.")

    def find() -> list[Path]:
        return [run for path in given or [root] for run in find_runs(path)]

    with tempfile.TemporaryDirectory(prefix="radl-bench-view-") as name:
        desk, stop = Desk(find, Path(name) / "report", figures), threading.Event()
        told = (desk, stop, EVERY_SECONDS, lambda problem: typer.echo(safe(problem), err=True))
        worker = threading.Thread(target=follow, args=told, daemon=True)
        worker.start()
        try:
            _serve(desk.folder, port, browser, desk)
        finally:
            stop.set()
            worker.join()


def _serve(folder: Path, port: int, browser: bool, desk=None) -> None:
    import webbrowser

    from radl_bench.cli.signals import terminate_as_interrupt
    from radl_bench.view.server import HOST, open_server

    terminate_as_interrupt()
    with open_server(folder, port, desk) as server:
        address = f"http://{HOST}:{server.server_port}/"
        typer.echo(f"{address} serves {'the runs' if desk else folder}. Ctrl-C ends it.")
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("Ended.")
