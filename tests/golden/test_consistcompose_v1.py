"""The protocol `consistcompose_v1` against a plain reading of its scorer, and each of its oddities alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.judges.segmenters import BoxSegmenter
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import judge
from radl_bench.scoring.metrics import Context, View, clip_score, success
from radl_bench.scoring.metrics.average_precision import METRIC as AP
from radl_bench.scoring.protocol import PROTOCOLS, Boxes, match_instances
from radl_bench.scoring.score import score_runs
from radl_bench.types import Benchmark, Detection, Instance, Sample
from tests.golden.consistcompose_reference import average_precision, judge_image, summary

STRICT, RULES = PROTOCOLS["strict"], PROTOCOLS["consistcompose_v1"]
NAMES = ("cat", "dog", "fire hydrant")
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
CAT, DOG = Instance("a cat", "cat", None, LEFT), Instance("a dog", "dog", None, RIGHT)


def paint(number: int) -> tuple[int, int, int]:
    return number // 250, number % 250, 7


class Painted:
    """A detector that knows an image by its paint, which it sees with red and blue swapped, at 512 x 512."""

    signature = "painted"

    def __init__(self, answers: dict[int, list[Detection]]) -> None:
        self.answers = {paint(number)[::-1]: found for number, found in answers.items()}
        self.sizes: set[tuple[int, int]] = set()
        self.asked: list[list[str]] = []

    def detect(self, images, queries):
        self.sizes |= {image.size for image in images}
        self.asked += queries
        found = [self.answers[image.getpixel((9, 9))] for image in images]
        return [[d for d in of if d.category in wanted] for of, wanted in zip(found, queries, strict=True)]


def picture_of(pixels: np.ndarray, sample: Sample, folder: Path) -> Picture:
    folder.mkdir(exist_ok=True)
    path = folder / f"{sample.id}.png"
    Image.fromarray(pixels).save(path)
    return Picture(sample, 0, path, hashlib.sha256(path.read_bytes()).hexdigest())


def random_scene(rng: np.random.Generator, number: int):
    """Return a row of a benchmark and detections near and far, weak and doubled."""
    instances, found = [], []
    for _ in range(rng.integers(1, 6)):
        name = NAMES[rng.integers(3)]
        low, size = rng.uniform(0, 0.6, 2), rng.uniform(0.15, 0.4, 2)
        box = np.round(np.concatenate([low, low + size]), 4)
        instances.append({"phrase": f"a {name}", "category": name, "color": None, "box": box.tolist()})
        for _ in range(rng.integers(0, 4)):
            near = np.clip(box + rng.normal(0, rng.choice([0.005, 0.03, 0.1]), 4), 0, 1)
            if near[0] < near[2] and near[1] < near[3]:
                found.append(Detection(name, tuple(near.tolist()), float(rng.uniform(0.05, 1))))
    return {"id": f"s{number:03d}", "prompt": "things", "instances": instances}, found


def judged(row: dict, found: list[Detection]):
    layout = [(i["phrase"], tuple(i["box"])) for i in row["instances"]]
    return judge_image(layout, lambda name: [(d.box, d.score) for d in found if d.category == name])


@pytest.mark.parametrize("missing", [0, 7])
def test_a_whole_run_equals_the_plain_reading_and_missing_files_shrink_it(
    tmp_path, make_benchmark, monkeypatch, missing
) -> None:
    rng = np.random.default_rng(3)
    scenes = [random_scene(rng, n) for n in range(60)]
    folder = make_benchmark([row for row, _ in scenes])
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.iou]\n[metrics.average_precision]\n")
    generator = {"name": "paint", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", load_benchmark(folder), generator, source=str(folder))
    with run.writer() as writer:
        for n, (row, _) in enumerate(scenes[missing:], start=missing):
            writer.write_image(row["id"], 0, 1, Image.new("RGB", (40, 24), paint(n)), 0.0)
    run.update_status()
    painted = Painted({n: found for n, (_, found) in enumerate(scenes)})
    monkeypatch.setattr("radl_bench.judges.detectors.BlindDetector.detect", painted.detect)
    options = {"detector": "blind", "segmenter": "box", "encoder": "none", "protocol": "consistcompose_v1"}
    (file,) = score_runs([run.path], **options)
    content = json.loads(file.read_text("utf-8"))
    scores = {s["metric"]: s for s in content["scores"] if s["level"] is None}
    images = [judged(row, found) for row, found in scenes[missing:]]
    ap = [average_precision(images, t) for t in np.linspace(0.5, 0.95, 10)]
    wanted = [*summary(images), float(np.mean(ap)), ap[0], ap[5]]
    names = ["success_inst", "success_img", "miou", "ap", "ap50", "ap75"]
    assert [scores[name]["value"] for name in names] == pytest.approx(wanted, rel=1e-12)
    assert [scores[name]["n"] for name in names] == [len(images) if n == 1 else sum(map(len, images)) for n in range(6)]
    assert 10 < scores["ap50"]["value"] < 90
    assert content["images"] == {"n": 60, "n_missing": missing}
    told = f"{missing} images are missing or failed; consistcompose_v1 leaves them out of every score."
    assert (told in content["notes"]) == (missing > 0)
    assert painted.sizes == {(512, 512)}
    assert "det:blind:bgr:512" in scores["ap"]["signature"]
    assert "|score:.25|nms:.8|queries:layout|ap:nearest-any-class|" in scores["ap"]["signature"]


def test_under_strict_the_missing_images_count(tmp_path, make_benchmark) -> None:
    folder = make_benchmark([random_scene(np.random.default_rng(n), n)[0] for n in range(3)])
    generator = {"name": "paint", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", load_benchmark(folder), generator, source=str(folder))
    options = {"detector": "blind", "segmenter": "box", "encoder": "none"}
    for protocol, number in (("strict", 3), ("consistcompose_v1", 0)):
        (file,) = score_runs([run.path], protocol=protocol, **options)
        scores = {s["metric"]: s for s in json.loads(file.read_text("utf-8"))["scores"] if s["level"] is None}
        assert scores["success_img"]["n"] == number


def test_thresholds_are_those_of_the_scorer() -> None:
    assert (RULES.score, RULES.nms, RULES.iou) == (0.25, 0.8, 0.5)


def test_one_detection_serves_two_things() -> None:
    twins = (CAT, Instance("a cat", "cat", None, (0.1, 0.0, 0.6, 1.0)))
    found = {"cat": Boxes(np.array([[0.05, 0.0, 0.55, 1.0]]), np.array([0.9]))}
    assert [m.box is not None for m in match_instances(twins, found, RULES)] == [True, True]
    assert [m.box is not None for m in match_instances(twins, found, STRICT)].count(True) == 1


def test_the_detector_is_asked_by_class_alone_and_sees_swapped_channels_squashed(tmp_path) -> None:
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:] = paint(300)
    picture = picture_of(pixels, Sample("s", "p", (CAT, DOG)), tmp_path)
    painted = Painted({300: [Detection("cat", LEFT, 0.9)]})
    evidence = Evidence(tmp_path / "e", detector=painted, segmenter=BoxSegmenter())
    (view,) = judge([picture], evidence, RULES, frozenset({"detections", "coverage"}))
    assert [row.value for row in success.rows(view, RULES)] == [100.0, 0.0, 0.0]
    assert (painted.sizes, painted.asked) == ({(512, 512)}, [["cat", "dog"]])


def test_what_was_seen_under_one_protocol_is_not_taken_for_another(tmp_path) -> None:
    """A detector that finds a cat in swapped images alone: evidence in one folder, scored under both protocols."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:] = (200, 0, 0)

    class Blue(Painted):
        def detect(self, images, queries):
            return [[Detection("cat", LEFT, 0.9)] if image.getpixel((9, 9))[2] else [] for image in images]

    for rules, value in ((STRICT, 0.0), (RULES, 100.0), (STRICT, 0.0)):
        picture = picture_of(pixels, Sample("s", "p", (CAT,)), tmp_path)
        evidence = Evidence(tmp_path / "e", detector=Blue({}), segmenter=BoxSegmenter())
        (view,) = judge([picture], evidence, rules, frozenset({"detections", "coverage"}))
        assert [row.value for row in success.rows(view, rules)] == [value, value], rules.name
        evidence.close()


