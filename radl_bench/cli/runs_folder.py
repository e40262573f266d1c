"""`--runs`: the one name of the folder that runs are made in and looked for, and what commands suggest with it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

DEFAULT = Path("runs")

Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the runs.")]
"""The option `--runs`; its default is `DEFAULT`."""


def runs_option(root: Path) -> str:
    """Return ` --runs DIR` for a command that is suggested, "" for the default folder."""
    return "" if root == DEFAULT else f" --runs {shlex.quote(str(root))}"


def no_runs(root: Path) -> str:
    """Return the message of a command that found no run."""
    return f"There is no run under {root}/. Run `radl-bench generate coco-mig --level 6{runs_option(root)}` first."


def run_at(path: Path, root: Path) -> Path:
    """Return the folder of a run given by its path, or by its path below `--runs`."""
    return root / path if not path.exists() and (root / path).exists() else path
