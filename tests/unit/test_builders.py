"""Builders of the full-size benchmarks: on an annotation folder made here, and on real annotations where at hand."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from coco_folder import annotations, write
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from radl_bench.benchmarks.builders import Options, build, write_full
from radl_bench.benchmarks.builders.coco import read_images
from radl_bench.benchmarks.builders.coco_position import kept_things
from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData, RadlBenchError
from radl_bench.types import COLORS

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RADL_BENCH_SHARED", ROOT.parent / "shared"))
TINY = SHARED / "data" / "coco_tiny"
needs_tiny = pytest.mark.skipif(not (TINY / "instances_val2017.json").is_file(), reason="COCO_Tiny is not at hand")


@pytest.fixture
def coco(tmp_path) -> Path:
    return write(tmp_path / "coco", *annotations())


def _plain(coco: Path) -> dict[int, dict]:
    """A reading of the files that shares nothing with the builder: image id -> boxes [category, xyxy, crowd]."""
    content = json.loads((coco / "annotations" / "instances_val2014.json").read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    images = {i["id"]: {"size": (i["width"], i["height"]), "things": []} for i in content["images"]}
    for a in sorted(content["annotations"], key=lambda a: a["id"]):
        (x, y, w, h), (width, height) = a["bbox"], images[a["image_id"]]["size"]
        box = (x / width, y / height, (x + w) / width, (y + h) / height)
        images[a["image_id"]]["things"].append((names[a["category_id"]], box, a["iscrowd"]))
    return images


def _fits(box) -> bool:
    return min(box[2] - box[0], box[3] - box[1]) >= 0.125 - 1e-4  # boxes are rounded outwards


def test_coco_position_holds_the_boxes_and_captions_of_its_images_and_nothing_that_was_filtered(coco):
    built = build("coco-position", Options(coco, count=6))
    plain = _plain(coco)
    assert len(built.samples) == 6
    for sample in built.samples:
        things = plain[int(sample.id.removeprefix("pos-"))]["things"]
        assert not any(crowd for _, _, crowd in things)
        kept = [(name, box) for name, box, _ in things if _fits(box)]
        assert [i.category for i in sample.instances] == [i.phrase for i in sample.instances] == [n for n, _ in kept]
        assert all(i.box == pytest.approx(box, abs=1e-4) for i, (_, box) in zip(sample.instances, kept, strict=True))
        assert {name for name, box, _ in things if not _fits(box)}.isdisjoint(name for name, _ in kept)
        assert 1 <= sample.level <= 8
        assert re.fullmatch(r"A dog number \d leaning against a car", sample.prompt)
        assert sample.verbs == "leaning against"
        assert all(i.color is None for i in sample.instances)


def test_every_filter_is_counted_and_the_counts_add_up(coco):
    counts = dict(build("coco-position", Options(coco, count=1)).counts)
    assert counts.pop("images") == 60
    assert sum(counts.values()) == 60
    assert set(counts) == {
        "without a caption",
        "with a crowd region",
        "with more than 8 such objects",
        "with a smaller object of a class that is kept",
        "passed",
    } | ({"without an object of at least 1/8 a side"} & set(counts))
    plain = _plain(coco)
    crowds = sum(any(crowd for *_, crowd in image["things"]) for image in plain.values())
    assert counts["with a crowd region"] <= crowds <= counts["with a crowd region"] + counts["without a caption"]


@pytest.mark.parametrize("name", ["coco-position", "coco-mig"])
def test_the_same_facts_give_the_same_bytes_in_any_order_and_another_seed_others(tmp_path, name):
    instances, captions = annotations()
    first = build(name, Options(write(tmp_path / "a", instances, captions), count=2))
    rng = random.Random(3)
    for content in (instances, captions):
        for rows in content.values():
            rng.shuffle(rows)
    again = build(name, Options(write(tmp_path / "b", instances, captions), count=2))
    assert samples_bytes(again.samples) == samples_bytes(first.samples)
    assert again.lists == first.lists
    other = build(name, Options(tmp_path / "b", seed=1, count=2))
    assert samples_bytes(other.samples) != samples_bytes(first.samples)
    assert (first.fields["version"], other.fields["version"]) == ("1+n.2", "1+seed.1.n.2")


def test_a_larger_set_keeps_the_smaller_and_the_reference_begins_with_the_chosen(coco):
    small, large = (build("coco-position", Options(coco, count=n)) for n in (2, 5))
    assert large.samples[:2] == small.samples
    assert large.lists["image_ids.txt"] == tuple(str(int(s.id.removeprefix("pos-"))) for s in large.samples)
    reference = large.lists["fid_reference.txt"]
    assert reference[:5] == tuple(f"COCO_val2014_{int(key):012d}" for key in large.lists["image_ids.txt"])
    assert len(set(reference)) == len(reference) == 60


def test_coco_mig_takes_the_six_largest_in_the_order_of_theannotations(coco):
    built = build("coco-mig", Options(coco, count=1))
    plain = _plain(coco)
    assert Counter(s.level for s in built.samples) == dict.fromkeys(range(2, 7), 1)
    for sample in built.samples:
        things = plain[int(sample.id.removeprefix("mig-"))]["things"]
        fitting = [(n, b) for n, b, crowd in things if not crowd and n != "person" and _fits(b)]
        areas = sorted(((b[2] - b[0]) * (b[3] - b[1]) for _, b in fitting), reverse=True)
        least = areas[:6][-1]
        kept = [(n, b) for n, b in fitting if (b[2] - b[0]) * (b[3] - b[1]) >= least]
        assert [i.category for i in sample.instances] == [n for n, _ in kept]
        assert all(i.box == pytest.approx(b, abs=1e-4) for i, (_, b) in zip(sample.instances, kept, strict=True))
        assert sample.prompt == "a photo of " + " and ".join(f"a {i.color} {i.category}" for i in sample.instances)
        assert all(i.color in COLORS for i in sample.instances)


def test_some_image_of_coco_mig_had_more_than_six(coco):
    counts = build("coco-mig", Options(coco, count=1)).counts
    sizes = [sum(_fits(b) and n != "person" and not c for n, b, c in i["things"]) for i in _plain(coco).values()]
    assert counts["with 6 fitting objects or more"] == sum(size >= 6 for size in sizes)
    assert max(sizes) > 6


@pytest.mark.parametrize("name", ["coco-position", "coco-mig"])
def test_crowd_regions_are_told_when_a_benchmark_is_built_and_stand_in_its_manifest(coco, tmp_path, monkeypatch, name):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(build_app(), ["data", "build", name, "--coco", str(coco), "--count", "1"])
    assert done.exit_code == 0, done.output
    crowds = {key: sum(crowd for *_, crowd in image["things"]) for key, image in _plain(coco).items()}
    words = "with a crowd region" if name == "coco-position" else "crowd regions, left out of their images"
    captions = json.loads((coco / "annotations" / "captions_val2014.json").read_text())
    told = {a["image_id"] for a in captions["annotations"]}
    number = sum(n > 0 for key, n in crowds.items() if key in told) if name == "coco-position" else sum(crowds.values())
    assert f"{number:>8,} {words}\n" in done.output
    (manifest,) = (tmp_path / "home").rglob("manifest.json")
    content = json.loads(manifest.read_text())
    assert content["counts"][words] == number > 0
    what = "image" if name == "coco-position" else "region"
    assert content["rules"]["crowd_regions"] == f"the {what} is left out"


@pytest.mark.parametrize("value", ["0", None, 2, [1], 0.0])
def test_a_crowd_flag_that_is_not_0_or_1_is_refused(coco, value):
    file = coco / "annotations" / "instances_val2014.json"
    content = json.loads(file.read_text())
    content["annotations"][3]["iscrowd"] = value
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"'iscrowd' of the entry with id .* should be 0 or 1"):
        build("coco-mig", Options(coco, count=1))


@needs_tiny
def test_real_annotations_give_every_image_that_fits(tmp_path):
    images = read_images(TINY / "instances_val2017.json")
    source = json.loads((TINY / "instances_val2017.json").read_text())
    assert sum(len(i.things) for i in images.values()) == len(source["annotations"]) == 815
    assert sum(t.crowd for i in images.values() for t in i.things) == sum(a["iscrowd"] for a in source["annotations"])
    built = build("coco-mig", Options(TINY, split="val2017", count=5))
    assert Counter(s.level for s in built.samples) == dict.fromkeys(range(2, 7), 5)
    assert built.fields["version"] == "1+n.5.split.val2017"
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "instances_val2017.json").symlink_to(TINY / "instances_val2017.json")
    rows = [{"id": n, "image_id": key, "caption": "A dog."} for n, key in enumerate(images)]
    (folder / "captions_val2017.json").write_text(json.dumps({"annotations": rows}))
    position = build("coco-position", Options(tmp_path, split="val2017", count=20))
    for sample in position.samples:
        image = images[int(sample.id.removeprefix("pos-"))]
        assert [i.category for i in sample.instances] == [t.category for t in kept_things(image)]
    assert position.counts["images"] == 80


@needs_tiny
def test_without_captions_the_sentence_names_the_file_and_the_way_out():
    with pytest.raises(MissingData, match=r"no captions_val2017\.json in .*--coco DIR.*--download"):
        build("coco-position", Options(TINY, split="val2017"))


@pytest.mark.parametrize("name", ["coco-position", "coco-mig"])
def test_too_few_images_are_counted_in_the_sentence(coco, name):
    with pytest.raises(BadInput, match=r"are needed"):
        build(name, Options(coco))


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("instances", "{", "is not JSON"),
        ("instances", "[" * 100_000, "is not JSON"),
        ("instances", [], "should be a JSON object"),
        ("instances", {"images": []}, "no list 'categories'"),
        ("instances", {"categories": [{"id": 1}], "images": [], "annotations": []}, "'name'"),
        ("instances", {"categories": [], "images": [{"id": 1, "width": 0, "height": 5}], "annotations": []}, "0 x 5"),
        ("instances", {"categories": [], "images": [7], "annotations": []}, "entry 0 of 'images'"),
        ("captions", {"annotations": [{"id": 1, "caption": 5, "image_id": 2}]}, "'caption' of the entry with id 1"),
    ],
)
def test_broken_annotation_files_are_named(coco, kind, content, words):
    file = coco / "annotations" / f"{kind}_val2014.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BadInput) as caught:
        build("coco-position", Options(coco, count=1))
    assert str(file) in str(caught.value)
    assert words in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_junk_in_an_annotation_gives_a_sentence_or_boxes_in_the_image(tmp_path_factory, data):
    instances, captions = annotations(images=3)
    junk = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.floats(), max_size=5)
    )
    row = data.draw(st.sampled_from(instances["annotations"] + instances["images"]))
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(junk)
    folder = write(tmp_path_factory.getbasetemp() / "junk", instances, captions)
    try:
        images = read_images(folder / "annotations" / "instances_val2014.json")
    except RadlBenchError:
        return
    boxes = [t.box for i in images.values() for t in i.things]
    assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes)


def test_levels_of_a_built_set_can_be_chosen(coco, tmp_path):
    folder = write_full(build("coco-mig", Options(coco, count=2)), tmp_path)
    assert Counter(s.level for s in load_benchmark(folder).samples) == dict.fromkeys(range(2, 7), 2)
    assert {s.level for s in load_benchmark(folder, level=6).samples} == {6}
    assert load_benchmark(folder, levels="2-6").filter == {}
    assert [s.level for s in load_benchmark(folder).samples] == [2, 3, 4, 5, 6] * 2
