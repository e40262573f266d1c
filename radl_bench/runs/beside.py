"""Work that is done beside the making of what it is about: encoding and saving an image while the next one is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_WAITING = 2
"""Items whose work may be undone while the next one is made; then the making waits."""


def beside(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do `work` for every item in a thread, one after the other, while the next items are made in this one.

    The work for what was made is done before this returns or raises, also when making the next item fails. Raises what
    the making or the work raises.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[object]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            while waiting and (waiting[0].done() or len(waiting) > _WAITING):
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
