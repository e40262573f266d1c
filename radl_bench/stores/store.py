"""An object store: files by name, listed, read and written again until it works."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from radl_bench.errors import MissingExtra, RadlBenchError, UsageError
from radl_bench.files import own_tag, replacing
from radl_bench.registry import describe_error

AT_ONCE = 8
"""Requests of one process at a time."""

_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)  # seconds before a request is made again
_CHECKS = 3
_TOKENS = ("ETag", "etag", "md5", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "created")
_HOPELESS = (PermissionError, FileNotFoundError, ImportError, NotImplementedError)

T = TypeVar("T")


class StoreFailed(RadlBenchError):
    """A store did not answer, however often it was asked."""


class Entry(NamedTuple):
    """A file of a store: its size, and what changes with its content."""

    size: int
    token: str


class Store:
    """The files below an address that fsspec knows: s3://bucket/folder, gs://, hf://, memory:// and others.

    Raises:
        MissingExtra: the package for such addresses is not installed.
        UsageError: there are no such addresses.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        try:
            self._files, self._base = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise MissingExtra(f"{protocol}:// needs another package: {_line(error)}.") from None
        except Exception as error:
            raise UsageError(f"{self.url} is no store of runs: {describe_error(error)}.") from None

    def check(self) -> None:
        """Write a small file, read it and remove it; raises `UsageError` where that does not work."""
        name, content = f".radl-bench-{own_tag()}", os.urandom(8)
        try:
            self._again(lambda: self._files.pipe_file(self._at(name), content), _CHECKS)
            if self._again(lambda: self._files.cat_file(self._at(name)), _CHECKS) != content:
                raise OSError("what was written is not what is read")
            self._again(lambda: self._files.rm_file(self._at(name)), _CHECKS)
        except Exception as error:
            raise UsageError(
                f"There is no reading and writing in {self.url}: {describe_error(error)}. "
                "Check its name, and the credentials of this machine."
            ) from None

    def list(self, folder: str = "") -> dict[str, Entry]:
        """Return the files below a folder by their names below the store."""
        where = self._at(folder) if folder else self._base

        def find() -> dict[str, Any]:
            self._files.invalidate_cache()  # other machines write there too
            try:
                return self._files.find(where, detail=True)  # type: ignore[no-any-return]
            except FileNotFoundError:
                return {}

        found = self._asked(find, folder or "its files", "listed")
        start = len(self._base.strip("/")) + 1 if self._base.strip("/") else 0
        return {name.strip("/")[start:]: _entry(info) for name, info in found.items()}

    def get(self, name: str, file: Path, size: int | None = None) -> None:
        """Copy a file of the store to `file`, whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)

        def copy() -> None:
            with replacing(file) as part:
                self._files.get_file(self._at(name), str(part))
                if size is not None and part.stat().st_size != size:
                    raise OSError(f"{part.stat().st_size} of {size} bytes came")

        self._asked(copy, name, "read")

    def put(self, name: str, file: Path) -> None:
        """Copy `file` into the store."""

        def copy() -> None:
            try:
                self._files.put_file(str(file), self._at(name))
            except FileNotFoundError as error:
                raise (OSError(str(error)) if file.is_file() else error) from None

        self._asked(copy, name, "written")

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None where there is none."""

        def read() -> bytes | None:
            try:
                return bytes(self._files.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

        return self._asked(read, name, "read")

    def write(self, name: str, content: bytes) -> datetime:
        """Write a small file; returns when that was, by the clock of the store."""
        self._asked(lambda: self._files.pipe_file(self._at(name), content), name, "written")
        return self.changed(name)

    def changed(self, name: str) -> datetime:
        """Return when a file was last written, by the clock of the store."""
        self._files.invalidate_cache()
        return self._asked(lambda: self._files.modified(self._at(name)), name, "looked at")  # type: ignore[no-any-return]

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._asked(lambda: self._files.rm_file(self._at(name)), name, "removed")

    def _at(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"

    def _asked(self, request: Callable[[], T], name: str, what: str) -> T:
        try:
            return self._again(request)
        except RadlBenchError:
            raise
        except Exception as error:
            raise StoreFailed(f"{name} could not be {what} in {self.url}: {describe_error(error)}.") from error

    def _again(self, request: Callable[[], T], most: int = len(_PAUSES) + 1) -> T:
        for pause in _PAUSES[: most - 1]:
            try:
                return request()
            except (RadlBenchError, *_HOPELESS):
                raise
            except Exception:  # each kind of store has errors of its own
                time.sleep(pause * random.uniform(0.5, 1.5))
        return request()


def side_by_side(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do `work` for every item, some at a time; raises the first error when all are done."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(work, item) for item in items]:
            done.result()


def _entry(info: dict[str, Any]) -> Entry:
    return Entry(int(info.get("size") or 0), "|".join(str(info[key]) for key in _TOKENS if key in info))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
