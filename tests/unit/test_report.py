"""The report: grouping, marks, notes, formats; golden files in tests/golden/report (UPDATE_GOLDEN=1 writes them)."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from report_runs import METHODS, make_run
from typer.testing import CliRunner

from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.mini.wrong import KINDS
from radl_bench.report import build_report, report_runs, show
from radl_bench.report.scored_run import WAYS_TO_BE_WRONG
from radl_bench.report.ties import column_groups

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "report"


@pytest.fixture
def three(tmp_path, monkeypatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    return [make_run(tmp_path, method, rate) for method, rate in METHODS.items()]


def _golden(name: str, text: str) -> None:
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


@pytest.mark.parametrize(
    ("format", "name"),
    [("markdown", "report.md"), ("latex", "report.tex"), ("json", "report.json"), ("csv", "report.csv")],
)
def test_every_format_says_what_its_golden_file_says(three, format, name):
    text = report_runs(three, format)
    _golden(name, text)
    assert (Path("reports") / name).read_text("utf-8") == text
    assert [p.name for p in Path("reports").iterdir()] == [name]


def test_the_terminal_shows_the_tables_in_100_columns(three, capsys):
    show(build_report(three))
    text = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    _golden("terminal.txt", text)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text


def test_the_three_formats_hold_the_same_numbers(three):
    content = json.loads(report_runs(three, "json"))
    lines = list(csv.DictReader(io.StringIO(report_runs(three, "csv"))))
    table = report_runs(three, "markdown")
    records = content["sections"][0]["scores"]
    assert len(records) == len(lines) == 3 * (4 * 6 + 1)
    for record, line in zip(records, lines, strict=True):
        assert (float(line["value"]), line["metric"], line["label"]) == tuple(
            record[key] for key in ("value", "metric", "label")
        )
        if record["metric"] != "clip" or record["level"] is None:  # CLIP by level stands in JSON and CSV only
            assert f"{record['value']:.1f}" in table


def test_the_best_is_bold_only_when_it_beats_all_others_and_the_reference_takes_no_part(three, tmp_path):
    first = {r["method"]: r for r in _records(three) if (r["metric"], r["level"]) == ("success_inst", None)}
    assert first["radl"]["best"]
    assert first["stable-diffusion"]["tie_group"] == 2
    assert first["sprites"]["tie_group"] is None
    rival = make_run(tmp_path, "rival", 0.68)
    second = {r["method"]: r for r in _records([*three, rival]) if (r["metric"], r["level"]) == ("success_inst", None)}
    assert not second["radl"]["best"]
    assert not second["rival"]["best"]
    assert second["radl"]["tie_group"] == second["rival"]["tie_group"] == 1
    text = report_runs([*three, rival], "markdown")
    assert "**" not in next(line for line in text.splitlines() if line.startswith("| rival"))


def _records(runs: list[Path]) -> list[dict]:
    return [r for section in json.loads(report_runs(runs, "json"))["sections"] for r in section["scores"]]


def test_a_metric_without_rows_is_judged_by_what_its_pool_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path, name, rate) for name, rate in (("a", 0.5), ("b", 0.54), ("c", 0.9))]
    of = [run for _, run in sorted((r["method"], r) for r in _records(runs) if r["metric"] == "ap")]
    assert [r["tie_group"] for r in of] == [2, 2, 1]
    assert [r["best"] for r in of] == [False, False, True]


def test_ties_are_judged_on_the_samples_that_all_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = make_run(tmp_path, "radl", 0.7)
    part = make_run(tmp_path, "part", 0.2, samples=4, filter={"limit": 20})
    report = build_report([whole, part])
    assert len(report.sections) == 1
    assert any("Numbers of samples differ (part 20, RaDL all)" in note for note in report.sections[0].notes)
    runs = [run for run, _, cell in report.sections[0].cells if cell.metric == "ap"]
    assert column_groups(runs, "success_inst", None) == {0: 2, 1: 1}


@pytest.mark.parametrize(
    "change",
    [
        {"filter": {"level": 6}, "levels": (6,)},
        {"signature": "det:mini-detector@2|seed:hashed"},
        {"signature": "det:grounding-dino|seed:hashed", "judges": {"detector": "grounding-dino"}, "model": "sd14"},
    ],
)
def test_runs_that_were_measured_differently_never_share_a_table(three, tmp_path, change):
    other = make_run(tmp_path, "gligen", 0.4, **change)
    report = build_report([*three, other])
    assert len(report.sections) == 2
    for section in report.sections:
        labels = {line.label for table in section.tables for line in table.lines}
        assert labels in ({"GLIGEN"}, {"real (rendered)", "Stable Diffusion (text only)", "RaDL"})


def test_other_seeds_share_the_table_under_a_label_that_says_so(three, tmp_path):
    other = make_run(tmp_path, "mine", 0.4, signature="det:mini-detector@1|seed:unknown", model=None)
    (section,) = build_report([*three, other]).sections
    labels = [line.label for line in section.tables[0].lines]
    assert labels == ["real (rendered)", "Stable Diffusion (text only)", "mine (seeds unknown)", "RaDL"]
    assert any(note.startswith("Seeds differ") for note in section.notes)
    assert not any("seeds" in line.label for line in build_report(three).sections[0].tables[0].lines)


def test_mini_numbers_are_labelled_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dino = {"judges": {"detector": "grounding-dino"}, "signature": "det:grounding-dino|seed:hashed"}
    runs = [make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "radl", 0.6, model="sd14", hash="0" * 8, **dino)]
    report = build_report(runs)
    mini, paper = sorted(report.sections, key=lambda s: s.cells[0][0].scale)
    assert all(title.endswith("(mini)") for title in (mini.title, *(t.title for t in mini.tables)))
    assert not any("mini" in text for text in (paper.title, *(t.title for t in paper.tables), *paper.notes))
    assert {r["scale"] for r in _records(runs) if r["model"] == "sd14"} == {"paper"}


@pytest.fixture
def floors(three, tmp_path) -> list[Path]:
    """A run of each kind of wrong scenes, which score 10 and less, beside the three."""
    about = {kind: {"reference": "floor", "params": {"size": 128, "wrong": kind}} for kind in KINDS}
    return [make_run(tmp_path, "sprites", 0.1, hash=f"{kind:0<8}", about=about[kind]) for kind in KINDS]


def test_every_kind_of_wrong_scenes_is_a_row_of_its_own_in_every_table_and_takes_no_part(three, floors):
    (alone,), (section,) = build_report(three).sections, build_report([*floors, *three]).sections
    wanted = [f"floor: wrong {kind} (rendered)" for kind in sorted(WAYS_TO_BE_WRONG)]
    for table in section.tables:
        assert [line.label for line in table.lines if line.reference] == ["real (rendered)", *wanted]
        assert all(cell.group is None for line in table.lines if line.reference for cell in line.cells if cell)
        assert [line.label for line, last in table.ends() if last] == [wanted[-1]]
    marks = [[(c.group, c.best) for r, _, c in s.cells if not r.reference] for s in (alone, section)]
    assert marks[0] == marks[1]


def test_the_ways_to_be_wrong_are_those_that_sprites_draws():
    assert set(WAYS_TO_BE_WRONG) == set(KINDS)


@pytest.mark.parametrize("format", ["markdown", "json"])
def test_floor_and_ceiling_are_said_beside_the_tables_and_those_that_lack_are_named(three, floors, tmp_path, format):
    color = next(run for run in floors if "color" in run.name)
    runs = ([three[-1]], [color, *three], [*floors, *three])
    nothing, one, every = (report_runs(chosen, format, tmp_path / "out") for chosen in runs)
    floor = "floor (--method sprites --set wrong={}class, place, lookalike)."
    assert f"ceiling (--method sprites) and {floor.format('color, ')}" in nothing
    assert "lie: right (the ceiling), wrong color (a floor). Not shown" in one
    assert floor.format("") in one
    assert "wrong class (a floor), wrong color (a floor), wrong lookalike (a floor), wrong place (a floor)." in every
    assert "Not shown" not in every


def test_a_world_whose_truth_cannot_be_drawn_has_no_such_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dino = {"judges": {"detector": "grounding-dino"}, "signature": "det:grounding-dino|seed:hashed"}
    (section,) = build_report([make_run(tmp_path, "radl", 0.6, model="sd14", **dino)]).sections
    assert not any("ceiling" in note for note in section.notes)


def test_one_level_gives_two_tables_that_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = build_report([make_run(tmp_path, "radl", 0.7, levels=(6,), filter={"level": 6})]).sections[0].tables
    assert [t.title for t in tables] == ["Success and position, L6 (mini)", "Other scores, L6 (mini)"]
    assert tables[0].heads == ("R_inst", "R_img", "mIoU")


def test_two_runs_of_one_method_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path, "radl", 0.7, hash="aaaaaaaa"), make_run(tmp_path, "radl", 0.7, hash="bbbbbbbb")]
    labels = [line.label for line in build_report(runs).sections[0].tables[0].lines]
    assert labels == ["RaDL #aaaaaaaa", "RaDL #bbbbbbbb"]


def test_a_run_that_is_still_going_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = report_runs([make_run(tmp_path, "radl", 0.7, status="partial")])
    assert "RaDL (mini): this run was still going" in text


def test_unscored_runs_are_named_with_the_command(three, tmp_path):
    bare = tmp_path / "runs" / "coco-mig" / "migc" / "12345678"
    bare.mkdir(parents=True)
    (bare / "manifest.json").write_text("{}")
    command = "Run `radl-bench score runs/coco-mig/migc/12345678`."
    assert command in report_runs([*three, bare])
    with pytest.raises(MissingData, match="Not scored yet") as caught:
        report_runs([bare])
    assert command in str(caught.value)


def test_nothing_measured_is_a_dash_null_and_an_empty_field(three):
    file = three[2] / "scores" / "scores.json"
    data = json.loads(file.read_text())
    for score in data["scores"]:
        if score["metric"] == "clip":
            score.update(value=None, ci_low=None, ci_high=None, n_missing=score["n"])
    file.write_text(json.dumps(data))
    of = [r for r in _records(three) if r["metric"] == "clip" and r["method"] == "radl"]
    assert {(r["value"], r["ci_low"], r["tie_group"]) for r in of} == {(None, None, None)}
    assert "CLIP (RaDL): n 40, missing 40" in report_runs(three)


def test_names_of_others_cannot_break_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path, "evil", 0.5, name="a|b\n<script>[red]")
    text = report_runs([run])
    assert "a\\|b &lt;script>[red]" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {5, 9}
    show(build_report([run]))
    assert "[red]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "benchmark": {}}', "\xff"]
)
def test_a_broken_score_file_is_a_sentence(three, content):
    (three[0] / "scores" / "scores.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInput, match="Run `radl-bench score"):
        report_runs(three)


def test_broken_rows_are_a_sentence(three):
    (three[2] / "scores" / "rows.parquet").write_bytes(b"no parquet")
    with pytest.raises(BadInput, match=r"rows\.parquet"):
        report_runs(three)


def test_other_errors_are_sentences(three, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'markdown'"):
        report_runs(three, "markdwn")
    with pytest.raises(MissingData, match="not a run"):
        report_runs([tmp_path])
    with pytest.raises(MissingData, match="no run to report"):
        report_runs([])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        report_runs(three, out=tmp_path / "file" / "report.md")


def test_the_command_takes_every_run_or_those_given(three, tmp_path):
    from radl_bench.cli.report import report

    app = typer.Typer()
    app.command()(report)
    whole = CliRunner().invoke(app, [])
    assert whole.exit_code == 0
    assert "RaDL" in whole.output
    assert whole.output.endswith("Report: reports/report.md\n")
    part = CliRunner().invoke(app, [str(three[0]), "--format", "csv", "--out", str(tmp_path)])
    assert part.stdout == f"Report: {tmp_path / 'report.csv'}\n"
    call = [str(three[0]), "--format", "csv", "--out", str(tmp_path), "--stdout"]
    part = CliRunner().invoke(app, call)
    assert part.stdout == (tmp_path / "report.csv").read_text("utf-8")
    assert "radl," not in part.stdout
    with pytest.raises(MissingData, match="There is no run under"):
        CliRunner().invoke(app, ["--runs", str(tmp_path / "reports")], catch_exceptions=False)


def test_the_report_needs_no_torch(three):
    code = (
        "import sys; from pathlib import Path; from radl_bench.report import report_runs, build_report, show;"
        "runs = [Path(p) for p in sys.argv[1:]]; report_runs(runs); show(build_report(runs));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code, *map(str, three)], env=env, capture_output=True).returncode == 0
