"""The command line. One file a command; importing this package loads neither torch nor pandas."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import typer

from radl_bench import __version__
from radl_bench.errors import RadlBenchError
from radl_bench.leaving import end_without_threads
from radl_bench.packages import cannot_import
from radl_bench.streams import finish, prepare
from radl_bench.text import safe

COMMANDS = (
    *("generate", "plan", "score", "report", "view", "compare", "demo", "ls", "doctor", "data", "new", "fetch"),
    *("pack", "verify", "runs", "push", "pull"),
)
_LONGEST = 2000
"""Characters of a line, and lines of a message, that are shown: what is wrong may be a file of one long line."""

EPILOG = (
    "Exit codes: 0 done, 1 some images failed, 2 a mistake in the call, 3 something is missing, 130 stopped by hand."
)


def build_app() -> typer.Typer:
    """Return the application with all commands; each is the function or sub-application named like its module."""
    app = typer.Typer(
        name="radl-bench",
        help="Measure layout-to-image generation of several instances: generate, score, report.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in COMMANDS:
        command = getattr(importlib.import_module(f"radl_bench.cli.{name}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the command line; every error is one sentence on stderr and an exit code.

    With `RADL_BENCH_TRACEBACK=1` in the environment the traceback is shown too.
    """
    prepare()
    code = _run()
    end_without_threads(code)
    raise SystemExit(code)


def _run() -> int:
    try:
        try:
            build_app()(prog_name="radl-bench")
        finally:
            sys.stdout.flush()  # now, while an error can still be told
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (RadlBenchError, OSError, ImportError) as caught:
        error = cannot_import(caught, "This command") if isinstance(caught, ImportError) else caught
        if os.environ.get("RADL_BENCH_TRACEBACK"):
            traceback.print_exc()
        lines = f"{type(error).__name__}: {error}".split("\n")
        print("\n".join(safe(line)[:_LONGEST] for line in lines[:_LONGEST]), file=sys.stderr)
        finish()
        return int(getattr(error, "exit_code", 2))
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
) -> None:
    pass
