"""The protocol `mig_bench_v1` against a plain reading of the public scorer, and each of its oddities alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.judges.segmenters import BoxSegmenter, box_pixels
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import judge
from radl_bench.scoring.metrics import View, iou, success
from radl_bench.scoring.protocol import PROTOCOLS
from radl_bench.scoring.score import score_runs
from radl_bench.types import COLORS, Detection, Instance, Sample
from tests.golden.mig_bench_reference import judge_image, summary
from tests.golden.test_hsv import plain_hsv, plain_rule

STRICT, V1 = PROTOCOLS["strict"], PROTOCOLS["mig_bench_v1"]
PAINT = {
    "red": (220, 20, 20),
    "yellow": (230, 220, 20),
    "green": (20, 180, 30),
    "blue": (20, 40, 220),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "brown": (110, 60, 25),
}
SIDE = 32


class Given:
    """A detector whose answers are given by picture; `detect` finds them by the first pixel."""

    signature = "given"

    def __init__(self, answers: dict[tuple[int, ...], list[Detection]]) -> None:
        self.answers = answers

    def detect(self, images, queries):
        return [self.answers[tuple(int(v) for v in np.asarray(image)[0, 0])] for image in images]


def see(pixels: np.ndarray, sample: Sample, found: list[Detection], rules, tmp_path: Path) -> View:
    """Return what is seen in one picture under a protocol, with boxes for masks."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path)
    picture = Picture(sample, 0, path, hashlib.sha256(path.read_bytes()).hexdigest())
    detector = Given({tuple(int(v) for v in pixels[0, 0]): found})
    evidence = Evidence(tmp_path / "e" / rules.name, detector=detector, segmenter=BoxSegmenter())
    (view,) = judge([picture], evidence, rules, frozenset({"detections", "coverage"}))
    return view


def values(metric, view: View, rules) -> list[float]:
    return [row.value for row in metric.rows(view, rules) if row.instance >= 0]


