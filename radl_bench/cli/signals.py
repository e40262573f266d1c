"""Signals of the commands that take long."""

from __future__ import annotations

import signal


def terminate_as_interrupt() -> None:
    """Let SIGTERM (a batch system taking the node back) end the run as Ctrl-C does, with its state written."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
