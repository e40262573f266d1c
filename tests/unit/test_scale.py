"""The world of a number is what generator and judges declare; names alone say nothing but in old recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from report_runs import make_run
from scores import scores as scores_of
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, UsageError
from radl_bench.generators.sprites import SpritesGenerator
from radl_bench.registry import GENERATORS
from radl_bench.report import build_report
from radl_bench.report.formats import as_csv
from radl_bench.runs.generate import build_generator, generate_run, has_mini
from radl_bench.runs.scale import base_scale, measured_scale, scale_of_manifest, scale_of_scores
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_runs
from radl_model.checkpoints.places import resolve_base

METHOD = """
from PIL import Image
class Grey:
    name, revision, max_batch = {name!r}, "1", 4
    {declared}
    def generate(self, samples, seeds):
        return [Image.new("RGB", (16, 16), (120, 120, 120)) for _ in samples]
"""
NEUTRAL = {"detector": "oracle", "segmenter": "box", "encoder": "none"}


@pytest.fixture
def made(tmp_path, tiny_benchmark):
    def made(name: str, declared: str = "", model: str | None = None) -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(METHOD.format(name=name, declared=declared))
        generator = build_generator(f"{file}:Grey")
        benchmark = load_benchmark(tiny_benchmark)
        return generate_run(benchmark, generator, out=tmp_path / "runs", model=model, source=str(tiny_benchmark)).run

    return made


def test_what_is_declared_is_recorded_in_manifest_and_scores(made) -> None:
    for declared, scale in (("scale = 'mini'", "mini"), ("scale = 'paper'", "paper"), ("", None)):
        run = made(f"m-{scale}", declared)
        assert json.loads((run / "manifest.json").read_text())["scale"] == scale
        score_runs([run], **NEUTRAL)
        assert scores_of(run)["scale"] == scale
    with pytest.raises(UsageError, match=r"The method m declares scale = 'huge'; it must be mini or paper"):
        made("m", "scale = 'huge'")


def test_three_worlds_are_three_sections_whose_titles_say_so(made) -> None:
    runs = [made("a", "scale = 'mini'"), made("b", "scale = 'paper'"), made("c")]
    score_runs(runs, **NEUTRAL)
    report = build_report(runs)
    ends = [s.title.removeprefix("tiny 1, protocol strict") for s in report.sections]
    assert ends == ["", " (mini)", " (scale not stated)"]
    assert any("do not declare a scale" in note for note in report.sections[2].notes)
    assert [{run.method for run, _ in s.runs} for s in report.sections] == [{"b"}, {"a"}, {"c"}]
    for word in (",paper,", ",mini,", ",unstated,"):
        assert word in as_csv(report)


def test_no_name_makes_anything_mini(made, tmp_path) -> None:
    """A model at /models/mini, a judge called gpt-4o-mini: regular expressions took both for the embedded ones."""
    judge = tmp_path / "judge.py"
    judge.write_text(
        "class Mini:\n    signature = 'gpt-4o-mini'\n"
        "    def detect(self, images, queries):\n        return [[] for _ in images]\n"
    )
    run = made("mini-method", "scale = 'paper'", model="/models/mini")
    score_runs([run], **NEUTRAL | {"detector": f"{judge}:Mini"})
    assert scores_of(run)["scale"] == "paper"
    assert "gpt-4o-mini" in json.dumps(scores_of(run)["judges"])
    (section,) = build_report([run]).sections
    assert "(mini)" not in section.title


def test_a_judge_of_the_mini_world_makes_mini_numbers_of_any_images(made) -> None:
    run = made("a", "scale = 'paper'")
    score_runs([run], **NEUTRAL | {"segmenter": "mini"})
    assert scores_of(run)["scale"] == "mini"
    assert measured_scale("paper", [None, "paper"]) == "paper"
    assert measured_scale("paper", [None, "mini"]) == measured_scale("mini", ["paper"]) == "mini"
    assert measured_scale(None, ["paper"]) is None


@pytest.mark.parametrize(
    ("generator", "judges", "scale"),
    [
        ({"name": "radl", "model": "mini"}, {}, "mini"),
        ({"name": "sprites", "model": None}, {}, "mini"),
        ({"name": "radl", "model": "sd14"}, {"detector": {"name": "mini", "signature": "mini-fcos@1"}}, "mini"),
        ({"name": "theirs", "model": None}, {"segmenter": {"name": "mini", "signature": "mini-hsv"}}, "mini"),
        (
            {"name": "radl", "model": "/models/mini"},
            {"detector": {"name": "gpt-4o-mini", "signature": "x-mini"}},
            "paper",
        ),
        ({"name": "mini", "model": "sd14"}, {"detector": {"name": "oracle", "signature": "mini"}}, "paper"),
        ({"name": "radl", "model": "minister"}, {}, "paper"),
    ],
)
def test_recordings_without_a_scale_are_read_by_exact_names(generator, judges, scale) -> None:
    assert scale_of_scores({"generator": generator, "judges": judges}) == scale
    if not judges:
        assert scale_of_manifest({"generator": generator}) == scale
    assert scale_of_scores({"generator": generator, "judges": judges, "scale": None}) is None
    assert scale_of_scores({"generator": generator, "judges": judges, "scale": "paper"}) == "paper"


def test_an_old_run_that_goes_on_takes_the_scale_of_its_method(tmp_path, tiny_benchmark) -> None:
    benchmark, about = load_benchmark(tiny_benchmark), {"name": "m", "revision": "1"}
    run = RunFolder.create(tmp_path, benchmark, about)
    old = json.loads((run.path / "manifest.json").read_text())
    del old["scale"]
    (run.path / "manifest.json").write_text(json.dumps(old))
    assert "scale" not in RunFolder.open(run.path).manifest
    again = RunFolder.create(tmp_path, benchmark, about, scale="paper")
    assert (again.path, again.manifest["scale"]) == (run.path, "paper")


def test_the_mini_base_declares_its_world_and_another_base_is_of_the_papers(tmp_path) -> None:
    assert base_scale(resolve_base("mini")) == "mini"
    (tmp_path / "mini").mkdir()
    assert base_scale(tmp_path / "mini") == "paper"
    (tmp_path / "mini" / "scale.json").write_text('{"scale": "mini"}')
    assert base_scale(tmp_path / "mini") == "mini"
    (tmp_path / "mini" / "scale.json").write_text('{"scale": "tiny"}')
    with pytest.raises(BadInput, match="does not say the scale of the model"):
        base_scale(tmp_path / "mini")
    assert SpritesGenerator().scale == "mini"


def test_a_method_gets_the_mini_model_only_if_it_has_one(monkeypatch, tmp_path) -> None:
    assert {name for name in GENERATORS if has_mini(name)} == set(GENERATORS)
    (tmp_path / "large.py").write_text("class Large:\n    models = ('sd14',)\nclass Small:\n    models = ('mini',)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(GENERATORS, "large", "large:Large")
    monkeypatch.setitem(GENERATORS, "small", "large:Small")
    assert (has_mini("large"), has_mini("small"), has_mini(f"{tmp_path / 'large.py'}:Small")) == (False, True, False)


def test_imported_images_have_the_scale_that_is_stated(tiny_benchmark, tmp_path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    Image.new("RGB", (64, 64), (9, 90, 9)).save(folder / "tiny-000.png")

    def scored(*words: str) -> dict:
        root = tmp_path / "-".join(("runs", *words))
        call = ["score", "--images", str(folder), "--benchmark", str(tiny_benchmark), "--runs", str(root)]
        call += ["--detector", "blind", "--segmenter", "box", "--encoder", "none", *words]
        result = CliRunner().invoke(build_app(), call)
        if isinstance(result.exception, UsageError):
            raise result.exception
        return scores_of(next(root.glob("*/*/*")))

    assert scored()["scale"] is None
    assert scored("--scale", "paper")["scale"] == "paper"
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        scored("--scale", "papers")


def test_reports_of_old_scores_are_what_they_were(tmp_path) -> None:
    runs = [make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "migc", 0.6, model="sd14", judges={})]
    assert [s.title for s in build_report(runs).sections] == [
        "coco-mig 1, protocol strict",
        "coco-mig 1, protocol strict (mini)",
    ]