def random_scene(rng: np.random.Generator, number: int):
    """Return a row of a benchmark, a picture of noise and paint, and detections near and far, weak and doubled."""
    names = ["car", "dog", "fire hydrant"]
    instances, found = [], []
    pixels = rng.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    for _ in range(rng.integers(2, 7)):
        color, name = COLORS[rng.integers(7)], names[rng.integers(3)]
        low, size = rng.uniform(0, 0.6, 2), rng.uniform(0.15, 0.4, 2)
        box = np.round(np.concatenate([low, low + size]), 4)
        instances.append({"phrase": f"a {color} {name}", "category": name, "color": color, "box": box.tolist()})
        rows, cols = box_pixels(tuple(box), SIDE, SIDE)
        painted = rng.random((rows.stop - rows.start, cols.stop - cols.start)) < rng.uniform(0, 0.6)
        pixels[rows, cols][painted] = PAINT[color if rng.random() < 0.7 else COLORS[rng.integers(7)]]
        for _ in range(rng.integers(0, 4)):
            near = box + rng.normal(0, rng.choice([0.01, 0.06]), 4)
            if near[0] < near[2] and near[1] < near[3]:
                found.append(Detection(name, tuple(np.clip(near, 0, 1).tolist()), float(rng.uniform(0.05, 1))))
    pixels[0, 0] = (number // 250, number % 250, 7)
    prompt = "a photo of " + " and ".join(i["phrase"] for i in instances)
    row = {"id": f"s{number:03d}", "prompt": prompt, "instances": instances, "relations": [], "verbs": ""}
    return row, pixels, found


def plain_judgement(row: dict, pixels: np.ndarray, found: list[Detection]):
    def mask_of(box):
        rows, cols = box_pixels(box, SIDE, SIDE)
        return [tuple(map(int, p)) for p in pixels[rows, cols].reshape(-1, 3)]

    by_class: dict[str, list] = {}
    for detection in found:
        by_class.setdefault(detection.category, []).append((detection.box, detection.score))
    labels = [(i["phrase"], tuple(i["box"])) for i in row["instances"]]
    return judge_image(labels, by_class, mask_of, lambda pixel: plain_rule(*plain_hsv(*pixel)))


def test_a_whole_run_equals_the_plain_reading(tmp_path, make_benchmark, monkeypatch) -> None:
    rng = np.random.default_rng(8)
    scenes = [random_scene(rng, n) for n in range(60)]
    folder = make_benchmark([row for row, _, _ in scenes])
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.iou]\n")
    generator = {"name": "noise", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    benchmark = load_benchmark(folder)
    run = RunFolder.create(tmp_path / "runs", benchmark, generator, source=str(folder))
    with run.writer() as writer:
        for row, pixels, _ in scenes:
            writer.write_image(row["id"], 0, 1, Image.fromarray(pixels), 0.0)
    run.update_status()
    answers = {tuple(int(v) for v in pixels[0, 0]): found for _, pixels, found in scenes}
    monkeypatch.setattr("radl_bench.judges.detectors.BlindDetector.detect", Given(answers).detect)
    options = {"detector": "blind", "segmenter": "box", "encoder": "none"}
    (file,) = score_runs([run.path], protocol="mig_bench_v1", **options)
    scores = {(s["metric"], s["level"]): s["value"] for s in json.loads(file.read_text("utf-8"))["scores"]}
    judged = [(len(row["instances"]), plain_judgement(row, pixels, found)) for row, pixels, found in scenes]
    for level in (None, 2, 3, 4, 5, 6):
        expected = summary([j for n, j in judged if level in (None, n)])
        got = [scores[name, level] for name in ("success_inst", "success_img", "miou")]
        assert got == pytest.approx(expected, rel=1e-12), level
    assert 10 < scores["success_inst", None] < 90  # the scenes are neither hopeless nor trivial


GREY = np.full((SIDE, SIDE, 3), 128, np.uint8)
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
CAR = Instance("a red car", "car", "red", LEFT)


def test_one_detection_serves_two_boxes(tmp_path) -> None:
    twins = Sample("s", "p", (CAR, Instance("a red car", "car", "red", (0.1, 0.0, 0.6, 1.0))))
    red = GREY.copy()
    red[:] = PAINT["red"]
    found = [Detection("car", (0.05, 0.0, 0.55, 1.0), 0.9)]
    assert values(success, see(red, twins, found, V1, tmp_path), V1) == [100.0, 100.0]
    assert sorted(values(success, see(red, twins, found, STRICT, tmp_path), STRICT)) == [0.0, 100.0]


def test_a_wrong_colour_zeroes_the_iou(tmp_path) -> None:
    found, sample = [Detection("car", LEFT, 0.9)], Sample("s", "p", (CAR,))
    assert values(iou, see(GREY, sample, found, V1, tmp_path), V1) == [0.0]
    assert values(iou, see(GREY, sample, found, STRICT, tmp_path), STRICT) == [100.0]


def test_a_wrong_place_keeps_its_iou_whatever_the_colour(tmp_path) -> None:
    near = [Detection("car", (0.0, 0.0, 0.245, 1.0), 0.9)]
    for rules in (V1, STRICT):
        assert values(iou, see(GREY, Sample("s", "p", (CAR,)), near, rules, tmp_path), rules) == [pytest.approx(49.0)]


def test_the_mask_is_asked_for_by_the_layouts_box(tmp_path) -> None:
    pixels = GREY.copy()
    pixels[:, :4] = PAINT["red"]  # a quarter of the layout's box, and none of what the detection covers
    found = [Detection("car", (0.13, 0.0, 0.5, 1.0), 0.9)]
    sample = Sample("s", "p", (CAR,))
    assert values(success, see(pixels, sample, found, V1, tmp_path), V1) == [100.0]
    assert values(success, see(pixels, sample, found, STRICT, tmp_path), STRICT) == [0.0]


def test_a_fifth_of_the_mask_is_enough_and_an_empty_mask_fails(tmp_path) -> None:
    sample, found = Sample("s", "p", (CAR,)), [Detection("car", LEFT, 0.9)]
    for columns, value in ((4, 100.0), (3, 0.0)):  # of the box's 16
        pixels = GREY.copy()
        pixels[:, :columns] = PAINT["red"]
        assert values(success, see(pixels, sample, found, V1, tmp_path / str(columns)), V1) == [value]

    class Empty(BoxSegmenter):
        signature = "empty"

        def masks(self, image, boxes):
            return np.zeros((len(boxes), *image.shape[:2]), bool)

    path = tmp_path / "empty.png"
    Image.fromarray(pixels).save(path)
    picture = Picture(sample, 0, path, hashlib.sha256(path.read_bytes()).hexdigest())
    evidence = Evidence(tmp_path / "x", detector=Given({tuple(int(v) for v in pixels[0, 0]): found}), segmenter=Empty())
    (view,) = judge([picture], evidence, V1, frozenset({"detections", "coverage"}))
    assert values(success, view, V1) == [0.0]


def test_thresholds_are_those_of_the_public_scorer() -> None:
    assert (V1.score, V1.nms, V1.iou, V1.coverage) == (0.25, 0.8, 0.5, 0.2)


def test_dark_orange_is_red_and_brown_and_purple_is_nothing() -> None:
    assert plain_rule(8, 200, 200) == {"red", "brown"}
    assert plain_rule(25, 200, 200) == {"yellow", "brown"}
    assert plain_rule(140, 200, 200) == set()


def test_words_of_a_label_are_the_fields_of_the_sample() -> None:
    for sample in load_benchmark("coco-mig").samples:
        for instance in sample.instances:
            words = instance.phrase.split(" ")
            assert (words[1], " ".join(words[2:])) == (instance.color, instance.category)
        assert 2 <= sample.level <= 6  # the scorer has five bins


def test_one_class_is_asked_for_by_its_name_alone(tmp_path) -> None:
    asked = []

    class Listening(Given):
        def detect(self, images, queries):
            asked.extend(queries)
            return super().detect(images, queries)

    path = tmp_path / "p.png"
    Image.fromarray(GREY).save(path)
    picture = Picture(Sample("s", "p", (CAR,)), 0, path, hashlib.sha256(path.read_bytes()).hexdigest())
    evidence = Evidence(tmp_path / "e", detector=Listening({(128, 128, 128): []}), segmenter=BoxSegmenter())
    list(judge([picture], evidence, V1, frozenset({"detections"})))
    assert asked == [["car"]]


def test_a_level_without_samples_is_absent_instead_of_a_division_by_zero(tmp_path, make_benchmark) -> None:
    rng = np.random.default_rng(0)
    row, pixels, _ = random_scene(rng, 0)
    folder = make_benchmark([row])
    generator = {"name": "one", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", load_benchmark(folder), generator, source=str(folder))
    with run.writer() as writer:
        writer.write_image(row["id"], 0, 1, Image.fromarray(pixels), 0.0)
    run.update_status()
    options = {"detector": "blind", "segmenter": "box", "encoder": "none"}
    (file,) = score_runs([run.path], protocol="mig_bench_v1", **options)
    assert {s["level"] for s in json.loads(file.read_text("utf-8"))["scores"]} == {None, len(row["instances"])}
