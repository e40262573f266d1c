"""The facts of scores and the tables of metrics: what is held to be true, and what is refused in which words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import BadInput, RadlBenchError, UsageError
from radl_bench.registry import MEASUREMENTS, METRICS, resolve
from radl_bench.scoring.aggregate import MeanPool
from radl_bench.scoring.chosen import Chosen, by_rules, choose
from radl_bench.scoring.conditions import SHARED, Conditions
from radl_bench.scoring.kinds import TREATMENTS
from radl_bench.scoring.metrics import Metric, Row, View
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import KINDS, ScoreSpec, read_spec
from radl_bench.scoring.protocol import THRESHOLDS, resolve_protocol
from radl_bench.scoring.statistics import SampleSums, wilson, wilson_clustered
from radl_bench.types import Instance, Sample

FACTS = {"heading": "Mine", "kind": "mean", "unit": "image", "missing": 0.0}
NAN = float("nan")


def with_tables(folder, text: str):
    """Return the tiny benchmark with these metric tables instead of its own."""
    file = folder / "benchmark.toml"
    file.write_text(file.read_text("utf-8").partition("[metrics.")[0] + text, "utf-8")
    return load_benchmark(folder)


def built_in() -> dict[str, Metric]:
    return {name: resolve("metrics", name).METRIC for name in METRICS}


# what stands in the tables of the literature; a change here is a change of every published number or column
PUBLISHED = {
    "success_inst": ("R_inst", "rate", "instance", 0.0, False, 1),
    "success_img": ("R_img", "rate", "image", 0.0, False, 1),
    "miou": ("mIoU", "mean", "instance", 0.0, False, 1),
    "ap": ("AP", "precision", "instance", 0.0, False, 1),
    "ap50": ("AP50", "precision", "instance", 0.0, False, 1),
    "ap75": ("AP75", "precision", "instance", 0.0, False, 1),
    "clip": ("CLIP", "cosine", "image", None, False, 1),
    "local_clip": ("Local CLIP", "cosine", "instance", None, False, 1),
    "fid": ("FID", "distance", "image", None, True, 1),
    "kid": ("KID ×1000", "distance", "image", None, True, 2),
    "drawbench_attribute": ("Attribute", "rate_of_few", "instance", 0.0, False, 1),
    "drawbench_quantity": ("Quantity", "rate_of_few", "image", 0.0, False, 1),
    "drawbench_relation": ("Relation", "rate_of_few", "relation", 0.0, False, 1),
}


def test_the_built_in_scores_are_those_of_the_literature_in_its_order() -> None:
    specs = sorted((s for m in built_in().values() for s in m.scores), key=lambda s: s.order)
    assert [s.name for s in specs] == list(PUBLISHED)
    told = {s.name: (s.heading, s.kind, s.unit, s.missing, s.lower_is_better, s.decimals) for s in specs}
    assert told == PUBLISHED
    assert {s.name for s in specs if s.by_level} == {"success_inst", "success_img", "miou"}
    assert {s.name for s in specs if s.verdict} == {"success_inst", "success_img"}


def test_facts_survive_json_and_every_kind_has_its_treatment() -> None:
    for metric in built_in().values():
        for spec in metric.scores:
            again = read_spec(spec.name, json.loads(json.dumps(spec.facts())))
            assert again.facts() == spec.facts()
            assert known_spec(spec.name).facts() == spec.facts()
    assert set(TREATMENTS) == set(KINDS)
    assert known_spec("of_a_stranger").missing is None  # older versions left its rows out of the mean


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "ratio"}, "'kind' must be one of rate"),
        ({"unit": "pixel"}, "'unit' must be one of instance"),
        ({"missing": NAN}, "'missing' must be a finite number"),
        ({"missing": True}, "'missing' must be a finite number"),
        ({"missing": "0"}, "'missing' must be a finite number"),
        ({"heading": ""}, "'heading' must be a short"),
        ({"heading": "a\nb"}, "'heading' must be a short"),
        ({"decimals": 1.5}, "'decimals' must be a whole number"),
        ({"lower_is_better": 1}, "must be True or False"),
        ({"lower_is_better": True}, "'missing' would be the best value"),
        ({"kind": "rate", "missing": 50.0}, "must be its worst value"),
        ({"kind": "rate_of_few", "missing": 100.0}, "must be its worst value"),
        ({"settings": ["det"]}, "'settings' must be a tuple"),
    ],
)
def test_wrong_facts_are_refused(change, words) -> None:
    with pytest.raises(ValueError, match=words):
        ScoreSpec("mine", **(FACTS | change))
    ScoreSpec("mine", **FACTS)


# one rule for missing images -----------------------------------------------------------------------------------------


def _estimate(spec: ScoreSpec, values: list[float]):
    pool = MeanPool(spec, resamples=50)
    for n, value in enumerate(values):
        pool.add(View(Sample(f"s{n}", "p", (Instance("a", "b", None, (0, 0, 1, 1)),)), 0), [Row(-1, "mine", value, "")])
    return pool.estimate(None)


@pytest.mark.parametrize(
    ("change", "values", "mean"),
    [
        ({}, [10.0, NAN], 5.0),
        ({"missing": None}, [10.0, NAN], 10.0),
        ({"missing": 40.0, "lower_is_better": True}, [10.0, NAN], 25.0),
        ({"kind": "rate"}, [100.0, NAN], 50.0),
    ],
)
def test_a_missing_value_counts_as_its_spec_says(change, values, mean) -> None:
    found = _estimate(ScoreSpec("mine", **(FACTS | change)), values)
    assert (found.value, found.n, found.n_missing) == (mean, 2, 1)


@pytest.mark.parametrize("name", ["success_inst", "success_img"])
def test_a_rate_on_which_all_agree_has_wilsons_interval(name) -> None:
    spec = known_spec(name)
    pool = MeanPool(spec, resamples=50)
    for n in range(20):
        pool.add(View(Sample(f"s{n}", "p", ()), 0), [Row(-1, name, 0.0, "")])
    found = pool.estimate(None)
    assert (found.ci_low, found.ci_high) == pytest.approx([100 * v for v in wilson(0, 20)])
    assert found.ci_high > 10
    assert found.ci == "cluster-bootstrap-50/wilson"
    assert _estimate(ScoreSpec("mine", **FACTS), [0.0] * 20).ci_high == 0.0  # a mean promises no such thing


@pytest.mark.parametrize("name", ["drawbench_attribute", "drawbench_quantity", "drawbench_relation"])
def test_a_rate_of_few_has_wilsons_interval_at_the_effective_size(name) -> None:
    pool = MeanPool(known_spec(name), resamples=50)
    good = [0, 1, 1, 0, 1, 1, 1, 0]
    for n, hit in enumerate(good):
        pool.add(View(Sample(f"s{n}", "p", ()), 0), [Row(0, name, 100.0 * hit, "")] * 3)
    found, ids = pool.estimate(None), tuple(f"s{n}" for n in range(8))
    ends = wilson_clustered(SampleSums(ids, 3.0 * np.array(good), np.full(8, 3.0)))
    assert (found.ci_low, found.ci_high) == pytest.approx([100 * v for v in ends])
    assert found.ci == "wilson-clustered"


def test_samples_more_alike_than_chance_count_no_more_than_their_units() -> None:
    """Every sample has one hit of two: no variance between samples, and still no more than 40 units."""
    alike = SampleSums(tuple(map(str, range(20))), np.ones(20), np.full(20, 2.0))
    assert wilson_clustered(alike) == pytest.approx(wilson(20, 40))
    nearly = SampleSums(alike.ids, np.array([1.0] * 18 + [0.0, 2.0]), alike.den)
    assert wilson_clustered(nearly) == pytest.approx(wilson(20, 40))  # a design effect of .2 counts as 1


# signatures ----------------------------------------------------------------------------------------------------------

MATCHED = "det:d|score:.25|nms:.8|iou:.5|match:one-to-one"
SIGNED = {
    "success_inst": f"{MATCHED}|color:hsv-mig@.2|mask:m@det",
    "success_img": f"{MATCHED}|color:hsv-mig@.2|mask:m@det",
    "miou": MATCHED,
    "ap": "det:d|score:.05|nms:.8|queries:layout",
    "clip": "enc:e:rgb",
    "local_clip": "enc:e:rgb|crop:box-square|phrase:plain",
    "fid": "features:f|ref:coco",
    "drawbench_attribute": "det:d|score:.25|nms:.8|color:hsv-mig@.2|mask:m@det|pick:strongest",
    "drawbench_quantity": "det:d|count:.35|nms:.8",
    "drawbench_relation": "det:d|score:.25|nms:.8|margin:.05|gap:.2|pick:strongest",
}
"""What signatures of reports/mini.md and of earlier runs say between the protocol and the seed."""


@pytest.mark.parametrize("name", SIGNED)
def test_signatures_say_what_they_always_said(name) -> None:
    bench = {"name": "coco-mig", "version": "1", "sha256": "71c57684" * 8}
    pool = {"ref": "ref:coco"} if name == "fid" else {}
    under = Conditions(
        bench, (2, 3), 1, {"policy": "hashed", "base": 3}, resolve_protocol("strict"), "d", "m", "e", "f", pool=pool
    )
    (spec,) = (s for m in built_in().values() for s in m.scores if s.name == name)
    start, end = f"{name}|bench:coco-mig@1:71c57684|level:2-3|n:7|img:1|protocol:strict", "seed:hashed+3|ci:x|v:0.1.0"
    assert under.signature(spec, None, 7, "x") == f"{start}|{SIGNED[name]}|{end}"


# thresholds and tables -----------------------------------------------------------------------------------------------


def test_the_thresholds_of_a_metric_are_its_own(tiny_benchmark) -> None:
    benchmark = with_tables(
        tiny_benchmark, "[metrics.success]\niou = 0.5\n[metrics.iou]\niou = 0.9\n[metrics.clip_score]\n"
    )
    rules = {one.name: r for _, members in by_rules(choose(benchmark), "strict", {}) for one, r in members}
    assert {name: r.iou for name, r in rules.items()} == {"success": 0.5, "iou": 0.9, "clip_score": 0.5}
    assert len(by_rules(choose(benchmark), "strict", {})) == 2  # success and CLIP share what was matched
    by_hand = by_rules(choose(benchmark), "strict", {"iou": 0.7, "nms": None})
    assert {r.iou for _, members in by_hand for _, r in members} == {0.7}
    assert len(by_hand) == 1


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ("[metrics.success]\nuio = 0.5\n", BadInput, r"\[metrics.success\]: Unknown key 'uio'. Did you mean 'iou'"),
        ("[metrics.clip_score]\niou = 0.5\n", BadInput, "Unknown key 'iou'. This metric takes none"),
        ("[metrics.quantity]\nmargin = 0.1\n", BadInput, "Unknown key 'margin'. Known: count, nms"),
        ("[metrics.success]\niou = 50\n", BadInput, "iou' must be a fraction from 0 to 1, not 50"),
        ("[metrics.success]\niou = nan\n", BadInput, "iou' must be a fraction from 0 to 1"),
        ('[metrics.success]\niou = "a\\nb"\n', BadInput, "iou' must be a fraction from 0 to 1"),
        ("[metrics.success]\niou = true\n", BadInput, "iou' must be a fraction from 0 to 1"),
        ("[metrics.success.iou]\nx = 1\n", BadInput, "iou' must be a fraction from 0 to 1"),
        ("[metrics.fid]\nreference = 3\n", BadInput, "'reference' must be a text"),
        ("[metrics.succes]\n", UsageError, "Unknown metric 'succes'. Did you mean 'success'"),
        ('[metrics."gone.py:METRIC"]\n', UsageError, "There is no file .*gone.py. Give the metric as .*file.py:METRIC"),
    ],
)
def test_what_a_table_says_wrongly_is_named_with_file_and_remedy(tiny_benchmark, tables, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        choose(with_tables(tiny_benchmark, tables))
    assert str(caught.value).startswith(str(tiny_benchmark / "benchmark.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("versoin = 1", "Unknown key 'versoin'. Did you mean 'version'"),
        (f'"{"x" * 5000}" = 1', "Unknown key 'x{77}\\.\\.\\.'"),
        ("[table]\ncolumn = []", r"\[table\]: Unknown key 'column'. Did you mean 'columns'"),
        ("[table]\ncolumns = [1]", "'columns' must be a list of scores"),
        ("[table]\nname = 2", "'name' must be given as str"),
    ],
)
def test_unknown_keys_of_a_benchmark_are_refused(tiny_benchmark, text, words) -> None:
    file = tiny_benchmark / "benchmark.toml"
    before, mark, after = file.read_text("utf-8").partition("[metrics.success]")
    file.write_text(f"{before}{text}\n{mark}{after}", "utf-8")
    with pytest.raises(BadInput, match=words) as caught:
        load_benchmark(tiny_benchmark)
    assert str(file) in str(caught.value)


MINE = """
from radl_bench.scoring.metrics import Metric, Row
from radl_bench.scoring.metrics.spec import ScoreSpec
FACTS = dict(heading="Mine", kind="mean", unit="image", missing=0.0)
GOOD = ScoreSpec("mine", **FACTS)
METRIC = {}
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("5", "it is a int, not a Metric"),
        ('Metric("m", (), frozenset(), rows=print)', "'scores' must be a tuple of ScoreSpec"),
        ('Metric("m", ("mine",), frozenset(), rows=print)', "the score 'mine' is a str, not a ScoreSpec"),
        ('Metric("m", (GOOD, GOOD), frozenset(), rows=print)', "it gives the score 'mine' twice"),
        ('Metric("m", (GOOD,), frozenset())', "either 'rows' or a 'pool'"),
        (
            'Metric("m", (GOOD,), frozenset({"detection"}), rows=print)',
            "kind of evidence 'detection'. Did you mean 'detections'",
        ),
        (
            'Metric("m", (GOOD,), frozenset(), rows=print, thresholds=("uio",))',
            "threshold of the protocol 'uio'. Did you mean 'iou'",
        ),
        ('Metric("m", (GOOD,), frozenset(), rows=print, own={"iou": 0.5})', "'iou' is a threshold already"),
        ('Metric("m", (GOOD,), frozenset(), rows=print, own={"mine": "x"})', "'mine' needs a name"),
        ('Metric("m", (ScoreSpec("A|b", **FACTS),), frozenset(), rows=print)', "must be named in lower-case"),
        (
            'Metric("m", (ScoreSpec("mine", **FACTS, settings=("dte",)),), frozenset(), rows=print)',
            "setting of 'mine' 'dte'. Did you mean 'det'",
        ),
        (
            'Metric("m", (ScoreSpec("mine", **FACTS, settings=(3,)),), frozenset(), rows=print)',
            "neither a name nor a function",
        ),
        (
            'Metric("m", (ScoreSpec("mine", **FACTS, headding="x"),), frozenset(), rows=print)',
            "unexpected keyword argument 'headding'",
        ),
        (
            'Metric("m", (ScoreSpec("mine", **(FACTS | {"kind": "x"})),), frozenset(), rows=print)',
            "'kind' must be one of",
        ),
        ('Metric("m", (GOOD,), frozenset(), rows=print, setting=())', "unexpected keyword argument 'setting'"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(tiny_benchmark, code, words) -> None:
    (tiny_benchmark / "mine.py").write_text(MINE.format(code), "utf-8")
    benchmark = with_tables(tiny_benchmark, '[metrics."mine.py:METRIC"]\n')
    with pytest.raises(UsageError, match=words) as caught:
        choose(benchmark)
    assert "benchmark.toml" in str(caught.value)
    assert "mine.py" in str(caught.value)
    assert "method" not in str(caught.value)


LOSING = MINE.replace(
    "METRIC = {}", "METRIC = Metric('m', (GOOD,), frozenset(), rows=lambda view, rules: {} if view.problem else [{}])"
)


def test_a_metric_that_forgets_images_without_evidence_is_refused(tiny_benchmark) -> None:
    row = "Row(-1, 'mine', 7.0, '')"
    (tiny_benchmark / "zero.py").write_text(LOSING.format(f"[{row}]", row), "utf-8")
    with pytest.raises(
        UsageError, match=r"benchmark\.toml: .* is 7 for an image without evidence; give a row that is NaN"
    ):
        choose(with_tables(tiny_benchmark, '[metrics."zero.py:METRIC"]\n'))
    (tiny_benchmark / "none.py").write_text(LOSING.format("[]", row), "utf-8")
    (one,) = choose(with_tables(tiny_benchmark, '[metrics."none.py:METRIC"]\n'))
    with pytest.raises(RadlBenchError, match="gives no row of 'mine' for an image without evidence"):
        one.rows(View(Sample("s", "p", ()), 0), resolve_protocol("strict"))


def test_a_metric_that_no_sample_concerns_stays_silent(tiny_benchmark) -> None:
    (one,) = choose(with_tables(tiny_benchmark, "[metrics.quantity]\n"))
    assert one.told == frozenset()


def test_two_metrics_with_one_score_are_refused(tiny_benchmark) -> None:
    (tiny_benchmark / "mine.py").write_text("from radl_bench.scoring.metrics.iou import METRIC\n", "utf-8")
    benchmark = with_tables(tiny_benchmark, '[metrics.iou]\n[metrics."mine.py:METRIC"]\n')
    with pytest.raises(UsageError, match=r"'iou' and 'mine\.py:METRIC' both give the score 'miou'"):
        choose(benchmark)


def test_built_in_metrics_declare_only_what_there_is() -> None:
    for metric in built_in().values():
        assert set(metric.requires) <= set(MEASUREMENTS)
        assert set(metric.thresholds) <= set(THRESHOLDS)
        for spec in metric.scores:
            assert all(callable(s) or s in SHARED for s in spec.settings)


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("mean", Row(0, "other", 1.0, ""), "it gave a row of 'other', but its scores are mine"),
        ("rate", Row(0, "mine", 1.0, ""), "is 1, but rows of a rate are 0, 100 or NaN"),
        ("mean", Row(0, "mine", math.inf, ""), "is infinite"),
        ("mean", Row(0, "mine", "x", ""), "TypeError"),
        ("mean", None, "AttributeError"),
    ],
)
def test_a_row_that_breaks_the_contract_names_metric_and_image(kind, row, words) -> None:
    spec = ScoreSpec("mine", **(FACTS | {"kind": kind}))
    one = Chosen("mine.py:METRIC", Metric("mine", (spec,), frozenset(), rows=lambda view, rules: [row]))
    with pytest.raises(RadlBenchError, match=words) as caught:
        one.rows(View(Sample("s-7", "p", ()), 2), resolve_protocol("strict"))
    assert "'mine.py:METRIC' failed on image s-7_2" in str(caught.value)
