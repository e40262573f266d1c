"""Generators that misbehave, and disks that fill up: a failed row or a sentence, never a traceback or a stuck run."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import DiskFull, UsageError
from radl_bench.registry import describe_error
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.runs.notes import sizes_of
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import ShardWriter

BAD = "tiny-004"


@pytest.fixture
def benchmark(tiny_benchmark):
    return load_benchmark(tiny_benchmark)


class Method:
    """Noise of the right size; `special` makes the image of one sample, or of every one."""

    name, revision, max_batch = "method", "1", 4

    def __init__(self, special=None, everywhere=False):
        self.special, self.everywhere = special, everywhere

    def generate(self, samples, seeds):
        return [
            self.special() if self.special and (self.everywhere or sample.id == BAD) else noise(seed)
            for sample, seed in zip(samples, seeds, strict=True)
        ]


def noise(seed, side=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def closed():
    image = noise(0)
    image.close()
    return image


def cut_short():
    stream = io.BytesIO()
    noise(0).save(stream, "PNG")
    return Image.open(io.BytesIO(stream.getvalue()[:2000]))  # Pillow reads the pixels when they are asked for


def not_finite():
    return Image.fromarray(np.full((64, 64), np.nan, np.float32))


def leave():
    sys.exit(0)


def half_a_pair():
    raise ValueError("bad \ud800 text \x1b[2J")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text either")


def mute():
    raise Mute


def give_up():
    raise GeneratorExit


def cancel():
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("special", "words"),
    [
        (lambda: Image.new("RGB", (0, 0)), "it has 0 x 0 pixels"),
        (lambda: Image.new("La", (8, 8)), "its mode La is not read"),
        (closed, "it cannot be read"),
        (cut_short, "it cannot be read"),
        (not_finite, "it holds NaN or infinity"),
        (lambda: np.zeros((8, 8, 3), np.uint8), "it is ndarray instead of a PIL image"),
        (leave, "SystemExit: 0"),
        (half_a_pair, r"ValueError: bad \ud800 text \x1b[2J"),
        (mute, "Mute: no message"),
        (give_up, "GeneratorExit"),
        (cancel, "CancelledError"),
    ],
)
def test_one_bad_image_is_a_failed_row_and_the_same_command_goes_on(benchmark, tmp_path, special, words):
    outcome = generate_run(benchmark, Method(special), out=tmp_path)
    rows = {row["sample_id"]: row for row in RunFolder.open(outcome.run).rows()}
    assert (outcome.made, outcome.failed) == (8, 1)
    assert words in rows[BAD]["error"]
    assert rows[BAD]["error"].isprintable()
    healed = generate_run(benchmark, Method(), out=tmp_path)
    assert (healed.made, healed.resumed, healed.failed) == (1, 8, 0)


@pytest.mark.parametrize(
    ("special", "words"),
    [
        (lambda: Image.new("RGB", (64, 64)), f"1 image ({BAD}_0) all black (a safety checker?), scored as they are."),
        (
            lambda: Image.new("RGB", (64, 64), "teal"),
            f"1 image ({BAD}_0) of one colour throughout, scored as they are.",
        ),
        (lambda: Image.new("RGBA", (64, 64)), f"1 image ({BAD}_0) transparent in places, laid on white."),
        (lambda: noise(1, 32), f"1 file ({BAD}_0 (32x32)) of another size than the others (64x64)."),
    ],
)
def test_what_is_odd_about_an_image_is_said_when_it_is_made_and_when_it_is_scored(
    benchmark, tiny_benchmark, tmp_path, special, words
):
    from radl_bench.scoring.score import score_each

    outcome = generate_run(benchmark, Method(special), out=tmp_path, source=str(tiny_benchmark))
    assert words in outcome.notes
    assert words in generate_run(benchmark, Method(), out=tmp_path, source=str(tiny_benchmark)).notes
    (scored,) = score_each([outcome.run], detector="oracle", encoder="none")
    assert words in scored.notes


@pytest.mark.parametrize(
    ("side", "scale", "size", "words"),
    [
        (64, None, "", None),
        (32, None, "32x32", "The images are 32x32; tiny is defined at 64x64."),
        (128, "mini", "", None),
        (64, "mini", "64x64", "The images are 64x64; the mini world is defined at 128x128."),
    ],
)
def test_a_size_that_is_not_the_benchmarks_is_said_and_stands_in_the_signature(
    benchmark, tiny_benchmark, tmp_path, side, scale, size, words
):
    import json

    from radl_bench.scoring.score import score_each

    seeds = itertools.count()
    method = Method(lambda: noise(next(seeds), side), everywhere=True)
    method.scale = scale
    outcome = generate_run(benchmark, method, out=tmp_path, source=str(tiny_benchmark))
    assert list(outcome.notes) == ([words] if words else [])
    run = RunFolder.open(outcome.run)
    assert sizes_of(run, benchmark, run.rows()) == size
    (scored,) = score_each([outcome.run], detector="oracle", encoder="none")
    signatures = [entry["signature"] for entry in json.loads(scored.file.read_text())["scores"]]
    assert all((f"|img:1|size:{size}|" in s) if size else ("|size:" not in s) for s in signatures)


def test_a_batch_that_gave_too_few_images_is_named_and_made_one_by_one(benchmark, tmp_path):
    method = Method()
    method.generate = lambda samples, seeds: [noise(seeds[0])]
    outcome = generate_run(benchmark, method, out=tmp_path)
    assert (outcome.made, outcome.failed) == (9, 0)
    assert outcome.notes == ("2 calls were repeated image by image: the generator returned 1 images for 4 samples",)


def test_a_generator_may_change_the_folder_it_works_in(benchmark, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def move():
        os.chdir(tmp_path / "there")
        return noise(0)

    outcome = generate_run(benchmark, Method(move), out="runs")
    assert (outcome.made, list((tmp_path / "there").iterdir())) == (9, [])
    assert len(list((tmp_path / "here").glob("runs/*/*/*/images/*.png"))) == 9


def test_a_method_that_exits_while_it_is_set_up_is_a_sentence(tmp_path):
    (tmp_path / "leaver.py").write_text("import sys\nclass M:\n    def __init__(self): sys.exit(0)\n")
    with pytest.raises(UsageError, match="could not be set up: SystemExit: 0"):
        build_generator(f"{tmp_path / 'leaver.py'}:M")


def test_errors_are_described_in_printable_text():
    assert describe_error(ValueError("a\n\ud800\x1b]0;x\u202e")) == r"ValueError: a \ud800\x1b]0;x\u202e"


def test_an_argument_that_is_no_unicode_is_written_and_read_again(benchmark, tmp_path):
    outcome = generate_run(benchmark, Method(), out=tmp_path, argv=["radl-bench", "\udcff"])
    assert RunFolder.open(outcome.run).manifest["argv"] == ["radl-bench", "\udcff"]


@pytest.fixture
def full(monkeypatch):
    """Let the disk be full for files of images, or for rows, after so many bytes of them."""

    def fill(what: str, room: int):
        left = [room]
        write_bytes, write = Path.write_bytes, os.write

        def to_file(self, content):
            if ".png" in self.name:
                if len(content) > left[0]:
                    write_bytes(self, content[: left[0]])
                    raise OSError(errno.ENOSPC, "No space left on device")
                left[0] -= len(content)
            return write_bytes(self, content)

        def to_rows(file, content):
            if not content.startswith(b'{"sample_id'):
                return write(file, content)
            part = content[: left[0]]
            left[0] -= len(part)
            if not part:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, part)

        monkeypatch.setattr(*((Path, "write_bytes", to_file) if what == "images" else (os, "write", to_rows)))

    return fill


@pytest.mark.parametrize("what", ["images", "rows"])
def test_a_full_disk_is_named_with_file_and_need_and_the_run_does_not_stay_running(
    benchmark, tmp_path, full, monkeypatch, what
):
    full(what, 40_000 if what == "images" else 1_000)
    with pytest.raises(DiskFull) as caught:
        generate_run(benchmark, Method(), out=tmp_path, batch_size=1)
    file = ".png of 1" if what == "images" else "generations-0of1.jsonl of "
    assert file in str(caught.value)
    assert "bytes cannot be written" in str(caught.value)
    assert "Make room and run it again" in str(caught.value)
    (run,) = tmp_path.glob("tiny/method/*")
    made = RunFolder.open(run)
    assert made.manifest["status"] == "interrupted"
    assert len(made.rows()) == len(made.done()) == len(list(made.images_dir.iterdir())) in (3, 2)
    kept = len(made.rows())
    monkeypatch.undo()
    again = generate_run(benchmark, Method(), out=tmp_path)
    assert (again.resumed, again.made) == (kept, 9 - kept)


def test_rows_of_any_text_are_read_as_printable_text(benchmark, tmp_path):
    outcome = generate_run(benchmark, Method(), out=tmp_path)
    rows = outcome.run / "generations-0of1.jsonl"
    line = r'{"sample_id": "tiny-000", "k": 0, "status": "error", "error": "x\ud800\u001b[2J", "at": "9"}'
    rows.write_text(rows.read_text() + line + "\n")
    assert RunFolder.open(outcome.run).rows()[0]["error"] == r"x\ud800\x1b[2J"


def test_a_writer_takes_what_png_cannot_hold_out_of_the_image(tmp_path):
    """Text chunks of a generator's own do not reach the file."""
    (tmp_path / "images").mkdir()
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "secret")
    stream = io.BytesIO()
    noise(0).save(stream, "PNG", pnginfo=info)
    from radl_bench.runs.writer import Shard

    writer = ShardWriter(tmp_path, Shard())
    writer.write_image("a", 0, 1, Image.open(io.BytesIO(stream.getvalue())), 0.0)
    writer.close()
    assert b"secret" not in (tmp_path / "images" / "a_0.png").read_bytes()


@pytest.mark.parametrize("given", [None, 7])
def test_what_is_no_list_of_images_is_named(benchmark, tmp_path, given):
    method = Method()
    method.generate = lambda samples, seeds: given
    outcome = generate_run(benchmark, method, out=tmp_path)
    words = f"the generator returned {type(given).__name__} instead of a list of images"
    assert {row["error"] for row in RunFolder.open(outcome.run).rows()} == {words}


def test_a_method_that_deletes_the_images_costs_those_it_deleted(benchmark, tmp_path):
    calls = []

    def tidy():
        calls.append(1)
        deadline = time.monotonic() + 10  # an image is saved while the next is made: here, before it
        while len(calls) > 1 and not list(tmp_path.rglob("tiny-*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        for folder in tmp_path.rglob("images"):
            shutil.rmtree(folder)
        return noise(1)

    outcome = generate_run(benchmark, Method(tidy), out=tmp_path)
    assert (outcome.made, outcome.failed) == (9, 0)
    again = generate_run(benchmark, Method(), out=tmp_path)
    assert again.made > 0
    assert len(list((again.run / "images").iterdir())) == 9
