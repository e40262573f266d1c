"""Published numbers: where they come from, what arithmetic says about them, and that they stay apart."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from report_runs import METHODS, make_run

from radl_bench.errors import BadInput
from radl_bench.report import build_report, report_runs, show
from radl_bench.report.reported import reported_file, reported_tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAPER = Path(os.environ.get("RADL_BENCH_SHARED") or ROOT.parent / "shared") / "data" / "paper" / "tables.csv"


@pytest.fixture
def three(tmp_path, monkeypatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return [make_run(tmp_path, method, rate) for method, rate in METHODS.items()]


def _column(table, metric: str) -> dict[str, float]:
    place = [column.metric for column in table.columns].index(metric)
    return {line.label: line.values[place] for line in table.lines}


def test_the_three_tables_of_the_paper_are_there_with_their_source():
    tables = {table.id: table for table in reported_tables()}
    assert {"I", "II", "III"} <= tables.keys()
    assert {tables[name].benchmark for name in ("I", "II", "III")} == {"coco-position", "coco-mig", "drawbench"}
    for table in tables.values():
        assert len(table.source) > 10
        assert table.notes
        assert "not measured here" in table.title
        assert any(value is not None for line in table.lines for value in line.values)


def test_all_cells_of_the_three_tables_have_a_number_under_a_name():
    """As many as the paper prints: 9 + 7 + 6 rows, some with dashes."""
    tables = {table.id: table for table in reported_tables()}
    cells = {
        name: [v for line in tables[name].lines for v in line.values if v is not None] for name in ("I", "II", "III")
    }
    assert sum(map(len, cells.values())) == 117
    for name in cells:
        labels = [line.label for line in tables[name].lines]
        assert len(set(labels)) == len(labels)
        assert "RaDL" in labels
        assert all(label.strip() and "?" not in label for label in labels)


CONSISTCOMPOSE = {
    "GLIGEN": (82.6, 52.1, 69.0, 40.5, 75.9, 39.1),
    "InstanceDiffusion": (87.8, 65.5, 78.1, 57.2, 83.6, 65.5),
    "MIGC++": (86.8, 63.4, 74.9, 48.3, 79.2, 52.6),
    "CreatiLayout": (74.0, 42.5, 64.9, 32.4, 61.1, 31.6),
    "PlanGen": (82.5, 50.3, 66.2, 31.9, 74.0, 21.5),
    "ConsistCompose": (92.6, 76.1, 85.3, 70.9, 89.1, 76.9),
}
"""Typed apart from the file: instance, image, mIoU, AP, AP50, AP75."""


def test_the_six_rows_of_consistcompose():
    (table,) = (t for t in reported_tables() if t.id == "I-recreated")
    assert [column.metric for column in table.columns][2:] == ["miou", "ap", "ap50", "ap75"]
    assert {line.label: tuple(line.values) for line in table.lines} == CONSISTCOMPOSE


COLUMNS = {"R": "r", "FID-6K": "fid", "Local CLIP": "local_clip", "Success Rate": "success"}
ROWS = {"Real Image": "real images"}


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's tables are not beside this checkout")
def test_every_cell_of_the_paper_is_there_under_its_own_name():
    """Against a copy of the paper's three tables that was typed apart from this file."""
    with PAPER.open(newline="", encoding="utf-8") as stream:
        cells = list(csv.DictReader(stream))
    tables = {table.id: table for table in reported_tables()}
    printed = sum(v is not None for n in ("I", "II", "III") for line in tables[n].lines for v in line.values)
    assert printed == len(cells) == 117
    for cell in cells:
        name, _, which = cell["column"].partition(" (")
        metric = COLUMNS.get(name, name.lower())
        places = [n for n, column in enumerate(tables[cell["table"]].columns) if column.metric == metric]
        (line,) = (r for r in tables[cell["table"]].lines if r.label == ROWS.get(cell["method"], cell["method"]))
        assert line.values[places[which.startswith("second")]] == float(cell["value"]), cell


@pytest.mark.parametrize(
    ("metric", "baselines", "ours"), [("attribute", 200, 480), ("quantity", 152, 480), ("relation", 480, 480)]
)
def test_drawbench_rates_are_whole_counts_out_of_what_the_note_says(metric, baselines, ours):
    """An independent check of every copied digit: 25, 19 or 60/3 prompts of 8 images leave few possible rates."""
    (table,) = (t for t in reported_tables() if t.id == "III")
    for label, value in _column(table, metric).items():
        n = ours if label == "RaDL" else baselines
        assert any(abs(100 * k / n - value) <= 0.0051 for k in range(n + 1)), (label, value)


