"""Builders of the full-size benchmarks: on an annotation folder made here, and on real annotations where at hand."""

from __future__ import annotations

import io
import json
import os
import random
import re
import zipfile
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from http_server import serve
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from radl_bench.benchmark import load_benchmark
from radl_bench.builders import MANIFEST, Options, build, full_folder, write_full
from radl_bench.builders.coco import read_images
from radl_bench.builders.coco_position import kept_things
from radl_bench.builders.draw import grid, pick, ranked
from radl_bench.builders.geometry import relation
from radl_bench.cli import build_app
from radl_bench.download import RemoteFile
from radl_bench.errors import BadInput, MissingData, RadlBenchError, UsageError
from radl_bench.fetch import catalogue
from radl_bench.importers import samples_bytes
from radl_bench.types import COLORS

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RADL_BENCH_SHARED", ROOT.parent / "shared"))
TINY = SHARED / "data" / "coco_tiny"
needs_tiny = pytest.mark.skipif(not (TINY / "instances_val2017.json").is_file(), reason="COCO_Tiny is not at hand")

NAMES = ["person", "car", "dog", "cup", "bench", "hot dog"]


def _annotations(images: int = 60, seed: int = 0) -> tuple[dict, dict]:
    """COCO's two files for random images of 1 to 9 boxes; one in ten holds a crowd region or lacks a caption."""
    rng = random.Random(seed)
    instances = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]}
    captions = {"images": [], "annotations": []}
    for key in rng.sample(range(1000), images):
        width, height = rng.choice([(640, 480), (480, 640), (500, 375)])
        name = f"COCO_val2014_{key:012d}.jpg"
        instances["images"].append({"id": key, "file_name": name, "width": width, "height": height, "license": 1})
        for _ in range(rng.randint(1, 9)):
            w, h = (rng.uniform(0.08, 0.6) * side for side in (width, height))
            box = [round(rng.uniform(0, width - w), 2), round(rng.uniform(0, height - h), 2), round(w, 2), round(h, 2)]
            row = {"id": rng.randrange(10**9), "image_id": key, "category_id": rng.randint(1, 6), "bbox": box}
            crowd = {"iscrowd": int(rng.random() < 0.02), "segmentation": [[0, 0, 1, 1]], "area": w * h / 2}
            instances["annotations"].append(row | crowd)
        for n in range(0 if rng.random() < 0.05 else 5):
            text = f"A dog number {n}\n leaning  against a car "
            captions["annotations"].append({"id": rng.randrange(10**9), "image_id": key, "caption": text})
    return instances, captions


@pytest.fixture
def coco(tmp_path) -> Path:
    return _write(tmp_path / "coco", *_annotations())


def _write(folder: Path, instances: object, captions: object) -> Path:
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for kind, content in (("instances", instances), ("captions", captions)):
        (folder / "annotations" / f"{kind}_val2014.json").write_text(json.dumps(content))
    return folder


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
    instances, captions = _annotations()
    first = build(name, Options(_write(tmp_path / "a", instances, captions), count=2))
    rng = random.Random(3)
    for content in (instances, captions):
        for rows in content.values():
            rng.shuffle(rows)
    again = build(name, Options(_write(tmp_path / "b", instances, captions), count=2))
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


def test_coco_mig_takes_the_six_largest_in_the_order_of_the_annotations(coco):
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
    instances, captions = _annotations(images=3)
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
    folder = _write(tmp_path_factory.getbasetemp() / "junk", instances, captions)
    try:
        images = read_images(folder / "annotations" / "instances_val2014.json")
    except RadlBenchError:
        return
    boxes = [t.box for i in images.values() for t in i.things]
    assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes)


