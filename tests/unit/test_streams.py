"""Standard streams that are closed, full, or read by nobody: every command ends as it would, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from radl_bench import __version__
from radl_bench.cli import COMMANDS

MAIN = f"{sys.executable} -c 'from radl_bench.cli import main; main()'"
TRAIN = f"{sys.executable} -c 'from radl_bench.mini.train.cli import main; main()'"
BAD = ("Traceback", "Exception ignored", "BrokenPipe", "lost sys.stderr", "Errno 9", "Errno 32")


@pytest.fixture
def shell(tmp_path):
    def run(line: str) -> tuple[int, str, str]:
        """Return the exit code of a line of shell, its output and its messages."""
        environment = {**os.environ, "RADL_BENCH_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr

    return run


WAYS = (
    "{} | head -0; exit ${{PIPESTATUS[0]}}",
    "({}) 2>&1 | head -0; exit ${{PIPESTATUS[0]}}",
    "{} >&-",
    "{} >&- 2>&- <&-",
    "{} 2>/dev/full",
)


@pytest.mark.parametrize(
    ("command", "code"),
    [("ls methods", 0), ("report", 3), ("generate nothing", 2)],
)
def test_a_reader_that_has_left_changes_no_exit_code_and_gives_no_traceback(shell, command, code):
    assert shell(f"{MAIN} {command}")[0] == code
    for way in WAYS:
        found, _, told = shell(way.format(f"{MAIN} {command}"))
        assert found == code, way
        assert not any(word in told for word in BAD), (way, told)


def test_the_help_of_every_command_may_be_cut_off(shell):
    every = " && ".join(f"{MAIN} {command} --help" for command in COMMANDS)
    assert shell(WAYS[0].format(f"({every})")) == (0, "", "")


def test_output_that_finds_no_room_is_an_error(shell):
    code, _, told = shell(f"{MAIN} ls methods >/dev/full")
    assert code == 2
    assert told == "OSError: [Errno 28] No space left on device\n"


def test_the_version(shell):
    assert shell(f"{MAIN} --version") == (0, f"{__version__}\n", "")


def test_a_whole_run_goes_on_when_nobody_reads_its_progress(shell, tiny_benchmark):
    made = f"{MAIN} generate {tiny_benchmark} --method sprites"
    assert shell(f"({made}) 2>&1 | head -0; exit ${{PIPESTATUS[0]}}") == (0, "", "")
    assert "0 made, 9 resumed" in shell(made)[1]
    score = f"{MAIN} score --detector oracle --encoder none"
    assert shell(f"({score}) 2>&1 | head -0; exit ${{PIPESTATUS[0]}}") == (0, "", "")
    assert shell(f"{MAIN} report | head -1; exit ${{PIPESTATUS[0]}}")[::2] == (0, "")
    assert shell(f"{MAIN} report >&- 2>&- <&-") == (0, "", "")


@pytest.mark.parametrize("way", WAYS)
def test_the_training_command(shell, way):
    code, _, told = shell(way.format(f"{TRAIN} nothing"))
    assert code == 2
    assert not any(word in told for word in BAD)
