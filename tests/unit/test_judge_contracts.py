"""What a judge may answer and declare: whatever means nothing is refused, with the judge, the value and the remedy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import BadInput, UsageError
from radl_bench.judges import checks
from radl_bench.judges.checks import BadAnswer
from radl_bench.judges.contracts import declared
from radl_bench.judges.kinds.coverage import SEGMENTER
from radl_bench.judges.kinds.detections import DETECTOR
from radl_bench.registry import DETECTORS, ENCODERS, FEATURES, SEGMENTERS, resolve
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.fid_reference import build_reference
from radl_bench.scoring.judging import make_judge, make_judges
from radl_bench.scoring.protocol import PROTOCOLS
from radl_bench.scoring.result_files import read_results
from radl_bench.types import Detection, Instance, Sample

BOX = (0.25, 0.25, 0.75, 0.75)
SAMPLE = Sample("s", "a red car", (Instance("a red car", "car", "red", BOX),))
NAN, INF = float("nan"), float("inf")


class Judge:
    """Answers with what it is given, in every role."""

    signature = "mine"

    def __init__(self, answer, texts=None):
        self.given, self.texts = answer, texts

    def detect(self, images, queries):
        return self.given

    def masks(self, image, boxes):
        return self.given

    def encode_images(self, images):
        return np.repeat(np.asarray(self.given)[:1], len(images), 0) if np.ndim(self.given) == 2 else self.given

    def encode_texts(self, texts):
        return np.repeat(np.asarray(self.texts if self.texts is not None else self.given)[:1], len(texts), 0)

    def features(self, images):
        return self.given


class Box(Judge):
    signature = "box-of-mine"

    def __init__(self):
        super().__init__([[Detection("car", BOX, 0.9)]])


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    file = tmp_path / "s_0.png"
    Image.new("RGB", (16, 16), (200, 10, 10)).save(file)
    return Picture(SAMPLE, 0, file, hashlib.sha256(file.read_bytes()).hexdigest())


def ask(picture: Picture, needs: str, **judges) -> None:
    evidence = Evidence(picture.path.parent / "evidence", **judges)
    evidence.views([picture], PROTOCOLS["strict"], (needs,))


def one(box=BOX, score=0.9, category="car"):
    return [[Detection(category, box, score)]]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (one((64.0, 64.0, 192.0, 192.0)), r"gave the box \[64, 64, 192, 192\], which lies outside .* divide pixels"),
        (one((0.2, 0.2, 1.6, 0.8)), "which lies outside of the image"),
        (one((-0.51, 0.2, 0.6, 0.8)), "which lies outside of the image"),
        (one((0.8, 0.2, 0.2, 0.8)), r"corners are in the wrong order; a box is \(x0, y0, x1, y1\)"),
        (one((0.2, 0.8, 0.8, 0.2)), "corners are in the wrong order"),
        (one((0.2, NAN, 0.8, 0.9)), r"gave the box \[0.2, nan, 0.8, 0.9\], which is not finite"),
        (one((0.2, 0.1, INF, 0.9)), "which is not finite"),
        (one((0.2, 0.1, 0.9)), "which has 3 numbers"),
        (one(score=7.5), "gave the score 7.5; a score is a number from 0 to 1"),
        (one(score=-0.1), "gave the score -0.1"),
        (one(score=NAN), "gave the score nan"),
        (one(category="Car"), "gave the category 'Car', asked for 'car'; spell it as it was asked"),
        ([], "gave 0 results for 1 images; return one each"),
        ([[], []], "gave 2 results for 1 images"),
        (None, "failed: TypeError"),
        ([[("car", BOX, 0.9)]], "failed: AttributeError"),
    ],
)
def test_a_detector_that_breaks_its_contract(picture, answer, sentence) -> None:
    with pytest.raises(BadAnswer, match=rf"The judge 'mine' .*{sentence}"):
        ask(picture, "detections", detector=Judge(answer))


@pytest.mark.parametrize("box", [BOX, (0.0, 0.0, 1.0, 1.0), (-0.5, -0.1, 1.5, 1.1), (0.3, 0.3, 0.3, 0.9)])
@pytest.mark.parametrize("score", [0.0, 1.0, np.float32(0.5)])
def test_what_a_detector_may_answer(picture, box, score) -> None:
    ask(picture, "detections", detector=Judge([[Detection("car", box, score), Detection("tree", box, score)]]))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (np.zeros((2, 16, 16), bool), r"gave masks of the shape \[2, 16, 16\]; return one mask a box, \[1, 16, 16\]"),
        (np.zeros((1, 8, 8), bool), "gave masks of the shape"),
        (np.full((1, 16, 16), 0.5), "gave the value 0.5 in a mask; a mask is True or False"),
        (np.full((1, 16, 16), NAN), "gave the value nan in a mask"),
        (np.full((1, 16, 16), 255, np.uint8), "gave the value 255 in a mask"),
        (None, r"gave masks of the shape \[\]"),
    ],
)
def test_a_segmenter_that_breaks_its_contract(picture, answer, sentence) -> None:
    with pytest.raises(BadAnswer, match=rf"The judge 'mine' .*{sentence}"):
        ask(picture, "coverage", detector=Box(), segmenter=Judge(answer))


def test_masks_of_zeros_and_ones_are_masks(picture) -> None:
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, 4:8] = 1
    evidence = Evidence(picture.path.parent / "e", detector=Box(), segmenter=Judge(mask))
    (view,) = evidence.views([picture], PROTOCOLS["strict"], ("coverage",))
    assert view.shares[0][0] == 1.0


@pytest.mark.parametrize(
    ("images", "texts", "sentence"),
    [
        (np.full((2, 4), 3.0), None, "gave a vector of length 6; divide each vector by its length"),
        (np.full((2, 4), 0.5), np.full((2, 4), 0.1), "gave a vector of length 0.2"),
        (np.zeros((2, 4)), None, "gave a vector of length 0"),
        (np.full((2, 4), NAN), None, "gave the number nan in a vector; check its weights and precision"),
        (np.full((2, 4), 0.5), np.full((2, 1), 1.0), "gave 4 numbers for an image and 1 for a text"),
        (np.zeros((5,)), None, "gave 5 results for 2 images"),
        (np.zeros((2,)), None, r"gave vectors of the shape \[2\]"),
        (np.zeros((2, 0)), None, r"gave vectors of the shape \[2, 0\]"),
        ("no array", None, "gave vectors that are not an array"),
    ],
)
def test_an_encoder_that_breaks_its_contract(picture, images, texts, sentence) -> None:
    with pytest.raises(BadAnswer, match=rf"The judge 'mine' .*{sentence}"):
        ask(picture, "cosines", encoder=Judge(images, texts))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (np.full((1, 4), INF), "gave the number inf in a vector"),
        (np.zeros((3, 4)), "gave 3 results for 1 images"),
        ([[1.0, 2.0], [1.0]], "gave vectors that are not an array"),
    ],
)
def test_a_feature_judge_that_breaks_its_contract(picture, answer, sentence) -> None:
    with pytest.raises(BadAnswer, match=rf"The judge 'mine' .*{sentence}"):
        ask(picture, "features", features=Judge(answer))
    with pytest.raises(BadAnswer, match=rf"The judge 'mine' .*{sentence}"):
        build_reference("r", [("a", "0", Image.new("RGB", (4, 4)))], Judge(answer))
    ask(picture, "features", features=Judge(np.full((1, 4), 7.0)))  # of any length


def test_a_file_of_results_is_held_against_the_same_rules(tmp_path) -> None:
    def written(**fields) -> Path:
        entry = {"image_id": "s", "category": "car", "bbox": [0, 0, 8, 8], "score": 0.9} | fields
        (tmp_path / "r.json").write_text(json.dumps([entry]))
        return tmp_path / "r.json"

    for score in (7.5, -0.1, NAN):
        with pytest.raises(BadInput, match=r"score.*a number from 0 to 1"):
            read_results(written(score=score))
    assert read_results(written()).entries


class TakesWhat(Judge):
    takes = ("sample",)


class ScaleOfItsOwn(Judge):
    scale = "huge"


class NeedsMaybe(Judge):
    needs_sample = "yes"


class Companion(Judge):
    companions = ("mini",)


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        (TakesWhat, "TakesWhat declares takes = .* Did you mean 'samples'"),
        (ScaleOfItsOwn, "ScaleOfItsOwn declares scale = 'huge'; it must be mini or paper"),
        (NeedsMaybe, "NeedsMaybe declares needs_sample = 'yes'; it must be True or False"),
        (Companion, "Companion declares companions = .* by role"),
    ],
)
def test_a_declaration_that_means_nothing(judge, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_judge(DETECTOR, f"{__file__}:{judge.__name__}")


def test_what_the_judges_that_ship_declare() -> None:
    found = {}
    for family, names in (("detectors", DETECTORS), ("segmenters", SEGMENTERS), ("encoders", ENCODERS)):
        found |= {f"{family}:{name}": declared(resolve(family, name)) for name in names}
    found |= {f"features:{name}": declared(resolve("features", name)) for name in FEATURES}
    mini = {name for name, facts in found.items() if facts.scale == "mini"}
    assert mini == {"detectors:mini", "segmenters:mini", "segmenters:mini-reach", "encoders:mini", "features:mini"}
    neutral = {name for name, facts in found.items() if facts.scale is None}
    assert neutral == {"detectors:oracle", "detectors:blind", "segmenters:grabcut", "segmenters:box"}


def test_companions_go_with_a_judge_unless_another_is_chosen() -> None:
    assert make_judges("oracle", None, "none").name(SEGMENTER) == "mini"
    assert make_judges("oracle", "box", "none").name(SEGMENTER) == "box"
    assert make_judges(f"{__file__}:Box", None, "none").name(SEGMENTER) == "grabcut"


def test_extras_reach_the_judges_that_declare_them_alone(picture) -> None:
    seen = {}

    class Told(Judge):
        takes = ("samples", "pictures")

        def detect(self, images, queries, **extras):
            seen.update(extras)
            return self.given

    class Untold(Judge):
        signature = "untold"

        def detect(self, images, queries, **extras):
            assert extras == {}
            return self.given

    ask(picture, "detections", detector=Told(one()))
    ask(picture, "detections", detector=Untold(one()))
    assert seen == {"samples": [SAMPLE], "pictures": [picture]}


def test_the_bounds_are_those_that_are_written_down() -> None:
    assert (checks.REACH, checks.UNIT) == (0.5, 0.01)
