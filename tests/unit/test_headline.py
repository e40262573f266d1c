"""The result in words: each rule on its own, and the words behind the heads of columns."""

from __future__ import annotations

import re

from report_runs import make_run

from radl_bench.report import build_report
from radl_bench.report.formats import glossary, markdown
from radl_bench.report.glossary import meaning
from radl_bench.report.html import write_html
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec, read_spec


def _said(root, samples: int = 30, **rates: float) -> str:
    (section,) = build_report(
        [make_run(root, n.replace("_", "-"), r, samples=samples) for n, r in rates.items()]
    ).sections
    values = {label: c.text for _, label, c in section.cells if (c.metric, c.level) == ("success_inst", None)}
    for label, value in values.items():
        section_text = section.headline.replace(value, f"<{label}>")
        section = type(section)(**{**section.__dict__, "headline": section_text})
    return section.headline


def test_the_best_the_text_alone_the_ceiling_and_the_next_best(tmp_path) -> None:
    said = _said(tmp_path, radl=0.8, migc=0.5, stable_diffusion=0.1, sprites=0.97)
    start = (
        "RaDL puts <RaDL> % of objects right, Stable Diffusion (text only) <Stable Diffusion (text only)> %; "
        "a perfect generator would score <real (rendered)> %. RaDL against MIGC, the next best: ahead by "
    )
    assert said.startswith(start)
    value, low, high = map(
        float, re.fullmatch(r"(\S+) points \(95 % interval (\S+) to (\S+)\)\.", said[len(start) :]).groups()
    )
    assert 0 < low < value < high


def test_methods_that_no_test_tells_apart_are_named_and_no_ceiling_is_made_up(tmp_path) -> None:
    said = _said(tmp_path, samples=6, radl=0.55, migc=0.55, gligen=0.55, boxdiff=0.02)
    assert re.search(r"against \S+ and \S+: no difference shown\.$", said)
    assert "perfect" not in said


def test_one_method_alone_is_compared_with_nobody(tmp_path) -> None:
    assert _said(tmp_path, radl=0.5) == "RaDL puts <RaDL> % of objects right."


def test_every_column_of_the_tables_is_explained_once(tmp_path) -> None:
    report = build_report([make_run(tmp_path, name, rate) for name, rate in (("radl", 0.7), ("migc", 0.4))])
    heads = {spec.column for section in report.sections for spec in section.specs.values()}
    lines = glossary(report)
    assert heads | {"avg", "L2, L3, ..."} == {line.split(": ")[0] for line in lines}
    text = markdown(report)
    assert all(text.count(line) == 1 for line in lines)
    assert text.count("Table II") == 1


def test_what_a_score_says_travels_with_its_facts_and_old_facts_fall_back(tmp_path) -> None:
    mine = ScoreSpec(
        "mine", "Mine", "rate", "image", missing=100.0, lower_is_better=True, about="per cent of images torn"
    )
    assert read_spec("mine", mine.facts()).about == mine.about
    assert meaning(mine) == "per cent of images torn; less is better; a missing one counts as 100"
    bare = ScoreSpec("bare", "Bare", "cosine", "instance", missing=None)
    assert "about" not in bare.facts()
    assert meaning(bare).endswith("mean over objects; more is better; missing images are left out")
    old = {key: value for key, value in known_spec("miou").facts().items() if key != "about"}
    assert meaning(read_spec("miou", old)) == meaning(known_spec("miou"))


def test_bars_of_a_column_share_a_length_and_carry_the_mark_of_the_ceiling(tmp_path) -> None:
    report = build_report([make_run(tmp_path, name, rate) for name, rate in (("sprites", 0.97), ("radl", 0.5))])
    write_html(report, tmp_path / "html", figures=False)
    page = (tmp_path / "html" / "index.html").read_text("utf-8")
    average = {run.method: run.cells["success_inst", None]["value"] for run, _ in report.sections[0].runs}
    share = round(100 * average["radl"] / average["sprites"], 1)
    assert f'<rect width="{share}" height="5"/><path d="M100.0 0V5"/>' in page
    assert f'<p class="headline">{report.sections[0].headline}</p>' in page
