"""Signals of the commands that take long."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from radl_bench.errors import Interrupted


def terminate_as_interrupt() -> None:
    """Let SIGTERM (a batch system taking the node back) end the run as Ctrl-C does, with its state written."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextlib.contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into `Interrupted` with a sentence that says what is kept."""
    terminate_as_interrupt()
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(sentence) from None
