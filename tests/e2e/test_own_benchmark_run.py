"""A benchmark of one's own, from a CSV to a report in three commands within two minutes."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.test_docs import run

CSV = """id,category,color,x0,y0,x1,y1,relation
one,car,red,0.05,0.3,0.4,0.7,left of 1
one,dog,blue,0.6,0.3,0.95,0.7,
two,umbrella,,0.2,0.2,0.8,0.8,
three,cow,brown,0.1,0.1,0.9,0.5,
three,bus,yellow,0.1,0.55,0.9,0.95,below 0
"""
COMMANDS = (
    "radl-bench generate things.csv --method sprites",
    "radl-bench score",
    "radl-bench report",
)


def computed() -> float:
    """Return the seconds of computing of all processes started and ended so far: not longer where others work too.

    An idle machine needs no more time than that.
    """
    times = os.times()
    return times.children_user + times.children_system


def test_three_commands_within_two_minutes(tmp_path: Path) -> None:
    (tmp_path / "things.csv").write_text(CSV, "utf-8")
    start = computed()
    for line in COMMANDS:
        done = run(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert computed() - start < 120
    text = (tmp_path / "reports" / "report.md").read_text("utf-8")
    assert "things@1" in text
    assert "bench:things@1:" in text
    assert "R_inst" in text
    assert "Relation" in text


def test_the_same_set_by_name(tmp_path: Path) -> None:
    (tmp_path / "things.csv").write_text(CSV, "utf-8")
    made = run("radl-bench data new things.csv --name my-things", tmp_path)
    assert made.returncode == 0, made.stderr
    checked = run("radl-bench data verify my-things", tmp_path)
    assert checked.returncode == 0, checked.stdout
    done = run("radl-bench generate my-things --method sprites --limit 1", tmp_path)
    assert done.returncode == 0, done.stderr
    bad = CSV.replace("red", "reed").replace("0.95,0.7", "0.5,0.7")
    (tmp_path / "bad.csv").write_text(bad, "utf-8")
    refused = run("radl-bench data new bad.csv", tmp_path)
    assert refused.returncode == 2
    assert "line 2" in refused.stderr
    assert "line 3" in refused.stderr
    assert "Traceback" not in refused.stderr
