"""DrawBench by the command line: rendered scenes score 100 with an oracle and 0 with a blind detector."""

from __future__ import annotations

from pathlib import Path

import pytest
from scores import scores as scores_of
from typer.testing import CliRunner

from radl_bench.cli import build_app

SCORES = {"drawbench_attribute": 30, "drawbench_quantity": 20, "drawbench_relation": 20}


def call(*words: str) -> str:
    result = CliRunner().invoke(build_app(), list(words))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawbench")
    call("generate", "drawbench", "--method", "sprites", "--images-per-sample", "1", "--runs", str(root))
    (folder,) = root.glob("drawbench/sprites/*")
    return folder


def scores(run: Path, detector: str) -> dict[str, dict]:
    call("score", str(run), "--detector", detector, "--encoder", "none")
    content = scores_of(run)
    return {s["metric"]: s for s in content["scores"] if s["level"] is None}


def test_the_oracle_gets_everything_right(run) -> None:
    found = scores(run, "oracle")
    assert {name: (s["value"], s["n"]) for name, s in found.items()} == {n: (100.0, k) for n, k in SCORES.items()}
    # twenty prompts that all succeed are no certainty
    assert all(80 < s["ci_low"] < 90 for s in found.values())
    assert "wilson-clustered" in found["drawbench_quantity"]["signature"]
    assert "margin:.05|gap:.2|pick:strongest" in found["drawbench_relation"]["signature"]
    assert "count:.35|nms:1" in found["drawbench_quantity"]["signature"]


def test_a_blind_detector_gets_nothing_right(run) -> None:
    found = scores(run, "blind")
    assert {name: s["value"] for name, s in found.items()} == dict.fromkeys(SCORES, 0.0)


def test_the_report_shows_the_three_scores(run, tmp_path) -> None:
    scores(run, "oracle")
    call("report", str(run), "--format", "markdown", "--out", str(tmp_path / "report.md"))
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "drawbench 1" in text
    for head in ("Attribute", "Quantity", "Relation"):
        assert head in text
