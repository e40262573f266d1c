"""The memory of a training does not grow with its set."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_model.train.layout_rows import LayoutRow, write_rows

EPOCH = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch import nn
from radl_model.train.draws import Part
from radl_model.train.layouts import LayoutBatches, Rules
from tests.tiny import tiny_text_encoder, tokenizer

class Means(nn.Module):
    config = {"latent_channels": 3, "scaling_factor": 1.0}

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))

    def encode(self, pixels):
        return SimpleNamespace(latents=nn.functional.avg_pool2d(pixels, 8) * self.one)

parts = SimpleNamespace(vae=Means(), text_encoder=tiny_text_encoder(), tokenizer=tokenizer())
batches = LayoutBatches(Path(sys.argv[1]), parts, Rules(side=64), 50, 0)
seen = 0
for step in range(len(batches.order) // 50):
    seen += len(batches.make_batch(step, Part.whole(50)).latents)
print(seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make_set(folder: Path, rows: int) -> int:
    """Write `rows` images of noise in shards of 1,000, and return their bytes."""
    folder.mkdir()
    total = 0
    for shard in range(rows // 1000):
        made = []
        for number in range(1000):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG", compress_level=0)
            row = (f"{shard}-{number}", file.getvalue(), 64, 64, f"a dog number {shard} {number}", ["a dog"], ["dog"])
            made.append(LayoutRow(*row, [[0.1, 0.1, 0.8, 0.9]], ["class"], "", "", ""))
            total += len(made[-1].image)
        write_rows(folder / f"layouts-{shard:05d}.parquet", made)
    return total


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_an_epoch_of_10_000_rows_takes_the_memory_of_one_of_1_000(tmp_path: Path) -> None:
    """The larger set has 111 MB more of images; the peak of the process differs by less than a quarter of that."""
    peaks = {}
    for rows in (1000, 10_000):
        size = make_set(tmp_path / str(rows), rows)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", EPOCH, str(tmp_path / str(rows))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr[-2000:]
        seen, peak = map(int, done.stdout.split())
        assert seen == rows
        peaks[rows] = peak / 1000
    assert size > 120e6
    print(f"peak of the process: {peaks[1000]:.0f} MB with 1,000 rows, {peaks[10_000]:.0f} MB with 10,000")
    assert peaks[10_000] - peaks[1000] < 28
