"""Files: sums, atomic writing and temporary names are the model's own; here are the locks of a run and a download."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from radl_bench.errors import UsageError
from radl_model.files import (
    NO_ROOM,
    file_sha256,
    is_alive,
    known_sha256,
    no_room,
    own_tag,
    remove_leftovers,
    replace_file,
    replacing,
    temporary_name,
)

__all__ = [
    "NO_ROOM",
    "file_sha256",
    "is_alive",
    "known_sha256",
    "locked",
    "no_room",
    "own_tag",
    "remove_leftovers",
    "replace_file",
    "replacing",
    "temporary_name",
]

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def locked(file: Path, busy: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `file` (made when absent); the system frees it when the process ends, however it ends.

    Args:
        busy: raise `UsageError` naming this when the lock is taken; wait for it when None.

    Where the file system has no such locks, nothing is locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(file))
    try:
        lock.acquire(timeout=0 if busy else -1)
    except Timeout as error:
        raise UsageError(f"Another process is writing {busy}. Wait for it, or run another shard.") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        try:
            lock.release()
        except OSError as error:
            if error.errno != errno.EBADF:  # a method closed every file there is, and with it the lock
                raise
