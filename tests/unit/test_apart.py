"""Methods that change or end the process: the run goes on, or its state says what happened."""

from __future__ import annotations

import json
import locale
import os
import re
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from PIL import Image, ImageFile

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.apart import _blocks, apart
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.runs.store import RunFolder

HEAD = """
import locale, os, signal, sys, threading, time
import numpy as np
from PIL import Image, ImageFile

class M:
    name, revision, max_batch = "m", "1", 2

    def __init__(self):
        self.once()

    def once(self):
        pass

    def each(self, sample):
        pass

    def generate(self, samples, seeds):
        for sample in samples:
            self.each(sample)
        return [Image.fromarray(np.random.default_rng(s).integers(0, 256, (64, 64, 3), dtype=np.uint8)) for s in seeds]
"""


@pytest.fixture
def method(tmp_path):
    """Write a method with this code in place of `once` or `each`; returns its `file.py:Class`."""

    def write(code: str, what: str = "each(self, sample)") -> str:
        body = textwrap.indent(textwrap.dedent(code).strip(), "        ")
        head, tail = HEAD.split(f"def {what}:\n        pass\n")
        (tmp_path / "method.py").write_text(f"{head}def {what}:\n{body}\n{tail}")
        return f"{tmp_path / 'method.py'}:M"

    return write


@pytest.fixture
def command(tmp_path, tiny_benchmark):
    """Run a command of radl-bench in a process of its own; returns code, output and messages."""

    def run(*words: str, **more: str) -> tuple[int, str, str]:
        call = [sys.executable, "-c", "from radl_bench.cli import main; main()", *words]
        environment = {**os.environ, "RADL_BENCH_HOME": str(tmp_path / "home"), **more}
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def generate(command, tiny_benchmark):
    return lambda spec, *words, **more: command("generate", str(tiny_benchmark), "--method", spec, *words, **more)


def the_run(tmp_path) -> RunFolder:
    (path,) = (tmp_path / "runs").glob("*/*/*")
    return RunFolder.open(path)


LEAVE = """
if sample.id == "tiny-004" and not os.environ.get("HEALED"):
    os._exit(0)
"""


def test_a_method_that_ends_the_process_leaves_a_stopped_run_that_the_next_call_names(
    tmp_path, method, generate, command
):
    spec = method(LEAVE)
    code, said, _ = generate(spec)
    assert (code, said) == (0, "")  # nobody is left who could say anything
    run = the_run(tmp_path)
    kept = len(run.done())
    assert 0 < kept < 9
    assert run.status == "stopped"
    assert "stopped" in command("ls", "runs")[1]

    code, _, told = command("score", "--detector", "oracle", "--encoder", "none")
    assert code == 1
    assert f"{9 - kept} of 9 images of " in told
    assert "it is not generated yet" in told

    again, _, told = generate(spec)
    assert (again, the_run(tmp_path).status) == (0, "stopped")
    # those that it had in hand: of half a second, and at most two before them whose saving went on beside that
    assert re.search(r"An earlier call ended without a word while it made one of [2-9] images \(", told)
    assert "tiny-004_0" in told
    assert f"{kept} images are kept" in told

    kept = len(the_run(tmp_path).done())  # the first image of a call is made alone, so one more was made
    code, said, told = generate(spec, HEALED="1")
    assert code == 0
    assert f"{9 - kept} made, {kept} resumed, 0 failed" in said
    assert "ended without a word" in told
    assert the_run(tmp_path).status == "complete"
    assert "ended without a word" not in generate(spec)[2]


def test_a_worker_that_leaves_is_named_and_its_image_is_a_failure(tmp_path, method, generate):
    code, said, told = generate(method(LEAVE), "--workers", "2")
    assert code == 1
    assert "8 made, 0 resumed, 1 failed of 9 images" in said
    assert "ended with exit code 0 while making " in told
    assert "tiny-004_0" in told
    (row,) = [row for row in the_run(tmp_path).rows() if row["status"] == "error"]
    assert row["sample_id"] == "tiny-004"
    assert "the last ended with exit code 0" in row["error"]


def test_a_worker_that_leaves_once_is_named_though_all_images_are_made(tmp_path, method, generate):
    mark = tmp_path / "once"
    code, said, told = generate(
        method(f"""
        if sample.id == "tiny-004" and not os.path.exists({str(mark)!r}):
            open({str(mark)!r}, "w").close()
            os._exit(0)
        """),
        "--workers",
        "2",
    )
    assert (code, "9 made" in said) == (0, True)
    assert "Note: 1 worker ended with exit code 0 while making " in told


CLOSING = [
    "sys.stdout.close()",
    "sys.stderr.close()",
    "os.close(1)",
    "os.close(2)",
    "os.close(0), os.close(1), os.close(2)",
    "os.closerange(0, 256)",
    "sys.stdout = sys.stderr = None",
    "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
    "print('x' * 10, flush=True); sys.stdout.detach()",
]


@pytest.mark.parametrize("code", CLOSING)
def test_a_method_that_closes_the_output_keeps_nobody_from_saying_what_was_done(tmp_path, method, generate, code):
    result, said, told = generate(method(code))
    assert result == 0, told
    assert "9 made, 0 resumed, 0 failed of 9 images" in said
    assert "Traceback" not in told
    run = the_run(tmp_path)
    assert (run.status, len(run.done())) == ("complete", 9)
    lines = (run.path / "generations-0of1.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok"] * 9


