"""The end of a process in which somebody else's threads may still run: it comes, and says what it did not wait for."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time

from radl_bench.text import safe

PATIENCE = 10.0
"""Seconds that threads and processes of others have to end when a command is done."""


def end_without_threads(code: int, patience: float = PATIENCE) -> None:
    """End the process with an exit code after `patience` seconds, where threads or processes of others keep it.

    Python itself would wait for them for ever. Does nothing where there are none.
    """
    if _others():
        threading.Thread(target=_watch, args=(code, patience), daemon=True).start()


def _watch(code: int, patience: float) -> None:
    time.sleep(patience)  # the process ends meanwhile, unless something keeps it
    names = ", ".join(_others()) or "no name"
    print(f"Note: what was left running is not waited for any longer: {safe(names)[:200]}.", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _others() -> list[str]:
    threads = [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    return [*(t.name for t in threads), *(c.name for c in multiprocessing.active_children() if not c.daemon)]
