"""A lease on a shard of a run in a store: no two machines write it at once, whatever their clocks say."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import uuid
from types import TracebackType

from radl_bench.errors import UsageError
from radl_bench.parsing import read_json
from radl_bench.stores.store import Store, StoreFailed
from radl_model.files import process_runs

RENEWED = 30.0
"""Seconds between two writings of a lease."""

EXPIRES = 300.0
"""Seconds after which a lease that nobody writes any more is over: its machine was lost."""


class Lease:
    """Held for the length of a block; raises `UsageError` on entering where another process holds it.

    Its age is the difference of two times of the store, so the clocks of the machines do not matter. That of a process
    of this machine that has ended is over at once.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._own = {"machine": platform.node(), "process": os.getpid(), "token": uuid.uuid4().hex}
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lease:
        held = self._read()
        if held is not None and not _is_over(held):
            written = self._store.changed(self._name)
            now = self._store.write(f"{self._name}.asked", b"")
            self._store.remove(f"{self._name}.asked")
            age = (now - written).total_seconds()
            if age < EXPIRES:
                raise UsageError(
                    f"Another process writes this run: {held.get('machine')}, process {held.get('process')}, seen "
                    f"{age:.0f} s ago. Wait for it, or run another shard. Where that machine is lost, try again in "
                    f"{EXPIRES - age:.0f} s."
                )
        self._store.write(self._name, json.dumps(self._own).encode())
        if (self._read() or {}).get("token") != self._own["token"]:  # two came at once, and the later has it
            raise UsageError("Another process has just begun to write this run. Wait for it, or run another shard.")
        self._clock.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._clock.join()
        with contextlib.suppress(StoreFailed):
            self._store.remove(self._name)

    def _read(self) -> dict[str, object] | None:
        content = self._store.read(self._name)
        if content is None:
            return None
        try:
            found = read_json(content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            with contextlib.suppress(StoreFailed):
                self._store.write(self._name, json.dumps(self._own).encode())


def _is_over(held: dict[str, object]) -> bool:
    process = held.get("process")
    return held.get("machine") == platform.node() and isinstance(process, int) and not process_runs(process)
