"""Lists fit a terminal of 80 columns; of one part they say what it is, its settings, and what it lacks here."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from radl_bench.cli import build_app
from radl_bench.described import arguments_of, first_sentence, lacks, parameters_of, settings_of
from radl_bench.errors import MissingWeights, UsageError
from radl_bench.registry import GENERATORS, KINDS, known, resolve

JUDGES = sorted({name for kind in ("detectors", "segmenters", "encoders", "features") for name in KINDS[kind]})
ONE = [
    *(("methods", name) for name in GENERATORS),
    *(("judges", name) for name in JUDGES),
    *(("metrics", name) for name in KINDS["metrics"]),
    *(("benchmarks", name) for name in ("coco-mig", "coco-position", "drawbench")),
]


def listed(*words: str) -> str:
    done = CliRunner().invoke(build_app(), ["ls", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return re.sub(r"\x1b\[[\d;]*m", "", done.output)


@pytest.fixture(autouse=True)
def a_machine_with_nothing_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("what", ["methods", "benchmarks", "metrics", "judges"])
def test_lists_fit_80_columns_as_tables(what, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    lines = listed(what).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("┏") for line in lines) == 1
    assert "radl_bench." not in "".join(lines)
    kind = {"methods": "generators", "benchmarks": None}.get(what, what)
    names = JUDGES if kind == "judges" else known(kind) if kind else ("coco-mig", "coco-position", "drawbench")
    assert [name for name in names if not any(f" {name} " in line for line in lines)] == []


def test_the_doctor_fits_80_columns_as_a_table(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(build_app(), ["doctor"])
    lines = re.sub(r"\x1b\[[\d;]*m", "", done.output).splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert len(table) > 30
    assert max(map(len, table)) <= 80


@pytest.mark.parametrize(("what", "name"), ONE)
def test_one_part_is_told_in_80_columns(what, name):
    text = listed(what, name)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(name)
    assert "radl_bench.registry" not in text


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_every_setting_of_a_method_has_a_sentence(name):
    cls = resolve("generators", name)
    settings = {setting.name: setting for setting in settings_of(cls)}
    assert set(settings) == set(parameters_of(cls) or {}) - {"model", "device"}
    assert [s.name for s in settings.values() if not s.what or s.what.startswith("see ")] == []
    text = listed("methods", name)
    assert [s for s in settings if f"  {s} = " not in text and f"  {s}  " not in text] == []


def test_what_is_not_set_shows_the_value_that_stands_for_it():
    from radl_bench.generators.engine import MINI, PAPER

    text = listed("methods", "radl")
    assert f"num_inference_steps = {PAPER['num_inference_steps']} (mini: {MINI['num_inference_steps']})" in text
    assert "release_prompt = False" in text
    assert text.index("adapter =") < text.index("num_inference_steps =")  # its own settings come first


def test_methods_and_judges_say_what_they_lack_here():
    told = " ".join(listed("methods", "radl").split())
    assert "mini ready here" in told
    assert (
        "sd14 The weights of CompVis/stable-diffusion-v1-4 are not on this machine. Run `radl-bench fetch sd14`" in told
    )
    assert "radl-bench fetch sam" in listed("judges", "sam")
    rows = {
        line.split("│")[2].strip(): line.split("│")[3].strip() for line in listed("judges").splitlines() if "│" in line
    }
    assert (rows["sam"], rows["inception"], rows["grounding-dino"], rows["open-clip"]) == ("no", "no", "no", "no")
    assert (rows["oracle"], rows["grabcut"]) == ("yes", "yes")


@pytest.mark.parametrize("name", ["radl", "migc", "gligen", "layout-diffusion", "stable-diffusion"])
def test_a_method_says_it_lacks_weights_exactly_where_it_cannot_be_made(name):
    cls = resolve("generators", name)
    assert "sd14" in cls.models
    with pytest.raises(MissingWeights) as error:
        cls("sd14")
    assert lacks(cls, "sd14").split(".")[0] == str(error.value).split(".")[0]


def test_packages_are_named_before_weights(monkeypatch):
    class Mine:
        packages = ("no_such_module", "json")

        @classmethod
        def check_weights(cls, model):
            raise AssertionError("packages come first")

    assert lacks(Mine, "mini") == "Not installed: no_such_module. Run: pip install no_such_module"


def test_a_method_in_a_file_is_told_like_one_with_a_name(toy_method):
    text = listed("methods", toy_method)
    assert "state  ready" in text
    assert "delay = 0.0" in text


def test_runs_have_no_pages_of_their_own():
    with pytest.raises(UsageError, match="takes no name"):
        listed("runs", "x")


def test_sentences_of_docstrings():
    text = """Makes X. Does more.

    Args:
        model: which.
        a, b: a thing
            of two lines. With more.
        c: one of "x. y".

    Raises:
        d: none.
    """
    assert first_sentence(text) == "Makes X."
    assert arguments_of(text) == {
        "model": "which.",
        "a": "a thing of two lines.",
        "b": "a thing of two lines.",
        "c": 'one of "x. y".',
    }
    assert arguments_of(None) == {}
