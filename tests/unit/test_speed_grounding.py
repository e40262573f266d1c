"""The script that measures GroundingDINO against one full forward a query, small, and its count of forwards."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from radl_bench.benchmarks.loading import load_benchmark

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "grounding_dino.py"


def output_of(monkeypatch, capsys, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_both_ways_are_timed_and_give_the_same_answers(monkeypatch, capsys):
    lines = output_of(monkeypatch, capsys, "--size", "tiny", "--side", "96", "--double")
    full, own = (float(line.split("|")[2]) for line in lines[2:4])
    assert full > 0
    assert own > 0
    (boxes,) = (line for line in lines if line.startswith("Greatest difference of a box"))
    assert all(float(value) < 1e-7 for value in boxes.split(": ")[1].rstrip(".").split(", "))


def test_the_count_is_that_of_the_layouts(monkeypatch, capsys):
    things = [[i.category for i in sample.instances] for sample in load_benchmark("coco-mig").samples]
    lines = output_of(monkeypatch, capsys, "--count")
    full, own = ([int(cell) for cell in line.split("|")[2:4]] for line in lines[2:4])
    assert full == [sum(map(len, things))] * 2
    assert own == [len(things), sum(len(set(names)) for names in things)]
