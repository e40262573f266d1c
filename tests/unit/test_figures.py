"""Figures: what they show follows from scores and evidence, and they are files that one may trust and open anywhere."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import METHODS, bare_run, make_run

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.report import build_report
from radl_bench.report.figures import write_figures
from radl_bench.report.figures_failures import failure_shares
from radl_bench.report.figures_judge import by_color, by_size, sensitivity, trust
from radl_bench.report.figures_scores import gaps
from radl_bench.report.figures_style import METHOD_COLORS, looks
from radl_bench.report.figures_views import seen_by
from radl_bench.report.foremost import MOST, foremost
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.scoring.score import score_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> list[Path]:
    """Real runs of two methods on five layouts, judged with the layout itself and the box's colours: no model."""
    root = tmp_path_factory.mktemp("judged")
    method = root / "grey.py"
    method.write_text(
        "from PIL import Image\n"
        "class Grey:\n"
        "    name, revision, max_batch, scale = 'grey', '1', 4, 'mini'\n"
        "    def generate(self, samples, seeds):\n"
        "        return [Image.new('RGB', (128, 128), (120, 120, 120)) for _ in samples]\n"
    )
    benchmark = load_benchmark("coco-mig", limit=5)
    runs = [
        generate_run(benchmark, build_generator(name), out=root / "runs", model="mini", argv=[]).run
        for name in ("sprites", f"{method}:Grey")
    ]
    score_runs(runs, detector="oracle", segmenter="box", encoder="none")
    return runs


def _scored(runs: list[Path]) -> dict:
    (section,) = build_report(runs).sections
    return {run.method: run for run, _ in section.runs}


def test_at_the_protocols_own_threshold_the_curves_say_what_the_table_says(judged):
    for run in _scored(judged).values():
        seen = seen_by(run)
        for name in ("iou", "coverage"):
            steps, values = sensitivity(seen, name)
            at = values[np.flatnonzero(np.isclose(steps, getattr(seen.rules, name)))[0]]
            assert at == pytest.approx(run.cells["success_inst", None]["value"])
            assert np.all(np.diff(values) <= 1e-9)
        steps, values = sensitivity(seen, "score")
        assert values[0] == 100.0  # the oracle finds everything in its place, whatever its colour


def test_the_blue_part_of_the_failures_is_the_success_of_the_table(judged):
    for run in _scored(judged).values():
        shares = failure_shares(seen_by(run))
        assert shares["right"] == pytest.approx(run.cells["success_inst", None]["value"])
        assert sum(shares.values()) == pytest.approx(100.0)
        assert shares["missed"] == shares["misplaced"] == shares["merged"] == 0.0
    assert shares["wrong colour"] == 100.0  # of the method that paints everything grey


def test_the_judge_is_measured_on_every_object(judged):
    seen = seen_by(_scored(judged)["sprites"])
    objects = sum(len(view.sample.instances) for view in seen.views)
    assert sum(rate.n for rate in by_size(seen)) == sum(rate.n for rate in by_color(seen)) == objects
    success = _scored(judged)["sprites"].cells["success_inst", None]["value"]
    assert sum(r.value * r.n for r in by_color(seen)) / objects == pytest.approx(success)
    assert [(rate.value, rate.n) for rate in trust(seen)] == [(100.0, objects)]


def test_all_figures_are_drawn_in_both_forms_and_name_what_they_show(judged, tmp_path):
    drawn = write_figures(build_report(judged), tmp_path / "figures")
    assert drawn.notes == ()
    assert {f.name for f in drawn.figures} == {"levels", "thresholds", "failures", "judge"}
    for figure in drawn.figures:
        assert figure.caption.endswith(".")
        with Image.open(figure.png) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 5
        root = ElementTree.fromstring(figure.svg.read_text("utf-8"))
        texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "R_inst" in texts or figure.name in ("failures", "judge")
    files = {f for figure in drawn.figures for f in (figure.svg, figure.png)}
    assert set((tmp_path / "figures").iterdir()) == files


