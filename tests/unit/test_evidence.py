"""Evidence: measured once, kept by image and judge, the same alone and in a batch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import BadInput, DiskFull, MissingData, UsageError
from radl_bench.judges.detectors import BlindDetector, OracleDetector
from radl_bench.judges.kinds.detections import DETECTIONS
from radl_bench.judges.segmenters import BoxSegmenter
from radl_bench.runs.images import FULL, Picture, crop_square
from radl_bench.scoring import evidence_table
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import FLOOR, PROTOCOLS
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


ALL = ("detections", "coverage", "cosines")
STRICT = PROTOCOLS["strict"]


def judges(folder: Path, detector=None, encoder=None, batch_size: int = 16) -> Evidence:
    return Evidence(
        folder,
        batch_size,
        detector=detector or BrightDetector(),
        segmenter=BoxSegmenter(),
        encoder=encoder or HistogramEncoder(),
    )


def measure(evidence: Evidence, pictures: list[Picture], needs=ALL) -> list:
    out = []
    for view in evidence.views(pictures, STRICT, needs):
        found = view.found["car"]
        out.append((found.boxes.tolist(), found.scores.tolist(), view.shares.tolist(), view.clip, view.local_clip))
    evidence.flush()
    return out


def detections(evidence: Evidence, pictures: list[Picture]) -> list[View]:
    return evidence.views(pictures, STRICT, ("detections",))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batches_of_any_size_see_the_same(tmp_path, pictures, batch_size) -> None:
    alone = measure(judges(tmp_path / "a", batch_size=7), pictures)
    assert measure(judges(tmp_path / "b", batch_size=batch_size), pictures) == alone
    assert alone[0][0] == [[4 / 32, 8 / 32, 20 / 32, 20 / 32]]
    assert alone[0][1] == [0.9]  # the twin at .04 is under the floor
    assert np.isfinite(alone[0][3])


def test_the_floor_is_a_twentieth_and_the_same_for_every_detector(tmp_path, pictures) -> None:
    class Weak(BrightDetector):
        signature = "weak"

        def detect(self, images, queries):
            found = super().detect(images, queries)
            return [[Detection(d.category, d.box, 0.05 if d.score > 0.5 else 0.0499) for d in seen] for seen in found]

    (view, *_) = detections(judges(tmp_path / "e", Weak()), pictures)
    assert view.found["car"].scores.tolist() == [0.05]
    from radl_bench.judges import grounding

    assert FLOOR == 0.05
    assert grounding.decode.__defaults__ == (FLOOR,)


def test_what_is_on_disk_is_never_measured_again(tmp_path, pictures) -> None:
    first = measure(judges(tmp_path / "e"), pictures)
    for p in pictures:
        p.close()
        p.path.unlink()  # not even the images are opened
    detector, encoder = BrightDetector(), HistogramEncoder()
    assert measure(judges(tmp_path / "e", detector, encoder), pictures) == first
    assert (detector.calls, encoder.images, encoder.texts) == ([], 0, 0)
    signatures = {"detector": "bright", "segmenter": "box", "encoder": "histogram"}
    assert measure(Evidence.recorded(tmp_path / "e", signatures), pictures) == first


def test_what_was_never_measured_cannot_be_read(tmp_path, pictures) -> None:
    measure(judges(tmp_path / "e"), pictures[:6])
    with pytest.raises(MissingData, match="evidence of 'bright' is not complete"):
        detections(Evidence.recorded(tmp_path / "e", {"detector": "bright"}), pictures)
    with pytest.raises(MissingData, match="evidence of 'other' is not complete"):
        detections(Evidence.recorded(tmp_path / "e", {"detector": "other"}), pictures)
    assert not list((tmp_path / "e").glob("*other*"))  # reading makes no file


def test_a_new_image_is_the_only_one_measured(tmp_path, pictures) -> None:
    measure(judges(tmp_path / "e"), pictures[:6])
    detector = BrightDetector()
    measure(judges(tmp_path / "e", detector), pictures)
    assert detector.calls == [1]


def test_another_judge_has_evidence_of_its_own(tmp_path, pictures) -> None:
    measure(judges(tmp_path / "e"), pictures)
    blind = Evidence(tmp_path / "e", detector=BlindDetector())
    assert len(detections(blind, pictures)[0].found["car"].scores) == 0
    with pytest.raises(UsageError, match="'cosines' needs the judge 'encoder', and none is given"):
        blind.views(pictures, STRICT, ("cosines",))


def test_the_oracle_tells_samples_with_equal_images_apart(tmp_path, pictures) -> None:
    one = pictures[0]
    moved = Instance("a red car", "car", "red", (0.0, 0.0, 0.1, 0.1))
    other = Picture(Sample("other", "p", (moved,)), 0, one.path, one.sha256)
    evidence = Evidence(tmp_path / "e", detector=OracleDetector())
    views = detections(evidence, [one, other])
    evidence.flush()
    for seen in (views, detections(Evidence.recorded(tmp_path / "e", {"detector": "oracle"}), [one, other])):
        assert seen[0].found["car"].boxes[0] == pytest.approx(CAR.box)
        assert seen[1].found["car"].boxes[0] == pytest.approx(moved.box)


def test_coverage_is_that_of_the_mask(tmp_path, pictures) -> None:
    class Wide(BrightDetector):
        signature = "wide"

        def _box(self, image):
            return (4 / 32, 8 / 32, 1.0, 20 / 32)  # 28 pixels wide, of which 16 are red

    (view, *_) = judges(tmp_path / "e", Wide()).views(pictures, STRICT, ("coverage",))
    assert view.shares[0][COLORS.index("red")] == pytest.approx(16 / 28)


def test_an_image_that_changed_or_broke_gets_a_reason(tmp_path, pictures) -> None:
    changed, broken, gone = pictures[:3]
    Image.new("RGB", (32, 32)).save(changed.path)
    broken.path.write_bytes(b"no picture")
    broken.sha256 = hashlib.sha256(b"no picture").hexdigest()
    gone.path.unlink()
    views = detections(judges(tmp_path / "e"), pictures)
    assert "not the one that was generated" in changed.problem
    assert "cannot be read (UnidentifiedImageError)" in broken.problem
    assert "cannot be read (FileNotFoundError)" in gone.problem
    assert [view.problem is None for view in views] == [False] * 3 + [True] * 4


def table(folder: Path, signature: str = "judge", **facts: bool) -> EvidenceTable:
    values = {"boxes": "doubles", "scores": "doubles", "vector": "floats", "text": "text", "size": "whole"}
    return EvidenceTable(folder / "t.sqlite", signature, ("image", "category"), values, facts)


def test_tables_come_back_from_disk_to_the_last_bit_and_refuse_strangers(tmp_path) -> None:
    made = table(tmp_path, needs_sample=True)
    third = np.array([1 / 3, np.nextafter(0.1, 1)])
    made.add(("a", "car"), (third, [0.5], third.astype(np.float32), "yes", 2**60 + 1))
    made.flush()
    made.add(("b", "car"), ([], [], [], "", 0))
    made.flush()
    again = table(tmp_path)
    boxes, scores, vector, text, size = again["a", "car"]
    assert np.array_equal(boxes, third)
    assert np.array_equal(vector, third.astype(np.float32))
    assert (scores.tolist(), text, size) == ([0.5], "yes", 2**60 + 1)
    assert again["b", "car"][0].tolist() == []
    assert again.facts == {"needs_sample": True}
    assert ("c", "car") not in again
    assert sorted(again) == [("a", "car"), ("b", "car")]
    with pytest.raises(BadInput, match="is of 'judge', not 'other'"):
        table(tmp_path, "other")
    (tmp_path / "t.sqlite").write_bytes(b"torn" * 1000)
    with pytest.raises(BadInput, match="cannot be read"):
        table(tmp_path)


def test_a_value_waits_no_longer_than_the_patience(tmp_path, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(evidence_table.time, "monotonic", lambda: now[0])
    made = table(tmp_path)
    made.add(("a", "x"), ([], [], [], "", 0))
    assert not (tmp_path / "t.sqlite").exists()
    now[0] = 20.0
    made.add(("b", "x"), ([], [], [], "", 0))
    assert sorted(table(tmp_path)) == [("a", "x"), ("b", "x")]


def test_keys_are_exact(tmp_path) -> None:
    made = table(tmp_path)
    made.add(("a", "b|c"), ([], [], [], "one", 0))
    made.add(("a|b", "c"), ([], [], [], "two", 0))
    made.flush()
    assert [made[key][3] for key in (("a", "b|c"), ("a|b", "c"))] == ["one", "two"]
    assert ("A", "b|c") not in made


@pytest.mark.parametrize("detector", [BrightDetector, OracleDetector])
def test_evidence_in_parquet_of_earlier_versions_is_taken_over(tmp_path, pictures, detector) -> None:
    """The layout of version 0.1: a folder a judge, Parquet parts with `image:sample` keys for judges of samples."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = measure(judges(tmp_path / "new", detector()), pictures)
    (file,) = (tmp_path / "new").glob("detections-*.sqlite")
    old = tmp_path / "old" / file.stem
    old.mkdir(parents=True)
    made = judges(tmp_path / "new", detector())
    table = made.desk(DETECTIONS, STRICT).table
    rows = [(f"{i}:{s}" if s else i, c, *map(list, table[i, s, c])) for i, s, c in table]
    for n, part in enumerate((rows[:3], rows[3:])):
        columns = dict(zip(("image", "category", "boxes", "scores"), map(list, zip(*part, strict=True)), strict=True))
        parts = pa.table(columns).replace_schema_metadata({"signature": detector.signature})
        pq.write_table(parts, old / f"{n}.parquet")
    for p in pictures:
        p.close()
    asked = detector()
    asked.detect = None  # nobody may be asked
    assert [row[:2] for row in measure(judges(tmp_path / "old", asked), pictures)] == [row[:2] for row in first]
    recorded = Evidence.recorded(tmp_path / "old", {"detector": detector.signature})
    assert [v.found["car"].boxes.tolist() for v in detections(recorded, pictures)] == [row[0] for row in first]


