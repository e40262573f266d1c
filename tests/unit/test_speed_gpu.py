"""The script that measures generation on a GPU, tried on a CPU with a small model."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "gpu.py"
SMALL = ["--size", "tiny", "--images", "3", "--batch", "2", "--steps", "2", "--repeats", "1"]


def rows_of(monkeypatch, capsys, *words: str) -> dict[str, list[str]]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in cells[2:]}


def test_every_way_makes_the_images_of_plain_diffusers(monkeypatch, capsys):
    rows = rows_of(monkeypatch, capsys, "--device", "cpu", "--precision", "fp32", *SMALL)
    names = ["plain diffusers", "+ PNG beside the model", "+ images decoded together", "+ channels_last"]
    assert list(rows) == [*names, "+ UNet in batches", "RaDL, in batches", "plain diffusers, again"]
    assert all(float(seconds) > 0 and float(ratio) > 0 for seconds, ratio, *_ in rows.values())
    # With an odd number of images the last batch is short; none may be lost, doubled or moved.
    assert all(float(row[3]) < 0.05 for name, row in rows.items() if name != "RaDL, in batches")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    for words, part in ((["--size", "sd14"], "There is no cuda device"), (["--device", "cpu"], "--size tiny")):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert stopped.value.code == 2
        assert part in capsys.readouterr().err
