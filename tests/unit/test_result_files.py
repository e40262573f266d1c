"""Detections and masks made elsewhere: every form of the file, every mistake in it, and what they score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scores import scores as scores_of
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData
from radl_bench.judges.from_file import FileDetector, FileSegmenter, load_result_judge
from radl_bench.runs.image_import import import_images
from radl_bench.runs.images import Picture
from radl_bench.scoring.result_files import names_of, read_results
from radl_bench.scoring.score import score_each
from radl_bench.types import Instance, Sample

SIZE = 64
LEFT, RIGHT = (0.0, 0.25, 0.5, 0.75), (0.5, 0.25, 1.0, 0.75)
CAR = Sample("s-1", "a car", (Instance("a car", "car", "red", LEFT), Instance("a TV", "TV", None, RIGHT)))


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = "results.json") -> Path:
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return tmp_path / name

    return write


def entry(**fields):
    return {"image_id": "s-1", "category": "car", "bbox": [0, 16, 32, 32], "score": 0.9} | fields


def picture(k: int = 0, path: Path | None = None) -> Picture:
    made = Picture(CAR, k, path)
    made._image = Image.new("RGB", (SIZE, SIZE))
    return made


def detect(file: Path, seen: Picture | None = None):
    seen = seen or picture()
    (found,) = FileDetector(read_results(file)).detect([seen.load()], [["car", "TV"]], pictures=[seen])
    return found


@pytest.mark.parametrize(
    "row",
    [
        entry(),
        entry(image_id="s-1_0"),
        entry(image_id="s-1_0.png"),
        {"file": "folder/s-1.jpg", "category": "car", "bbox": [0, 16, 32, 32], "score": 0.9},
        {"file_name": "s-1.png", "category_id": 3, "bbox": [0, 16, 32, 32], "score": 0.9},
        entry(category=" Car "),
    ],
)
def test_every_way_of_naming_picture_and_class(write, row) -> None:
    (found,) = detect(write([row]))
    assert (found.category, found.box, found.score) == ("car", LEFT, 0.9)


def test_classes_are_named_as_the_sample_names_them(write) -> None:
    (found,) = detect(write([entry(category="tv")]))
    assert found.category == "TV"


def test_a_data_set_file_brings_its_own_ids_and_sizes(write) -> None:
    content = {
        "images": [{"id": 17, "file_name": "s-1.png", "width": 640, "height": 320}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"image_id": 17, "category_id": 1, "bbox": [0, 80, 320, 160]}],
    }
    (found,) = detect(write(content))
    assert (found.box, found.score) == (LEFT, 1.0)


def test_boxes_are_clipped_and_those_outside_left_out(write) -> None:
    (found,) = detect(write([entry(bbox=[-10, 16, 42, 90]), entry(bbox=[70, 0, 10, 10]), entry(bbox=[5, 5, 0, 9])]))
    assert found.box == (0.0, 0.25, 0.5, 1.0)


def test_an_imported_picture_is_known_by_its_own_file(write, tmp_path) -> None:
    run = tmp_path / "run"
    (run / "images").mkdir(parents=True)
    (run / "import.json").write_text(json.dumps({"sources": {"s-1_0": "deep/000000005001.jpg"}, "notes": []}))
    seen = picture(path=run / "images" / "s-1_0.png")
    assert names_of(seen) == ["000000005001", "s-1_0", "s-1", 5001]
    for image_id in (5001, "000000005001.jpg", "deep/000000005001"):
        assert len(detect(write([entry(image_id=image_id)]), seen)) == 1
    assert detect(write([entry(image_id=5002)]), seen) == []
    assert names_of(picture(k=3)) == ["s-1_3"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON"),
        ({"a": 1}, "should be a list"),
        ([3], "entry 0: it must be an object"),
        ([entry(), entry(image_id=None)], "entry 1: 'image_id' or 'file' must name an image"),
        ([entry(bbox=[1, 2, 3])], r"entry 0: 'bbox' must be \[x, y, width, height\]"),
        ([entry(bbox=[0, 0, -1, 1])], "'bbox'"),
        ([entry(bbox=[0, 0, float("nan"), 1])], "'bbox'"),
        ([entry(score=55)], "gives the score 55; a score is a number from 0 to 1"),
        ([entry(category=None, category_id=12)], "no class has the id 12"),
        ([entry(category=7)], "'category' must be a name"),
        ({"annotations": [], "images": [1]}, "'images' should be a list of objects with an id"),
        ([entry(segmentation={"size": [4]})], "RLE"),
        ([entry(segmentation=[[1, 2, 3]])], "polygons"),
        ([entry(segmentation={"size": [4, 4], "counts": [3, 99]})], "counts that fill it"),
        ([entry(segmentation={"size": [4, 4], "counts": [-3, 19]})], "counts that fill it"),
    ],
)
def test_mistakes_name_the_entry(write, content, sentence) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_results(write(content))


def test_a_file_must_be_there_and_have_what_its_judge_needs(write, tmp_path) -> None:
    with pytest.raises(MissingData, match="cannot be read"):
        load_result_judge("detector", f"file:{tmp_path / 'none.json'}")
    with pytest.raises(BadInput, match="no 'bbox'"):
        load_result_judge("detector", f"file:{write([entry(bbox=None)])}")
    with pytest.raises(BadInput, match="no 'segmentation'"):
        load_result_judge("segmenter", f"file:{write([entry()])}")


def test_the_signature_is_the_files_content(write) -> None:
    one = load_result_judge("detector", f"file:{write([entry()])}").signature
    other = load_result_judge("detector", f"file:{write([entry(score=0.8)])}").signature
    assert one != other
    assert one == load_result_judge("detector", f"file:{write([entry()], 'other.json')}").signature


# masks ---------------------------------------------------------------------------------------------------------------

HALF = np.zeros((SIZE, SIZE), bool)
HALF[16:48, 8:32] = True


def rle(mask: np.ndarray, text: bool) -> dict:
    """COCO's RLE: run lengths down the columns, starting with zeros; compressed by pycocotools where it is text."""
    if text:
        coco = pytest.importorskip("pycocotools.mask")
        made = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": made["size"], "counts": made["counts"].decode()}
    flat = np.concatenate([[0], mask.ravel("F").astype(int), [1 - int(mask.ravel("F")[-1])]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges]).tolist()}


