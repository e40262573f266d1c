"""`radl-bench data build layouts`: what becomes a row, what is left out and counted, and that it resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from radl_bench.benchmarks.builders.coco import CocoImage, Thing
from radl_bench.errors import MissingData, UsageError
from radl_bench.runs.writer import Shard
from radl_bench.training_set.build import Source, build_layouts, read_datasheet
from radl_bench.training_set.phrases import instance_phrases
from radl_bench.training_set.rows import RowMaker, Rules
from radl_model.train.layout_rows import LayoutRow, RowOrder, count_rows, read_rows, shard_files


@pytest.mark.parametrize(
    ("caption", "categories", "phrases"),
    [
        ("A small red car parked near two dogs.", ["car", "dog", "dog"], ["a small red car", "a dog", "a dog"]),
        ("A wall and an old lady on a bike", ["person", "bicycle"], ["an old lady", "a bike"]),
        ("a car behind a blue car", ["car"], ["a car"]),  # named twice: which is it?
        ("three red apples", ["apple"], ["an apple"]),  # a plural speaks of several
        ("a black and white cat", ["cat"], ["a black and white cat"]),
        ("an orange umbrella over a hot dog stand", ["umbrella", "hot dog"], ["an orange umbrella", "a hot dog"]),
        ("nothing of note", ["dog"], ["a dog"]),
    ],
)
def test_a_phrase_is_the_captions_where_it_is_unmistakable(
    caption: str, categories: list[str], phrases: list[str]
) -> None:
    assert [phrase.text for phrase in instance_phrases(caption, categories)] == phrases


def _coco(folder: Path, images: int = 7) -> Source:
    """A small COCO: image 1 has no caption, 2 no file, 3 a broken file, 4 a small box alone, 5 a crowd beside."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "toy").mkdir()
    rows, boxes, texts = [], [], []
    for i in range(images):
        rows.append({"id": i, "file_name": f"{i}.png", "width": 60, "height": 40, "license": 9})
        side = 2 if i == 4 else 20
        boxes.append({"id": i, "image_id": i, "category_id": 3, "bbox": [5, 5, side, side]})
        if i != 1:
            texts.append({"id": i, "image_id": i, "caption": "a red car leaning on a wall"})
        if i != 2:
            Image.new("RGB", (60, 40), (i, 90, 200)).save(folder / "toy" / f"{i}.png")
    boxes.append({"id": 90, "image_id": 5, "category_id": 3, "bbox": [0, 0, 50, 30], "iscrowd": 1})
    (folder / "toy" / "3.png").write_bytes(b"no image")
    licenses = [{"id": 9, "name": "CC BY", "url": "there"}]
    content = {"images": rows, "annotations": boxes, "categories": [{"id": 3, "name": "car"}], "licenses": licenses}
    (folder / "annotations" / "instances_toy.json").write_text(json.dumps(content))
    (folder / "annotations" / "captions_toy.json").write_text(json.dumps({"annotations": texts}))
    return Source(folder, "toy")


def _rows(folder: Path) -> list[LayoutRow]:
    return [row for file in shard_files(folder) for row in read_rows(file)]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    source, out = _coco(tmp_path / "coco"), tmp_path / "set"
    assert list(build_layouts(source, out, Shard(), size=3)) == [(1, 3), (2, 3), (3, 3)]
    rows, made = _rows(out), read_datasheet(out)
    assert [row.id for row in rows] == ["0", "5", "6"]
    assert rows[0].phrases == ["a red car"]
    assert rows[0].verbs == "leaning on"
    assert rows[0].license == "CC BY there"
    assert rows[0].boxes == [[pytest.approx(5 / 60, abs=1e-3), 0.125, pytest.approx(25 / 60, abs=1e-3), 0.625]]
    assert made is not None
    assert made["left_out"] == {
        "images without a caption": 1,
        "images whose file is missing": 1,
        "images whose file is broken": 1,
        "images without a box that is kept": 1,
        "boxes that are too small": 1,
        "boxes of crowds": 1,
    }
    assert (made["read"], made["images"], made["licenses"]) == (7, 3, {"CC BY there": 3})


