"""Writing files so that a kill at any moment leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from radl_bench.errors import UsageError


def replace_file(file: Path, content: bytes, tag: str = "") -> None:
    """Write `content` to `file` atomically: a temporary name in the same folder, fsync, rename.

    `tag` keeps the temporary names of two writers apart; by default it is the process id.
    """
    part = temporary_name(file, tag or str(os.getpid()))
    with open(part, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, file)


def temporary_name(file: Path, tag: str) -> Path:
    """Return the name under which `replace_file` writes; hidden, so no `*.png` pattern meets it."""
    return file.with_name(f".{file.name}.{tag}.part")


@contextlib.contextmanager
def locked(file: Path, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `file` (made when absent); the system frees it when the process ends, however it ends.

    Args:
        busy: raise `UsageError` naming this when the lock is taken; wait for it when None.

    Where the system or the file system has no such locks, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(file, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise UsageError(f"Another process is writing {busy}. Wait for it, or run another shard.") from error
        except OSError:  # a network file system without locks
            pass
        yield
