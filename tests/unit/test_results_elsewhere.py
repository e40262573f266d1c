"""Results files of other hands: whose entries are whose, how boxes are read, whole masks, and what is refused."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, UsageError
from radl_bench.judges.from_file import FileSegmenter, load_result_judge
from radl_bench.runs.image_import import import_images
from radl_bench.runs.images import Picture
from radl_bench.runs.plan import RunImages
from radl_bench.scoring.box_formats import BoxFormat, judge_format, parse_format
from radl_bench.scoring.result_files import read_results
from radl_bench.scoring.result_links import link
from radl_bench.scoring.score import score_each
from radl_bench.types import Instance, Sample
from tests.unit.test_foreign_pictures import paint
from tests.unit.test_result_files import rle

SIDE = 64


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = "results.json"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def bring(tmp_path, make_benchmark):
    """Return a function that imports painted images under the given names, one a sample, and gives run and benchmark.

    `ids` are the samples' ids, `files` the names of their files; `wrong` samples are painted grey.
    """

    def bring(ids, files, side: int = SIDE):
        rows = []
        for n, one in enumerate(ids):
            boxes = [[0.0, 0.25, 0.5, 0.75], [0.5, 0.25, 1.0, 0.75]] if n % 2 else [[0.1, 0.0, 0.9, 0.5]]
            things = [
                {"phrase": f"a red {name}", "category": name, "color": "red", "box": box}
                for name, box in zip(("car", "dog"), boxes, strict=False)
            ]
            rows.append({"id": one, "prompt": "things", "instances": things})
        source = make_benchmark(rows)
        benchmark, folder = load_benchmark(source), tmp_path / "theirs"
        lines = ["file,sample_id"]
        for sample, name in zip(benchmark.samples, files, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            paint(sample, side).save(folder / name)
            lines.append(f"{name},{sample.id}")
        (tmp_path / "map.csv").write_text("\n".join(lines))
        done = import_images(folder, benchmark, table=tmp_path / "map.csv", out=tmp_path / "runs", source=str(source))
        return done.run, benchmark

    return bring


def layouts(benchmark, name_of, side=(SIDE, SIDE), order: str = "xywh", decimals: int = 3) -> list[dict]:
    """Return the layouts of a benchmark as results in some format, by plain arithmetic; `side` (1, 1) is fractions."""
    rows = []
    for n, sample in enumerate(benchmark.samples):
        for i in sample.instances:
            x0, y0, x1, y1 = (v * s for v, s in zip(i.box, side * 2, strict=True))
            box = {
                "xywh": [x0, y0, x1 - x0, y1 - y0],
                "xyxy": [x0, y0, x1, y1],
                "cxcywh": [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0],
            }[order]
            rounded = [round(v, decimals) for v in box]
            rows.append({"image_id": name_of(n), "category": i.category, "bbox": rounded, "score": 0.9})
    return rows


def scored(run, file, **options) -> dict[str, float]:
    (done,) = score_each([run], detector=f"file:{file}", encoder="none", segmenter="box", **options)
    content = json.loads(done.file.read_text("utf-8"))
    found = {s["metric"]: s["value"] for s in content["scores"] if s["level"] is None}
    return found | {"notes": "\n".join(done.notes), "signature": content["scores"][0]["signature"]}


# names --------------------------------------------------------------------------------------------------------------

DEEP = ["00000/samples/0000.png", "00001/samples/0000.png"]


@pytest.mark.parametrize("prefix", ["", "./", "/home/them/out/", "out\\"])
def test_files_of_one_name_in_many_folders_are_told_apart(bring, write, prefix) -> None:
    run, benchmark = bring(["a", "b"], DEEP)
    rows = layouts(benchmark, lambda n: prefix + DEEP[n])
    assert scored(run, write(rows))["success_inst"] == 100
    first = [row for row in rows if "00000" in row["image_id"]]
    assert scored(run, write(first))["success_inst"] == pytest.approx(100 / 3)


def test_masks_are_told_apart_by_path_too(bring, write) -> None:
    """Two equal grey images: what one of them has as a mask must not be the other's."""
    run, _benchmark = bring(["a", "b"], DEEP)
    left = np.zeros((SIDE, SIDE), bool)
    left[:, :20] = True
    files = {"a": DEEP[0], "b": DEEP[1]}
    rows = [
        {"image_id": files[s], "category": "car", "bbox": [0, 0, 64, 64], "segmentation": rle(m, False)}
        for s, m in (("a", left), ("b", ~left))
    ]
    pictures = list(RunImages.open(run).planned())
    judge = load_result_judge("segmenter", f"file:{write(rows)}")
    judge.prepare(pictures)
    grey, box = np.zeros((SIDE, SIDE, 3), np.uint8), np.array([[0.0, 0.0, 1.0, 1.0]])
    assert (judge.masks(grey, box, pictures[0])[0] == left).all()
    assert (judge.masks(grey, box, pictures[1])[0] == ~left).all()
    twins = [Picture(p.sample, p.k, p.path, "same bytes") for p in pictures]
    assert twins[0].own_key != twins[1].own_key


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (DEEP, "0000.png"),
        (["a/x.png", "b/a/x.png"], "x"),
        (["001.png", "0001.png"], 1),
        (["x.png", "x.jpg"], "x"),
    ],
)
def test_a_name_that_may_be_two_files_is_refused(bring, write, files, name) -> None:
    run, _ = bring(["a", "b"], files)
    row = {"image_id": name, "category": "car", "bbox": [0, 0, 9, 9], "score": 0.5}
    with pytest.raises(BadInput, match=r"may be any of 2 images .*whole path"):
        scored(run, write([row]))