def test_a_figure_is_the_same_bytes_every_time_and_asks_nothing_of_the_network(judged, tmp_path):
    report = build_report(judged)
    one, other = (write_figures(report, tmp_path / name).figures for name in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        assert a.svg.read_bytes() == b.svg.read_bytes()
        assert a.png.read_bytes() == b.png.read_bytes()
        links = [v for node in ElementTree.parse(a.svg).iter() for k, v in node.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_without_evidence_a_run_is_left_out_with_the_command(judged, tmp_path):
    copies = [shutil.copytree(run, tmp_path / run.parent.name / run.name) for run in judged]
    shutil.rmtree(copies[1] / "evidence")
    drawn = write_figures(build_report(copies), tmp_path / "figures")
    assert {f.name for f in drawn.figures} == {"levels", "thresholds", "failures", "judge"}
    (note,) = drawn.notes
    assert "grey is not in the figures" in note
    assert "Run `radl-bench score" in note


def test_pictures_may_be_gone_when_the_evidence_is_there(judged, tmp_path):
    copies = [shutil.copytree(run, tmp_path / run.parent.name / run.name) for run in judged]
    shutil.rmtree(copies[0] / "images")
    run = _scored(copies)["sprites"]
    assert failure_shares(seen_by(run))["right"] == pytest.approx(run.cells["success_inst", None]["value"])


def test_names_of_others_are_text_and_nothing_else(tmp_path):
    runs = [make_run(tmp_path, m, r) for m, r in METHODS.items()]
    runs.append(make_run(tmp_path, "evil", 0.5, name="<script>$x^2$ & a_b"))
    drawn = write_figures(build_report(runs), tmp_path / "figures")
    for figure in drawn.figures:
        root = ElementTree.fromstring(figure.svg.read_text("utf-8"))
        assert not [node for node in root.iter() if node.tag.endswith("script")]
        assert any("<script>$x^2$ & a_b" in "".join(node.itertext()) for node in root.iter())


def test_differences_are_paired_and_say_whether_they_are_there(tmp_path):
    runs = [make_run(tmp_path, m, r, samples=30) for m, r in (("radl", 0.7), ("same", 0.7), ("low", 0.3))]
    shutil.copytree(runs[0] / "scores", runs[1] / "scores", dirs_exist_ok=True)
    data = json.loads((runs[1] / "scores" / "scores.json").read_text())
    data["generator"]["name"] = "same"
    (runs[1] / "scores" / "scores.json").write_text(json.dumps(data))
    (section,) = build_report(runs).sections
    base = next(run for run, _ in section.runs if run.method == "radl")
    found = {gap.label: gap for gap in gaps(section.runs, base, "success_inst")}
    assert (found["same"].value, found["same"].clear) == (0.0, False)
    assert math.isnan(found["same"].low)  # no interval of width 0
    low = next(run for run, _ in section.runs if run.method == "low")
    expected = low.cells["success_inst", None]["value"] - base.cells["success_inst", None]["value"]
    assert found["low"].value == pytest.approx(expected)
    assert found["low"].clear
    assert found["low"].low < expected < found["low"].high < 0


def test_the_baseline_is_named_or_refused(tmp_path):
    runs = [make_run(tmp_path, m, r) for m, r in METHODS.items()]
    report = build_report(runs)
    titles = [f.title for f in write_figures(report, tmp_path / "f", baseline="radl").figures]
    assert any(title.startswith("Difference to RaDL") for title in titles)
    with pytest.raises(UsageError, match=r"Unknown baseline 'radel'\. Did you mean 'radl'"):
        write_figures(report, tmp_path / "f", baseline="radel")
    with pytest.raises(UsageError, match="sprites"):  # the reference takes no part
        write_figures(report, tmp_path / "f", baseline="sprites")


def test_two_sections_never_share_a_file(tmp_path):
    runs = [make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "gligen", 0.7, signature="det:other|seed:hashed")]
    drawn = write_figures(build_report(runs), tmp_path / "figures")
    assert len({figure.svg for figure in drawn.figures}) == len(drawn.figures) == 2


def test_a_run_of_other_scores_gives_no_empty_figure(tmp_path):
    run = bare_run(tmp_path, "drawbench", "radl", {"drawbench_relation": (50.0, 40.0, 60.0)})
    assert write_figures(build_report([run]), tmp_path / "figures").figures == ()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_figures(build_report([make_run(tmp_path, "radl", 0.7)]), tmp_path / "file" / "figures")


def test_colours_stay_apart_for_colour_blind_readers():
    """Simulated with the matrices of Machado, Oliveira and Fernandes (2009) at full severity, distance in CIELAB."""
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    rgb = np.array([[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in METHOD_COLORS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in (np.eye(3), np.array(protan), np.array(deutan)):
        lab = _lab(np.clip(linear @ matrix.T, 0, 1))
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e9 * np.eye(len(lab))
        assert apart.min() > 10  # a difference of 2.3 is just noticeable


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def test_every_run_has_its_own_look_and_a_method_keeps_its_colour(tmp_path):
    names = [*METHODS, "gligen", "migc", "one", "two", "boxdiff"]
    (section,) = build_report([make_run(tmp_path, name, 0.5) for name in names]).sections
    found = looks(section.runs)
    assert len({(look.color, look.line) for look in found.values()}) == len(names)
    assert len({look.marker for look in found.values()}) == len(names)
    assert (found["RaDL"].color, found["GLIGEN"].color) == (METHOD_COLORS["radl"], METHOD_COLORS["gligen"])


def test_figures_need_no_torch_and_the_command_loads_no_matplotlib(judged, tmp_path):
    light = "import sys, radl_bench.cli; radl_bench.cli.build_app(); sys.exit('matplotlib' in sys.modules)"
    drawn = (
        "import sys; from pathlib import Path; from radl_bench.report import build_report;"
        "from radl_bench.report.figures import write_figures;"
        "assert write_figures(build_report([Path(p) for p in sys.argv[2:]]), Path(sys.argv[1])).figures;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'matplotlib.pyplot')))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for code, words in ((light, []), (drawn, [str(tmp_path / "figures"), *map(str, judged)])):
        done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_command_draws_and_names_what_it_wrote(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from radl_bench.cli import build_app

    monkeypatch.chdir(tmp_path)
    for method, rate in METHODS.items():
        make_run(tmp_path, method, rate)
    done = CliRunner().invoke(build_app(), ["report", "--reported", "--figures", "figures", "--baseline", "RaDL"])
    assert done.exit_code == 0, done.output
    assert "Reported in the literature" in (tmp_path / "reports" / "report.md").read_text("utf-8")
    named = [line.removeprefix("Figure: ") for line in done.output.splitlines() if line.startswith("Figure: ")]
    assert [Path(name).name for name in named] == [
        "coco-mig-1-protocol-strict-mini-levels.svg",
        "coco-mig-1-protocol-strict-mini-differences.svg",
    ]
    assert all((tmp_path / name).is_file() for name in named)
    assert "not in the figures about thresholds and failures" in done.output


def test_a_large_section_shows_its_baseline_and_its_best_methods_and_says_so(tmp_path):
    from report_runs import make_run

    rates = {f"m{n:02d}": 0.2 + 0.02 * n for n in range(20)} | {"stable-diffusion": 0.02, "sprites": 0.97}
    report = build_report([make_run(tmp_path, name, rate, samples=30) for name, rate in rates.items()])
    kept, what = foremost(report.sections[0], None)
    labels = {label for _, label in kept.runs}
    by_value = sorted(
        (-run.cells["success_inst", None]["value"], label) for run, label in report.sections[0].runs if label[0] == "m"
    )
    best = {label for _, label in by_value[: MOST - 1]}
    assert labels == best | {"real (rendered)", "Stable Diffusion (text only)"}
    assert what == "12 of 21 methods: Stable Diffusion (text only) and the best by R_inst"
    assert foremost(kept, None) == (kept, None)
    assert any(what in note for note in write_figures(report, tmp_path / "figures").notes)
