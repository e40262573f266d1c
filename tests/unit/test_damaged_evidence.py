"""Evidence whose numbers do not fit: a clear error that names the file, never a traceback or a number made of them."""

from __future__ import annotations

import math
import sqlite3
import struct

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import BadInput
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.scoring.score import score_each

NAN = math.nan


def doubles(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


DAMAGE = [
    ("detections", "boxes", doubles(0.1)),
    ("detections", "boxes", doubles(0.1, 0.1, 0.9, NAN)),
    ("detections", "boxes", doubles(*[0.5] * 8)),
    ("detections", "boxes", b"123"),
    ("detections", "boxes", "text"),
    ("detections", "boxes", None),
    ("detections", "scores", doubles()),
    ("detections", "scores", doubles(math.inf)),
    ("coverage", "coverage", doubles(0.5)),
    ("coverage", "coverage", doubles(*[NAN] * 7)),
    ("coverage", "coverage", 3),
    ("cosines", "cosine", NAN),
    ("cosines", "cosine", math.inf),
    ("cosines", "cosine", "text"),
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    generator = build_generator("sprites", model="mini")
    run = generate_run(load_benchmark("coco-mig", limit=2), generator, model="mini", out=folder).run
    score_each([run], detector="oracle", segmenter="box")
    return run


@pytest.mark.parametrize(("kind", "column", "value"), DAMAGE)
def test_what_does_not_fit_is_named_with_its_file(scored, kind, column, value):
    (file,) = (scored / "evidence").glob(f"{kind}-*.sqlite")
    whole = file.read_bytes()
    with sqlite3.connect(file) as base:
        base.execute(f'UPDATE evidence SET "{column}" = ?', (value,))
    base.close()
    try:
        with pytest.raises(BadInput) as caught:
            score_each([scored], detector="oracle", segmenter="box")
        assert file.name in str(caught.value)
        assert "Delete it and score again" in str(caught.value)
    finally:
        file.write_bytes(whole)
    assert score_each([scored], detector="oracle", segmenter="box")[0].problems == ()