def test_endings_and_folders_decide_where_names_alone_do_not(bring, write) -> None:
    run, benchmark = bring(["a", "b"], ["x.png", "x.jpg"])
    assert scored(run, write(layouts(benchmark, lambda n: ["x.png", "x.jpg"][n])))["success_inst"] == 100
    pictures = list(RunImages.open(run).planned())
    assert link(["x.png"], pictures, "f") == {("a", 0): "x.png"}


@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_mean_files_and_never_samples_of_the_same_number(bring, write, as_text) -> None:
    """Files 2, 3 and 4 are the samples 1, 2 and 3; the file of sample 1 alone has results."""
    run, benchmark = bring(["1", "2", "3"], ["2.png", "3.png", "4.png"])
    rows = [r for r in layouts(benchmark, lambda n: str(n + 2) if as_text else n + 2) if str(r["image_id"]) == "2"]
    found = scored(run, write(rows))
    assert found["success_inst"] == pytest.approx(25)  # one of four things
    stray = [row | {"image_id": "1" if as_text else 1} for row in rows]  # no file is called 1
    found = scored(run, write(rows + stray))
    assert found["success_inst"] == pytest.approx(25)
    assert "1 name (1) in results.json of no image of this run; left out." in found["notes"]


def test_numbers_as_floats_are_numbers(bring, write) -> None:
    run, benchmark = bring(["a", "b"], ["000007.png", "8.png"])
    rows = [row | {"category_id": 1.0} for row in layouts(benchmark, lambda n: float(n + 7))]
    assert scored(run, write(rows))["success_inst"] == 100


def test_a_name_that_is_two_images_by_their_ids_is_refused() -> None:
    def images(*keys):
        return [Picture(Sample(s, "p", (Instance("a car", "car", None, (0, 0, 1, 1)),)), k, None) for s, k in keys]

    with pytest.raises(BadInput, match="'s_1' may be any of 2 images"):
        link(["s_1"], images(("s", 0), ("s", 1), ("s_1", 0)), "results.json")
    assert link(["s_1"], images(("s", 0), ("s_1", 0)), "f") == {("s_1", 0): "s_1"}
    with pytest.raises(BadInput, match="image s_0 has 2 names"):
        link(["s", "s_0"], images(("s", 0)), "f")