def test_the_command_writes_a_benchmark_that_loads_and_a_manifest_with_every_sum(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    done = run(build_app(), ["data", "build", "coco-position", "--coco", str(coco), "--count", "6"])
    assert done.exit_code == 0, done.output
    assert "radl-bench generate coco-position-full" in done.output
    assert "fid_reference.txt" in done.output
    folder = full_folder("coco-position")
    benchmark = load_benchmark("coco-position-full")
    assert (len(benchmark.samples), benchmark.images_per_sample) == (6, 8)
    assert benchmark.metrics["fid"] == {"reference": "coco-position-full"}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(manifest["files"]) == {"samples.jsonl", "image_ids.txt", "fid_reference.txt"}
    for name, digest in manifest["files"].items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    for name, digest in manifest["sources"].items():
        assert sha256((coco / "annotations" / name).read_bytes()).hexdigest() == digest
    assert (manifest["seed"], manifest["rules"]["smallest_side"]) == (20262, 0.125)
    listed = run(build_app(), ["ls", "benchmarks"]).output
    assert "built: coco-position-full" in " ".join(listed.split())
    assert run(build_app(), ["data", "verify", "coco-position-full"]).exit_code == 0
    (folder / "image_ids.txt").write_text("1\n")
    checked = run(build_app(), ["data", "verify", "coco-position-full"])
    assert isinstance(checked.exception, BadInput)
    assert "image_ids.txt is not what manifest.json says" in " ".join(checked.output.split())


def test_levels_of_a_built_set_can_be_chosen(coco, tmp_path):
    folder = write_full(build("coco-mig", Options(coco, count=2)), tmp_path)
    assert Counter(s.level for s in load_benchmark(folder).samples) == dict.fromkeys(range(2, 7), 2)
    assert {s.level for s in load_benchmark(folder, level=6).samples} == {6}
    assert load_benchmark(folder, levels="2-6").filter == {}
    assert [s.level for s in load_benchmark(folder).samples] == [2, 3, 4, 5, 6] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["coco-posit", "--coco", "x"], "Did you mean 'coco-position'"),
        (["coco-mig"], "--coco DIR, or --download"),
        (["coco-mig", "--coco", "x", "--download"], "--coco DIR, or --download"),
        (["coco-mig", "--download", "--split", "val2017"], "val2014 alone"),
    ],
)
def test_calls_that_cannot_be_meant_are_sentences(arguments, words):
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(build_app(), ["data", "build", *arguments], catch_exceptions=False)
    assert words in str(caught.value)


def test_offline_a_build_names_all_it_would_download(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingData) as caught:
        CliRunner().invoke(
            build_app(),
            ["data", "build", "coco-position", "--download", "--images", "--offline"],
            catch_exceptions=False,
        )
    assert re.findall(r"radl-bench fetch (\S+)", str(caught.value)) == ["coco-annotations", "coco-val2014"]


