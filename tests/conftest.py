"""Fixtures that several tests share: a tiny benchmark on disk and a method of one file."""

from __future__ import annotations

import hashlib
import json
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A job of a shell's background ignores Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

TOY = textwrap.dedent(
    '''
    """A method for tests: noise that depends on the seed alone, slow or failing on demand."""

    import time

    import numpy as np
    from PIL import Image


    class Toy:
        name = "toy"
        revision = "1"

        def __init__(self, delay=0.0, bad="", log="", size=16, batch=4):
            self.delay, self.bad, self.log, self.size, self.max_batch = delay, bad, log, size, batch
            self.params = {"size": size}

        def generate(self, samples, seeds):
            if self.bad in [s.id for s in samples]:
                raise ValueError("this sample is bad")
            images = []
            for sample, seed in zip(samples, seeds):
                time.sleep(self.delay)
                pixels = np.random.default_rng(seed).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
                images.append(Image.fromarray(pixels))
                if self.log:
                    with open(self.log, "a") as log:
                        log.write(sample.id + "\\n")
            return images
    '''
)


def tiny_row(number: int, level: int) -> dict[str, Any]:
    """Return a row of `samples.jsonl` with `level` instances side by side."""
    colors, names = ("red", "blue", "green", "white"), ("car", "dog", "bench", "cup")
    instances = []
    for i in range(level):
        color, name = colors[i % 4], names[(i + number) % 4]
        box = [round(i / level, 4), 0.25, round((i + 1) / level, 4), 0.75]
        instances.append({"phrase": f"a {color} {name}", "category": name, "color": color, "box": box})
    prompt = "a photo of " + " and ".join(str(item["phrase"]) for item in instances)
    return {"id": f"tiny-{number:03d}", "prompt": prompt, "instances": instances, "relations": [], "verbs": ""}


@pytest.fixture
def make_benchmark(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a benchmark folder and returns its path; `fields` replace those of the toml."""

    def make(rows: list[Any] | bytes | None = None, name: str = "tiny", **fields: Any) -> Path:
        folder = tmp_path / "benchmarks" / name
        folder.mkdir(parents=True, exist_ok=True)
        if not isinstance(rows, bytes):
            rows = [tiny_row(n, 2 + n % 3) for n in range(9)] if rows is None else rows
            rows = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        (folder / "samples.jsonl").write_bytes(rows)
        table = {
            "name": name,
            "version": "1",
            "license": "CC0-1.0",
            "citation": "none",
            "images_per_sample": 1,
            "resolution": 64,
            "samples_sha256": hashlib.sha256(rows).hexdigest(),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in (table | fields).items()]
        (folder / "benchmark.toml").write_text("\n".join([*lines, "[metrics.success]", "iou = 0.5", ""]), "utf-8")
        return folder

    return make


@pytest.fixture
def tiny_benchmark(make_benchmark: Callable[..., Path]) -> Path:
    """Return the folder of a benchmark with nine samples, three at each of the levels 2, 3 and 4."""
    return make_benchmark()


@pytest.fixture
def toy_method(tmp_path: Path) -> str:
    """Return the `path/to/file.py:Class` of a deterministic method; see `TOY` for its settings."""
    file = tmp_path / "toy.py"
    file.write_text(TOY, "utf-8")
    return f"{file}:Toy"