# boxes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "order", "read_as"),
    [
        ((SIDE, SIDE), "xywh", "xywh"),
        ((SIDE, SIDE), "xyxy", "xyxy"),
        ((SIDE, SIDE), "cxcywh", "cxcywh"),
        ((1, 1), "xywh", "xywh-fraction"),
        ((1, 1), "xyxy", "xyxy-fraction"),
        ((1, 1), "cxcywh", "cxcywh-fraction"),
    ],
)
def test_the_format_is_judged_from_all_boxes(bring, write, side, order, read_as) -> None:
    ids = [f"s{n}" for n in range(6)]
    run, benchmark = bring(ids, [f"{one}.png" for one in ids])
    found = scored(run, write(layouts(benchmark, lambda n: f"s{n}", side, order)))
    assert found["success_inst"] == 100
    assert f":{read_as}|" in found["signature"]
    assert (f"({read_as})" in found["notes"]) is (read_as != "xywh")


@pytest.mark.parametrize("side", [(32, 32), (48, 48), (128, 128), (96, 80), (1000, 1000), (100, 100)])
@pytest.mark.parametrize("order", ["xywh", "xyxy"])
def test_pixels_of_another_image_are_refused_with_the_readings_tried(bring, write, side, order) -> None:
    ids = [f"s{n}" for n in range(6)]
    run, benchmark = bring(ids, [f"{one}.png" for one in ids])
    file = write(layouts(benchmark, lambda n: f"s{n}", side, order))
    with pytest.raises(BadInput, match=r"fit no reading well.*xywh \d+%, xyxy \d+%, cxcywh \d+%.*--box-format"):
        scored(run, file)
    assert scored(run, file, box_format=f"{order}@{side[0]}x{side[1]}")["success_inst"] == 100
    images = [{"id": f"s{n}", "file_name": f"s{n}.png", "width": float(side[0]), "height": side[1]} for n in range(6)]
    content = {"images": images, "annotations": json.loads(file.read_text())}
    assert scored(run, write(content))["success_inst"] == 100


def test_a_stated_format_is_not_judged_and_a_wrong_word_is_refused(bring, write) -> None:
    run, benchmark = bring(["a", "b"], ["a.png", "b.png"])
    file = write(layouts(benchmark, lambda n: "ab"[n], order="xyxy"))
    right, wrong = (scored(run, file, box_format=order) for order in ("xyxy", "xywh"))
    assert right["success_inst"] == 100
    assert "reach beyond" in wrong["notes"]
    assert right["signature"] != wrong["signature"]
    for word in ("xyhw", "xywh@64", "xyxy-fraction@64x64", "XYWH", "xywh@0x9"):
        with pytest.raises(UsageError, match="is not a box format"):
            parse_format(word)
    with pytest.raises(UsageError, match="belongs to --detections"):
        score_each([run], detector="oracle", encoder="none", box_format="xyxy")
    words = ["score", str(run), "--encoder", "none", "--segmenter", "box", "--detections", str(file)]
    done = CliRunner().invoke(build_app(), [*words, "--box-format", "xyxy"])
    assert done.exit_code == 0, done.output


def test_a_few_boxes_beyond_and_boxes_without_area_are_named_not_refused(bring, write) -> None:
    ids = [f"s{n}" for n in range(10)]
    run, benchmark = bring(ids, [f"{one}.png" for one in ids])
    rows = layouts(benchmark, lambda n: f"s{n}")
    rows += [rows[0] | {"bbox": [0, 0, 90, 9]}, rows[0] | {"bbox": [3, 3, 0, 9], "score": 0.1}]
    found = scored(run, write(rows))
    assert "1 image (s0_0) with boxes in results.json that reach beyond it; they are clipped." in found["notes"]
    assert "1 image (s0_0) with boxes in results.json that have no area; these are left out." in found["notes"]


