"""`import radl_bench as rb`: light to import, one path with the command line, results as DataFrames."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import radl_bench as rb
from radl_bench.api.frames import ROWS, TABLE
from radl_bench.cli import build_app
from radl_bench.errors import MissingData, MissingExtra, UsageError
from tests.scores import scores as scores_of

ROOT = Path(__file__).parents[2]
JUDGES = {"detector": "oracle", "segmenter": "box", "encoder": "none"}
SAMPLES = [
    rb.Sample("a", "a red car", (rb.Instance("a red car", "car", "red", (0.0, 0.0, 1.0, 1.0)),)),
    rb.Sample("b", "a dog", (rb.Instance("a dog", "dog", None, (0.1, 0.1, 0.5, 0.5)),)),
]


def test_importing_is_quick_and_loads_nothing_heavy():
    heavy = ("torch", "pandas", "numpy", "typer", "diffusers")
    code = f"import sys, radl_bench; print([m for m in {heavy} if m in sys.modules])"
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
        assert done.stdout.strip() == "[]"
    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert min(times) - (time.perf_counter() - bare) < 0.3


def test_every_public_name_is_there_and_documented():
    for name in rb.__all__:
        thing = getattr(rb, name)
        assert name == "__version__" or (thing.__doc__ and thing.__doc__ != "")
    assert set(rb.__all__) <= set(dir(rb))
    with pytest.raises(AttributeError):
        _ = rb.generat


def test_scoring_loads_no_generator_and_no_torch():
    code = "import sys, radl_bench as rb; rb.score; rb.compare; rb.plot; print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip() == "False"
    )


@pytest.fixture
def two(tiny_benchmark, toy_method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [rb.generate(tiny_benchmark, toy_method, settings={"delay": delay}) for delay in (0.0, 0.001)]


def test_a_run_by_python_is_the_run_of_the_command(two, tiny_benchmark, toy_method):
    runner = CliRunner()
    done = runner.invoke(build_app(), ["generate", str(tiny_benchmark), "--method", toy_method, "--set", "delay=0.0"])
    assert done.exit_code == 0, done.output
    assert "0 made, 9 resumed" in done.output
    assert str(two[0].run.relative_to(Path.cwd())) in done.output
    mine = rb.score(two[0], **JUDGES)
    before = scores_of(two[0].run)
    done = runner.invoke(
        build_app(), ["score", str(two[0].run), "--detector", "oracle", "--segmenter", "box", "--encoder", "none"]
    )
    assert done.exit_code == 0, done.output
    assert scores_of(two[0].run)["scores"] == before["scores"] == list(mine.scored[0].data["scores"])


def test_scores_are_frames(two):
    scores = rb.score(two, **JUDGES)
    assert tuple(scores.table.columns) == TABLE
    assert tuple(scores.rows.columns) == ROWS
    of = scores.rows[(scores.rows.metric == "success_inst") & (scores.rows.k == 0)]
    assert len(of) == 2 * (3 * 2 + 3 * 3 + 3 * 4)
    first = of.iloc[0]
    assert (first.method, first.category, first.color, first.level) == ("toy", "car", "red", 2)
    assert first.box == (0.0, 0.25, 0.5, 0.75)
    whole = scores.rows[scores.rows.metric == "success_img"]
    assert whole.box.isna().all()
    # the means of the rows are the scores of the table
    means = scores.rows[scores.rows.method == "toy"].groupby("metric").value.mean()
    everything = scores.table[scores.table.level.isna()].groupby("metric").value.mean()
    for metric in ("success_inst", "success_img"):
        assert means[metric] == pytest.approx(everything[metric])
    assert "<table" in scores._repr_html_()


def test_compare_and_plot(two):
    scores = rb.score(two, **JUDGES)
    lines = rb.compare(*scores.runs)
    assert {"metric", "level", "difference", "ci_low", "p", "n"} <= set(lines.columns)
    assert lines[(lines.metric == "success_inst") & lines.level.isna()].difference.item() == 0
    assert lines.attrs["notes"]
    assert rb.plot(scores, kind="levels").axes
    with pytest.raises(UsageError, match="kind of figure"):
        rb.plot(scores, kind="level")


def test_images_at_hand_and_samples_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [Image.new("RGB", (32, 32), color) for color in ("red", "green")]
    found = rb.score(images, SAMPLES, name="mine", **JUDGES)
    rows = found.rows[found.rows.metric == "success_inst"].set_index("sample_id")
    assert rows.value.to_dict() == {"a": 100.0, "b": 100.0}
    assert rows.method.tolist() == ["mine"] * 2
    swapped = rb.score({"a": images[1], "b": images[0]}, SAMPLES, name="swapped", **JUDGES)
    assert swapped.rows.set_index(["metric", "sample_id"]).value["success_inst", "a"] == 0.0
    assert found.runs != swapped.runs


@pytest.mark.parametrize("images", [[Image.new("RGB", (8, 8))], {"z": Image.new("RGB", (8, 8))}, ["a.png", "b.png"]])
def test_images_that_do_not_fit_their_samples(images, tmp_path):
    with pytest.raises(UsageError):
        rb.score(images, SAMPLES, runs=tmp_path, **JUDGES)


def test_what_is_not_scored_is_told(two):
    with pytest.raises(MissingData, match="not scored"):
        rb.read_scores(two[0])
    with pytest.raises(UsageError, match="Images need samples"):
        rb.score([Image.new("RGB", (8, 8))])


def test_a_table_for_wandb(two, monkeypatch):
    scores = rb.score(two[0], **JUDGES)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match="pip install wandb"):
        rb.wandb_table(scores)
    made = types.SimpleNamespace(Table=lambda columns, data: (columns, data))
    monkeypatch.setitem(sys.modules, "wandb", made)
    columns, data = rb.wandb_table(scores)
    assert columns == list(TABLE)
    assert len(data) == len(scores.table)
    assert data[0][columns.index("level")] is None


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    import re

    monkeypatch.chdir(tmp_path)
    names = {"images": [Image.new("RGB", (128, 128), "red")]}
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert (tmp_path / "failures.png").is_file()
    for name in re.findall(r"`(\w+)`", text.split("| name | what |")[1].split("\n\n")[0]):
        assert hasattr(rb, name) or name in ("levels", "differences", "thresholds", "failures", "judge", "samples")
