"""What needs no network of torch works where torch is not installed; what needs one says so and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.packages import cannot_import, lacking
from tests.scores import scores as scores_of

ROOT = Path(__file__).parents[2]
HIDDEN = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "open_clip",
    "groundingdino",
    "torchmetrics",
)
HIDING = f"""
import json, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*HIDDEN, "cleanfid", "ray", "spacy", "safetensors")}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
from radl_bench.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["radl-bench", *words]
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code or 0
    print(f"EXIT {{code}} {{words[0]}}", file=sys.stderr, flush=True)
assert "torch" not in sys.modules
"""


def without_torch(folder: Path, *commands: str) -> tuple[list[int], str]:
    """Run commands one after the other where torch cannot be imported; return their exit codes and stderr."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RADL_BENCH_HOME": str(folder / "home"), "COLUMNS": "80"}
    command = [sys.executable, "-c", HIDING, json.dumps([line.split() for line in commands])]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    exits = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("EXIT ")]
    return exits, done.stderr


def perfect_detections(folder: Path) -> None:
    """Write `found.json`: every instance of six samples, seen where the layout wants it, as COCO results."""
    rows = []
    for sample in load_benchmark("coco-mig", limit=6).samples:
        for i in sample.instances:
            x0, y0, x1, y1 = (128 * side for side in i.box)
            box = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"image_id": sample.id, "category": i.category, "bbox": box, "score": 0.9})
    (folder / "found.json").write_text(json.dumps(rows), "utf-8")


def test_detections_made_elsewhere_are_scored_and_reported(tmp_path):
    perfect_detections(tmp_path)
    exits, said = without_torch(
        tmp_path,
        "generate coco-mig --limit 6 --method sprites",
        "score --detections found.json --segmenter grabcut --encoder none",
        "score --detections found.json --encoder none",
        *(f"report --format {kind}" for kind in ("markdown", "latex", "json", "csv", "harness", "model-index", "html")),
        "ls runs",
        "ls judges",
        "plan coco-mig",
    )
    assert set(exits) == {0}, said
    assert len(exits) == 13
    (run,) = tmp_path.glob("runs/coco-mig/sprites/*/manifest.json")
    content = scores_of(run.parent)
    overall = {s["metric"]: s for s in content["scores"] if s["level"] is None}
    assert (overall["ap"]["value"], overall["miou"]["n"]) == (
        100.0,
        len(json.loads((tmp_path / "found.json").read_text())),
    )
    assert overall["miou"]["value"] == pytest.approx(100, abs=1)
    assert "R_inst" in (tmp_path / "reports" / "report.md").read_text("utf-8")


def test_what_a_network_saw_is_scored_again_and_what_it_has_not_seen_is_an_error(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RADL_BENCH_HOME": str(tmp_path / "home")}
    code = "import sys; from radl_bench.cli import main; main()"
    for line in ("generate coco-mig --limit 6 --method sprites", "score"):
        subprocess.run([sys.executable, "-c", code, *line.split()], cwd=tmp_path, env=env, check=True)
    exits, said = without_torch(
        tmp_path,
        "score --iou 0.6",
        "generate coco-mig --limit 7 --method sprites",
        "score",
        "generate coco-mig --limit 2",
        "demo --limit 2",
        "doctor",
    )
    assert exits == [0, 0, 3, 3, 3, 3]
    assert "needs the package safetensors, which is not installed. Run: pip install safetensors. Or score what" in said
    assert (
        "MissingExtra: The method radl needs the package torch, which is not installed. Run: pip install torch" in said
    )
    assert "missing: import torch. See the table" in " ".join(said.split())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "the package opencv-python, which is not installed"),
        (
            ImportError("libGL.so.1: cannot open shared object file: No such file"),
            "apt-get install libgl1 libglib2.0-0 libxcb1.",
        ),
        (ImportError("libodd.so.7: cannot open shared object file: No such file"), "the system library libodd.so.7"),
        (ImportError("cannot import name 'x' from 'transformers'", name="transformers"), "--upgrade transformers"),
    ],
)
def test_a_failed_import_says_what_to_install(error, words):
    told = cannot_import(error, "The method radl")
    assert str(told).startswith("The method radl ")
    assert words in str(told)
    assert told.exit_code == 3


def test_what_is_lacking_is_found_without_an_import():
    sys.modules.pop("this", None)
    assert lacking(("json", "no_such_module", "this")) == ["no_such_module"]
    assert "this" not in sys.modules