class Colors:
    """An encoder of mean colours: red, green and blue are the axes, and so are the three texts."""

    signature = "colors"
    texts: ClassVar = {"p": (1.0, 0.0, 0.0), "a cat": (0.0, 0.0, 1.0), "a dog": (0.0, 1.0, 0.0)}

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def encode_images(self, images):
        self.sizes += [image.size for image in images]
        means = np.array([np.asarray(image, float).mean(axis=(0, 1)) for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts):
        return np.array([self.texts[text] for text in texts], np.float32)


def test_local_clip_looks_at_the_detection_and_leaves_out_what_was_not_found(tmp_path) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = (255, 0, 0), (0, 0, 255)  # red left, where the cat is wanted; blue right
    sample = Sample("s", "p", (CAT, DOG))
    painted = Painted({})
    painted.detect = lambda images, queries: [[Detection("cat", (0.48, 0.0, 1.0, 1.0), 0.9)]] * len(images)
    for rules, local in ((RULES, [1.0, None]), (STRICT, [0.0, 0.0])):
        colors = Colors()
        picture = picture_of(pixels, sample, tmp_path)
        evidence = Evidence(tmp_path / rules.name, detector=painted, encoder=colors)
        (view,) = judge([picture], evidence, rules, frozenset({"detections", "cosines"}))
        rows = clip_score.rows(view, rules)
        assert rows[0].value == pytest.approx(100 * np.sqrt(0.5), abs=0.1)  # in RGB: half of it is red
        for row, value in zip(rows[1:], local, strict=True):
            assert np.isnan(row.value) if value is None else row.value == pytest.approx(100 * value, abs=0.5)
        assert ((512, 512) in colors.sizes) == (rules is RULES)
        evidence.close()
    assert clip_score.METRIC.scores[1].missing is None  # left out of the mean


def ap_of(view: View, rules) -> dict[str, float]:
    benchmark = Benchmark("b", "1", (view.sample,), "0" * 64, 1, 512, {}, "", "")
    pool = AP.pool(Context(benchmark, protocol=rules))
    pool.add(view)
    return {name: estimate.value for name, estimate in pool.estimates(None).items()}


def seen(instances: tuple[Instance, ...], found: dict[str, list[tuple[tuple[float, ...], float]]]) -> View:
    boxes = {c: Boxes(np.array([b for b, _ in of], float), np.array([s for _, s in of])) for c, of in found.items()}
    strong = {c: of.above(RULES.score) for c, of in boxes.items()}
    return View(Sample("s", "p", instances), 0, found=boxes, matches=tuple(match_instances(instances, strong, RULES)))


def test_false_alarms_beside_the_nearest_cost_nothing() -> None:
    view = seen((CAT,), {"cat": [(RIGHT, 0.9), (LEFT, 0.3)]})
    assert ap_of(view, RULES)["ap"] == pytest.approx(100.0)
    assert ap_of(view, STRICT)["ap"] == pytest.approx(50.0)


def test_ap_knows_no_class() -> None:
    """A prediction for the dog that lies on the cat's box takes the cat's."""
    near = (0.0, 0.0, 0.55, 1.0)
    view = seen((CAT, DOG), {"cat": [], "dog": [(near, 0.9)]})
    assert ap_of(view, RULES)["ap50"] == pytest.approx(100 * 51 / 101)  # recall .5 at precision 1
    assert ap_of(view, STRICT)["ap50"] == 0.0


def test_the_score_is_that_of_the_strongest_detection() -> None:
    """The cat's prediction, right, has its own .3 or the .9 of another cat; the dog's, wrong, has .6."""
    view = seen((CAT, DOG), {"cat": [(RIGHT, 0.9), (LEFT, 0.3)], "dog": [((0.3, 0.0, 0.7, 1.0), 0.6)]})
    assert ap_of(view, RULES)["ap50"] == pytest.approx(100 * 51 / 101)  # right before wrong; else 25.2