def test_a_build_gets_the_annotations_itself_once(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for file in sorted((coco / "annotations").iterdir()):
            archive.write(file, f"annotations/{file.name}")
        archive.writestr("annotations/instances_train2014.json", "{}")
    body = stream.getvalue()
    arguments = ["data", "build", "coco-mig", "--download", "--count", "2"]
    with serve() as shop:
        shop.goods["/annotations.zip"] = body
        remote = RemoteFile("annotations.zip", f"{shop.url}/annotations.zip", len(body), sha256(body).hexdigest())
        item = replace(catalogue()["coco-annotations"], files=(remote,))
        monkeypatch.setattr("radl_bench.fetch.catalogue", lambda: {"coco-annotations": item, "coco-val2014": item})
        first = CliRunner().invoke(build_app(), arguments)
        assert first.exit_code == 0, first.output
        data = (full_folder("coco-mig") / "samples.jsonl").read_bytes()
        CliRunner().invoke(build_app(), [*arguments, "--offline"], catch_exceptions=False)
        assert len(shop.asked) == 1
    assert data == (full_folder("coco-mig") / "samples.jsonl").read_bytes()
    assert data == samples_bytes(build("coco-mig", Options(coco, count=2)).samples)
    kept = sorted(p.name for p in (tmp_path / "home" / "data" / "coco-annotations" / "annotations").iterdir())
    assert kept == ["captions_val2014.json", "instances_val2014.json"]


def test_the_list_of_benchmarks_names_size_source_and_whether_the_full_one_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    words = " ".join(CliRunner().invoke(build_app(), ["ls", "benchmarks"]).output.replace("│", " ").split())
    assert "coco-mig 1 800 2-6: 160 each 1 embedded not built: radl-bench data build" in words
    assert "coco-position 1 160 2-6: 32 each 2 embedded not built: radl-bench data build" in words
    assert re.search(r"drawbench \S+ 60 ", words)


RELATIONS = [
    ((0.0, 0.4, 0.2, 0.6), (0.6, 0.4, 0.9, 0.6), "left of"),
    ((0.6, 0.4, 0.9, 0.6), (0.0, 0.4, 0.2, 0.6), "right of"),
    ((0.4, 0.0, 0.6, 0.2), (0.4, 0.6, 0.6, 0.9), "above"),
    ((0.4, 0.6, 0.6, 0.9), (0.4, 0.0, 0.6, 0.2), "below"),
    ((0.4, 0.3, 0.6, 0.65), (0.1, 0.6, 0.9, 1.0), "on top of"),
    ((0.4, 0.3, 0.6, 0.9), (0.1, 0.6, 0.9, 1.0), None),  # it reaches below the middle
    ((0.0, 0.3, 1.0, 0.65), (0.1, 0.6, 0.9, 1.0), "above"),  # wider than what it would stand on
    ((0.2, 0.2, 0.8, 0.8), (0.3, 0.3, 0.7, 0.7), None),  # around it
    ((0.0, 0.0, 0.5, 0.5), (0.4, 0.4, 0.9, 0.9), None),  # neither axis leads
]


@pytest.mark.parametrize(("a", "b", "predicate"), RELATIONS)
def test_relations_of_boxes(a, b, predicate):
    assert relation(a, b) == predicate


SIDES = st.tuples(*[st.floats(0, 1)] * 4).map(lambda v: (*sorted(v[::2]), *sorted(v[1::2])))
BOXES = SIDES.map(lambda v: (v[0], v[2], v[1], v[3])).filter(lambda b: b[2] - b[0] > 0.01 and b[3] - b[1] > 0.01)


@given(BOXES, BOXES)
def test_relations_turn_with_the_pair_and_with_the_picture(a, b):
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", None: None}
    found = relation(a, b)
    if "on top of" not in (found, relation(b, a)):
        assert relation(b, a) == opposite[found]
        mirrored = relation(*((1 - x1, y0, 1 - x0, y1) for x0, y0, x1, y1 in (a, b)))
        if all(abs(v - 0.25) > 1e-6 for v in _shares(a, b)):
            assert mirrored in (found if found in ("above", "below", None) else opposite[found], "on top of")
    if found == "on top of":
        assert a[1] < b[1]


def _shares(a, b):
    return [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) / min(a[i + 2] - a[i], b[i + 2] - b[i]) for i in (0, 1)]


@given(st.sets(st.integers(0, 10**6), min_size=3), st.integers(0, 99))
def test_a_key_more_leaves_the_order_of_the_others(keys, seed):
    order = ranked(keys, seed, "x")
    gone = order[1]
    assert ranked(keys - {gone}, seed, "x") == [key for key in order if key != gone]


def test_picks_are_even():
    counts = Counter(pick(7, 1, "colour", key) for key in range(7000))
    assert all(abs(count - 1000) < 4 * 29.3 for count in counts.values())  # standard deviation 29.3


@given(BOXES)
def test_rounding_goes_outwards_and_stays_in_the_image(box):
    rounded = grid(box)
    assert all(0 <= v <= 1 and round(v, 4) == v for v in rounded)
    assert rounded[0] <= box[0] <= box[2] <= rounded[2]
    assert rounded == pytest.approx(box, abs=1.1e-4)
