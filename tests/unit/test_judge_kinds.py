"""A kind of judge from outside: one file and one line of the registry, from the first question to the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plugins import yes_no
from scores import scores as scores_of

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.judges.checks import BadAnswer
from radl_bench.judges.kinds import Kind
from radl_bench.registry import MEASUREMENTS, METRICS
from radl_bench.report import report_runs
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence import kinds_of
from radl_bench.scoring.score import score_each, score_runs

FILE = yes_no.__file__
GENERATOR = {"name": "painter", "revision": "1", "model": None, "params": {}, "weights_sha256": None}


@pytest.fixture
def run(tiny_benchmark, tmp_path, monkeypatch) -> Path:
    """Nine samples of two to four things, of which the first is red; every other image has a red block."""
    monkeypatch.setitem(MEASUREMENTS, "answers", "plugins.yes_no:ANSWERS")
    monkeypatch.setitem(METRICS, "answers", "plugins.yes_no")
    text = (tiny_benchmark / "benchmark.toml").read_text()
    (tiny_benchmark / "benchmark.toml").write_text(text.replace("[metrics.success]\niou = 0.5", "[metrics.answers]"))
    benchmark = load_benchmark(tiny_benchmark)
    made = RunFolder.create(tmp_path / "runs", benchmark, GENERATOR, source=str(tiny_benchmark))
    with made.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            pixels = np.full((32, 32, 3), 90 + n, np.uint8)
            pixels[:8, :8] = (220, 10, 10) if n % 2 == 0 else (10, 10, 220)
            writer.write_image(sample.id, 0, 0, Image.fromarray(pixels), 0.0)
    made.update_status()
    return made.path


def test_it_is_measured_kept_read_scored_signed_and_reported(run, tmp_path) -> None:
    options = {"detector": "blind", "encoder": "none", "judges": {"answerer": f"{FILE}:RedOrNot"}}
    score_runs([run], **options)
    content = scores_of(run)
    levels = [2 + n % 3 for n in range(9)]
    wanted = np.mean([100 / level if n % 2 == 0 else 0 for n, level in enumerate(levels)])
    (score,) = [s for s in content["scores"] if s["level"] is None]
    assert score["metric"] == "answered_yes"
    assert score["value"] == pytest.approx(wanted)
    assert "answers:red-or-not@1" in score["signature"].split("|")
    assert content["judges"]["answerer"]["signature"] == "red-or-not@1"
    assert len(list((run / "evidence").glob("answers-red-or-not-1-*.sqlite"))) == 1
    assert f"{wanted:.1f}" in report_runs([run], out=tmp_path / "report.md")
    assert _asked() == 27
    score_runs([run], **options)
    assert _asked() == 0  # of the class that was read anew: nothing is asked twice


def _asked() -> int:
    import sys

    return next(m.RedOrNot.asked for name, m in sys.modules.items() if name.startswith("radl_bench_user_yes_no"))


def test_a_role_without_a_default_has_to_be_chosen_or_left_out(run) -> None:
    with pytest.raises(UsageError, match=r"--judge answerer=NAME, or --judge answerer=none"):
        score_runs([run], detector="blind", encoder="none")
    score_runs([run], detector="blind", encoder="none", judges={"answerer": "none"})
    assert scores_of(run)["scores"] == []
    with pytest.raises(UsageError, match="Did you mean 'answerer'"):
        score_runs([run], detector="blind", encoder="none", judges={"answerer": "none", "anwserer": "x"})
    with pytest.raises(UsageError, match="The detector has an option of its own: --detector NAME"):
        score_runs([run], detector="blind", encoder="none", judges={"detector": "oracle"})


def test_its_contract_is_checked_like_any_other(run) -> None:
    with pytest.raises(BadAnswer, match=r"'mute@1' gave 1 answers for 2 questions; return one each"):
        score_each([run], detector="blind", encoder="none", judges={"answerer": f"{FILE}:Mute"})


def test_kinds_come_after_what_they_need_and_once() -> None:
    assert [kind.key for kind in kinds_of({"object_colors", "coverage"})] == ["detections", "coverage", "object_colors"]
    with pytest.raises(UsageError, match="Unknown kind of measurement 'anwsers'"):
        kinds_of({"anwsers"})
    with pytest.raises(UsageError, match="is not a kind of measurement"):
        kinds_of({f"{FILE}:ANSWERER"})
    assert isinstance(kinds_of({f"{FILE}:ANSWERS"})[0], Kind)  # without any line of the registry
