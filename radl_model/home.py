"""Where a user's data lies: fetched weights, converted checkpoints, imported benchmarks."""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Return the user's data folder: `$RADL_BENCH_HOME`, else `radl-bench` in the platform's cache folder."""
    home = os.environ.get("RADL_BENCH_HOME")
    if home:
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(cache) if cache else Path.home() / ".cache") / "radl-bench"
