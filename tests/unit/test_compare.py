"""`compare`: paired differences of scored runs, what is refused, and its three forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import MissingData, UsageError
from radl_bench.report.collect import collect
from radl_bench.report.ties import sums_of
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.kinds import bootstrap_p
from radl_bench.scoring.score import score_runs
from radl_bench.scoring.statistics import paired_difference
from tests.conftest import tiny_row

ORACLE = {"detector": "oracle", "encoder": "none", "resamples": 200}
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
    plain = paired_difference(sums_of(a, "success_inst", None), sums_of(b, "success_inst", None))
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
        "paired bootstrap over samples",
    )


def test_a_run_is_tied_with_itself(tmp_path, folder) -> None:
    run = make_run(tmp_path, folder, "one", 0.4)
    score_runs([run], **ORACLE)
    for entry in compare_runs(run, run).lines:
        assert (entry.difference, entry.p, entry.groups) == (0.0, 1.0, (1, 1))


def test_parts_of_a_benchmark_compare_on_what_both_have(tmp_path, folder) -> None:
    whole, part = make_run(tmp_path, folder, "whole", 0.1), make_run(tmp_path, folder, "part", 0.1, level=3)
    score_runs([whole, part], **ORACLE)
    found = compare_runs(whole, part)
    assert line(found, "success_inst").n == line(found, "success_inst", 3).n == 10
    assert any("different parts" in note for note in found.notes)
    assert line(found, "ap").p is None  # drawn over other samples


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"iou": 0.7}, r"iou:\.5 against iou:\.7"),
        ({"protocol": "mig_bench_v1"}, "protocol:strict"),
        ({"segmenter": "box"}, "mask:mini-hsv-reach.*@det against mask:box@det"),
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


def test_p_of_draws_is_two_sided_and_never_zero() -> None:
    assert bootstrap_p(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap_p(np.zeros(99)) == 1.0
    draws = np.random.default_rng(0).normal(1.96, 1, 20_000)
    assert bootstrap_p(draws) == pytest.approx(0.05, abs=0.005)
    assert bootstrap_p(-draws) == pytest.approx(bootstrap_p(draws), abs=1e-9)
