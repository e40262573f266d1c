"""The shell completes commands, options and names; every option is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main

from radl_bench.cli import build_app

ROOT = Path(__file__).parents[2]


def completed(line: str) -> list[str]:
    """Return what bash is offered at the end of a line."""
    words = line.split(" ")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "_RADL_BENCH_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = "from radl_bench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("radl-bench ve", ["verify"]),
        ("radl-bench generate --see", ["--seed", "--seed-policy"]),
        ("radl-bench generate coco-m", ["coco-mig"]),
        ("radl-bench generate coco-mig --method s", ["stable-diffusion", "sprites"]),
        ("radl-bench score --segmenter s", ["sam"]),
        ("radl-bench score --features ", ["mini", "inception", "none"]),
        ("radl-bench report --format m", ["markdown", "model-index"]),
    ],
)
def test_the_shell_is_offered_what_there_is(line, offered):
    assert completed(line) == offered


def parameters(command: typer.core.TyperGroup, name: str) -> Iterator[tuple[str, str | None]]:
    for own, sub in getattr(command, "commands", {}).items():
        yield from parameters(sub, f"{name} {own}")
    yield from ((f"{name} {p.name}", getattr(p, "help", None)) for p in command.params)


def test_every_command_and_option_is_explained():
    found = dict(parameters(typer.main.get_command(build_app()), "radl-bench"))
    assert len(found) > 90
    assert [name for name, text in found.items() if not text or len(text) < 8] == []
