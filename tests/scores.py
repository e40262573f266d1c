"""Reading what scoring wrote into a run: the newest scores, and the files that belong to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from radl_bench.runs.store import find_scores
from radl_bench.scoring.score_files import part_of


def scores(run: Path) -> dict[str, Any]:
    """Content of the newest scores.json."""
    return json.loads(find_scores(run)[0].read_text("utf-8"))


def part(run: Path, name: str) -> Path:
    """The file of the "rows" or "parts" that belong to it."""
    return part_of(find_scores(run)[0], scores(run), name)


def rows(run: Path) -> pd.DataFrame:
    """Its rows."""
    return pd.read_parquet(part(run, "rows"))
