"""`compare`: paired differences of scored runs, what is refused, and its three forms."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import MissingData, UsageError
from radl_bench.report import build_report
from radl_bench.report.collect import collect
from radl_bench.report.paired import sums_of
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.permutation import mean_test
from radl_bench.scoring.score import score_runs
from tests.conftest import tiny_row

ORACLE = {"detector": "oracle", "encoder": "none"}
RGB = {"red": (220, 20, 20), "blue": (20, 40, 220), "green": (20, 180, 30), "white": (250, 250, 250)}


@pytest.fixture
def folder(make_benchmark) -> Path:
    """Thirty layouts at the levels 2 to 4, scored by success and AP."""
    folder = make_benchmark([tiny_row(n, 2 + n % 3) for n in range(30)])
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.average_precision]\n")
    return folder


def make_run(root: Path, folder: Path, name: str, wrong: float, **only) -> Path:
    """Paint a run in which a share of the instances has another colour, and return its folder."""
    rng = np.random.default_rng(1)
    benchmark = load_benchmark(folder, **only)
    generator = {"name": name, "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(root / "runs", benchmark, generator, source=str(folder))
    with run.writer() as writer:
        for sample in benchmark.samples:
            pixels = np.full((64, 64, 3), 128, np.uint8)
            for instance in sample.instances:
                x0, y0, x1, y1 = (round(64 * v) for v in instance.box)
                other = "red" if instance.color == "green" else "green"
                pixels[y0:y1, x0:x1] = RGB[other if rng.random() < wrong else instance.color]
            writer.write_image(sample.id, 0, 7, Image.fromarray(pixels), 0.0)
    run.update_status()
    return run.path


def line(found, metric: str, level: int | None = None):
    return next(entry for entry in found.lines if (entry.metric, entry.level) == (metric, level))


def test_a_better_run_is_told_from_a_worse_one(tmp_path, folder) -> None:
    good, bad = make_run(tmp_path, folder, "good", 0.05), make_run(tmp_path, folder, "bad", 0.7)
    score_runs([good, bad], **ORACLE)
    found = compare_runs(good, bad)
    entry = line(found, "success_inst")
    a, b = collect([good])[0][0], collect([bad])[0][0]
    plain = mean_test(sums_of(a, "success_inst", None), sums_of(b, "success_inst", None))
    assert entry.difference == plain.value == pytest.approx(entry.a - entry.b)
    assert (entry.ci_low, entry.ci_high, entry.p, entry.n) == (plain.ci_low, plain.ci_high, plain.p, 30)
    assert entry.ci_low > 0
    assert entry.groups == (1, 2)
    assert line(compare_runs(bad, good), "success_inst").groups == (2, 1)
    assert {(e.metric, e.level) for e in found.lines} >= {("success_img", 3), ("ap", None), ("ap75", 4)}
    perfect = line(found, "ap")  # the oracle finds everything in both: no difference at all
    assert (perfect.difference, perfect.p, perfect.groups, perfect.test) == (
        0.0,
        1.0,
        (1, 1),
        "paired permutation over samples",
    )


def test_four_samples_tell_no_two_methods_apart_and_have_no_interval(tmp_path, make_benchmark) -> None:
    folder = make_benchmark([tiny_row(n, 3) for n in range(4)])
    good, bad = make_run(tmp_path, folder, "good", 0.0), make_run(tmp_path, folder, "bad", 1.0)
    score_runs([good, bad], **ORACLE)
    for entry in compare_runs(good, bad).lines:
        assert (entry.groups, entry.ci_low, entry.ci_high) == ((1, 1), None, None)
        assert entry.p >= 0.125
    (section,) = build_report([good, bad]).sections
    for _, _, cell in section.cells:
        assert (cell.best, cell.low, cell.high) == (False, None, None)
        assert "6 samples" in cell.note or "samples are" in cell.note


def test_the_interval_of_a_difference_never_disagrees_with_its_p(tmp_path, folder) -> None:
    runs = [make_run(tmp_path, folder, name, wrong) for name, wrong in (("a", 0.2), ("b", 0.35), ("c", 0.6))]
    score_runs(runs, **ORACLE)
    known = [e for a, b in combinations(runs, 2) for e in compare_runs(a, b).lines if e.ci_low is not None]
    assert {entry.p < 0.05 for entry in known} == {True, False}
    for entry in known:
        assert entry.ci_low < entry.ci_high
        assert entry.ci_low <= entry.difference <= entry.ci_high
        assert (entry.p < 0.05) == (not entry.ci_low <= 0 <= entry.ci_high)


def test_a_run_is_tied_with_itself(tmp_path, folder) -> None:
    run = make_run(tmp_path, folder, "one", 0.4)
    score_runs([run], **ORACLE)
    for entry in compare_runs(run, run).lines:
        assert (entry.difference, entry.p, entry.groups) == (0.0, 1.0, (1, 1))
        assert entry.ci_low is entry.ci_high is None  # no interval of width 0


def test_parts_of_a_benchmark_compare_on_what_both_have(tmp_path, folder) -> None:
    whole, part = make_run(tmp_path, folder, "whole", 0.1), make_run(tmp_path, folder, "part", 0.1, level=3)
    score_runs([whole, part], **ORACLE)
    found = compare_runs(whole, part)
    assert line(found, "success_inst").n == line(found, "success_inst", 3).n == 10
    assert any("different parts" in note for note in found.notes)
    assert (line(found, "ap").n, line(found, "ap").p) == (10, 1.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"iou": 0.7}, r"iou:\.5 against iou:\.7"),
        ({"protocol": "mig_bench_v1"}, "protocol:strict"),
        ({"segmenter": "box"}, "mask:mini-hsv@det against mask:box@det"),
    ],
)
def test_numbers_measured_differently_are_refused(tmp_path, folder, options, sentence) -> None:
    a, b = make_run(tmp_path, folder, "a", 0.1), make_run(tmp_path, folder, "b", 0.1)
    score_runs([a], **ORACLE)
    score_runs([b], **(ORACLE | options))
    with pytest.raises(UsageError, match=sentence):
        compare_runs(a, b)


def test_other_benchmarks_and_runs_without_scores_are_refused(tmp_path, folder, make_benchmark) -> None:
    other = make_benchmark([tiny_row(n, 2) for n in range(4)], name="other")
    a, b = make_run(tmp_path, folder, "a", 0.1), make_run(tmp_path, other, "b", 0.1)
    with pytest.raises(MissingData, match=r"is not scored yet\. Run `radl-bench score"):
        compare_runs(a, b)
    score_runs([a, b], **ORACLE)
    with pytest.raises(UsageError, match="only runs of one benchmark compare"):
        compare_runs(a, b)
    with pytest.raises(MissingData, match="is not a run"):
        compare_runs(a, tmp_path)


def test_the_command_prints_a_table_markdown_and_json(tmp_path, folder) -> None:
    a, b = make_run(tmp_path, folder, "good", 0.05), make_run(tmp_path, folder, "bad", 0.7)
    score_runs([a, b], **ORACLE)
    words = ["compare", str(a), str(b)]
    table, mark, data = (
        CliRunner().invoke(build_app(), [*words, *f]) for f in ([], ["--format", "markdown"], ["--format", "json"])
    )
    assert (table.exit_code, mark.exit_code, data.exit_code) == (0, 0, 0)
    assert "R_inst" in table.output
    assert "not corrected" in table.output
    assert "| R_inst | all | " in mark.output
    assert mark.output.count("< .001 | 30 | A |") >= 1
    content = json.loads(data.output)
    assert content["lines"][0]["groups"] == [1, 2]
    assert content["benchmark"]["name"] == "tiny"
    refused = CliRunner().invoke(build_app(), [*words, "--format", "html"])
    assert isinstance(refused.exception, UsageError)
