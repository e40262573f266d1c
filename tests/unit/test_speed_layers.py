"""The script that measures the cost of the layers, at a small size."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "layers.py"


def test_the_table_has_every_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--size", "tiny", "--precision", "fp32", "--repeats", "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("|")[2].strip(): line.split("|") for line in lines if line.startswith("| fp32")}
    assert {"plain", "inactive", "active", "plain, 4 images", "active, 4 layouts, first of a run"} <= set(rows)
    assert all(float(rows[name][3]) > 0 for name in ("plain", "inactive", "active"))
    assert rows["active"][5].strip() == "<= 1.15"
    gligen = {"GLIGEN", "GLIGEN, layers off", "GLIGEN, diffusers' layers"}
    assert gligen <= set(rows)
    assert all(float(rows[name][3]) > 0 for name in gligen)
    assert rows["GLIGEN"][5].strip().startswith("<= ")
