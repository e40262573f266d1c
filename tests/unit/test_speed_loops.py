"""The script that measures scoring beside the loops of other suites, on a few images."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "loops.py"


def test_all_ways_find_the_same_objects(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--images", "7", "--repeats", "1"])
    names = runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:5]] for line in lines[1:]}
    assert lines[0].startswith("| 7 images")
    assert list(rows) == ["radl-bench", *names["LOOPS"]]
    assert all(float(seconds) > 0 for seconds, *_ in rows.values())
    assert len({found for *_, found in rows.values()}) == 1
    assert 50 < float(rows["radl-bench"][2]) < 100


def test_more_images_than_layouts_are_whole_layouts(tmp_path):
    benchmark_of = runpy.run_path(str(SCRIPT))["benchmark_of"]
    for images, layouts, copies in ((7, 7, 1), (1000, 500, 2)):
        folder, made = benchmark_of(tmp_path / str(images), images)
        assert made == copies
        assert len((folder / "samples.jsonl").read_text().splitlines()) == layouts
