"""The commands of the generation side: exit codes, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radl_bench.cli import main
from radl_bench.cli.generate import parse_settings
from radl_bench.errors import UsageError


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line in `tmp_path` and returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the test process keeps its own handlers

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["radl-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


def test_images_are_made_and_then_resumed(call, tiny_benchmark, toy_method, tmp_path):
    arguments = ("generate", tiny_benchmark, "--method", toy_method, "--level", 3, "--set", "size=8", "--seed", 5)
    code, out, err = call(*arguments)
    assert (code, "3 made, 0 resumed, 0 failed of 3 images" in out) == (0, True)
    assert "generate: 3/3 images" in err
    (run,) = (tmp_path / "runs" / "tiny" / "toy").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["benchmark"]["filter"] == {"level": 3}
    assert manifest["benchmark"]["source"] == str(tiny_benchmark)
    assert manifest["seeds"] == {"policy": "hashed", "base": 5}
    assert manifest["generator"]["params"] == {"size": 8}
    assert len(manifest["generator"]["source_sha256"]) == 64
    assert "0 made, 3 resumed" in call(*arguments)[1]
    with open(toy_method.removesuffix(":Toy"), "a") as file:
        file.write("# another method now\n")
    assert "3 made, 0 resumed" in call(*arguments)[1]


def test_failed_images_end_with_code_1_and_their_number(call, tiny_benchmark, toy_method):
    code, _, err = call("generate", tiny_benchmark, "--method", toy_method, "--set", "bad=tiny-004")
    assert code == 1
    assert "GenerationFailed: 1 of 9 images failed" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "coco-mgi"], "Unknown benchmark 'coco-mgi'. Did you mean 'coco-mig'?"),
        (["generate", "coco-mig", "--level", "9"], "has no level 9. Its levels: 2, 3, 4, 5, 6."),
        (["generate", "coco-mig", "--method", "radel"], "Unknown method 'radel'. Did you mean 'radl'?"),
        (["generate", "coco-mig", "--method", "sprites", "--set", "sise=4"], "Did you mean 'size'?"),
        (["generate", "coco-mig", "--method", "sprites", "--set", "size"], "Write --set key=value."),
        (["generate", "coco-mig", "--method", "sprites", "--model", "sd14"], "has no model 'sd14'"),
        (["generate", "coco-mig", "--method", "sprites", "--shard", "4/3"], "--shard 1/3"),
        (["generate", "coco-mig", "--method", "sprites", "--limit", "0"], "--limit 1 or more"),
        (["generate", "coco-mig", "--method", "sprites", "--images-per-sample", "0"], "at least 1"),
        (["generate", "coco-mig", "--method", "sprites", "--seed-policy", "hashd"], "Did you mean 'hashed'"),
        (["generate", "coco-mig", "--level", "six"], "Invalid value for '--level'"),
        (["generate", "coco-mig", "--levle", "6"], "No such option"),
        (["ls", "method"], "Did you mean 'methods'?"),
        (["generate", "coco-mig", "--device", "cuda"], "UsageError: There is no cuda device on this machine. Leave"),
        (["generate", "coco-mig", "--device", "cuda:1"], "There is no cuda device on this machine"),
        (["generate", "coco-mig", "--device", "gpu"], "'gpu' is not a device. Give cpu, cuda, cuda:1, ... or mps."),
        (["score", "--device", "cuda"], "There is no cuda device on this machine"),
        (["score", "--detector", "orcale"], "Did you mean 'oracle'?"),
        (["score", "--protocol", "strikt"], "Did you mean 'strict'?"),
        (["score", "--iou", "50"], "from 0 to 1"),
        (["generate", "coco-mig", "--images-per-sample", "10000000"], "at least 1 and at most 10000, not 10000000"),
    ],
)
def test_a_mistake_is_a_sentence_and_code_2(call, arguments, words):
    code, _, err = call(*arguments)
    assert code == 2
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_a_place_that_cannot_be_written_is_a_sentence(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call("generate", "coco-mig", "--method", "sprites", "--limit", 1, "--runs", tmp_path / "file")
    assert (code, err.count("\n") <= 2, "Traceback" in err) == (2, True, False)


def test_a_missing_folder_is_code_3(call, tmp_path):
    code, _, err = call("generate", f"{tmp_path}/none")
    assert (code, err.startswith("MissingData: There is no benchmark.toml")) == (3, True)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("methods", ["radl", "stable-diffusion", "sprites", "path/to/file.py:Class"]),
        ("benchmarks", ["coco-mig", "800", "2-6"]),
        ("metrics", ["success", "average_precision"]),
        ("judges", ["oracle", "grabcut"]),
        ("runs", ["None yet"]),
    ],
)
def test_lists_show_what_there_is(call, what, words):
    code, out, _ = call("ls", what)
    assert code == 0
    assert [word for word in words if word not in out] == []


def test_runs_are_listed_even_beside_a_broken_one(call, tiny_benchmark, toy_method, tmp_path):
    call("generate", tiny_benchmark, "--method", toy_method, "--limit", 2, "--set", "bad=tiny-000")
    broken = tmp_path / "runs" / "tiny" / "toy" / "00000000"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    code, out, _ = call("ls", "runs")
    row = next(line for line in out.splitlines() if "limit 2" in line)
    assert code == 0
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["limit 2", "", "failed", "1/2", "1", "no"]
    assert "is not JSON" in out


def test_doctor_names_what_is_missing_and_returns_3(call, monkeypatch):
    monkeypatch.setattr("radl_bench.cli.doctor.NEEDED", ("torch", "no-such-package"))
    code, out, err = call("doctor")
    assert code == 3
    assert "pip install no-such-package" in out
    assert "The embedded models cannot run here; missing:" in err
    assert "no-such-package" in err
    assert "800 samples, sha256 as recorded" in out


def test_settings_are_json_where_they_can_be():
    assert parse_settings(["a=1", "b=0.5", "c=true", "d=null", "e=x=y", "f-g=[1]", 'h="2"', "i="]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": "x=y",
        "f_g": [1],
        "h": "2",
        "i": "",
    }
    with pytest.raises(UsageError, match="given twice"):
        parse_settings(["a=1", "a=2"])


def cpu_of_help(program):
    """(standard output, standard error but its last word, CPU-seconds) of a program that ends with its help."""
    code = (
        "import sys, time; start = time.process_time(); sys.argv = ['radl-bench', '--help']\n"
        f"{program}\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'diffusers', 'transformers', 'PIL', 'cv2'} & set(sys.modules)\n"
        "print(sorted(heavy), time.process_time() - start, file=sys.stderr)"
    )
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout, *done.stderr.strip().rsplit(" ", 1)


def test_help_loads_no_heavy_package_and_is_quick():
    """At most three times the help of a typer program with two empty commands: seconds are the processor's."""
    empty = "import typer; main = typer.Typer()\nfor name in 'ab': main.command(name)(lambda: None)"
    bare = min(float(cpu_of_help(empty)[2]) for _ in range(2))
    shown, loaded, seconds = cpu_of_help("from radl_bench.cli import main")
    assert "generate" in shown
    assert loaded == "[]"
    assert float(seconds) < 3 * bare


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """These tests speak of a machine without an accelerator, wherever they run."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("method", ["radl", "migc", "stable-diffusion"])
def test_a_model_that_is_not_there_is_named_and_not_its_adapter(call, method):
    code, _, err = call("generate", "coco-mig", "--method", method, "--model", "/nope")
    assert code == 3
    assert "MissingWeights: There is no model at /nope." in err
    assert "adapter" not in err


def test_the_options_of_score_are_checked_before_runs_are_looked_for(call, tmp_path):
    code, _, err = call("score", "--fid-reference", tmp_path / "none.npz")
    assert (code, "There is no reference" in err) == (3, True)
    code, _, err = call("score")
    assert (code, "There is no run under runs/." in err) == (3, True)


def test_what_is_suggested_next_keeps_the_folder_of_the_runs(call, tiny_benchmark, toy_method, tmp_path):
    made = call("generate", tiny_benchmark, "--method", toy_method, "--limit", 1, "--runs", "my work")
    (run,) = (tmp_path / "my work").glob("*/*/*")
    path = run.relative_to(tmp_path)
    assert f"Next: radl-bench score '{path}' --runs 'my work'" in made[1]
    scored = call("score", "--runs", "my work", "--detector", "oracle", "--encoder", "none")
    assert "Next: radl-bench report --runs 'my work'" in scored[1]
    assert call("ls", "runs", "--runs", "my work")[0] == 0
    assert call("report", "--runs", "my work")[0] == 0
    inside = path.relative_to("my work")
    assert call("compare", inside, inside, "--runs", "my work")[0] in (0, 2)
    assert "generate coco-mig --level 6 --runs elsewhere" in call("report", "--runs", "elsewhere")[2]
    assert "generate coco-mig --level 6 --runs elsewhere" in call("ls", "runs", "--runs", "elsewhere")[1]


def test_a_method_that_moves_away_while_it_is_set_up_writes_where_it_was_asked_to(call, tiny_benchmark, tmp_path):
    (tmp_path / "there").mkdir()
    body = "import os\nfrom PIL import Image\nclass M:\n    name, revision, max_batch = 'm', '1', 1\n"
    body += "    def __init__(self):\n        os.chdir('there')\n"
    body += "    def generate(self, samples, seeds):\n        return [Image.radial_gradient('L') for s in samples]\n"
    (tmp_path / "mover.py").write_text(body)
    code, out, _ = call("generate", tiny_benchmark, "--method", tmp_path / "mover.py:M", "--limit", 1)
    os.chdir(tmp_path)
    assert code == 0
    assert len(list(tmp_path.glob("runs/tiny/m/*/images/*.png"))) == 1
    assert "Next: radl-bench score runs/tiny/m/" in out
