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
    assert {"plain", "plain, 4 images", "migc, inactive", "migc, 4 layouts, first of a run"} <= set(rows)
    assert all(float(rows[name][3]) > 0 for name in ("plain", "radl, inactive", "radl, active", "migc, active"))
    assert [rows[f"radl, {what}"][5].strip() for what in ("active", "inactive")] == ["<= 1.10", "<= 1.00"]
    # A batch may cost no more times one image than the plain UNet's does.
    bar = float(rows["radl, 4 layouts, first of a run"][5].strip().removeprefix("<= "))
    assert abs(bar - float(rows["plain, 4 images"][4])) < 0.011
    gligen = {"GLIGEN", "GLIGEN, layers off", "GLIGEN, diffusers' layers"}
    assert gligen <= set(rows)
    assert all(float(rows[name][3]) > 0 for name in gligen)
    assert rows["GLIGEN"][5].strip().startswith("<= ")