@pytest.mark.parametrize("workers", ["1", "2"])
def test_threads_that_outlive_the_method_do_not_keep_the_command(method, generate, workers):
    spec = method("threading.Thread(target=time.sleep, args=(600,), name='left over').start()")
    start = time.monotonic()
    code, said, told = generate(spec, "--workers", workers)
    assert time.monotonic() - start < 60
    assert (code, "9 made" in said) == (0, True)
    assert ("what was left running is not waited for any longer: left over" in told) == (workers == "1")


def test_what_a_method_changes_of_the_process_stays_with_it(tmp_path, method, tiny_benchmark, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    code = """
    import torch
    os.chdir("there")
    os.umask(0o777)
    os.environ["PATH"] = "/nowhere"
    del os.environ["HOME"]
    locale.setlocale(locale.LC_ALL, "C")
    sys.setrecursionlimit(2000)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.autocast("cpu", torch.bfloat16).__enter__()
    np.seterr(all="raise")
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    """
    seen = """
    import torch
    assert os.getcwd().endswith("there")
    assert os.environ["PATH"] == "/nowhere" and "HOME" not in os.environ
    assert torch.get_default_dtype() == torch.float64 and not torch.is_grad_enabled()
    """
    spec = method(code, "once(self)")
    source = (tmp_path / "method.py").read_text()
    body = textwrap.indent(textwrap.dedent(seen).strip(), "        ")
    (tmp_path / "method.py").write_text(
        source.replace("def each(self, sample):\n        pass", f"def each(self, sample):\n{body}")
    )

    def state() -> list[object]:
        mask = os.umask(0o22)
        os.umask(mask)
        return [
            os.getcwd(),
            mask,
            dict(os.environ),
            locale.setlocale(locale.LC_ALL),
            sys.getrecursionlimit(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
            _blocks(torch),
            np.geterr(),
            ImageFile.LOAD_TRUNCATED_IMAGES,
        ]

    before = state()
    outcome = generate_run(load_benchmark(tiny_benchmark), build_generator(spec), out="runs")
    assert state() == before
    assert (outcome.made, outcome.failed) == (9, 0)
    modes = {file.stat().st_mode & 0o777 for file in (outcome.run / "images").iterdir()}
    assert modes == {0o666 & ~before[1]}


def test_another_method_starts_without_the_changes_of_the_one_before():
    with apart(fresh=True):
        os.environ["RADL_TEST_MARK"] = "1"
    assert "RADL_TEST_MARK" not in os.environ
    with apart():
        assert os.environ["RADL_TEST_MARK"] == "1"
    with apart(fresh=True):
        assert "RADL_TEST_MARK" not in os.environ


STOPPED = {
    "ignores Ctrl-C": ("once(self)", "signal.signal(signal.SIGINT, signal.SIG_IGN)"),
    "blocks it": ("each(self, sample)", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])"),
    "has a handler of its own": ("once(self)", "signal.signal(signal.SIGINT, lambda *_: None)"),
    "catches all": (
        "each(self, sample)",
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\nexcept BaseException:\n    pass",
    ),
    "calls it an error": (
        "each(self, sample)",
        "try:\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
        "except BaseException as error:\n    raise ValueError('stopped') from error",
    ),
}


@pytest.mark.parametrize("case", STOPPED)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_ctrl_c_stops_a_run_whatever_the_method_does_with_it(tmp_path, method, generate, case, number):
    what, code = STOPPED[case]
    spec = method(code.replace("SIGINT", number), what)
    source = (tmp_path / "method.py").read_text()
    if "os.kill" not in code:  # the signal comes while the next image is made
        source = source.replace(
            "for sample in samples:", f"for sample in samples:\n            os.kill(os.getpid(), signal.{number})"
        )
        (tmp_path / "method.py").write_text(source)
    result, _, told = generate(spec)
    assert result == 130, told
    assert "Run the same command again to continue." in told
    assert the_run(tmp_path).status == "interrupted"


def test_a_stop_is_not_lost_in_a_thread_of_ones_own():
    """Outside the main thread nothing can be said about signals; the block runs all the same."""
    done = []

    def work():
        with apart():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_one_image_for_all_samples_is_named_by_generate_score_and_report(tmp_path, generate, command, method):
    spec = method("pass")
    source = (tmp_path / "method.py").read_text()
    (tmp_path / "method.py").write_text(source.replace("default_rng(s)", "default_rng(0)"))
    names = ", ".join(f"tiny-00{n}_0" for n in range(5))
    words = f"9 images ({names}, ...) the same as another, pixel for pixel, scored as they are."
    assert f"Note: {words}" in generate(spec)[2]
    assert f"Note: {words}" in command("score", "--detector", "oracle", "--encoder", "none")[2]
    assert words in " ".join(command("report")[1].split())  # lines are broken there
    assert words in (tmp_path / "reports" / "report.md").read_text().replace("\\", "")


def test_the_very_same_image_object_for_all_samples_is_named(tiny_benchmark, tmp_path):
    class Same:
        name, revision, max_batch = "same", "1", 4
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))

        def generate(self, samples, seeds):
            return [self.image] * len(samples)

    outcome = generate_run(load_benchmark(tiny_benchmark), Same(), out=tmp_path)
    assert [note.partition(" (")[0] for note in outcome.notes] == ["9 images"]


def test_equal_images_made_elsewhere_are_named_too(tiny_benchmark, tmp_path):
    from radl_bench.runs.image_import import import_images

    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for n in range(9):
        Image.fromarray(pixels if n < 2 else other + np.uint8(n)).save(folder / f"tiny-00{n}.png", compress_level=n)
    done = import_images(folder, load_benchmark(tiny_benchmark), out=tmp_path / "runs")
    words = "2 files (tiny-000.png, tiny-001.png) the same as another, pixel for pixel, scored as they are."
    assert words in done.notes
