"""Statistics that are none are refused, and a folder of photographs is read as any folder of images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData
from radl_bench.runs.image_import import import_images
from radl_bench.scoring.fid_reference import folder_images, read_reference, reference_file

GOOD = {"mu": np.zeros(3), "sigma": np.diag([1.0, 2.0, 3.0]), "n": np.array(40)}


def test_what_other_suites_write_is_read(tmp_path) -> None:
    """Few images in many directions, in float32, as pytorch-fid has them: some eigenvalues are a little negative."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 64)).astype(np.float32) * 1e3
    cov = np.cov(vectors, rowvar=False).astype(np.float32)
    assert np.linalg.eigvalsh(cov).min() < 0
    np.savez(tmp_path / "r.npz", mu=vectors.mean(0), sigma=cov)
    assert read_reference(tmp_path / "r.npz").moments.n == 0
    np.savez(tmp_path / "r.npz", **GOOD)
    assert read_reference(tmp_path / "r.npz").moments.n == 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sigma": -np.eye(3)}, "not a covariance"),
        ({"sigma": np.diag([1.0, -2.0, 3.0])}, "not a covariance"),
        ({"sigma": np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]])}, "not a covariance"),  # 2 > sqrt(1 * 1)
        ({"sigma": np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]])}, "not a covariance"),
        ({"sigma": np.full((3, 3), np.inf)}, "do not fit"),
        ({"sigma": np.eye(3) * (1 + 1j)}, "real ones"),
        ({"mu": np.zeros(3) + 1j}, "real ones"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "do not fit"),
        ({"mu": np.array(["a", "b", "c"])}, "real ones"),
        ({"n": np.array(-5)}, "not -5"),
        ({"n": np.array(1)}, "not 1"),
        ({"n": np.array(2.5)}, "whole number"),
        ({"n": np.array(np.nan)}, "not a reference"),
        ({"n": np.array(1e300)}, "not a reference"),
        ({"n": np.array([40, 41])}, "whole number"),
        ({"ids": np.array(["a", "b"])}, "it has 2 ids"),
        ({"vectors": np.zeros((5, 4), np.float32)}, "vectors"),
        ({"vectors": np.full((5, 3), np.nan, np.float32)}, "vectors"),
        ({"vectors": np.zeros(3, np.float32)}, "vectors"),
        ({"name": np.array("two\nlines")}, "its name"),
        ({"name": np.array("a|iou:.1")}, "its name"),
        ({"judge": np.array("x" * 900)}, "its judge"),
    ],
)
def test_statistics_that_cannot_be_are_refused(tmp_path, change, said) -> None:
    np.savez(tmp_path / "bad.npz", **(GOOD | change))
    with pytest.raises(BadInput, match=said):
        read_reference(tmp_path / "bad.npz")


@pytest.mark.parametrize("kind", ["empty", "torn", "text", "one array", "pickle", "huge"])
def test_files_that_are_no_statistics_are_refused(tmp_path, kind) -> None:
    stream = io.BytesIO()
    np.savez(stream, **GOOD)
    one, pickled = io.BytesIO(), io.BytesIO()
    np.save(one, np.zeros(3))
    np.savez(pickled, mu=np.array([{}]), sigma=np.eye(1))
    huge = bytearray(one.getvalue())
    content = {
        "empty": b"",
        "torn": stream.getvalue()[:200],
        "text": b"mu sigma",
        "one array": one.getvalue(),
        "pickle": pickled.getvalue(),
        "huge": bytes(huge).replace(b"(3,)", b"(9" + b"9" * 1 + b",)"),
    }[kind]
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(BadInput, match="not a reference"):
        read_reference(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_no_file_system_takes_is_a_missing_reference(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingData, match="There is no reference"):
        read_reference(reference_file(name))


# folders --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path):
    """Return a folder and a function that saves images of noise under names in it."""
    folder, rng = tmp_path / "photographs", np.random.default_rng(1)

    def save(*names: str, **options):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(folder / name, **options)
        return folder

    return save


def ids_of(folder, ids=None) -> list[str]:
    return [identity for identity, _, _ in folder_images(folder, ids)]


def test_both_commands_see_the_same_files(photographs, make_benchmark, tmp_path) -> None:
    names = ["tiny-000.png", "a/tiny-001.jpg", "b/c/tiny-002.webp", "d/tiny-003.bmp"]
    folder = photographs(*names, ".hidden/tiny-004.png", "anno_tiny-005.png", "tiny-006.gif")
    (folder / "._tiny-000.png").write_bytes(b"a fork of its resources")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "tiny-007.png").write_bytes(b"trash")
    source = make_benchmark()
    done = import_images(folder, load_benchmark(source), out=tmp_path / "runs", source=str(source))
    assert done.pictures == len(ids_of(folder)) == 4
    assert sorted(ids_of(folder)) == ["a/tiny-001", "b/c/tiny-002", "d/tiny-003", "tiny-000"]


def test_two_files_of_one_image_are_refused_as_in_an_import(photographs) -> None:
    folder = photographs("000.png", "000.jpg", "001.png")
    with pytest.raises(BadInput, match=r"1 image has several files in .*000"):
        ids_of(folder)
    assert ids_of(folder, ["001", "000.jpg", "000.png"]) == ["001", "000.jpg", "000.png"]
    with pytest.raises(BadInput, match="several files"):
        ids_of(folder, ["000"])


def test_an_id_may_leave_out_the_folder_where_one_file_has_it(photographs) -> None:
    folder = photographs("a/1.png", "b/1.png", "b/2.png")
    assert ids_of(folder) == ["a/1", "b/1", "b/2"]
    assert ids_of(folder, ["2", "b/1"]) == ["2", "b/1"]
    with pytest.raises(BadInput, match="several files"):
        ids_of(folder, ["1"])
    with pytest.raises(MissingData, match="no image '3'"):
        ids_of(folder, ["3"])


def test_photographs_are_turned_as_the_camera_held_them(photographs) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = photographs("a.jpg", exif=exif)
    ((_, _, image),) = folder_images(folder)
    assert image.size == (16, 24)


def test_few_images_and_those_left_out_are_said(photographs, tmp_path) -> None:
    folder = photographs(*(f"{n}.png" for n in range(11)), "x.gif")
    words = ["data", "fid-reference", str(folder), "--features", "mini", "--out", str(tmp_path / "r.npz")]
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 0, done.output
    assert "Note: The reference r has 11 images, fewer than 2,048." in done.output
    assert "Note: 1 file (x.gif) in a format that is not read; convert to PNG." in done.output
