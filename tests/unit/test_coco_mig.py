"""COCO-MIG: the embedded set, its builder, and the import of the public file."""

from __future__ import annotations

import json
import os
import random
import runpy
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.importers.coco_mig import import_coco_mig, is_public_file, read_annotations
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli.data import data
from radl_bench.errors import BadInput, MissingData, RadlBenchError, UsageError
from radl_bench.types import COLORS
from radl_model.home import data_home

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "coco_mig"
SHARED = Path(os.environ.get("RADL_BENCH_SHARED", ROOT.parent / "shared"))
PUBLIC = SHARED / "data" / "coco_mig" / "mig_bench_anno.yaml"
needs_public = pytest.mark.skipif(not PUBLIC.is_file(), reason="the public mig_bench_anno.yaml is not at hand")

ENTRY = {"a red car": [[0.1, 0.2, 0.5, 0.9]], "a blue hot dog": [[0.5, 0.5, 1.0, 0.8], [0, 0, 1, 1]], "coco_id": "17"}
PROMPT = "a photo of a blue hot dog and a red car and a blue hot dog"


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in (FOLDER / "samples.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def build():
    return runpy.run_path(str(FOLDER / "build.py"))["build"]


def _write(folder: Path, content: object) -> Path:
    file = folder / "anno.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    return file


def test_every_level_has_160_samples_and_any_head_is_balanced(rows):
    assert Counter(len(row["instances"]) for row in rows) == dict.fromkeys(range(2, 7), 160)
    assert set(Counter(len(row["instances"]) for row in rows[:35]).values()) == {7}
    assert [row["id"] for row in rows] == [f"mig-{n:06d}" for n in range(800)]


def test_phrases_say_the_class_and_colour_and_the_prompt_says_the_phrases(rows):
    for row in rows:
        for thing in row["instances"]:
            assert thing["phrase"] == f"a {thing['color']} {thing['category']}"
            assert thing["color"] in COLORS
            assert thing["category"] != "person"
        assert row["prompt"] == "a photo of " + " and ".join(thing["phrase"] for thing in row["instances"])


def test_boxes_lie_in_the_image_and_no_side_is_under_an_eighth(rows):
    for x0, y0, x1, y1 in (thing["box"] for row in rows for thing in row["instances"]):
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        assert min(x1 - x0, y1 - y0) >= 0.125
        assert [round(v, 4) for v in (x0, y0, x1, y1)] == [x0, y0, x1, y1]


def test_colours_are_even_and_some_phrases_repeat(rows):
    colors = Counter(thing["color"] for row in rows for thing in row["instances"])
    # 3,200 draws out of seven: the standard deviation of a count is 19.8.
    assert all(abs(count - 3200 / 7) < 4 * 19.8 for count in colors.values())
    assert any(max(Counter(thing["phrase"] for thing in row["instances"]).values()) > 1 for row in rows)


def test_the_toml_names_the_sha256_of_the_samples():
    text = (FOLDER / "benchmark.toml").read_text("utf-8")
    assert sha256((FOLDER / "samples.jsonl").read_bytes()).hexdigest() in text


@needs_public
def test_the_builder_makes_the_committed_bytes_whatever_the_order_of_its_source(build, tmp_path):
    committed = (FOLDER / "samples.jsonl").read_bytes()
    assert samples_bytes(build(PUBLIC)) == committed
    entries = list(yaml.load(PUBLIC.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)).items())
    random.Random(1).shuffle(entries)
    assert samples_bytes(build(_write(tmp_path, json.dumps(dict(entries))))) == committed


@needs_public
def test_no_prompt_with_its_boxes_is_the_public_ones(rows):
    public = {(s.prompt, tuple(i.box for i in s.instances)) for s in read_annotations(PUBLIC)}
    assert not public & {(row["prompt"], tuple(tuple(i["box"]) for i in row["instances"])) for row in rows}


