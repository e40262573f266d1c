"""A metric from a benchmark's folder and one from an entry point, from `benchmark.toml` to every report."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scores import part, scores
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark, source_of
from radl_bench.cli import build_app
from radl_bench.mini.scenes import render
from radl_bench.report import build_report, report_runs, show, write_report
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.score import score_runs
from tests.conftest import tiny_row

ORACLE = {"detector": "oracle", "encoder": "none"}
DOC = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
(OFFSET,) = re.findall(r"```python\n(.*?)```", DOC, re.S)
(TABLE,) = re.findall(r"```toml\n(.*?)```", DOC, re.S)
WHOLE = """
from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row
from radl_bench.scoring.metrics.spec import ScoreSpec

def rows(view, protocol):
    if view.problem is not None:
        return [Row(WHOLE_IMAGE, "bright", float("nan"), view.problem)]
    good = view.sample.id not in ("tiny-003", "tiny-004")
    return [Row(WHOLE_IMAGE, "bright", 100.0 * good, "looked at")]

METRIC = Metric(
    "bright",
    (ScoreSpec("bright", "Bright | <b>", "rate", "image", missing=0.0, decimals=2, by_level=True, settings=("det",)),),
    frozenset({"detections"}),
    rows,
)
"""
LOST = {"good": 3, "bad": 6}


@pytest.fixture
def folder(make_benchmark, tmp_path, monkeypatch) -> Path:
    """Twelve layouts, measured by success, by the page's own example in the folder, and by a metric of a package."""
    folder = make_benchmark([tiny_row(n, 2 + n % 3) for n in range(12)])
    (folder / "offset.py").write_text(OFFSET, "utf-8")
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write(f"{TABLE}\n[metrics.bright]\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "bright_metric_of_a_package.py").write_text(WHOLE, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    point = metadata.EntryPoint("bright", "bright_metric_of_a_package:METRIC", "radl_bench.metrics")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == "radl_bench.metrics" else [])
    return folder


def make_run(root: Path, folder: Path, name: str, roll: int, lost: int) -> Path:
    """Render the layouts, moved to the right; the first `lost` images failed."""
    benchmark = load_benchmark(folder)
    generator = {"name": name, "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(root / "runs", benchmark, generator, source=source_of(folder))
    with run.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            if n < lost:
                writer.write_failure(sample.id, 0, n, "out of luck", 0.0)
            else:
                writer.write_image(sample.id, 0, n, Image.fromarray(np.roll(render(sample, n), roll, axis=1)), 0.0)
    run.update_status()
    return run.path


@pytest.fixture
def runs(tmp_path, folder, monkeypatch) -> list[Path]:
    made = [make_run(tmp_path, folder, name, 0, lost) for name, lost in LOST.items()]
    monkeypatch.chdir(tmp_path)  # not the benchmark's folder
    score_runs(made, **ORACLE)
    return made


def scored(run: Path) -> dict:
    content = scores(run)
    return content | {"scores": {(s["metric"], s["level"]): s for s in content["scores"]}}


def test_missing_images_count_as_the_metric_says_in_the_score_and_in_compare(runs) -> None:
    for run, name in zip(runs, LOST, strict=True):
        content = scored(run)
        bright, offset = (content["scores"][metric, None] for metric in ("bright", "offset"))
        wrong = {"good": LOST["good"] + 2, "bad": LOST["bad"]}[name]  # two dark ones, if they were made at all
        assert bright["value"] == pytest.approx(100 * (12 - wrong) / 12)
        assert (bright["n"], bright["n_missing"]) == (12, LOST[name])
        assert bright["ci_low"] < bright["value"] < bright["ci_high"]
        lost = sum(2 + n % 3 for n in range(LOST[name]))
        assert offset["value"] == pytest.approx(100 * lost / 36, abs=0.01)  # the oracle finds the rest in place
        assert "bright|" in bright["signature"]
        assert "det:oracle" in bright["signature"]
        assert {"score:.3", "lost:50", "iou:.5"} <= set(offset["signature"].split("|"))
        assert content["facts"]["offset"]["thresholds"] == {"iou": 0.5, "score": 0.3, "nms": 1.0, "lost": 50.0}
    comparison = compare_runs(*runs)
    assert sum(note.endswith("could not be judged; they count as failures.") for note in comparison.notes) == 2
    found = {(line.metric, line.level): line for line in comparison.lines}
    for metric in ("bright", "offset"):
        line = found[metric, None]
        assert (line.a, line.b) == tuple(scored(run)["scores"][metric, None]["value"] for run in runs)
        assert line.difference == pytest.approx(line.a - line.b)
        assert line.n == 12
    assert found["offset", None].heading == "Offset"


def test_a_threshold_of_its_own_reaches_the_rows(runs) -> None:
    score_runs(runs, **(ORACLE | {"detector": "blind"}))
    value = scored(runs[0])["scores"]["offset", None]["value"]
    lost = sum(2 + n % 3 for n in range(LOST["good"]))
    assert value == pytest.approx((100 * lost + 50 * (36 - lost)) / 36)  # 50 as benchmark.toml says, not 100


def test_every_report_shows_them_and_needs_no_plug_in(runs, folder, tmp_path, monkeypatch, capsys) -> None:
    before = {name: report_runs(runs, name) for name in ("markdown", "latex", "json", "csv")}
    (folder / "offset.py").unlink()
    shutil.rmtree(tmp_path / "package")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [])
    assert {name: report_runs(runs, name) for name in before} == before
    assert "### Bright | &lt;b> by number of objects" in before["markdown"]
    assert "Offset ↓" in before["markdown"]
    assert r"Offset $\downarrow$" in before["latex"]
    assert r"Bright $|$ $<$b$>$ by number of objects" in before["latex"]
    lines = list(csv.DictReader(io.StringIO(before["csv"])))
    records = [r for s in json.loads(before["json"])["sections"] for r in s["scores"]]
    for found in (lines, records):
        values = {r["method"]: float(r["value"]) for r in found if r["metric"] == "bright" and r["level"] in ("", None)}
        assert values == pytest.approx({"good": 700 / 12, "bad": 50})
    show(build_report(runs))
    shown = capsys.readouterr().out
    assert "Offset ↓" in shown
    assert "58.33" in shown


def test_ties_know_the_direction_and_the_gallery_the_verdict(make_benchmark, folder, runs, tmp_path) -> None:
    report = build_report(runs)
    groups = {
        (cell.metric, run.method): cell.group for s in report.sections for run, _, cell in s.cells if cell.level is None
    }
    # what the paired test says of it stands in the comparison
    found = {line.metric: line for line in compare_runs(*runs).lines if line.level is None}
    for metric in ("bright", "offset"):
        assert (groups[metric, "good"], groups[metric, "bad"]) == found[metric].groups
    write_report(report, "html", tmp_path / "html", figures=False)
    index = _taken(tmp_path / "html" / "data" / "0.js")
    assert index["metrics"] == [
        ["success_inst", "R_inst"],
        ["success_img", "R_img"],
        ["bright", "Bright | <b>"],
        ["offset", "Offset ↓"],
    ]
    assert [run["passed"][:3] for run in index["runs"]] in (["000", "000"],)  # lost in both
    compared = _taken(tmp_path / "html" / "data" / "0-compare.js")
    facts = {name: rest for name, *rest in compared["metrics"]}
    assert facts["offset"] == ["Offset ↓", 1, -1, 3]
    assert facts["bright"] == ["Bright | <b>", 2, 1, 2]
    means = [dict(zip(facts, of, strict=True)) for of in compared["means"]]
    assert all(of["bright"][:3] == [0.0] * 3 and of["offset"][:3] == [100.0] * 3 for of in means)
    assert "Offset ↓" in (tmp_path / "html" / "index.html").read_text("utf-8")


def _taken(file: Path):
    return json.loads(re.fullmatch(r"RADL\.take\(\"[^\"]+\",(.*)\);\n", file.read_text("ascii")).group(1))


def test_a_lower_distance_wins(runs) -> None:
    """Whoever wins on `offset` has the lower value, in the tie groups as in `compare`."""
    lines = {line.metric: line for line in compare_runs(*runs).lines if line.level is None}
    assert lines["offset"].a < lines["offset"].b
    for run, shift in zip(runs, (0.0, 80.0), strict=True):
        _move(run, shift)
    line = next(e for e in compare_runs(*runs).lines if (e.metric, e.level) == ("offset", None))
    assert line.groups == (1, 2)
    cells = {
        r.method: c
        for s in build_report(runs).sections
        for r, _, c in s.cells
        if (c.metric, c.level) == ("offset", None)
    }
    assert cells["good"].best
    assert cells["bad"].group == 2


def _move(run: Path, shift: float) -> None:
    import pandas as pd

    file = part(run, "rows")
    rows = pd.read_parquet(file)
    rows.loc[rows["metric"] == "offset", "value"] += shift
    rows.to_parquet(file)


@pytest.mark.parametrize("word", ["generate", "score"])
def test_a_broken_metric_is_told_before_an_image_is_made(folder, tmp_path, word, toy_method) -> None:
    (folder / "offset.py").write_text(OFFSET.replace('"nms", "iou", "match"', '"nms", "iuo"'), "utf-8")
    make = ["generate", str(folder), "--method", toy_method, "--runs", str(tmp_path / "runs")]
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "tiny-000.png")
    score = [
        "score",
        "--images",
        str(tmp_path / "pictures"),
        "--benchmark",
        str(folder),
        "--runs",
        str(tmp_path / "runs"),
    ]
    done = CliRunner().invoke(build_app(), make if word == "generate" else score)
    assert done.exit_code != 0
    text = str(done.exception)
    assert str(folder / "benchmark.toml") in text
    assert "setting of 'offset' 'iuo'" in text
    assert "Did you mean 'iou'" in text
    assert list((tmp_path / "runs").rglob("*.png")) == [] or word == "score"