def test_parts_make_the_same_set_and_finished_shards_are_kept(tmp_path: Path) -> None:
    source, whole, parts = _coco(tmp_path / "coco"), tmp_path / "whole", tmp_path / "parts"
    list(build_layouts(source, whole, Shard(), size=2))
    list(build_layouts(source, parts, Shard(1, 2), size=2))
    assert read_datasheet(parts) is None
    first = shard_files(parts)[0].stat().st_mtime_ns
    list(build_layouts(source, parts, Shard(0, 2), size=2))
    list(build_layouts(source, parts, Shard(1, 2), size=2))
    assert (parts / "layouts-00001.parquet").stat().st_mtime_ns == first
    assert read_datasheet(parts) == read_datasheet(whole)


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    source, out = _coco(tmp_path / "coco"), tmp_path / "set"
    list(build_layouts(source, out, Shard()))
    other = Source(source.coco, source.split, rules=Rules(min_area=0.5))
    with pytest.raises(UsageError, match="other settings \\(min_area\\)"):
        list(build_layouts(other, out, Shard()))


def test_the_largest_boxes_are_kept(tmp_path: Path) -> None:
    things = tuple(Thing("dog", (0.0, 0.0, 0.1 * i, 0.5), False) for i in (3, 9, 1, 5))
    maker = RowMaker(tmp_path, Rules(max_instances=2, captions="labels"), lambda text: "")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = maker.row(CocoImage(1, "a.png", things))
    assert row is not None
    assert [box[2] for box in row.boxes] == [0.9, 0.5]
    assert row.caption == "a photo of a dog and a dog"
    assert row.sources == ["class", "class"]
    assert maker.counts["boxes beyond the largest"] == 2


def test_rows_are_read_from_any_position_on(tmp_path: Path) -> None:
    source, out = _coco(tmp_path / "coco", images=200), tmp_path / "set"
    list(build_layouts(source, out, Shard(), size=500))
    file = shard_files(out)[0]
    rows = list(read_rows(file))
    assert len(rows) == count_rows(file) == 196
    for start in (0, 1, 63, 64, 65, 195, 196):
        assert [row.id for row in read_rows(file, start)] == [row.id for row in rows[start:]]


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own() -> None:
    order = RowOrder([5, 300, 1], seed=3, window=64)
    visits = [[(shard, row) for shard, rows in order.epoch(number) for row in rows] for number in (0, 1)]
    assert sorted(visits[0]) == sorted(visits[1]) == [(s, r) for s, n in enumerate((5, 300, 1)) for r in range(n)]
    assert visits[0] != visits[1]
    assert visits[0] == [(s, r) for s, rows in order.epoch(0) for r in rows]


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "layouts-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(MissingData, match=r"layouts-00000\.parquet is no shard"):
        list(read_rows(tmp_path / "layouts-00000.parquet"))
    with pytest.raises(MissingData, match="radl-bench data build layouts"):
        shard_files(tmp_path / "nowhere")


def test_the_command_says_what_it_made_and_what_is_missing(tmp_path: Path) -> None:
    source = _coco(tmp_path / "coco")
    command = [sys.executable, "-c", "from radl_bench.cli import main; main()", "data", "build", "layouts"]
    options = ["--coco", str(source.coco), "--split", "toy", "--out", str(tmp_path / "set")]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0
    assert "3 images with 3 instances of 7 read" in done.stdout
    assert Image.open(tmp_path / "set" / "sheet.png").width == 8 * 256
    missing = subprocess.run(
        [*command, *options, "--photographs", str(tmp_path / "no")], capture_output=True, text=True
    )
    assert missing.returncode == 3
    assert "no folder of photographs" in missing.stderr
