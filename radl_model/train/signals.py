"""Stopping a training from outside, as a cluster does that takes its machine back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Context in which SIGTERM and SIGUSR1 are noted instead of obeyed; gives a function that says whether one came.

    Outside of the main thread, where Python takes no signals, nothing is noted.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    kinds = [signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    old = {kind: signal.signal(kind, lambda *_: came.set()) for kind in kinds}
    try:
        yield came.is_set
    finally:
        for kind, handler in old.items():
            signal.signal(kind, handler)
