"""Work that is done beside the making of what it is about: encoding and saving an image while the next one is made."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WAITING = 2
"""Items whose work may be undone while the next one is made; then the making waits."""

_PATIENCE = 0.002
"""Share of the time an item took that its work is waited for; waiting for less than a millisecond is not worth it."""

_FILES, _FOLDER = 0x400, 0x200
"""Linux's CLONE_FILES and CLONE_FS: the open files; the working folder and the umask."""


def beside(
    work: Callable[[T], R],
    items: Iterable[T],
    then: Callable[[R], object] = lambda _: None,
    *,
    waiting: int = WAITING,
    own_files: bool = False,
) -> None:
    """Do `work` for every item in a thread, one after the other, while the next items are made in this one.

    The first item's work, and that of items whose making takes 500 times as long, is done before the next one is
    made: waiting costs little there, and what is done is safe and seen. The work for what was made is done before this
    returns or raises, also when making the next item fails. Raises what the making or the work raises.

    Args:
        then: gets what the work returned, here and between the items.
        waiting: items whose work may be undone while the next one is made.
        own_files: the thread has open files and a umask of its own, whatever the making does with this one's; for
            Linux, see `can_have_own_files`.
    """
    with ThreadPoolExecutor(1, initializer=_unshare if own_files else None) as pool:
        undone: deque[Future[R]] = deque()
        room, start = 0, time.perf_counter()  # no room: the first item's work is done at once
        try:
            for item in items:
                undone.append(pool.submit(work, item))
                patience = _PATIENCE * (time.perf_counter() - start)
                if patience > 1e-3:
                    wait(undone, patience)
                while undone and (undone[0].done() or len(undone) > room):
                    then(undone.popleft().result())
                room, start = waiting, time.perf_counter()
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is told
                _finish(undone, then)
            raise
        _finish(undone, then)


def _finish(undone: deque[Future[R]], then: Callable[[R], object]) -> None:
    while undone:
        then(undone.popleft().result())


@cache
def can_have_own_files() -> bool:
    """Say whether a thread can have open files and a umask of its own here: on Linux, where nothing forbids it."""
    if not sys.platform.startswith("linux"):
        return False
    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(_unshare).result()
        except OSError:  # a container may forbid it
            return False
    return True


def _unshare() -> None:
    unshare: Any = getattr(os, "unshare", None)  # Python 3.12
    if unshare is not None:
        unshare(_FILES | _FOLDER)
    elif ctypes.CDLL(None, use_errno=True).unshare(_FILES | _FOLDER):
        raise OSError(ctypes.get_errno(), "unshare")
