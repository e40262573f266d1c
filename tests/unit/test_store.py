"""The run folder: names, rows, resuming, shards, and what a kill can leave behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import file_sha256
from radl_bench.runs import store
from radl_bench.runs.made import encode_png
from radl_bench.runs.rows import read_rows
from radl_bench.runs.store import RunFolder, find_runs, slug
from radl_bench.runs.writer import Shard

GENERATOR = {"name": "toy", "revision": "1", "model": None, "params": {"steps": 3}, "weights_sha256": None}


def _image(value: int = 0) -> Image.Image:
    return Image.new("RGB", (8, 6), (value, 10, 200))


@pytest.fixture
def create(tiny_benchmark, tmp_path):
    def make(cut=None, **arguments):
        generator = arguments.pop("generator", GENERATOR)
        return RunFolder.create(
            tmp_path / "runs", load_benchmark(tiny_benchmark, **(cut or {})), generator, **arguments
        )

    return make


def _fill(run, ids, **writer):
    with run.writer(**writer) as out:
        for n, sample_id in enumerate(ids):
            out.write_image(sample_id, 0, n, _image(n), 0.5)


def test_a_new_run_lies_where_the_design_says(create, tmp_path):
    run = create(seeds={"policy": "hashed", "base": 7}, environment={"python": "3"}, argv=["radl-bench"])
    assert run.path.parent == tmp_path / "runs" / "tiny" / "toy"
    assert len(run.path.name) == 8
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest == run.manifest == RunFolder.open(run.path).manifest
    assert (manifest["schema_version"], manifest["status"], manifest["argv"]) == (1, "running", ["radl-bench"])
    assert manifest["benchmark"] | {"sha256": ""} == {
        "name": "tiny",
        "version": "1",
        "sha256": "",
        "filter": {},
        "images_per_sample": 1,
        "n_samples": 9,
    }
    assert find_runs(tmp_path / "runs") == find_runs(run.path.parent) == find_runs(run.path) == [run.path]


def test_the_folder_is_that_of_the_configuration_and_not_of_its_extent(create):
    home = create().path
    assert create({"limit": 3}).path == home
    assert create(images_per_sample=4).path == home
    assert create(environment={"device": "cuda"}).path == home
    others = [
        create({"level": 3}),
        create(seeds={"policy": "fixed", "base": 0}),
        create(generator=GENERATOR | {"params": {"steps": 4}}),
        create(generator=GENERATOR | {"weights_sha256": "ab"}),
    ]
    assert len({home, *(run.path for run in others)}) == 5


def test_a_run_found_again_asks_for_the_larger_extent(create):
    assert create({"limit": 3}).planned == 3
    assert create({"limit": 5}, images_per_sample=2).planned == 10
    run = create({"limit": 4})
    assert (run.planned, run.manifest["benchmark"]["filter"]) == (10, {"limit": 5})
    assert create().manifest["benchmark"]["filter"] == {}


def test_another_environment_is_noted_once(create):
    create(environment={"device": "cpu"})
    for _ in range(2):
        run = create(environment={"device": "cuda"}, git={"commit": "c"})
    assert run.manifest["environment"] == {"device": "cpu"}
    assert [r["environment"] for r in run.manifest["resumed_with"]] == [{"device": "cuda"}]


def test_an_image_is_a_png_and_a_row_with_its_sum(create):
    run = create()
    with run.writer() as out:
        row = out.write_image("tiny-000", 0, 11, _image(5), 0.25)
    file = run.path / "images" / "tiny-000_0.png"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(_image(5)))
    assert row | {"at": ""} == {
        "sample_id": "tiny-000",
        "k": 0,
        "seed": 11,
        "file": "images/tiny-000_0.png",
        "sha256": row["sha256"],
        "width": 8,
        "height": 6,
        "seconds": 0.25,
        "status": "ok",
        "error": None,
        "bytes": file.stat().st_size,
        "mtime_ns": file.stat().st_mtime_ns,
        "at": "",
    }
    assert run.rows() == [row]
    assert run.images() == {("tiny-000", 0): file}
    assert sorted(p.name for p in run.images_dir.iterdir()) == ["tiny-000_0.png"]


def test_equal_pixels_give_equal_bytes_whatever_else_the_image_carries():
    noted = io.BytesIO()
    info = PngInfo()
    info.add_text("made", "yesterday")
    _image().save(noted, "PNG", pnginfo=info)
    assert encode_png(Image.open(noted)) == encode_png(_image()) == encode_png(_image().convert("RGBA"))


def test_done_means_a_row_and_the_very_bytes(create):
    run = create()
    _fill(run, ["tiny-000", "tiny-001", "tiny-002"])
    with run.writer() as out:
        out.write_failure("tiny-003", 0, 1, "no luck", 0.1)
    (run.images_dir / "tiny-001_0.png").write_bytes(b"other")
    (run.images_dir / "tiny-002_0.png").unlink()
    assert list(run.done()) == [("tiny-000", 0)]


def test_an_image_is_hashed_only_where_its_size_or_time_differ(create, monkeypatch):
    run, hashed = create(), []
    _fill(run, ["tiny-000", "tiny-001", "tiny-002"])
    monkeypatch.setattr(store, "file_sha256", lambda file: hashed.append(file.name) or file_sha256(file))
    assert len(run.done()) == 3
    assert hashed == []
    os.utime(run.images_dir / "tiny-001_0.png", ns=(1, 1))  # as a copy of the run has it
    (run.images_dir / "tiny-002_0.png").write_bytes(b"other")
    assert run.done() == {("tiny-000", 0), ("tiny-001", 0)}
    assert sorted(hashed) == ["tiny-001_0.png", "tiny-002_0.png"]
    rows = run.path / "generations-0of1.jsonl"
    old = [
        {k: v for k, v in json.loads(line).items() if k not in ("bytes", "mtime_ns")}
        for line in rows.read_bytes().splitlines()
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert run.done() == {("tiny-000", 0), ("tiny-001", 0)}  # rows of an earlier version have neither


def test_images_of_a_large_run_lie_in_sub_folders_and_those_before_stay(create, monkeypatch):
    small = create({"limit": 2})
    _fill(small, ["tiny-000", "tiny-001"])
    monkeypatch.setattr(store, "MOST_FLAT", 8)
    run = create()
    assert (run.path, small.manifest["images"], run.manifest["images"]) == (small.path, "flat", "nested")
    left_over = run.images_dir / ".tiny-003_0.png.0of1.part"
    left_over.touch()
    _fill(run, ["tiny-003"])
    prefix = hashlib.sha256(b"tiny-003_0.png").hexdigest()[:2]
    assert run.images()["tiny-003", 0] == run.images_dir / prefix / "tiny-003_0.png"
    assert run.images()["tiny-000", 0] == run.images_dir / "tiny-000_0.png"
    assert len(run.done()) == 3
    assert sorted(path.name for path in run.images_dir.rglob("*.*")) == [f"tiny-00{n}_0.png" for n in (0, 1, 3)]
    assert RunFolder.open(run.path).manifest["images"] == "nested"
    row = json.loads((run.path / "generations-0of1.jsonl").read_bytes().splitlines()[-1])
    with open(run.path / "generations-0of1.jsonl", "a") as rows:
        rows.write(json.dumps(row | {"file": f"images/{'00' if prefix != '00' else '11'}/tiny-003_0.png"}) + "\n")
    with pytest.raises(BadInput, match="line 4 is not a row"):
        run.rows()


def test_the_newest_row_wins_over_all_shards(create):
    run = create()
    for n, shard in enumerate((Shard(1, 2), Shard(), Shard(0, 2), Shard(1, 2))):
        with run.writer(shard) as out:
            out.write_failure("tiny-000", 0, 1, f"try {n}", 0.1)
    assert [row["error"] for row in run.rows()] == ["try 3"]
    _fill(run, ["tiny-000"])
    assert [row["status"] for row in run.rows()] == ["ok"]
    assert sorted(p.name for p in run.path.glob("*.jsonl")) == [
        "generations-0of1.jsonl",
        "generations-0of2.jsonl",
        "generations-1of2.jsonl",
    ]


@pytest.mark.parametrize("kept", [1, 20, -2, -1])
def test_a_row_that_a_kill_cut_short_is_not_there_and_does_no_harm(create, kept):
    run = create()
    _fill(run, ["tiny-000", "tiny-001"])
    file = run.path / "generations-0of1.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:kept])
    assert list(run.done()) == [("tiny-000", 0)]
    _fill(run, ["tiny-001", "tiny-002"])
    assert [row["sample_id"] for row in read_rows(file)] == ["tiny-000", "tiny-001", "tiny-002"]


def test_an_image_that_a_kill_cut_short_is_cleared_away_by_its_own_shard(create):
    run = create()
    mine, other = run.images_dir / ".tiny-000_0.png.0of2.part", run.images_dir / ".tiny-001_0.png.1of2.part"
    for file in (mine, other):
        file.write_bytes(b"half")
    with run.writer(Shard(0, 2)):
        assert [file.exists() for file in (mine, other)] == [False, True]


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"\x00\x00",
        b'{"sample_id": "a", "k": 0, "status": "fine"}',
        b'{"sample_id": "a", "k": 0, "status": "ok", "sha256": "0", "file": "../../secret.png"}',
        b'{"sample_id": "a", "k": 0, "status": "ok", "sha256": "0", "file": "images/../../secret.png"}',
    ],
)
def test_a_broken_row_in_the_middle_is_named(create, line):
    run = create()
    _fill(run, ["tiny-000"])
    file = run.path / "generations-0of1.jsonl"
    file.write_bytes(line + b"\n" + file.read_bytes())
    with pytest.raises(BadInput, match=r"generations-0of1\.jsonl, line 1 is not a row"):
        run.rows()


def test_status_follows_the_rows(create):
    run = create({"limit": 2})
    assert run.update_status() == "partial"
    assert run.update_status(interrupted=True) == "interrupted"
    _fill(run, ["tiny-000"])
    with run.writer() as out:
        out.write_failure("tiny-001", 0, 1, "no luck", 0.1)
    assert run.update_status() == "failed"
    _fill(run, ["tiny-001"])
    assert run.update_status(interrupted=True) == "complete"
    assert create({"limit": 3}).update_status() == "partial"


def test_a_shard_has_one_writer_at_a_time(create):
    run = create()
    busy = pytest.raises(UsageError, match="Another process is writing shard 1/2")
    with run.writer(Shard(0, 2)), run.writer(Shard(1, 2)), busy, run.writer(Shard(0, 2)):
        pass
    with run.writer(Shard(0, 2)):
        pass


def test_shards_that_end_together_leave_the_run_complete(create):
    run = create({"limit": 8})
    parts = [(Shard(i, 8), f"tiny-{i:03d}") for i in range(8)]
    barrier = threading.Barrier(8)

    def work(shard, sample_id):
        own = RunFolder.open(run.path)
        _fill(own, [sample_id], shard=shard)
        barrier.wait()
        own.update_status()

    threads = [threading.Thread(target=work, args=part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert RunFolder.open(run.path).manifest["status"] == "complete"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, MissingData, "is not a run"),
        ("{", BadInput, "is not JSON"),
        ("[1]", BadInput, "not the manifest"),
        ('{"schema_version": 2}', BadInput, "newer radl-bench"),
        ('{"schema_version": 1}', BadInput, "not the manifest"),
        ('{"schema_version": 1, "status": "", "benchmark": [], "generator": {}, "seeds": {}}', BadInput, "benchmark"),
    ],
)
def test_a_folder_that_is_no_run_is_a_sentence(tmp_path, content, error, words):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(error, match=words):
        RunFolder.open(tmp_path)


def test_settings_that_are_no_json_are_refused_before_anything_is_written(create, tmp_path):
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        create(generator=GENERATOR | {"params": {"x": object()}})
    assert not (tmp_path / "runs").exists()


@given(st.text(max_size=80))
def test_any_name_gives_a_folder_of_one_part_or_a_sentence(name):
    try:
        text = slug(name)
    except UsageError:
        assert not any(c.isascii() and (c.isalnum() or c == "_") for c in name)
    else:
        assert text
        assert not set(text) & set('/\\:*?"<>| ')
        assert text not in (".", "..")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", ""])
def test_a_bad_shard_is_a_sentence(text):
    with pytest.raises(UsageError, match="--shard 1/3"):
        Shard.parse(text)


def test_shards_count_from_one_on_the_command_line_and_from_zero_in_names():
    assert Shard.parse("2/3") == Shard(1, 3)
    assert (Shard(1, 3).name, str(Shard(1, 3))) == ("1of3", "2/3")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("benchmark.images_per_sample", 10**7, "must be at least 1 and at most 10000, not 10000000"),
        ("benchmark.images_per_sample", 0, "must be at least 1"),
        ("benchmark.images_per_sample", "3", "'benchmark.images_per_sample' must be given as int, not '3'"),
        ("benchmark.images_per_sample", True, "must be given as int"),
        ("benchmark.n_samples", 10**400, "'benchmark.n_samples' must be given as int, not inf"),
        ("benchmark.filter", {"levl": 2}, "knows level, levels, limit and ids, not 'levl'"),
        ("benchmark.filter", {"ids": [1]}, "'benchmark.filter.ids' must be a list of str"),
        ("benchmark.filter", {"limit": 2.5}, "'benchmark.filter.limit' must be given as int"),
        ("benchmark.sha256", None, "'benchmark.sha256' must be given as str"),
        ("generator", [], "'generator' must be given as dict"),
        ("generator.name", "\ud800", r"the text '\ud800' holds half a surrogate pair"),
        ("argv", ["\udcff"], None),
        ("seeds", None, "'seeds' must be given as dict"),
        ("status", 3, "'status' must be given as str"),
    ],
)
def test_a_wrong_value_of_a_manifest_is_named(create, key, value, words):
    run = create()
    manifest = table = json.loads((run.path / "manifest.json").read_text())
    *path, last = key.split(".")
    for part in path:
        table = table[part]
    table[last] = value
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    if words is None:
        assert RunFolder.open(run.path).planned == 9
        return
    with pytest.raises(BadInput) as caught:
        RunFolder.open(run.path)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("seconds", [-3600, 30])
def test_clocks_that_differ_are_told_before_any_work(tiny_benchmark, tmp_path, seconds):
    """A row from the future would win over any that is written now, so its image would be made again and again."""
    from datetime import datetime, timedelta, timezone

    benchmark = load_benchmark(tiny_benchmark)
    about = {"name": "m", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path, benchmark, about)
    with run.writer() as writer:
        writer.write_failure(benchmark.samples[0].id, 0, 1, "it failed", 0.0)
    (file,) = run.path.glob("generations-*")
    row = json.loads(file.read_text())
    for ahead, refused in ((seconds, False), (7200, True)):
        row["at"] = (datetime.now(timezone.utc) + timedelta(seconds=ahead)).isoformat(timespec="microseconds")
        file.write_text(json.dumps(row) + "\n")
        if refused:
            with pytest.raises(UsageError, match=r"the clocks of two machines differ"):
                run.done()
        else:
            assert run.done() == set()
