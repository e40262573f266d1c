"""Many methods tested together: the same p as pair by pair, and enough draws for all pairs of a large table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import make_run

from radl_bench.report import build_report
from radl_bench.report.collect import collect
from radl_bench.scoring.permutation import PERMUTATIONS, mean_test, separated
from radl_bench.scoring.shared_swaps import SharedSwaps, most_methods, swaps_for
from radl_bench.scoring.statistics import SampleSums, coded_sums, sample_sums


def _methods(samples: int, rates: list[float], seed: int = 0, left_out: float = 0.0) -> list[SampleSums]:
    rng = np.random.default_rng(seed)
    ids = tuple(f"s{n}" for n in range(samples))
    hits = [100.0 * (rng.random(samples) < rate) + rng.random(samples) for rate in rates]
    kept = [(rng.random(samples) >= left_out).astype(float) for _ in rates]
    return [SampleSums(ids, of * there, there) for of, there in zip(hits, kept, strict=True)]


@pytest.mark.parametrize("samples", [3, 9, 40])
@pytest.mark.parametrize("left_out", [0.0, 0.3])
def test_pairs_of_a_table_have_the_difference_and_p_of_the_test_of_a_pair(samples: int, left_out: float) -> None:
    methods = _methods(samples, [0.2, 0.5, 0.55, 0.9], left_out=left_out)
    shared = SharedSwaps(methods)
    for a in range(4):
        for b in range(4):
            alone = mean_test(methods[a], methods[b])
            value, p = shared.test(a, b)
            assert value == pytest.approx(alone.value, abs=1e-9)
            assert p == alone.p


def test_more_draws_agree_with_one_draw_of_as_many() -> None:
    methods = _methods(40, [0.3, 0.7], seed=3)
    shared = SharedSwaps(methods, swaps=100_000).test(0, 1)[1]
    alone = mean_test(*methods, permutations=99_999, seed=9).p
    assert 0 < alone < 0.01
    assert shared == pytest.approx(alone, abs=4 * np.sqrt(2 * alone / 100_000))


def test_the_smallest_p_of_a_table_is_under_what_holms_rule_asks_of_the_first_pair() -> None:
    for methods in (2, 14, 32, 33, 100, 400):
        assert separated({"rival": 1 / swaps_for(methods)}, methods) == {"rival"}
    assert separated({"rival": 1 / (PERMUTATIONS + 1)}, 33) == set()  # why a large table needs more
    assert (most_methods(PERMUTATIONS + 1), most_methods(2_000)) == (32, 14)
    assert swaps_for(22) == PERMUTATIONS + 1  # tables up to here have the draws of a pair


def test_the_best_of_forty_methods_leaves_the_others_behind_and_ap_says_why_it_marks_nothing(tmp_path) -> None:
    runs = [make_run(tmp_path, f"m{n:02d}", 0.95 if n == 7 else 0.2, samples=24, levels=(2, 3)) for n in range(40)]
    (section,) = build_report(runs).sections
    best = {c.metric: label for _, label, c in section.cells if c.level is None and c.best}
    assert best["success_inst"] == "m07"
    assert "ap" not in best
    assert [n for n in section.notes if n.startswith("AP: nothing is marked. Among more than 14 methods")]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("dbca"), st.one_of(st.floats(-9, 9), st.just(float("nan"))))),
    st.sampled_from([0.0, 7.5, None]),
)
def test_sums_are_those_of_a_loop_to_the_last_bit(rows: list[tuple[str, float]], missing: float | None) -> None:
    sums: dict[str, list[float]] = {}
    for sample, value in rows:
        entry = sums.setdefault(sample, [0.0, 0.0])
        value = missing if value != value else value
        if value is not None:
            entry[0], entry[1] = entry[0] + value, entry[1] + 1.0
    numbers = np.array(["abcd".index(s) for s, _ in rows], int)
    coded = coded_sums("abcd", numbers, np.array([v for _, v in rows], float), missing)
    found = sample_sums((s for s, _ in rows), (v for _, v in rows), missing)
    assert (coded.ids, coded.num.tolist(), coded.den.tolist()) == (found.ids, found.num.tolist(), found.den.tolist())
    assert found.ids == tuple(sums)
    assert found.num.tolist() == [num for num, _ in sums.values()]
    assert found.den.tolist() == [den for _, den in sums.values()]


def test_sums_of_a_run_are_those_of_its_rows(tmp_path) -> None:
    ((run,), _) = collect([make_run(tmp_path, "radl", 0.7)])
    rows = run.rows()
    assert isinstance(rows, pd.DataFrame)
    assert set(run.sums) == {(m, v) for m in set(rows["metric"]) for v in (None, *rows["level"].unique())}
    for (metric, level), found in run.sums.items():
        of = rows[(rows["metric"] == metric) & (True if level is None else rows["level"] == level)]
        means = of.groupby("sample_id", sort=False)["value"].agg(["sum", "count"])
        assert found.ids == tuple(means.index)
        assert found.num == pytest.approx(means["sum"].to_numpy(), abs=1e-9)
        assert found.den.tolist() == means["count"].tolist()
