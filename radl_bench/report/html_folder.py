"""A folder that is written aside and then put in its place as a whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from radl_bench.errors import UsageError
from radl_bench.files import locked

MARK = "radl-bench-report.txt"
"""A file that only reports have, so that no other folder is ever replaced."""


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; when the block ends well it takes that place, else it is removed.

    The old content stays where it was until the new is complete. A kill between the two renames leaves it as
    `.<name>.old`; the next writer puts it back before it begins.

    Raises:
        UsageError: `folder` is a file, or has content that is no report, or another process is writing it.
    """
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), busy=f"the report {folder}"):
        if old.exists() and not folder.exists():
            old.rename(folder)
        _check(folder)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir()
        (part / MARK).write_text("Written by radl-bench report; a new report replaces this whole folder.\n", "utf-8")
        try:
            yield part
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _check(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is a file or a link, and the report is a folder. Give another --out.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UsageError(f"{folder} holds files that are no report, and would be replaced. Give another --out.")
