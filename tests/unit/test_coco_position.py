"""The embedded COCO-Position: what its rows hold, that its captions say what its boxes show, and a whole run."""

from __future__ import annotations

import json
import os
import random
import runpy
from collections import Counter
from pathlib import Path

import pytest
import yaml

from radl_bench.benchmarks.builders.geometry import relation
from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.atlas import CATEGORIES
from radl_model.verbs.extract import extract_verbs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "coco_position"
SHARED = Path(os.environ.get("RADL_BENCH_SHARED", ROOT.parent / "shared"))
PUBLIC = SHARED / "data" / "coco_mig" / "mig_bench_anno.yaml"
needs_public = pytest.mark.skipif(not PUBLIC.is_file(), reason="the public mig_bench_anno.yaml is not at hand")


@pytest.fixture(scope="module")
def benchmark():
    return load_benchmark("coco-position")


def test_there_are_32_layouts_a_level_of_classes_that_the_mini_world_can_draw(benchmark):
    assert Counter(s.level for s in benchmark.samples) == dict.fromkeys(range(2, 7), 32)
    assert {i.category for s in benchmark.samples for i in s.instances} <= set(CATEGORIES)
    assert all(i.color is None and i.phrase == f"a {i.category}" for s in benchmark.samples for i in s.instances)
    assert set(Counter(s.level for s in benchmark.samples[:35]).values()) == {7}
    assert set(benchmark.metrics) == {"success", "iou", "average_precision", "clip_score", "fid"}


def test_every_relation_in_a_row_is_what_the_boxes_show_and_every_row_has_one(benchmark):
    for sample in benchmark.samples:
        assert sample.relations
        for r in sample.relations:
            assert r.predicate == relation(sample.instances[r.subject].box, sample.instances[r.object].box)
        ends = [end for r in sample.relations for end in (r.subject, r.object)]
        assert len(set(ends)) == len(ends)


def test_the_caption_names_every_object_once_and_every_relation_in_its_words(benchmark):
    for sample in benchmark.samples:
        clauses = sample.prompt.removeprefix("a photo of ").replace(" and ", ", ").split(", ")
        related = {
            f"{sample.instances[r.subject].phrase} {r.predicate} {sample.instances[r.object].phrase}"
            for r in sample.relations
        }
        ends = {end for r in sample.relations for end in (r.subject, r.object)}
        alone = [item.phrase for n, item in enumerate(sample.instances) if n not in ends]
        assert sorted(clauses) == sorted([*alone, *(c for c in clauses if c in related)])
        assert related <= set(clauses)


def test_the_cached_verbs_are_those_of_the_extractor(benchmark):
    for sample in benchmark.samples:
        assert sample.verbs == extract_verbs(sample.prompt)
        assert all(r.predicate in sample.verbs for r in sample.relations)


@needs_public
def test_the_builder_makes_the_committed_bytes_whatever_the_order_of_its_source(tmp_path):
    build = runpy.run_path(str(FOLDER / "build.py"))["build"]
    committed = (FOLDER / "samples.jsonl").read_bytes()
    entries = list(yaml.load(PUBLIC.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)).items())
    random.Random(1).shuffle(entries)
    shuffled = tmp_path / "anno.yaml"
    shuffled.write_text(json.dumps(dict(entries)))
    assert samples_bytes(build(shuffled)) == committed


@pytest.mark.slow
def test_a_rendered_run_with_the_oracle_fills_the_table_and_names_version_and_sum(tmp_path, monkeypatch):
    from radl_bench.mini.judges.clip import MiniClip
    from radl_bench.runs.generate import build_generator, generate_run
    from radl_bench.scoring.fid_reference import build_reference, folder_images, write_reference
    from radl_bench.scoring.score import score_runs

    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    part = load_benchmark("coco-position", limit=5)
    run = generate_run(part, build_generator("sprites", model="mini"), out=tmp_path, model="mini").run
    # A reference of these very pictures: its distance is 0, and no 2,048 scenes need to be drawn for it.
    reference = build_reference("self", folder_images(run / "images"), MiniClip())
    write_reference(reference, tmp_path / "self.npz")
    (file,) = score_runs([run], detector="oracle", fid_reference=tmp_path / "self.npz")
    scores = {s["metric"]: s for s in json.loads(file.read_text())["scores"] if s["level"] is None}
    assert {"success_inst", "success_img", "miou", "ap", "clip", "local_clip", "fid"} <= set(scores)
    assert [scores[m]["value"] for m in ("success_inst", "success_img", "miou")] == [100.0] * 3
    assert scores["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert scores["success_inst"]["n"] == 2 * sum(s.level for s in part.samples)
    for score in scores.values():
        assert f"bench:coco-position@1:{part.samples_sha256[:8]}" in score["signature"]
