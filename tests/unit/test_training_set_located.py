"""Training sets from a folder of images with captions, their boxes found by a detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.cli.data_build import build
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.runs.writer import Shard
from radl_bench.training_set import locating
from radl_bench.training_set.build import Source, build_layouts, read_datasheet
from radl_bench.training_set.folder import read_folder
from radl_bench.training_set.locating import Locator
from radl_bench.training_set.phrases import noun_phrases
from radl_bench.training_set.rows import Rules
from radl_bench.types import Detection
from radl_model.train.layout_rows import read_rows, shard_files
from tests.tiny_grounding import SIDE, random_model, tiny_config, vocabulary


class Fixed:
    """A detector that answers from a table, and remembers what it was asked."""

    signature = "fixed"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def detect(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> list[list[Detection]]:
        self.asked += [list(names) for names in queries]
        table = {
            "red car": [((-0.02, 0.1, 0.5, 0.6), 0.9), ((0.0, 0.1, 0.5, 0.61), 0.8), ((0.6, 0.1, 0.9, 0.5), 0.3)],
            "dog": [((0.5, 0.5, 1.01, 1.0), 0.6), ((0.1, 0.1, 0.9, 0.9), 0.2), ((1.0, 0.5, 1.02, 0.9), 0.5)],
            "hot dog": [((0.2, 0.2, 0.25, 0.25), 0.7)],
        }
        return [[Detection(n, box, score) for n in names for box, score in table.get(n, [])] for names in queries]


def folder(place: Path) -> Path:
    place.mkdir()
    (place / "more").mkdir()
    for name in ("a.png", "b.jpg", "c.png", "d.png", "more/e.png"):
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(place / name)
    (place / "c.png").write_bytes(b"no image")
    lines = [
        {"file_name": "a.png", "text": "A red car near a dog.", "license": "CC0"},
        {"file_name": "c.png", "text": "a dog"},
        {"file_name": "gone.png", "caption": "a dog"},
        {"file_name": "more/e.png", "text": "the hot dog"},
    ]
    (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (place / "b.txt").write_text("a dog,\nand a dog\n")
    return place


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A small red car near two dogs", ["small red car", "dogs"]),
        ("a hot dog and a dog", ["hot dog", "dog"]),
        ("a man on a bike", ["man", "bike"]),
        ("a dog beside a dog", ["dog"]),
        ("nothing of note", []),
    ],
)
def test_rules_read_the_noun_phrases_about_classes_of_coco(caption: str, phrases: list[str]) -> None:
    assert noun_phrases(caption) == phrases


def test_a_folder_gives_captions_from_metadata_and_text_files(tmp_path: Path) -> None:
    found = {image.file_name: image for image in read_folder(folder(tmp_path / "images"))}
    assert {name: image.captions for name, image in found.items()} == {
        "a.png": ("A red car near a dog.",),
        "b.jpg": ("a dog, and a dog",),
        "c.png": ("a dog",),
        "d.png": (),
        "gone.png": ("a dog",),
        "more/e.png": ("the hot dog",),
    }
    assert found["a.png"].license == "CC0"
    assert len({image.id for image in found.values()}) == 6


def test_boxes_are_those_of_the_detector_clipped_and_without_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second car overlaps the first by more than .8; the second dog scores .2, and its third lies outside."""
    detector = Fixed()
    monkeypatch.setattr(locating, "make_locator", None)
    monkeypatch.setattr("radl_bench.training_set.build.make_locator", lambda *_: Locator(detector, "rules"))
    source = Source(images=folder(tmp_path / "images"), rules=Rules(locate="fixed"))
    list(build_layouts(source, tmp_path / "set", Shard(), size=4))
    rows = {row.caption: row for file in shard_files(tmp_path / "set") for row in read_rows(file)}
    car = rows["A red car near a dog."]
    assert list(rows) == ["A red car near a dog.", "a dog, and a dog"]
    assert car.boxes == [[0.0, 0.1, 0.5, 0.6], [0.5, 0.5, 1.0, 1.0], [0.6, 0.1, 0.9, 0.5]]
    assert (car.phrases, car.categories) == (["red car", "dog", "red car"], ["red car", "dog", "red car"])
    assert car.sources == ["located"] * 3
    assert ["red car", "dog"] in detector.asked
    made = read_datasheet(tmp_path / "set")
    assert made is not None
    assert made["left_out"] == {
        "images without a caption": 1,
        "images whose file is missing": 1,
        "images whose file is broken": 1,
        "images without a box that is kept": 1,
        "boxes that are too small": 1,
    }
    assert made["phrases"] == {"located": 4}
    before = len(detector.asked)
    list(build_layouts(source, tmp_path / "set", Shard(), size=4))
    assert len(detector.asked) == before


@pytest.mark.slow
def test_grounding_dino_is_asked_for_the_phrases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real code at random weights: boxes come through, as the detector itself gives them."""
    from radl_bench.judges.grounding_dino import GroundingDino

    random_model(tiny_config()).save_pretrained(tmp_path / "weights")
    (tmp_path / "weights" / "vocab.txt").write_bytes(vocabulary().read_bytes())
    detector = GroundingDino(weights=tmp_path / "weights", side=SIDE)
    monkeypatch.setattr(locating, "SCORE", 0.0)
    monkeypatch.setattr("radl_bench.training_set.build.make_locator", lambda *_: Locator(detector, "rules"))
    source = Source(images=folder(tmp_path / "images"), rules=Rules(locate="grounding-dino"))
    list(build_layouts(source, tmp_path / "set", Shard()))
    row = next(read_rows(shard_files(tmp_path / "set")[0]))
    image = Image.open(source.images / "a.png").convert("RGB")
    found = {tuple(np.clip(d.box, 0, 1).tolist()) for d in detector.detect([image], [["red car", "dog"]])[0]}
    assert row.boxes
    assert {tuple(box) for box in row.boxes} <= found
    assert set(row.categories) <= {"red car", "dog"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file_name": 3}', "line 1: 'file_name' should be a path in the folder, not 3"),
        ('{"file_name": "../a.png"}', "line 1: 'file_name' should be a path in the folder"),
        ("{", "line 1: it is no JSON"),
    ],
)
def test_a_line_of_metadata_that_is_none_is_named(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(BadInput, match=words):
        read_folder(tmp_path)


def test_what_is_missing_or_does_not_go_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no folder of images"):
        read_folder(tmp_path / "no")
    with pytest.raises(MissingData, match="There is no image"):
        read_folder(tmp_path)
    with pytest.raises(UsageError, match="--locate grounding-dino"):
        Source(images=tmp_path)
    with pytest.raises(UsageError, match="--coco DIR for COCO, or --images DIR"):
        Source()
    done = CliRunner().invoke(build, ["layouts", "--out", str(tmp_path), "--images", "x", "--coco", "y"])
    assert isinstance(done.exception, UsageError)
