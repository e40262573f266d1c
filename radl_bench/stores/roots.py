"""What `--runs` names: a folder, or the address of a store, of which a working copy is on this machine."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from radl_bench.errors import UsageError
from radl_bench.stores.store import Store
from radl_bench.stores.working_copy import WorkingCopy


def folder_of(url: str) -> Path:
    """Return where the working copy of a store lies: below `RADL_BENCH_STORES`, or in the cache of the user."""
    top = os.environ.get("RADL_BENCH_STORES") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "radl-bench", "stores"
    )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", url).strip("-.")[:60]
    return Path(top).absolute() / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


_OPEN: dict[Path, WorkingCopy] = {}


def root_of(text: str | Path) -> Path:
    """Return the folder for what `--runs` says: itself, or the working copy of a store, which `copy_of` then knows.

    Raises:
        UsageError: there is no such kind of store.
        MissingExtra: its package is not installed.
    """
    url = str(text)
    if isinstance(text, Path) or "://" not in url:
        if re.match(r"[a-z][a-z0-9+.-]+:/[^/]", url) and isinstance(text, Path):
            raise UsageError(f"{url} was an address before it became a path. Give it as a text.")
        return Path(text)
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    url = url.rstrip("/") if not url.endswith("://") else url
    folder = folder_of(url)
    if folder not in _OPEN:
        _OPEN[folder] = WorkingCopy(Store(url), folder)
    return folder


def copy_of(root: Path) -> WorkingCopy | None:
    """Return the working copy whose folder this is, or None."""
    return _OPEN.get(root)


def shown(root: Path) -> str:
    """Return a root as it was given: the address of a store, or the folder."""
    copy = copy_of(root)
    return str(root) if copy is None else copy.store.url
