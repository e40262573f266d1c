"""The README says what is true: its commands parse, run in order, and its files and targets exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SETUP = ("make demo", "make test")
WEIGHTS = (
    "radl_model/weights/mini/radl",
    "radl_bench/mini/judges/weights/detector",
    "radl_bench/mini/judges/weights/clip",
)
ABSENT = [folder for folder in WEIGHTS if not (ROOT / folder).is_dir()]
PROMPT = "a photo of " + " and ".join(f"a {color} cup" for color in ("red", "blue", "green", "white", "black", "brown"))


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in _blocks("bash") for line in block.splitlines() if line]
OURS = [line for line in COMMANDS if line.startswith("radl-bench ")]
# What needs weights or data that are not in the package; each is run on small stand-ins by a test of its own.
ELSEWHERE = [line for block in _blocks("sh") for line in block.splitlines() if line]


def _run(line: str, folder: Path) -> subprocess.CompletedProcess:
    code = "import sys; from radl_bench.cli import main; sys.argv = sys.argv[1:]; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RADL_BENCH_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, *shlex.split(line)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)


def _prepare(folder: Path) -> None:
    """Write what a reader has at this point: the method of the README, images, and a public annotation file."""
    import yaml
    from PIL import Image

    (folder / "my_method.py").write_text(_blocks("python")[0], "utf-8")
    (folder / "my-images").mkdir()
    Image.new("RGB", (128, 128), "gray").save(folder / "my-images" / "mig-000000.png")
    phrases = {phrase: [[0.1, 0.1, 0.4, 0.4]] for phrase in PROMPT.removeprefix("a photo of ").split(" and ")}
    (folder / "mig_bench_anno.yaml").write_text(yaml.safe_dump({PROMPT: phrases | {"coco_id": "0"}}), "utf-8")


def test_every_command_is_ours_or_a_target_of_the_makefile():
    assert set(COMMANDS) - set(OURS) <= set(SETUP)
    assert len(OURS) >= 10


@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_the_targets_run_what_they_say(target, tmp_path):
    # Under `make test` the outer make hands its flags and variables down; the inner one is to start afresh.
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS", "VENV", "PYTHON")
    env = {key: value for key, value in os.environ.items() if key not in handed_down}
    command = ["make", "-n", target, f"VENV={tmp_path}/venv"]
    planned = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    last = {"demo": "radl-bench demo", "test": "-m pytest -n auto", "lint": "mypy"}[target]
    assert planned.stdout.splitlines()[0].endswith(f"-m venv {tmp_path}/venv")
    assert planned.stdout.splitlines()[-1].strip().endswith(last)


@pytest.mark.parametrize("line", dict.fromkeys(OURS + ELSEWHERE))
def test_every_command_parses(line):
    from radl_bench.cli import build_app

    words = shlex.split(line)[1:]
    command = typer.main.get_command(build_app())
    context = command.make_context("radl-bench", words[:0] or ["ls", "methods"])
    while hasattr(command, "get_command"):
        name, words = words[0], words[1:]
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name}"
    command.make_context(name, words, parent=context)


def test_the_method_of_the_readme_works_as_it_stands(tmp_path):
    _prepare(tmp_path)
    line = next(line for line in OURS if "my_method.py" in line)
    made = _run(f"{line} --limit 2", tmp_path)
    assert made.returncode == 0, made.stderr
    assert len(list(tmp_path.glob("runs/coco-mig/boxes/*/images/*.png"))) == 2


def test_the_method_of_the_readme_has_every_colour_right(tmp_path):
    """Seven colours in boxes apart, seen by the oracle: what the judge's table of colours says of the example."""
    import json
    from hashlib import sha256

    from radl_bench.types import COLORS

    _prepare(tmp_path)
    lines = []
    for turn in range(7):
        colors = [*COLORS[turn:], *COLORS[:turn]]
        boxes = [[n / 7, 0.2, (n + 1) / 7, 0.2 + 0.1 * (n + 1)] for n in range(7)]
        things = [
            {"phrase": f"a {color} cup", "category": "cup", "color": color, "box": box}
            for color, box in zip(colors, boxes, strict=True)
        ]
        lines.append(json.dumps({"id": f"s{turn}", "prompt": "cups", "instances": things}) + "\n")
    data = "".join(lines).encode()
    (tmp_path / "cups").mkdir()
    (tmp_path / "cups" / "samples.jsonl").write_bytes(data)
    fields = {"name": "cups", "version": "1", "license": "none", "citation": "none", "images_per_sample": 1}
    fields |= {"resolution": 512, "samples_sha256": sha256(data).hexdigest()}
    toml = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    (tmp_path / "cups" / "benchmark.toml").write_text("\n".join([*toml, "[metrics.success]"]))
    made = _run("radl-bench generate ./cups --method my_method.py:Boxes", tmp_path)
    assert made.returncode == 0, made.stderr
    assert "Note" not in made.stderr
    scored = _run("radl-bench score --detector oracle --encoder none", tmp_path)
    assert scored.returncode == 0, scored.stderr
    (file,) = tmp_path.glob("runs/cups/boxes/*/scores/**/scores.json")
    values = {entry["metric"]: entry["value"] for entry in json.loads(file.read_text())["scores"]}
    assert values["success_inst"] == values["success_img"] == 100.0


@pytest.mark.slow
@pytest.mark.skipif(bool(ABSENT), reason=f"the embedded weights are not there: {', '.join(ABSENT)}")
def test_all_commands_run_in_order(tmp_path):
    """Each as it stands, except that two samples a run must do, and one image of all that were made elsewhere."""
    _prepare(tmp_path)
    for line in OURS:
        done = _run(f"{line} --limit 2" if line.startswith("radl-bench generate") else line, tmp_path)
        expected = 1 if "--images " in line else 0  # 799 images are missing, and the command says so
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "reports" / "report.md").is_file()
