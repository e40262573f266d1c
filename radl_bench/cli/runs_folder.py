"""`--runs`: the one name of the folder that runs are made in and looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.errors import UsageError
from radl_bench.hints import DEFAULT_RUNS, first_images

DEFAULT = DEFAULT_RUNS


def _root(text: str | Path) -> Path:
    if isinstance(text, Path) or "://" not in text:  # the default is a path
        return Path(text)
    from radl_bench.stores.roots import root_of

    return root_of(text)


def _shown(root: Path) -> str:
    """Return a root as it was given, which may be the address of a store."""
    from radl_bench.stores.roots import shown

    return shown(root)


Runs = Annotated[
    Path, typer.Option("--runs", metavar="DIR", parser=_root, help="Folder of the runs, or s3://bucket/folder.")
]
"""The option `--runs`; its default is `DEFAULT`. A command that reads runs calls `fetched` first."""


def _folder(text: str | Path) -> Path:
    if "://" in str(text):
        raise UsageError(f"This command works in a folder, so --runs cannot be {text}.")
    return Path(text)


RunsHere = Annotated[Path, typer.Option("--runs", metavar="DIR", parser=_folder, help="Folder of the runs.")]
"""The option `--runs` of a command that does not work in a store."""


def is_store(root: Path) -> bool:
    """Say whether a root is the working copy of a store."""
    from radl_bench.stores.roots import copy_of

    return copy_of(root) is not None


def fetched(root: Path, images: bool = False) -> Path:
    """Return `root`; what is newer in its store, where it has one, is fetched first."""
    from radl_bench.stores.roots import copy_of

    copy = copy_of(root)
    if copy is not None:
        copy.fetch(images=images)
    return root


def no_runs(root: Path) -> str:
    """Return the message of a command that found no run."""
    return f"There is no run under {_shown(root)}/. Run `{first_images(root)}` first."


def run_at(path: Path, root: Path) -> Path:
    """Return the folder of a run given by its path, or by its path below `--runs`."""
    return root / path if not path.exists() and (root / path).exists() else path
