"""Folders of pictures made elsewhere: whatever is odd about them is said by name, and nothing is dropped in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput
from radl_bench.runs.image_checks import sign_test, swap_votes
from radl_bench.runs.image_import import Imported, import_images, notes_of, sources_of
from radl_bench.runs.image_reading import PLAIN, constant
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_each

RGB = {"red": (220, 20, 20), "blue": (20, 40, 220), "green": (20, 180, 30), "white": (250, 250, 250)}


def paint(sample, size: int = 64) -> Image.Image:
    """The layout as blocks of its colours, on a grey of its own for each sample."""
    pixels = np.full((size, size, 3), 120 + ord(sample.id[-1]) % 10, np.uint8)
    for instance in sample.instances:
        x0, y0, x1, y1 = (round(size * v) for v in instance.box)
        pixels[y0:y1, x0:x1] = RGB[instance.color]
    return Image.fromarray(pixels)


@pytest.fixture
def benchmark(tiny_benchmark):
    return load_benchmark(tiny_benchmark)


@pytest.fixture
def folder(tmp_path, benchmark) -> Path:
    """Nine right pictures."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for sample in benchmark.samples:
        paint(sample).save(folder / f"{sample.id}.png")
    return folder


@pytest.fixture
def bring(folder, benchmark, tiny_benchmark, tmp_path):
    def bring(**options) -> Imported:
        return import_images(folder, benchmark, out=tmp_path / "runs", source=str(tiny_benchmark), **options)

    return bring


def test_right_pictures_give_no_note(bring) -> None:
    done = bring()
    assert done.notes == ()
    assert sources_of(done.run)["tiny-000_0"] == "tiny-000.png"


def test_an_overlay_is_skipped_and_a_stranger_named(bring, folder, benchmark) -> None:
    paint(benchmark.samples[0]).save(folder / "anno_tiny-000.png")
    paint(benchmark.samples[0]).save(folder / "tiny-999.png")
    notes = bring().notes
    assert "1 file (anno_tiny-000.png) skipped as overlays." in notes
    assert "1 file (tiny-999.png) belong to no sample of tiny." in notes


def test_a_missing_picture_is_a_failed_image(bring, folder) -> None:
    (folder / "tiny-004.png").unlink()
    done = bring()
    assert "1 file (tiny-004_0) missing, counted as failed." in done.notes
    (row,) = [r for r in RunFolder.open(done.run).rows() if r["status"] == "error"]
    assert (row["sample_id"], row["error"]) == ("tiny-004", "no image was given")


def test_jpeg_is_taken_and_named(bring, folder, benchmark) -> None:
    (folder / "tiny-003.png").unlink()
    paint(benchmark.samples[3]).save(folder / "tiny-003.jpg")
    done = bring()
    assert "1 file (tiny-003.jpg) JPEG, whose losses are part of the scores." in done.notes
    assert done.pictures == 9


def test_another_size_is_named_and_so_is_another_resolution(bring, folder, benchmark) -> None:
    paint(benchmark.samples[5], 32).save(folder / "tiny-005.png")
    assert "1 file (tiny-005.png (32x32)) of another size than the others (64x64)." in bring().notes
    for sample in benchmark.samples:
        paint(sample, 96).save(folder / f"{sample.id}.png")
    assert bring().notes == ("The images are 96x96; tiny is defined at 64x64.",)
    for sample in benchmark.samples:
        paint(sample).resize((64, 48)).save(folder / f"{sample.id}.png")
    assert bring().notes == ("The images are 64x48, not square; boxes are stretched.",)


def test_black_and_plain_pictures_are_named_and_scored_as_they_are(bring, folder) -> None:
    Image.new("RGB", (64, 64)).save(folder / "tiny-001.png")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "tiny-002.png")
    done = bring()
    assert "1 file (tiny-001.png) all black (a safety checker?), scored as they are." in done.notes
    assert "1 file (tiny-002.png) of one colour throughout, scored as they are." in done.notes
    (scored,) = score_each([done.run], detector="oracle", encoder="none")
    assert scored.problems == ()
    content = json.loads(scored.file.read_text("utf-8"))
    (image,) = [s for s in content["scores"] if s["metric"] == "success_img" and s["level"] is None]
    assert (image["n"], image["n_missing"]) == (9, 0)
    assert image["value"] == pytest.approx(100 * 7 / 9)
    assert [note for note in content["notes"] if "all black" in note]


