"""What a command suggests next can be pasted: it is quoted, it parses, and it keeps the options that it needs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from radl_bench.cli import build_app
from radl_bench.hints import command, first_images, paper_judges

ROOT = Path(__file__).parents[2]


def parse(line: str) -> dict[str, object]:
    """Return the parameters that a suggested command sets; fails where it does not parse."""
    program, *words = shlex.split(line)
    assert program == "radl-bench"
    found = typer.main.get_command(build_app())
    context = found.make_context("radl-bench", ["ls", "methods"])
    while hasattr(found, "get_command"):
        found = found.get_command(context, words.pop(0))
        assert found is not None, line
    return dict(found.make_context("command", words, parent=context).params)


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))

    def run(*words: object) -> str:
        done = CliRunner().invoke(build_app(), list(map(str, words)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def suggested(output: str) -> dict[str, object]:
    """Return the parameters of the command on the last line that suggests one."""
    return parse(re.findall(r"(radl-bench .*)$", output, re.M)[-1])


def test_a_command_is_quoted_and_leaves_defaults_out():
    line = command("score", "my runs/a", runs=Path("my runs"), device=None, by=["size", "color"], reported=True)
    assert line == "radl-bench score 'my runs/a' --runs 'my runs' --by size --by color --reported"
    assert command("report", runs=Path("runs"), stdout=False) == "radl-bench report"
    assert parse(first_images(Path("a b")))["root"] == Path("a b")


def test_the_way_from_images_to_a_report_keeps_folder_and_device(call, tiny_benchmark, toy_method, tmp_path):
    made = call(
        "generate", tiny_benchmark, "--method", toy_method, "--limit", 1, "--runs", "my work", "--device", "cpu"
    )
    then = suggested(made)
    assert (then["root"], then["device"], then["detector"]) == (Path("my work"), "cpu", "mini")
    (run,) = then["runs"]
    assert (tmp_path / run / "manifest.json").is_file()
    judges = ("--detector", "oracle", "--encoder", "none")
    after = suggested(call("score", run, "--runs", "my work", *judges))
    assert (after["root"], list(after["runs"])) == (Path("my work"), [run])
    everything = suggested(call("score", "--runs", "my work", *judges))
    assert (everything["root"], everything["runs"]) == (Path("my work"), ())
    checked = suggested(call("pack", run, "--out", "a bundle.zip"))
    assert checked["bundle"] == Path("a bundle.zip")


def test_images_of_the_papers_scale_are_sent_to_judges_of_that_scale(call, tiny_benchmark, tmp_path):
    (tmp_path / "big.py").write_text(
        "from PIL import Image\nclass Big:\n    name, revision, max_batch, scale = 'big', '1', 1, 'paper'\n"
        "    def generate(self, samples, seeds):\n        return [Image.radial_gradient('L') for s in samples]\n"
    )
    then = suggested(call("generate", tiny_benchmark, "--method", "big.py:Big", "--limit", 1))
    assert {role: then[role] for role in ("detector", "segmenter", "encoder", "features")} == {
        "detector": "grounding-dino",
        "segmenter": "sam",
        "encoder": "none",
        "features": "none",
    }
    assert paper_judges({"open-clip", "inception"})["encoder"] == "open-clip"


def test_a_report_by_other_judges_says_how_to_score_with_them(call, tiny_benchmark, toy_method):
    from radl_bench.errors import MissingData

    call("generate", tiny_benchmark, "--method", toy_method, "--limit", 1, "--runs", "my work")
    with pytest.raises(MissingData, match="Not scored with oracle, box") as error:
        call("report", "--runs", "my work", "--judges", "oracle", "--judges", "box")
    then = suggested(str(error.value).replace("`", "\n"))
    assert (then["detector"], then["segmenter"]) == ("oracle", "box")
    assert str(then["runs"][0]).startswith("my work/tiny/toy/")


def test_a_reference_is_built_with_the_features_that_will_be_compared(call, tmp_path):
    from radl_bench.errors import MissingData

    for options, features in (((), "mini"), (("--encoder", "open-clip", "--features", "inception"), "inception")):
        with pytest.raises(MissingData) as error:
            call("score", "--fid-reference", "not here.npz", *options)
        then = suggested(str(error.value))
        assert (then["features"], then["out"]) == (features, Path("not here.npz"))


def test_a_benchmark_and_a_method_of_ones_own(call, tmp_path):
    (tmp_path / "things.csv").write_text("id,category,color,x0,y0,x1,y1\none,car,red,0.05,0.3,0.4,0.7\n", "utf-8")
    assert suggested(call("data", "new", "things.csv", "--out", "my sets/things"))["benchmark"] == "my sets/things"
    (tmp_path / "my code").mkdir()
    assert suggested(call("new", "method", "fast", "--out", "my code"))["method"] == "my code/fast.py:Fast"
    assert suggested(call("new", "judge", "eye", "--out", "my code"))["detector"] == "my code/eye.py:Eye"
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")


def test_no_other_place_puts_a_command_together():
    """A path inside of a sentence would be neither quoted nor followed by the options that belong to it."""
    by_hand = re.compile(r"radl-bench (?:generate|score|report|verify|fetch|data|runs|pull|compare)\b[^`\"\n]*\{")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in sorted((ROOT / "radl_bench").rglob("*.py"))
        for line in file.read_text("utf-8").splitlines()
        if by_hand.search(line) and '"""' not in line
    ]
    assert found == []