def test_detectors_that_find_little_are_not_called_wrongly_formatted() -> None:
    """Random boxes inside of images are read as xywh, whatever they are, in 300 of 300 files."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        n = int(rng.integers(12, 40))
        low, far = np.sort(rng.uniform(0, 512, (2, n, 2)), axis=0)
        boxes = np.concatenate([low, far - low], axis=1)
        boxes[0] = [0, 0, 500, 480]
        reading, note = judge_format(boxes, np.full((n, 2), 512.0), (1.0, 1.0), "f")
        assert (reading, note) == (BoxFormat(), "")


def test_boxes_that_fit_two_readings_are_cocos_with_a_word() -> None:
    reading, note = judge_format(np.array([[5.0, 5.0, 30.0, 40.0]]), np.array([[64.0, 64.0]]), (1.0, 1.0), "f")
    assert reading == BoxFormat()
    assert "(xyxy) would fit as well: see --box-format" in note
    assert judge_format(np.array([[0.0, 0.0, 64.0, 64.0]]), np.array([[64.0, 64.0]]), (1.0, 1.0), "f")[1] == ""


# masks --------------------------------------------------------------------------------------------------------------


def scene(name: str = "a") -> Picture:
    sample = Sample(name, "p", (Instance("a car", "car", "red", (0.25, 0.25, 0.75, 0.75)),))
    made = Picture(sample, 0, None)
    made._image = Image.new("RGB", (SIDE, SIDE))
    return made


def test_a_mask_is_not_cut_off_at_its_box(write) -> None:
    whole = np.zeros((SIDE, SIDE), bool)
    whole[10:60, 5:50] = True
    row = {"image_id": "a", "category": "car", "bbox": [16, 16, 32, 32], "segmentation": rle(whole, False)}
    box = np.array([[0.25, 0.25, 0.75, 0.75]])
    (mask,) = FileSegmenter(read_results(write([row]))).masks(np.zeros((SIDE, SIDE, 3), np.uint8), box, scene())
    assert (mask == whole).all()


@pytest.mark.parametrize(("width", "height"), [(640.0, 320), (32, 32), (64, 64.0), (128, 512)])
def test_polygons_are_scaled_as_boxes_and_run_lengths_are(write, width, height) -> None:
    x0, y0, x1, y1 = 0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "annotations": [
            {
                "image_id": 1,
                "category": "car",
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
            }
        ],
    }
    judge = load_result_judge("segmenter", f"file:{write(content)}")
    judge.prepare([scene()])
    box = np.array([[0.25, 0.25, 0.75, 0.75]])
    (mask,) = judge.masks(np.zeros((SIDE, SIDE, 3), np.uint8), box, scene())
    wanted = np.zeros((SIDE, SIDE), bool)
    wanted[16:48, 16:48] = True
    assert (mask == wanted).all()


def test_polygons_in_fractions_are_read_and_in_foreign_pixels_refused(write) -> None:
    pictures = [scene(name) for name in "abcd"]

    def judge_of(unit):
        rows = []
        for n, p in enumerate(pictures):
            low, high = 0.25 * unit, (0.75 + n / 1000) * unit
            shape = [[low, low, high, low, high, high, low, high]]
            rows.append({"image_id": p.sample.id, "category": "car", "segmentation": shape})
        judge = load_result_judge("segmenter", f"file:{write(rows)}")
        judge.prepare(pictures)
        return judge

    (mask,) = judge_of(1).masks(np.zeros((SIDE, SIDE, 3), np.uint8), np.array([[0.25, 0.25, 0.75, 0.75]]), pictures[0])
    assert mask.sum() == 32 * 32
    for unit in (32, 640):
        with pytest.raises(BadInput, match=r"polygons of .* do not fit"):
            judge_of(unit)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [100_000, 100_000], "counts": [10_000_000_000]},
        {"size": [100_000, 100_000], "counts": "PPYo0"},
        {"size": [8, 8], "counts": "zzzz"},
        {"size": [8, 8], "counts": "P"},
        {"size": [8, 8], "counts": ""},
        {"size": [8, 8], "counts": "\u00e9"},
        {"size": [8.5, 8], "counts": [68]},
        {"size": [0, 8], "counts": []},
        {"size": [8, 8], "counts": [True, 63]},
        [[1e18, 0, 1e18, 5, 0, 5]],
        [[0, 0, 10**400, 5, 0, 5]],
        [[-1e18, 0, 5, 5, 0, 5]],
    ],
)
def test_masks_no_machine_can_draw_are_refused_at_once(write, segmentation) -> None:
    start = time.perf_counter()
    row = {"image_id": "a", "category": "car", "bbox": [0, 0, 9, 9], "segmentation": segmentation}
    with pytest.raises(BadInput, match="entry 0: 'segmentation' must be"):
        read_results(write([row]))
    assert time.perf_counter() - start < 2


def test_polygons_far_out_take_no_time(write) -> None:
    row = {
        "image_id": "a",
        "category": "car",
        "bbox": [0, 0, 9, 9],
        "segmentation": [[-9e5, -9e5, 9e5, -9e5, 9e5, 9e5]] * 50,
    }
    start = time.perf_counter()
    FileSegmenter(read_results(write([row]))).masks(np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((1, 4)), scene())
    assert time.perf_counter() - start < 5


# numbers and keys ---------------------------------------------------------------------------------------------------

HUGE = "9" * 6000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"image_id": "a", "category": "car", "bbox": [0, 0, 1e309, 9]}]', "'bbox'"),
        (f'[{{"image_id": "a", "category": "car", "bbox": [0, 0, {HUGE}, 9]}}]', "'bbox'"),
        (f'[{{"image_id": "a", "category": "car", "bbox": [0, 0, {HUGE[:400]}, 9]}}]', "'bbox'"),
        (f'[{{"image_id": "a", "category": "car", "bbox": [0, 0, {HUGE[:250]}, 9]}}]', "'bbox'"),
        (f'[{{"image_id": "a", "category": "car", "bbox": [0, 0, 9, 9], "score": {HUGE}}}]', "'score'"),
        (f'[{{"image_id": {HUGE}, "category": "car", "bbox": [0, 0, 9, 9]}}]', "must name an image"),
        ('[{"image_id": 1e309, "category": "car", "bbox": [0, 0, 9, 9]}]', "must name an image"),
        ('[{"image_id": true, "category": "car", "bbox": [0, 0, 9, 9]}]', "must name an image"),
        ('[{"image_id": "a", "category_id": 1e309, "bbox": [0, 0, 9, 9]}]', "no class has the id"),
        ('[{"image_id": "a", "category_id": true, "bbox": [0, 0, 9, 9]}]', "no class has the id"),
        ('[{"image_id": "a", "image_id": "b", "category": "car", "bbox": [0, 0, 9, 9]}]', "'image_id' is given twice"),
        ('{"annotations": [], "images": [{"id": 1, "width": 1e309, "height": 5}]}', "'width' and 'height'"),
        (f'{{"annotations": [], "images": [{{"id": 1, "width": {HUGE}, "height": 5}}]}}', "'width' and 'height'"),
        ('{"annotations": [], "images": [{"id": 1, "width": -3, "height": 5}]}', "'width' and 'height'"),
        ('{"annotations": [], "images": [{"id": 1}, {"id": 1.0}]}', "has the id 1 twice"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_numbers_beyond_all_measure_and_repeated_keys_are_refused(write, text, said) -> None:
    with pytest.raises(BadInput, match=said):
        read_results(write(text))