def test_swapped_channels_are_noticed(bring, folder, benchmark) -> None:
    for sample in benchmark.samples:
        pixels = np.asarray(paint(sample))
        Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).save(folder / f"{sample.id}.png")
    (note,) = bring().notes
    assert note.startswith("The images look like BGR: 18 red, yellow, blue or brown things")
    assert "tiny-000.png" in note


def test_a_method_that_mixes_colours_up_is_not_called_bgr(bring, folder, benchmark) -> None:
    for n, sample in enumerate(benchmark.samples):
        if n % 2:
            pixels = np.asarray(paint(sample))
            Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).save(folder / f"{sample.id}.png")
    assert bring().notes == ()


def test_votes_and_the_sign_test_by_hand(benchmark) -> None:
    sample = benchmark.samples[0]  # red and blue
    picture = paint(sample)
    assert swap_votes(picture, sample) == (2, 0)
    assert swap_votes(Image.fromarray(np.asarray(picture)[..., ::-1].copy()), sample) == (0, 2)
    assert sign_test(3, 0) == 0.125
    assert sign_test(0, 0) == 1.0
    assert sign_test(7, 1) == pytest.approx(9 / 256)


def test_other_modes_are_named(bring, folder, benchmark) -> None:
    paint(benchmark.samples[0]).convert("RGBA").save(folder / "tiny-000.png")
    assert bring().notes == ("1 file (tiny-000.png (RGBA)) of another mode than RGB, converted.",)


def test_a_file_that_is_no_picture_is_a_failed_image_every_time(bring, folder) -> None:
    (folder / "tiny-007.png").write_bytes(b"no picture")
    for _ in range(2):
        assert bring().notes == ("1 file (tiny-007.png) cannot be read as an image, counted as failed.",)
    cut = (folder / "tiny-008.png").read_bytes()
    (folder / "tiny-008.png").write_bytes(cut[: len(cut) // 2])
    assert "2 files (tiny-007.png, tiny-008.png) cannot be read" in bring().notes[0]


def test_importing_again_says_the_same(bring, folder, benchmark) -> None:
    Image.new("RGB", (64, 64)).save(folder / "tiny-001.png")
    first = bring()
    assert bring() == first
    assert notes_of(first.run) == list(first.notes)


def test_a_table_names_what_it_leaves_out(bring, folder, benchmark, tmp_path) -> None:
    paint(benchmark.samples[0]).save(folder / "anno_a.png")
    paint(benchmark.samples[1]).save(folder / "anno_b.png")
    table = tmp_path / "map.csv"
    table.write_text("file,sample_id,k\ntiny-000.png,tiny-000,0\nanno_b.png,tiny-001,0\n")
    notes = bring(table=table, name="m").notes
    assert f"1 file (anno_b.png) named like an overlay but listed in {table}, taken as they are." in notes
    assert "1 file (anno_a.png) skipped as overlays." in [note.replace("files", "file") for note in notes]
    (rest,) = [note for note in notes if "left out" in note]
    assert rest.startswith("8 files (tiny-001.png,")
    assert any(note.startswith("7 files (tiny-002_0,") and "missing" in note for note in notes)


def test_a_broken_record_is_a_sentence(bring) -> None:
    done = bring()
    (done.run / "import.json").write_text("[]")
    with pytest.raises(BadInput, match="Import the images again"):
        sources_of(done.run)


def test_the_command_says_it_all(folder, tiny_benchmark, tmp_path) -> None:
    Image.new("RGB", (64, 64)).save(folder / "tiny-001.png")
    words = ["score", "--images", str(folder), "--benchmark", str(tiny_benchmark), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(build_app(), [*words, "--detector", "oracle", "--encoder", "none"])
    assert result.exit_code == 0, result.output
    assert result.output.count("Note: 1 file (tiny-001.png) all black") == 1


def test_one_pixel_of_another_colour_is_enough_wherever_it_is():
    grey = Image.new("RGB", (64, 64), (90, 90, 90))
    assert constant(grey) == PLAIN
    for at in ((0, 0), (1, 3), (63, 62)):
        spotted = grey.copy()
        spotted.putpixel(at, (90, 90, 99))
        assert constant(spotted) is None
