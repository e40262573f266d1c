"""Evidence: measured once, kept by image and judge, the same alone and in a batch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import BadInput, RadlBenchError
from radl_bench.judges.detectors import BlindDetector, OracleDetector
from radl_bench.judges.segmenters import BoxSegmenter
from radl_bench.runs.images import FULL, Picture, crop_square
from radl_bench.scoring.evidence import Evidence, EvidenceTable
from radl_bench.types import COLORS, Detection, Instance, Sample

CAR = Instance("a red car", "car", "red", (0.25, 0.25, 0.75, 0.75))
DOG = Instance("a blue dog", "dog", "blue", (0.0, 0.0, 0.5, 1.0))


class BrightDetector:
    """A real little detector: finds the bounding box of the bright pixels, for every category asked."""

    signature = "bright"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def detect(self, images, queries):
        self.calls.append(len(images))
        return [
            [Detection(q, self._box(image), s) for q in query for s in (0.9, 0.04)]
            for image, query in zip(images, queries, strict=True)
        ]

    def _box(self, image):
        y, x = np.nonzero(np.asarray(image).max(axis=2) > 100)
        return (
            x.min() / image.width,
            y.min() / image.height,
            (x.max() + 1) / image.width,
            (y.max() + 1) / image.height,
        )


class HistogramEncoder:
    """A real little encoder: mean colours of a picture against a hash of a text."""

    signature = "histogram"

    def __init__(self) -> None:
        self.images = self.texts = 0

    def encode_images(self, images):
        self.images += len(images)
        return self._unit(np.stack([np.asarray(i.resize((4, 4))).reshape(-1) + 1.0 for i in images]))

    def encode_texts(self, texts):
        self.texts += len(texts)
        return self._unit(np.stack([np.frombuffer(hashlib.sha384(t.encode()).digest(), np.uint8) + 1.0 for t in texts]))

    def _unit(self, x):
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """Seven pictures with a red block, each in another place."""
    out = []
    for n in range(7):
        pixels = np.full((32, 32, 3), 60, np.uint8)
        pixels[8 : 20 + n, 4 + n : 20] = (200, 10, 10)
        path = tmp_path / f"{n}.png"
        Image.fromarray(pixels).save(path)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        out.append(Picture(Sample(f"s{n}", f"prompt {n % 3}", (CAR, DOG)), 0, path, sha))
    return out


def measure(evidence: Evidence, pictures: list[Picture]) -> list:
    evidence.measure_detections(pictures)
    evidence.measure_cosines(pictures)
    out = []
    for p in pictures:
        evidence.measure_coverage(p, [CAR.box, DOG.box])
        found = evidence.detections(p)["car"]
        cosines = [evidence.cosine(p, p.sample.prompt), evidence.cosine(p, CAR.phrase, CAR.box)]
        out.append((found.boxes.tolist(), found.scores.tolist(), evidence.coverage(p, CAR.box).tolist(), cosines))
    evidence.flush()
    return out


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batches_of_any_size_see_the_same(tmp_path, pictures, batch_size) -> None:
    alone = measure(Evidence(tmp_path / "a", BrightDetector(), BoxSegmenter(), HistogramEncoder(), 7), pictures)
    parts = measure(
        Evidence(tmp_path / "b", BrightDetector(), BoxSegmenter(), HistogramEncoder(), batch_size), pictures
    )
    assert parts == alone
    assert alone[0][0] == [[4 / 32, 8 / 32, 20 / 32, 20 / 32]]
    assert alone[0][1] == [0.9]  # the twin at .04 is under the floor


def test_what_is_on_disk_is_never_measured_again(tmp_path, pictures) -> None:
    first = measure(Evidence(tmp_path / "e", BrightDetector(), BoxSegmenter(), HistogramEncoder()), pictures)
    for p in pictures:
        p.close()
        p.path.unlink()  # not even the pictures are opened
    detector, encoder = BrightDetector(), HistogramEncoder()
    assert measure(Evidence(tmp_path / "e", detector, BoxSegmenter(), encoder), pictures) == first
    assert (detector.calls, encoder.images, encoder.texts) == ([], 0, 0)


def test_a_new_picture_is_the_only_one_measured(tmp_path, pictures) -> None:
    measure(Evidence(tmp_path / "e", BrightDetector(), BoxSegmenter(), HistogramEncoder()), pictures[:6])
    detector = BrightDetector()
    measure(Evidence(tmp_path / "e", detector, BoxSegmenter(), HistogramEncoder()), pictures)
    assert detector.calls == [1]


def test_another_judge_has_evidence_of_its_own(tmp_path, pictures) -> None:
    measure(Evidence(tmp_path / "e", BrightDetector(), BoxSegmenter(), HistogramEncoder()), pictures)
    blind = Evidence(tmp_path / "e", BlindDetector(), BoxSegmenter())
    blind.measure_detections(pictures)
    assert len(blind.detections(pictures[0])["car"].scores) == 0
    assert np.isnan(blind.cosine(pictures[0], "anything"))


def test_the_oracle_tells_samples_with_equal_pictures_apart(tmp_path, pictures) -> None:
    one = pictures[0]
    moved = Instance("a red car", "car", "red", (0.0, 0.0, 0.1, 0.1))
    other = Picture(Sample("other", "p", (moved,)), 0, one.path, one.sha256)
    evidence = Evidence(tmp_path / "e", OracleDetector(), BoxSegmenter())
    evidence.measure_detections([one, other])
    assert evidence.detections(one)["car"].boxes[0] == pytest.approx(CAR.box)
    assert evidence.detections(other)["car"].boxes[0] == pytest.approx(moved.box)


def test_coverage_is_that_of_the_box(tmp_path, pictures) -> None:
    evidence = Evidence(tmp_path / "e", BlindDetector(), BoxSegmenter())
    evidence.measure_coverage(pictures[0], [(4 / 32, 8 / 32, 36 / 32, 20 / 32), CAR.box])
    assert evidence.coverage(pictures[0], (4 / 32, 8 / 32, 36 / 32, 20 / 32))[COLORS.index("red")] == pytest.approx(
        16 / 28
    )


def test_a_picture_that_changed_or_broke_gets_a_reason(tmp_path, pictures) -> None:
    changed, broken, gone = pictures[:3]
    Image.new("RGB", (32, 32)).save(changed.path)
    broken.path.write_bytes(b"no picture")
    broken.sha256 = hashlib.sha256(b"no picture").hexdigest()
    gone.path.unlink()
    Evidence(tmp_path / "e", BrightDetector(), BoxSegmenter()).measure_detections(pictures)
    assert "not the one that was generated" in changed.problem
    assert "cannot be read (UnidentifiedImageError)" in broken.problem
    assert "cannot be read (FileNotFoundError)" in gone.problem
    assert pictures[3].problem is None


def test_a_judge_that_fails_or_miscounts_gives_a_sentence(tmp_path, pictures) -> None:
    class Bad(BrightDetector):
        signature = "bad"

        def detect(self, images, queries):
            raise ZeroDivisionError("one by nothing")

    class Short(BrightDetector):
        signature = "short"

        def detect(self, images, queries):
            return []

    for judge, sentence in ((Bad(), "'bad' failed: ZeroDivisionError"), (Short(), "'short' gave 0 results for 7")):
        with pytest.raises(RadlBenchError, match=sentence):
            Evidence(tmp_path / "e", judge, BoxSegmenter()).measure_detections(pictures)


def test_tables_come_back_from_disk_and_refuse_strangers(tmp_path) -> None:
    table = EvidenceTable(tmp_path / "t", "judge", ("image", "category"), ("boxes", "scores"))
    table.add(("a", "car"), ([0.1, 0.2, 0.3, 0.4], [0.5]))
    table.flush()
    table.add(("b", "car"), ([], []))
    table.flush()
    table.flush()  # nothing new, no new part
    assert len(list((tmp_path / "t").glob("*.parquet"))) == 2
    again = EvidenceTable(tmp_path / "t", "judge", ("image", "category"), ("boxes", "scores"))
    assert again["a", "car"] == ([0.1, 0.2, 0.3, 0.4], [0.5])
    assert again["b", "car"] == ([], [])
    assert ("c", "car") not in again
    with pytest.raises(BadInput, match="is of 'judge', not 'other'"):
        EvidenceTable(tmp_path / "t", "other", ("image", "category"), ("boxes", "scores"))
    next((tmp_path / "t").glob("*.parquet")).write_bytes(b"torn")
    with pytest.raises(BadInput, match="cannot be read"):
        EvidenceTable(tmp_path / "t", "judge", ("image", "category"), ("boxes", "scores"))


def test_a_crop_is_a_square_of_the_box() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 10:30] = 255
    crop = crop_square(Image.fromarray(pixels), (0.25, 0.25, 0.75, 0.75))
    assert crop.size == (20, 20)
    assert np.asarray(crop).min() == 255
    whole = Image.new("RGB", (8, 8))
    assert crop_square(whole, FULL) is whole