@pytest.mark.parametrize(
    ("source", "rows", "rounding"),
    [("II-public", 5, 1.2), ("II-3dis-flux", 7, 0.25)],  # levels and averages are rounded to 1 and to 0.1 per cent
)
def test_the_average_over_levels_is_the_one_over_instances(source, rows, rounding):
    """An independent check of every copied level: averages are those of 2, 3, ... 6 instances a picture."""
    tables = [table for table in reported_tables() if table.id.startswith(source)]
    assert [len(table.lines) for table in tables] == [rows, rows]
    for line in (line for table in tables for line in table.lines):
        *levels, average = line.values
        mean = sum(level * value for level, value in zip(range(2, 7), levels, strict=True)) / 20
        assert mean == pytest.approx(average, abs=rounding), line.label


def test_the_gains_of_consistcompose_are_those_its_readme_claims():
    """It claims 7.2 points of mIoU and 13.7 of AP over the best of the others."""
    (table,) = (t for t in reported_tables() if t.id == "I-recreated")
    for metric, gain in (("miou", 7.2), ("ap", 13.7)):
        column = _column(table, metric)
        ours = column.pop("ConsistCompose")
        assert ours - max(column.values()) == pytest.approx(gain, abs=0.01)
    assert all(line.values[3] < line.values[4] > line.values[5] for line in table.lines)  # AP50 bounds AP and AP75


def test_a_benchmark_gets_the_tables_of_its_family():
    assert {t.benchmark for t in reported_tables(["coco-mig-public"])} == {"coco-mig"}
    assert reported_tables(["something-else"]) == ()


def test_measured_tables_do_not_change_and_reported_ones_stand_apart(three):
    without, beside = build_report(three), build_report(three, reported=True)
    assert [s.tables for s in without.sections] == [s.tables for s in beside.sections]
    assert without.reported == ()
    text = report_runs(three, "markdown", reported=True)
    measured, published = text.split("## Reported in the literature, not measured here")
    assert "68.97" not in measured
    assert re.search(r"\| RaDL +\| 68\.97", published)
    assert "(mini)" not in published


def test_every_format_says_them_with_scale_and_source(three, capsys):
    numbers = {v for t in reported_tables(["coco-mig"]) for line in t.lines for v in line.values if v is not None}
    content = json.loads(report_runs(three, "json", reported=True))
    assert {r["value"] for t in content["reported"] for r in t["scores"]} == numbers
    assert all(r["scale"] == "reported" for t in content["reported"] for r in t["scores"])
    lines = list(csv.DictReader(io.StringIO(report_runs(three, "csv", reported=True))))
    assert {float(line["value"]) for line in lines if line["scale"] == "reported"} == numbers
    signatures = [line["signature"] for line in lines if line["scale"] == "reported"]
    assert all(any(source in s for source in ("SMC 2025", "MIG_Bench", "3DIS-FLUX")) for s in signatures)
    show(build_report(three, reported=True))
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("68.97", "Reported in the literature, not measured here", "SMC 2025"))
    assert "68.97" in report_runs(three, "latex", reported=True)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"tables": [1], "sources": {}}',
        '{"sources": {}, "tables": [{"id": "I"}]}',
        '{"sources": 1, "tables": 2}',
    ],
)
def test_a_broken_file_is_a_sentence(tmp_path, content):
    file = tmp_path / "reported.json"
    file.write_text(content)
    with pytest.raises(BadInput, match=r"reported\.json is no list of reported tables"):
        reported_tables(file=file)


def test_a_row_that_is_too_short_is_named(tmp_path):
    content = json.loads(reported_file().read_text("utf-8"))
    content["tables"][0]["rows"][0]["values"].pop()
    file = tmp_path / "reported.json"
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="'real images' of I has 7 values for 8 columns"):
        reported_tables(file=file)


def test_the_wheel_takes_the_file_to_where_it_is_looked_for():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"]["reports/reported.json"] == "radl_bench/_reports/reported.json"
    assert (ROOT / "reports" / "reported.json").is_file()