def masks(file: Path, *boxes) -> np.ndarray:
    return FileSegmenter(read_results(file)).masks(np.zeros((SIZE, SIZE, 3), np.uint8), np.array(boxes), picture())


@pytest.mark.parametrize("text", [True, False])
def test_run_lengths_of_both_kinds(write, text) -> None:
    (mask,) = masks(write([entry(segmentation=rle(HALF, text))]), LEFT)
    assert (mask == HALF).all()


def test_polygons_and_masks_of_another_size(write) -> None:
    polygon = [[8, 16, 32, 16, 32, 48, 8, 48]]
    (mask,) = masks(write([entry(segmentation=polygon)]), LEFT)
    assert (mask == HALF).all()
    large = np.kron(HALF, np.ones((2, 2))).astype(bool)
    (mask,) = masks(write([entry(bbox=None, segmentation=rle(large, False))]), (0.125, 0.25, 0.5, 0.75))
    assert (mask == HALF).all()


def test_a_box_gets_the_mask_that_fits_it_or_nothing(write) -> None:
    other = np.roll(HALF, 32, axis=1)
    rows = [entry(segmentation=rle(HALF, False)), entry(bbox=[32, 16, 32, 32], segmentation=rle(other, False))]
    left, right, none = masks(write(rows), LEFT, RIGHT, (0.0, 0.0, 1.0, 0.2))
    assert (left == HALF).all()
    assert (right == other).all()
    assert not none.any()


# a run ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, tiny_benchmark):
    """Pictures `img0.png` to `img8.png` of the tiny benchmark, by a map; red everywhere."""
    benchmark = load_benchmark(tiny_benchmark)
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["file,sample_id"]
    for n, sample in enumerate(benchmark.samples):
        Image.new("RGB", (SIZE, SIZE), (200 + n, 10, 10)).save(folder / f"img{n}.png")
        lines.append(f"img{n}.png,{sample.id}")
    (tmp_path / "map.csv").write_text("\n".join(lines))
    done = import_images(
        folder, benchmark, table=tmp_path / "map.csv", out=tmp_path / "runs", source=str(tiny_benchmark)
    )
    return done.run, benchmark


def layout_results(benchmark) -> list[dict]:
    """The layouts of the benchmark as results, under the names of the pictures."""
    rows = []
    for n, sample in enumerate(benchmark.samples):
        for i in sample.instances:
            x0, y0, x1, y1 = (SIZE * v for v in i.box)
            box = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"file": f"img{n}.png", "category": i.category, "bbox": box, "score": 0.9})
    return rows


def scores(scored) -> dict[str, float]:
    content = json.loads(scored.file.read_text("utf-8"))
    return {s["metric"]: s["value"] for s in content["scores"] if s["level"] is None}


def test_a_file_of_the_layout_scores_like_the_oracle(run, write) -> None:
    path, benchmark = run
    file = write(layout_results(benchmark))
    (mine,) = score_each([path], detector=f"file:{file}", encoder="none", segmenter="box")
    theirs = scores(mine)
    assert mine.notes == tuple(json.loads((path / "import.json").read_text())["notes"])
    (oracle,) = score_each([path], detector="oracle", encoder="none", segmenter="box")
    assert theirs == scores(oracle)
    assert 0 < theirs["success_inst"] < 100  # red things are right, the others are not


def test_what_does_not_fit_is_said(run, write) -> None:
    path, benchmark = run
    rows = [row for row in layout_results(benchmark) if row["file"] != "img4.png" and row["category"] != "cup"]
    rows.append({"file": "img99.png", "category": "car", "bbox": [0, 0, 9, 9], "score": 0.5})
    rows.append({"file": "img2.png", "category": "car", "bbox": [0, 0, 90, 9], "score": 0.5})
    (scored,) = score_each([path], detector=f"file:{write(rows)}", encoder="none")
    notes = "\n".join(scored.notes)
    assert "1 image (tiny-004_0) without any detection in results.json; nothing is found there." in notes
    assert "1 name (img99) in results.json of no image of this run; left out." in notes
    assert "1 class (cup) that results.json never names; none can be found." in notes
    assert "1 image (tiny-002_0) with boxes in results.json that reach beyond it" in notes
    assert json.loads(scored.file.read_text("utf-8"))["notes"] == list(scored.notes)


def test_the_command_takes_detections_and_masks(run, write, tmp_path) -> None:
    path, benchmark = run
    rows = layout_results(benchmark)
    boxes = write(rows)
    polygons = []
    for row in rows:
        x, y, w, h = row["bbox"]
        polygons.append(row | {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]})
    words = ["score", str(path), "--encoder", "none", "--detections", str(boxes)]
    result = CliRunner().invoke(build_app(), [*words, "--masks", str(write(polygons, "masks.json"))])
    assert result.exit_code == 0, result.output
    content = scores_of(path)
    assert {kind: judge["name"] for kind, judge in content["judges"].items() if kind in ("detector", "segmenter")} == {
        "detector": "file",
        "segmenter": "file",
    }
    signature = content["scores"][0]["signature"]
    assert "det:file@" in signature
    assert "mask:file@" in signature
    assert str(tmp_path) not in json.dumps(content["judges"])
