"""The three tables of the literature, in every format: the same numbers, order and marks, and LaTeX that parses."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexMacroNode, LatexWalker
from report_runs import ABOUT_AP, METHODS, bare_run, make_run

from radl_bench.errors import BadInput, UsageError
from radl_bench.report import build_report, report_runs, show
from radl_bench.report.latex import escaped
from radl_bench.report.layouts import differences_of, family, layout_of, packaged
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.metrics.ap_parts import ApParts, ap_values
from radl_bench.scoring.metrics.known import known_spec

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
POSITION = {
    "success_inst": (70.52, 69.0, 72.0),
    "success_img": (40.1, 38.0, 42.0),
    "miou": (71.61, 70.0, 73.0),
    "ap": (40.68, 39.0, 42.0),
    "ap50": (60.0, 58.0, 62.0),
    "ap75": (44.0, 42.0, 46.0),
    "clip": (24.61, 24.0, 25.0),
    "local_clip": (20.69, 20.0, 21.0),
    "fid": (26.8, 26.0, 27.5),
    "kid": (0.123, 0.05, 0.216),
}
DRAWBENCH = {
    "drawbench_relation": (60.0, 50.0, 70.0),
    "drawbench_attribute": (48.2, 40.0, 56.0),
    "drawbench_quantity": (30.0, 22.0, 38.0),
}


def _moved(numbers: dict, by: float) -> dict:
    return {metric: tuple(value + by for value in triple) for metric, triple in numbers.items()}


@pytest.fixture
def sections(tmp_path, monkeypatch):
    """Runs of all three benchmarks, two methods and the reference each."""
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path, method, rate) for method, rate in METHODS.items()]
    for benchmark, numbers in (("coco-position", POSITION), ("drawbench", DRAWBENCH)):
        for method, by in (("radl", 8.0), ("real", 20.0), ("gligen", 0.0)):
            runs.append(bare_run(tmp_path, benchmark, method, _moved(numbers, by), rows=12))
    return runs


def _section(runs, name):
    return next(s for s in build_report(runs).sections if s.title.startswith(name))


@pytest.mark.parametrize(("format", "name"), [("markdown", "tables.md"), ("latex", "tables.tex")])
def test_all_three_tables_are_what_their_golden_file_says(sections, format, name):
    text = report_runs(sections, format, reported=True)
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, "utf-8")
    assert text == (GOLDEN / name).read_text("utf-8")


def test_table_one_has_the_columns_of_the_literature_and_hides_nothing(sections):
    main, rest = _section(sections, "coco-position").tables
    assert main.title == "Position, text and realism"
    assert main.heads == ("R_inst", "R_img", "mIoU", "AP", "AP50", "AP75", "CLIP", "Local CLIP", "FID ↓")
    assert rest.heads == ("KID ×1000 ↓",)


def test_kid_stands_times_a_thousand_with_two_decimals_in_every_format(sections):
    (line,) = [x for x in report_runs(sections, "markdown").splitlines() if "| GLIGEN" in x and "0.12" in x]
    assert "**0.12** [0.05, 0.22]" in line
    latex = report_runs(sections, "latex")
    assert r"method & model & KID $\times$1000 $\downarrow$ \\" in latex
    assert r"\textbf{0.12}" in latex
    (record,) = [r for r in csv.DictReader(io.StringIO(report_runs(sections, "csv"))) if r["value"] == "0.123"]
    assert record["metric"] == "kid"
    cells = [c for t in _section(sections, "coco-position").tables for x in t.lines for c in x.cells if c is not None]
    assert {c.text for c in cells if c.metric == "kid"} == {"0.12", "8.12", "20.12"}
    assert {c.text for c in cells if c.metric == "fid"} == {"26.8", "34.8", "46.8"}


def test_table_three_has_attribute_quantity_and_relation(sections):
    (table,) = _section(sections, "drawbench").tables
    assert (table.title, table.heads) == (
        "Attributes, quantities and relations",
        ("Attribute", "Quantity", "Relation"),
    )
    assert [cell.text for cell in table.lines[1].cells] == ["48.2", "30.0", "60.0"]


def test_methods_stand_in_the_order_of_the_literature_after_the_reference(sections):
    for section in build_report(sections).sections:
        lines = section.tables[0].lines
        assert [line.reference for line in lines] == [True, False, False]
        assert lines[-1].label == "RaDL"


def test_less_is_better_for_fid_and_kid(sections):
    main, rest = _section(sections, "coco-position").tables
    gligen, radl = main.lines[1].cells, main.lines[2].cells
    assert [cell.best for cell in radl] == [True] * 8 + [False]
    assert [cell.best for cell in gligen] == [False] * 8 + [True]
    assert rest.lines[1].cells[0].best


def test_variants_take_the_layout_of_their_benchmark_and_others_the_common_form():
    assert layout_of("coco-mig-public", None, ()) == layout_of("coco-mig", None, ())
    assert layout_of("drawbench-public", None, ()).name == "Table III"
    assert family("drawbench-public", packaged()) == "drawbench"
    assert family("drawbenchmark", packaged()) == "drawbenchmark"
    specs = [known_spec(name) for name in ("clip", "miou", "success_inst", "fid", "success_img")]
    common = layout_of("mine", None, specs)
    assert (common.name, common.by_level) == ("", True)
    assert common.columns == ("success_inst", "success_img", "miou")


def test_differences_are_drawn_of_the_most_telling_scores_first():
    specs = {
        name: known_spec(name) for name in ("ap", "ap50", "clip", "local_clip", "success_inst", "success_img", "miou")
    }
    layout = layout_of("coco-mig", None, ())
    assert differences_of(layout, specs)[:5] == ["success_inst", "success_img", "miou", "local_clip", "clip"]
    common = layout_of("mine", None, specs.values())
    assert differences_of(common, specs)[:4] == ["success_inst", "success_img", "miou", "ap"]


def test_scores_that_mean_different_things_never_share_a_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers = {"mine": (5.0, 4.0, 6.0)}
    runs = [bare_run(tmp_path, "mine", method, numbers) for method in ("a", "b")]
    facts = {
        "heading": "Mine",
        "kind": "mean",
        "unit": "image",
        "missing": 0.0,
        "lower_is_better": False,
        "decimals": 1,
    }
    facts |= {"place": 5, "by_level": False, "verdict": False}
    for run, missing in zip(runs, (0.0, None), strict=True):
        file = run / "scores" / "scores.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"facts": {"mine": facts | {"missing": missing}}}))
    assert len(build_report(runs).sections) == 2
    with pytest.raises(UsageError, match="'mine' means different things"):
        compare_runs(*runs)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"facts": {"mine": facts}}))
    assert len(build_report(runs).sections) == 1
    file.write_text(json.dumps(json.loads(file.read_text()) | {"facts": {"mine": facts | {"kind": "x"}}}))
    with pytest.raises(BadInput, match=r"'facts' are not understood.*'kind' must be one of"):
        build_report(runs)


def test_a_benchmark_lays_out_its_own_table():
    table = {"name": "Table IX", "what": "mine", "columns": ["miou", "clip"], "by_level": False, "differences": []}
    own = layout_of("coco-mig", table, ())
    assert (own.name, own.columns, own.by_level) == ("Table IX", ("miou", "clip"), False)
    # scores of a version that knows more keys still have a report
    assert layout_of("coco-mig", table | {"colour": "red"}, ()).name == ""


def _boxes(good: int, samples: int, start: int = 0) -> dict[str, np.ndarray]:
    """What AP keeps of layouts with a box each, of which `good` are found, from the `start`-th on."""
    found = np.array([[n, 0, n] for n in range(start, start + good)], int).reshape(-1, 3)
    ids = tuple(f"s{n}" for n in range(samples))
    wanted, score = np.array([[n, 0] for n in range(samples)]), np.full(good, 0.9)
    parts = ApParts(ids, ("cat",), wanted, found, score, np.full(good, 0b1111111111, np.uint16))
    return parts.arrays() | ABOUT_AP | {"levels": np.ones(samples, int)}


def _ap_run(root, method, good, samples=20, start=0, **changes):
    boxes = _boxes(good, samples, start)
    value = 100.0 * ap_values(ApParts.from_arrays(boxes))[0]
    parts = {"parts": boxes} if changes.pop("kept", True) else {}
    return bare_run(root, "coco-position", method, {"ap": (value, value - 9, value + 9)}, **parts, **changes)


def _groups(runs):
    (section,) = build_report(runs).sections
    return [(line.cells[0].group, line.cells[0].best) for line in section.tables[0].lines]


@pytest.mark.parametrize(
    ("good", "samples", "expected"),
    [
        ((8, 16), 20, [(2, False), (1, True)]),  # the printed intervals overlap; eight samples of eight say the same
        ((8, 12), 20, [(1, False), (1, False)]),  # p is .125
        ((12, 12), 20, [(1, False), (1, False)]),
        ((0, 4), 4, [(1, False), (1, False)]),  # no four samples can tell two methods apart
    ],
)
def test_ap_is_compared_by_swapping_samples(tmp_path, good, samples, expected):
    runs = [_ap_run(tmp_path, m, g, samples) for m, g in zip("ab", good, strict=True)]
    assert _groups(runs) == expected


def test_many_methods_in_a_table_need_more_to_tell_them_apart(tmp_path):
    """Two methods that differ in seven samples: p is .016, too much for the ten pairs of five."""
    runs = [_ap_run(tmp_path, method, good) for method, good in zip("abcde", (16, 9, 9, 9, 9), strict=True)]
    assert _groups(runs[:2]) == [(1, True), (2, False)]
    assert _groups(runs) == [(1, False)] * 5


def test_methods_on_other_samples_are_compared_on_those_that_all_have(tmp_path):
    runs = [_ap_run(tmp_path, "a", 8), _ap_run(tmp_path, "b", 8, samples=8, filter={"limit": 8})]
    assert _groups(runs) == [(1, False), (1, False)]  # 40 beside 100, and equal where both were measured
    more = [_ap_run(tmp_path / "more", "a", 20, samples=40, start=20)]
    more.append(_ap_run(tmp_path / "more", "b", 8, filter={"limit": 20}))
    assert _groups(more) == [(1, False), (1, False)]  # 50 beside 40, and 0 beside 40 where both were measured


def test_what_nothing_was_kept_of_is_not_marked_and_compare_says_so(tmp_path):
    runs = [_ap_run(tmp_path, "a", 0, kept=False), _ap_run(tmp_path, "b", 20, kept=False)]
    assert _groups(runs) == [(None, False), (None, False)]
    found = compare_runs(*runs)
    assert (found.lines[0].difference, found.lines[0].p, found.lines[0].test) == (-100.0, None, "none")
    assert any(note.startswith("AP: not tested") for note in found.notes)


def test_broken_parts_are_a_clear_error(tmp_path):
    runs = [_ap_run(tmp_path, "a", 8), _ap_run(tmp_path, "b", 16)]
    file = runs[0] / "scores" / "parts.npz"
    arrays = dict(np.load(file))
    np.savez(file, **(arrays | {"average_precision/levels": np.zeros(3, int)}))
    with pytest.raises(BadInput, match=r"keeps to compare AP is broken.*radl-bench score"):
        compare_runs(*runs)
    file.write_bytes(b"PK torn")
    with pytest.raises(BadInput, match=r"parts.npz cannot be read.*radl-bench score"):
        compare_runs(*runs)


def test_without_an_interval_nothing_is_marked(tmp_path):
    runs = [
        bare_run(tmp_path, "coco-position", "a", {"fid": (20.0, None, None)}),
        bare_run(tmp_path, "coco-position", "b", {"fid": (90.0, 80.0, 99.0)}),
    ]
    (section,) = build_report(runs).sections
    cells = [line.cells[0] for line in section.tables[0].lines]
    assert [(c.group, c.best, c.tied) for c in cells] == [(None, False, False)] * 2


def test_a_note_of_a_score_stands_under_the_table_in_every_format(tmp_path, capsys):
    note = "Frechet distance of 100 images, fewer than 2,048"
    run = bare_run(tmp_path, "coco-position", "radl", {"fid": (90.0, 80.0, 99.0)}, note={"fid": note})
    for format in ("markdown", "json", "csv"):
        assert note in report_runs([run], format, tmp_path / "out")
    assert note in report_runs([run], "latex", tmp_path / "out")
    show(build_report([run]))
    assert note in " ".join(capsys.readouterr().out.split())


def test_a_run_that_was_asked_for_more_since_says_so(tmp_path):
    run = make_run(tmp_path, "radl", 0.7)
    data = json.loads((run / "scores" / "scores.json").read_text())
    (run / "scores" / "scores.json").write_text(json.dumps(data | {"images": {"n": 40, "n_missing": 0}}))
    (run / "manifest.json").write_text(json.dumps({"benchmark": {"n_samples": 800, "images_per_sample": 1}}))
    text = report_runs([run], "markdown", tmp_path / "report.md")
    assert "RaDL (mini): this run asks for 800 images now, of which 40 are in these numbers." in text
    assert '"status": "outdated"' in report_runs([run], "json", tmp_path / "report.json")


def test_sections_that_would_read_alike_say_in_what_they_differ(tmp_path):
    other = {"judges": {"detector": {"signature": "mini-detector@2"}}, "signature": "det:mini-detector@2|seed:hashed"}
    runs = [make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "gligen", 0.4, **other)]
    assert sorted(section.title for section in build_report(runs).sections) == [
        "coco-mig 1, protocol strict, detector mini-detector@1 (mini)",
        "coco-mig 1, protocol strict, detector mini-detector@2 (mini)",
    ]
    assert build_report(runs[:1]).sections[0].title == "coco-mig 1, protocol strict (mini)"


def test_sections_that_differ_in_something_unnamed_are_numbered(tmp_path):
    runs = [make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "gligen", 0.4, signature="color:other|seed:hashed")]
    titles = [section.title for section in build_report(runs).sections]
    assert titles == ["coco-mig 1, protocol strict (mini)", "coco-mig 1, protocol strict (mini) #2"]


def test_every_format_says_the_same_numbers(sections, capsys):
    report = build_report(sections)
    cells = [cell for s in report.sections for t in s.tables for line in t.lines for cell in line.cells if cell]
    expected = sorted(f"{cell.text} [{cell.interval}]" for cell in cells)
    assert sorted(_markdown_cells(report_runs(sections, "markdown"))) == expected
    assert sorted(_latex_cells(report_runs(sections, "latex"))) == expected
    show(report)
    shown = capsys.readouterr().out
    assert sorted(_terminal_cells(shown)) == expected
    records = [r for s in json.loads(report_runs(sections, "json"))["sections"] for r in s["scores"]]
    lines = list(csv.DictReader(io.StringIO(report_runs(sections, "csv"))))
    keys = ("value", "ci_low", "ci_high")
    assert [[float(line[k]) for k in keys] for line in lines] == [[r[k] for k in keys] for r in records]
    rounded = {(f"{r['value']:.1f}", f"{r['ci_low']:.1f}, {r['ci_high']:.1f}") for r in records}
    assert {(c.text, c.interval) for c in cells if c.metric != "kid"} <= rounded


def _markdown_cells(text: str) -> list[str]:
    cells = [cell.strip() for line in text.splitlines() if line.startswith("| ") for cell in line.split("|")]
    return [c.replace("*", "").removesuffix(" =") for c in cells if re.match(r"\**-?\d", c)]


def _latex_cells(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.endswith((r"\\", r"\\[2pt]")) and "&" in line]
    found = []
    for above, below in pairwise(lines):
        if below.startswith(" &  & "):
            values = [re.sub(r"[^\d.-]", "", value) for value in above.removesuffix(r"\\").split("&")[2:]]
            ends = re.findall(r"\[([-\d., ]+)\]", below)
            found += [f"{value} [{end}]" for value, end in zip(values, ends, strict=True)]
    return found


def _terminal_cells(text: str) -> list[str]:
    lines, found = text.splitlines(), []
    for above, below in pairwise(lines):
        # the first column takes 28 characters; a label of two lines puts its model below the intervals
        ends = re.findall(r"-?[\d.]+–-?[\d.]+", below)
        values = re.findall(r"(?<![\w.#])-?\d+\.\d+", above)
        if ends and not re.findall(r"\d–", above):
            found += [f"{value} [{end.replace('–', ', ')}]" for value, end in zip(values, ends, strict=True)]
    return found


def _environments(nodes) -> list[LatexEnvironmentNode]:
    here = [node for node in nodes if isinstance(node, LatexEnvironmentNode)]
    return here + [inner for node in here for inner in _environments(node.nodelist)]


def _parsed(text: str) -> list:
    return LatexWalker(text, tolerant_parsing=False).get_latex_nodes()[0]


def test_latex_parses_and_every_row_has_as_many_cells_as_columns(sections):
    found = _environments(_parsed(report_runs(sections, "latex")))
    tables = [node for node in found if node.environmentname == "tabular"]
    assert len(tables) == 4 + 2 + 1
    for table in tables:
        macros = [node.macroname for node in table.nodelist if isinstance(node, LatexMacroNode)]
        assert macros[0] == "toprule"
        assert macros[-1] == "bottomrule"
        assert macros.count("midrule") == 2  # under the head, and under the reference
        columns = table.latex_verbatim().split("{tabular}", 1)[1].split("}")[0].count("r") + 2
        rows = table.latex_verbatim().split(r"\toprule")[1].split(r"\\")[:-1]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}


def test_labels_are_unique_and_bold_marks_only_the_best(sections):
    text = report_runs(sections, "latex")
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(labels) == len(set(labels)) == 7
    cells = [c for s in build_report(sections).sections for t in s.tables for line in t.lines for c in line.cells if c]
    assert text.count(r"\textbf{") == sum(c.best for c in cells) + text.count(r"\textbf{Bold}")
    assert text.count(r"\rlap{$^{=}$}") == sum(c.tied for c in cells)


@pytest.mark.parametrize("name", [r"a_b%c & \end{table} $x^2~{", "[x] #1 <b>|", "naïve – ↓ 猫", "\\"])
def test_names_of_others_cannot_break_latex(tmp_path, name):
    run = make_run(tmp_path, "evil", 0.5, name=name)
    text = report_runs([run], "latex", tmp_path / "report.tex")
    names = {node.environmentname for node in _environments(_parsed(text))}
    assert names == {"table*", "tabular", "minipage"}
    assert "猫" not in text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_escaped_text_prints_as_it_was(text):
    printed = LatexNodes2Text(keep_braced_groups=False).latex_to_text(f"x{escaped(text)}x")
    lookalikes = str.maketrans("ˆ˜’‘", "^~'`")  # how the parser renders these four
    assert printed.translate(lookalikes) == f"x{' '.join(text.split())}x"
