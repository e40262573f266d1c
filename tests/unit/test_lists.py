"""Lists fit a terminal of 80 columns and lose nothing there."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner


@pytest.mark.parametrize("what", ["methods", "benchmarks", "metrics", "judges"])
def test_lists_fit_80_columns(what, monkeypatch):
    from radl_bench.cli import build_app
    from radl_bench.registry import known

    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(build_app(), ["ls", what], catch_exceptions=False)
    lines = re.sub(r"\x1b\[[\d;]*m", "", done.output).splitlines()
    assert max(map(len, lines)) <= 80
    assert "radl_bench." not in done.output
    if what == "methods":
        assert all(any(name in line for line in lines) for name in known("generators"))
