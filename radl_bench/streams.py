"""Standard streams: always there, and no reason for a command to fail when whoever reads them leaves."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

_GONE = (errno.EPIPE, errno.EIO)
"""Error numbers of a pipe whose reader has ended and of a terminal that was closed."""


class _Patient(io.FileIO):
    """A standard stream by its number; what nobody can read any more is dropped.

    The output of a command is its product, so a full disk behind it is an error. Messages have no other place to go.
    """

    def write(self, data: object) -> int:
        """Write as `io.FileIO` does."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in _GONE and self.fileno() != 2:
                raise
            drop(self.fileno())
            return len(memoryview(data).cast("B"))  # type: ignore[arg-type]


def prepare() -> None:
    """Open the standard streams that the caller closed, and let a reader leave early (`radl-bench ls runs | head -1`).

    A closed one is /dev/null from here on; else the next file that is opened would get its number, and its text.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _own(1, sys.stdout), _own(2, sys.stderr)


def finish() -> None:
    """Write what the output still holds; where that fails, an error has been told, and it is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        drop(1)


def reopened(number: int, like: TextIO | None = None) -> TextIO:
    """Return a text stream on standard stream 1 or 2, with the encoding and buffering of `like`."""
    encoding, errors, lines = "utf-8", "backslashreplace", True
    with contextlib.suppress(AttributeError, ValueError):  # of another kind, or detached
        if like is not None:
            encoding, errors, lines = like.encoding, like.errors or errors, bool(like.line_buffering)
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(number, "w", closefd=False)), encoding, errors, line_buffering=lines
    )


def drop(number: int) -> None:
    """Let standard stream 1 or 2 lead nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _own(number: int, stream: TextIO | None) -> TextIO:
    """Return the patient form of a standard stream; one that somebody else put there is left as it is."""
    try:
        if stream is not None and stream.fileno() != number:
            return stream
    except (OSError, ValueError):  # it has no number
        assert stream is not None
        return stream
    if stream is not None:
        stream.flush()
    return reopened(number, stream)