@needs_public
def test_the_public_file_is_imported_whole(tmp_path):
    folder, samples = import_coco_mig(PUBLIC, tmp_path)
    source = yaml.load(PUBLIC.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert is_public_file(PUBLIC)
    assert (len(samples), sum(s.level for s in samples)) == (800, 3200)
    assert Counter(s.level for s in samples) == dict.fromkeys(range(2, 7), 160)
    for sample in samples:
        entry = source[sample.prompt]
        assert int(entry.pop("coco_id")) == int(sample.id.removeprefix("public-"))
        pairs = [(phrase, tuple(box)) for phrase, boxes in entry.items() for box in boxes]
        assert [(i.phrase, i.box) for i in sample.instances] == pairs
    assert folder == tmp_path / "benchmarks" / "coco_mig_public"


def test_an_import_keeps_the_order_of_the_file_and_writes_a_benchmark_folder(tmp_path):
    folder, (sample,) = import_coco_mig(_write(tmp_path, yaml.safe_dump({PROMPT: ENTRY}, sort_keys=False)), tmp_path)
    assert sample.id == "public-000017"
    assert [i.phrase for i in sample.instances] == ["a red car", "a blue hot dog", "a blue hot dog"]
    assert [i.category for i in sample.instances] == ["car", "hot dog", "hot dog"]
    assert sorted(p.name for p in folder.iterdir()) == ["benchmark.toml", "samples.jsonl"]
    assert json.loads((folder / "samples.jsonl").read_text())["instances"][2]["box"] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1\nb: 2", "line 2"),
        ("just text", "not a COCO-MIG annotation file"),
        ("", "not a COCO-MIG annotation file"),
        ({PROMPT: [1, 2]}, f"prompt '{PROMPT}'"),
        ({PROMPT: ENTRY | {"coco_id": "six"}}, "coco_id"),
        ({PROMPT: {"coco_id": "6"}}, "no phrase"),
        ({PROMPT: ENTRY | {"a pink car": []}}, "a pink car"),
        ({PROMPT: ENTRY | {"a red car": [[0.5, 0.2, 0.4, 0.9]]}}, "[0.5, 0.2, 0.4, 0.9]"),
        ({PROMPT: ENTRY | {"a red car": [[0.1, 0.2, float("nan"), 0.9]]}}, "nan"),
        ({PROMPT: ENTRY | {"a red car": [[0.1, 0.2, 1.4, 0.9]]}}, "1.4"),
        ({PROMPT: ENTRY | {"a red car": ["abcd"]}}, "abcd"),
        ({PROMPT: ENTRY, "other": ENTRY}, "given twice"),
    ],
)
def test_a_broken_file_is_named_with_its_line_or_prompt(tmp_path, content, words):
    file = _write(tmp_path, content)
    with pytest.raises(BadInput) as caught:
        import_coco_mig(file, tmp_path)
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert not (tmp_path / "benchmarks").exists()


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(MissingData, match="There is no file"):
        import_coco_mig(tmp_path / "none.yaml", tmp_path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_no_bytes_give_anything_but_a_sentence(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "random.yaml"
    file.write_bytes(content)
    with pytest.raises(RadlBenchError):
        read_annotations(file)


def test_too_few_images_are_named(build, tmp_path):
    with pytest.raises(BadInput, match="0 images with 2 instances; 160 are needed"):
        build(_write(tmp_path, {PROMPT: ENTRY}))


def test_the_command_imports_and_says_what_came_in(monkeypatch, tmp_path):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    file = _write(tmp_path, {PROMPT: ENTRY})
    done = CliRunner().invoke(data, ["import", "coco-mig", str(file)])
    assert done.exit_code == 0
    assert "1 samples with 3 instances (not the public file" in done.output
    assert load_benchmark("coco-mig-public").samples[0].prompt == PROMPT
    with pytest.raises(UsageError, match="Did you mean 'coco-mig'"):
        CliRunner().invoke(data, ["import", "coco-mog", str(file)], catch_exceptions=False)


def test_the_data_home_is_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    assert data_home() == tmp_path
    monkeypatch.delenv("RADL_BENCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_home() == tmp_path / "cache" / "radl-bench"
