"""Masks without weights against COCO's own segmentations, on real photographs.

The floor is what `benchmarks/masks.py` measured on the first six photographs (31 things: grabcut .537, box .541), less
three points for other versions of OpenCV.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
COCO = Path(os.environ.get("RADL_BENCH_SHARED") or ROOT.parent / "shared") / "data" / "coco_tiny"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("masks_benchmark", ROOT / "benchmarks" / "masks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def drawn(tmp_path) -> Path:
    """A set of one picture: a red disc on grey, a crowd of it, and a thing too small to count."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.clip(rng.normal(128, 4, (96, 120, 1)), 0, 255), 3, axis=2).astype(np.uint8)
    y, x = np.mgrid[:96, :120]
    image[(x - 60) ** 2 + (y - 48) ** 2 < 20**2] = (210, 30, 30)
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    disc = np.stack([60 + 20 * np.cos(turns), 48 + 20 * np.sin(turns)], axis=1).ravel().tolist()
    common = {"image_id": 7, "segmentation": [disc]}
    annotations = [
        common | {"bbox": [40, 28, 40, 40], "iscrowd": 0},
        common | {"bbox": [40, 28, 40, 40], "iscrowd": 1},
        common | {"bbox": [0, 0, 10, 40], "iscrowd": 0},
    ]
    (tmp_path / "val2017").mkdir()
    Image.fromarray(image).save(tmp_path / "val2017" / "disc.png")
    images = [{"id": 7, "file_name": "disc.png", "width": 120, "height": 96}]
    (tmp_path / "instances_val2017.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return tmp_path


def test_a_disc_is_measured_against_its_polygon(script, drawn):
    (disc,) = script.measure(drawn)
    assert disc.fill == pytest.approx(np.pi / 4, abs=0.03)
    assert disc.ious["box"] == pytest.approx(disc.fill, abs=1e-9)  # a box holds the whole disc
    assert disc.ious["grabcut"] > 0.93


def test_the_report_says_how_many_and_how_good(script, drawn):
    measured = list(script.measure(drawn))
    text = script.report(measured, limit=1)
    assert "1 things in 1 photographs" in text
    assert "--limit 1" in text
    value = 100 * measured[0].ious["box"]
    assert f"| {value:.1f} |" in text  # one image is too few for an interval
    assert "| fill 0 to 40 % of their box | 0 | - | - | - |" in text


def test_a_folder_without_coco_is_a_sentence(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["masks.py", str(tmp_path)])
    assert script.main() == 3
    assert "There is no" in capsys.readouterr().err


@pytest.mark.slow
def test_masks_of_real_photographs(script):
    if not COCO.is_dir():
        pytest.skip("COCO_Tiny is not at $RADL_BENCH_SHARED/data or ../shared/data")
    measured = list(script.measure(COCO, limit=6))
    assert len(measured) == 31
    ious = {name: float(np.mean([m.ious[name] for m in measured])) for name in ("grabcut", "box")}
    assert ious["box"] == pytest.approx(0.5406, abs=0.001)  # no algorithm in it but rounding
    assert ious["grabcut"] > 0.507
