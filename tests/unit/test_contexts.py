"""Prompts longer than an encoder's context: counted by an independent count of tokens, and said by score and report."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.judges.contexts import cut_texts
from radl_bench.mini.judges.clip import MiniClip
from radl_bench.runs.store import RunFolder
from tests.unit.test_foreign_pictures import paint


@pytest.fixture(scope="module")
def clip():
    return MiniClip()


def test_texts_are_cut_where_tokens_and_both_ends_exceed_the_context(clip) -> None:
    length = clip.config["text_cfg"]["context_length"]
    texts = [" ".join(["car"] * n) for n in range(length + 5)] + ["", "a photo of a red car"]
    expected = [t for t in texts if len(clip.tokenizer.encode(t)) + 2 > length]  # start and end of text
    assert 0 < len(expected) < len(texts)
    assert cut_texts(clip.tokenizer, length, texts) == expected


def test_score_and_report_say_how_many(make_benchmark, tmp_path) -> None:
    folder = make_benchmark()
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for row in rows[:4]:
        row["prompt"] += " and a red car" * 60
    folder = make_benchmark(rows)
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.clip_score]\n")
    benchmark = load_benchmark(folder)
    generator = {"name": "toy", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", benchmark, generator, source=str(folder))
    with run.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            note = {"note": "all black (a safety checker?)"} if n == 2 else {}
            writer.write_image(sample.id, 0, 1, paint(sample), 0.0, **note)
    run.update_status()
    done = CliRunner().invoke(build_app(), ["score", str(run.path), "--detector", "oracle"])
    assert done.exit_code == 0, done.output
    told = ["4 prompts (", "longer than the", "1 image (tiny-002_0) all black (a safety checker?), scored as they are."]
    assert all(part in done.output for part in told)
    shown = CliRunner().invoke(
        build_app(), ["report", str(run.path), "--format", "markdown", "--out", str(tmp_path / "r")]
    )
    assert shown.exit_code == 0, shown.output
    text = "".join(file.read_text() for file in tmp_path.glob("r*/**/*.md")) + (
        (tmp_path / "r").read_text() if (tmp_path / "r").is_file() else ""
    )
    assert "longer than the" in text
    assert "all black" in text
