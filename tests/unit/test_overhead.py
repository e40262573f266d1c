"""The script that measures what a run with each method costs, on a few steps."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from radl_bench.registry import GENERATORS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "overhead.py"


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| fp32")]


def test_a_row_a_method_with_its_bound(monkeypatch, capsys):
    words = [
        "--methods",
        "gligen",
        "multidiffusion",
        "layout-guidance",
        "--steps",
        "2",
        "--repeats",
        "1",
        "--batch",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    names = runpy.run_path(str(SCRIPT), run_name="__main__")
    rows = rows_of(capsys.readouterr().out)
    assert [row[1] for row in rows] == ["gligen", "multidiffusion", "layout-guidance"]
    assert rows[1][2] == "5 rows an image"
    assert all(float(cell) > 0 for row in rows for cell in row[3:6])
    # Every method has a row but the plain run and the rendered scenes.
    assert set(names["METHODS"]) == set(GENERATORS) - {"stable-diffusion", "sprites"}
