"""`--runs`: the one name of the folder that runs are made in and looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.hints import DEFAULT_RUNS, first_images

DEFAULT = DEFAULT_RUNS

Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the runs.")]
"""The option `--runs`; its default is `DEFAULT`."""


def no_runs(root: Path) -> str:
    """Return the message of a command that found no run."""
    return f"There is no run under {root}/. Run `{first_images(root)}` first."


def run_at(path: Path, root: Path) -> Path:
    """Return the folder of a run given by its path, or by its path below `--runs`."""
    return root / path if not path.exists() and (root / path).exists() else path
