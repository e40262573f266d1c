"""Scoring takes the memory of a chunk of pictures, whatever the size of the run (`benchmarks/speed/scoring.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ten_times_the_rows_fill_the_buffers_and_no_more() -> None:
    """KID's matrix (up to 34 MB) and the caches of SQLite grow to their bounds and stay there.

    Measured by the script: 236 MB at 1,400 rows, 268 at 14,000, 276 at 30,800, 286 at 100,800.
    """
    peaks = {}
    for rows in (1_400, 14_000):
        words = [sys.executable, str(ROOT / "benchmarks" / "speed" / "scoring.py"), "--rows", str(rows)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["rows"] == rows
        peaks[rows] = (result["first"]["peak_mb"], result["second"]["peak_mb"])
    for small, large in zip(peaks[1_400], peaks[14_000], strict=True):
        assert large < small + 64, peaks