def test_a_crop_is_a_square_of_the_box() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[5:15, 10:30] = 255
    crop = crop_square(Image.fromarray(pixels), (0.25, 0.25, 0.75, 0.75))
    assert crop.size == (20, 20)
    assert np.asarray(crop).min() == 255
    whole = Image.new("RGB", (8, 8))
    assert crop_square(whole, FULL) is whole


def test_a_full_disk_is_named_with_file_and_need(tmp_path) -> None:
    """The file may hold no more than it has; its content before stays, and scoring goes on when there is room."""
    table = EvidenceTable(tmp_path / "a.sqlite", "a", ("key",), {"vector": "doubles"})
    table.add(("small",), (np.zeros(2),))
    table.flush()
    table._base.execute("PRAGMA max_page_count = 4")
    table.add(("large",), (np.zeros(100_000),))
    with pytest.raises(DiskFull, match=r"a\.sqlite of 800,005 bytes cannot be written: .* Make room and run it again"):
        table.flush()
    table.close()
    again = EvidenceTable(tmp_path / "a.sqlite", "a", ("key",), {"vector": "doubles"})
    assert list(again) == [("small",)]


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_file_that_finds_no_room_at_all_is_not_called_damaged(tmp_path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512));"
        "from pathlib import Path; from radl_bench.scoring.evidence_table import EvidenceTable as T;"
        "t = T(Path(sys.argv[1]), 'a', ('key',), {'n': 'number'}); t.add(('a',), (1.0,)); t.flush()"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.sqlite")], capture_output=True, text=True)
    assert "Make room" in told.stderr
    assert "a.sqlite" in told.stderr
