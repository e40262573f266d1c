"""A working copy of runs that are kept in a store: what changed on either side is copied to the other.

Images are made and scored in a folder of this machine and copied beside the work, so a slow or failing store costs no
image. `.store.json` in that folder says in what state each file was last the same on both sides.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from radl_bench.files import replace_file
from radl_bench.parsing import read_json
from radl_bench.progress import stage
from radl_bench.scoring.seen_files import RECORD
from radl_bench.stores.lease import Lease
from radl_bench.stores.store import AT_ONCE, Entry, Store, StoreFailed, side_by_side

_STATE = ".store.json"
_ROWS = re.compile(r"generations-\d+of\d+\.jsonl")
_OLD = re.compile(r".*/scores/[^/]+/(?:rows|parts|draws)-[^/]+")
_EVERY = 60.0
"""Seconds between two copies of the rows of a run that is being made; an object cannot be appended to."""


class WorkingCopy:
    """The runs of a store in a folder of this machine.

    Attributes:
        store: where they are kept.
        folder: the working copy.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self._same: dict[str, list[object]] = _state(folder / _STATE)
        self._lock = threading.Lock()

    def fetch(
        self, below: Path | None = None, images: bool = False, only: re.Pattern[str] | None = None
    ) -> dict[str, Entry]:
        """Copy what is newer in the store; returns what it holds, by name.

        Args:
            below: a folder of the working copy; all of it when None.
            images: whether images are copied too, those that are not here.
            only: what the last part of a name has to be.
        """
        listed = self.store.list("" if below is None else self._name(below))
        wanted = [name for name in listed if _is_part(name) and (images or not _is_image(name))]
        wanted = [name for name in wanted if only is None or only.fullmatch(name.rpartition("/")[2])]
        todo = [name for name in wanted if self._is_newer_there(name, listed[name])]
        if todo:
            with stage("fetch", len(todo), unit="files") as bar:

                def copy(name: str) -> None:
                    self.store.get(name, self.folder / name, listed[name].size)
                    self._note(name, listed[name])
                    with self._lock:
                        bar.advance()

                side_by_side(copy, todo)
        self._write_state()
        return listed

    def push(self, below: Path) -> None:
        """Copy what changed here, below a folder of the working copy; raises `StoreFailed`."""
        names = [self._name(file) for file in sorted(below.rglob("*")) if file.is_file()]
        self._put([name for name in names if _is_part(name) and not self._is_same(name)])
        listed = self.store.list(self._name(below))
        for name, entry in listed.items():
            if (self.folder / name).is_file():
                self._note(name, entry)
            elif _OLD.fullmatch(name) and (self.folder / name).with_name("scores.json").is_file():
                self.store.remove(name)  # a scoring names its own files alone, and these are of an earlier one
        self._write_state()

    @contextlib.contextmanager
    def keeping(self, run: Path, shard: str) -> Iterator[Pusher]:
        """Copy the images of a shard that is made in the block as they come, and at its end all that changed.

        No other machine may write the same shard meanwhile: raises `UsageError` where one does.
        """
        with Lease(self.store, f"{self._name(run)}/.writer-{shard}.json"):
            start = len(self._name(run)) + 1
            there = {name[start:]: entry.size for name, entry in self.store.list(self._name(run)).items()}
            pusher = Pusher(self, run, shard, there)
            pusher.add(
                file  # made, but not copied before an earlier end
                for file in sorted((run / "images").rglob("*.png"))
                if not file.name.startswith(".") and file.relative_to(run).as_posix() not in there
            )
            try:
                yield pusher
            finally:
                pusher.close()
                self.push(run)

    def _put(self, names: Iterable[str]) -> None:
        side_by_side(lambda name: self.store.put(name, self.folder / name), names)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _is_newer_there(self, name: str, entry: Entry) -> bool:
        file = self.folder / name
        if not file.is_file():
            return True
        if _is_image(name):
            return file.stat().st_size != entry.size
        known = self._same.get(name)
        if known is not None and known[:2] == [entry.size, entry.token]:
            return False  # at most, it changed here
        # changed there, or here before it was ever copied: of rows, which are appended to, the longer file has all
        return file.stat().st_size < entry.size if _ROWS.fullmatch(file.name) else True

    def _is_same(self, name: str) -> bool:
        if _is_image(name):
            return True  # its pusher has copied it
        known = self._same.get(name)
        return known is not None and known[2:] == _here(self.folder / name)

    def _note(self, name: str, entry: Entry) -> None:
        if not _is_image(name):
            self._same[name] = [entry.size, entry.token, *_here(self.folder / name)]

    def _write_state(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / _STATE, json.dumps(self._same).encode())


class Pusher:
    """Copies images to a store beside the work that makes them; a file that cannot be copied is told at the end."""

    def __init__(self, copy: WorkingCopy, run: Path, shard: str, sizes: dict[str, int]) -> None:
        self._copy, self._run, self.sizes = copy, run, sizes
        self._rows = run / f"generations-{shard}.jsonl"
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._room = threading.Semaphore(16 * AT_ONCE)  # the work waits for a store that is slower for long
        self._failed: list[StoreFailed] = []
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._push_rows, daemon=True)
        self._clock.start()

    def add(self, files: Iterable[Path]) -> None:
        """Copy these images."""
        for file in files:
            self._room.acquire()
            done = self._pool.submit(self._copy.store.put, self._copy._name(file), file)
            done.add_done_callback(self._done)

    def catch_up(self) -> None:
        """Fetch the rows of other shards, which other machines may have made meanwhile."""
        self._copy.fetch(self._run, only=_ROWS)

    def close(self) -> None:
        """Wait for all copies; raises `StoreFailed` where some could not be made."""
        self._over.set()
        self._pool.shutdown()
        self._clock.join()
        if self._failed:
            raise StoreFailed(
                f"{len(self._failed)} images were not copied: {self._failed[0]} "
                f"They are in {self._run}; run the same command again to copy them."
            )

    def _done(self, future: Future[None]) -> None:
        self._room.release()
        error = future.exception()
        if isinstance(error, StoreFailed):
            self._failed.append(error)
        elif error is not None:
            self._failed.append(StoreFailed(str(error)))

    def _push_rows(self) -> None:
        while not self._over.wait(_EVERY):
            with contextlib.suppress(StoreFailed, OSError):  # it is tried again, and at the end it has to work
                for file in (self._run / "manifest.json", self._rows):
                    self._copy.store.put(self._copy._name(file), file)


def _is_part(name: str) -> bool:
    """Say whether a file belongs to a run: what is hidden is a lock, a part or a lease.

    Neither does what is known of the files of this machine.
    """
    return not any(part.startswith(".") for part in name.split("/")) and not name.endswith(f"/evidence/{RECORD}")


def _is_image(name: str) -> bool:
    return name.endswith(".png") and "/images/" in name


def _here(file: Path) -> list[object]:
    stat = os.stat(file)
    return [stat.st_size, stat.st_mtime_ns]


def _state(file: Path) -> dict[str, list[object]]:
    try:
        found = read_json(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
