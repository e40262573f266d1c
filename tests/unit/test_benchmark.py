"""Loading benchmarks: what is kept, what is refused, and with which words."""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radl_bench.benchmarks.loading import benchmark_folders, benchmark_of, load_benchmark, parse_levels, source_of
from radl_bench.benchmarks.samples import parse_samples
from radl_bench.errors import BadInput, MissingData, RadlBenchError, UsageError
from tests.conftest import tiny_row


def test_rows_become_nouns(make_benchmark):
    row = tiny_row(0, 2) | {"relations": [[0, "left of", 1]], "verbs": "leaning", "tags": ["a"]}
    loaded = load_benchmark(make_benchmark([row]))
    (sample,) = loaded.samples
    assert (sample.id, sample.level, sample.verbs, sample.tags) == ("tiny-000", 2, "leaning", ("a",))
    assert sample.instances[1].box == (0.5, 0.25, 1.0, 0.75)
    assert (sample.relations[0].subject, sample.relations[0].predicate, sample.relations[0].object) == (0, "left of", 1)
    assert (loaded.metrics, loaded.filter) == ({"success": {"iou": 0.5}}, {})


def test_the_embedded_set_loads_by_name_with_dash_or_underscore():
    assert load_benchmark("coco-mig") == load_benchmark("coco_mig")
    assert Counter(s.level for s in load_benchmark("coco-mig", level=6).samples) == {6: 160}
    assert "coco-mig" in benchmark_folders()
    assert source_of("coco-mig") is None


def test_the_users_folder_is_searched_too(make_benchmark, tmp_path, monkeypatch):
    folder = make_benchmark(name="my-set")
    folder.rename(folder.with_name("my_set"))
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    assert load_benchmark("my-set").name == "my-set"


@pytest.mark.parametrize(
    ("cut", "levels", "kept"),
    [
        ({"level": 3}, {3: 3}, {"level": 3}),
        ({"levels": "2,4"}, {2: 3, 4: 3}, {"levels": [2, 4]}),
        ({"levels": "3-3"}, {3: 3}, {"level": 3}),
        ({"levels": "2-4"}, {2: 3, 3: 3, 4: 3}, {}),
        ({"limit": 4}, {2: 2, 3: 1, 4: 1}, {"limit": 4}),
        ({"limit": 99}, {2: 3, 3: 3, 4: 3}, {}),
        ({"level": 4, "limit": 2}, {4: 2}, {"level": 4, "limit": 2}),
        ({"ids": ["tiny-004", "tiny-001"]}, {3: 2}, {"ids": ["tiny-001", "tiny-004"]}),
    ],
)
def test_cuts_keep_what_they_say_and_can_be_repeated(tiny_benchmark, cut, levels, kept):
    loaded = load_benchmark(tiny_benchmark, **cut)
    assert Counter(s.level for s in loaded.samples) == levels
    assert loaded.filter == kept
    assert load_benchmark(tiny_benchmark, **kept) == loaded
    ids = [s.id for s in loaded.samples]
    assert ids == sorted(ids)


def test_a_smaller_limit_is_a_part_of_a_larger_one():
    sets = [{s.id for s in load_benchmark("coco-mig", limit=n).samples} for n in (1, 7, 40, 41, 300)]
    assert [len(s) for s in sets] == [1, 7, 40, 41, 300]
    assert all(small < large for small, large in itertools.pairwise(sets))
    assert Counter(s.level for s in load_benchmark("coco-mig", limit=40).samples) == dict.fromkeys(range(2, 7), 8)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ({"level": 7}, "has no level 7. Its levels: 2, 3, 4."),
        ({"levels": "4-2"}, "Write a range like 2-6"),
        ({"levels": "two"}, "Write a range like 2-6"),
        ({"levels": []}, "no such level. Its levels"),
        ({"level": 2, "levels": "2-3"}, "Give one of them"),
        ({"limit": 0}, "--limit 1 or more"),
        ({"ids": ["nope"]}, "has no sample 'nope'"),
        ({"ids": []}, "No sample"),
    ],
)
def test_cuts_that_leave_nothing_are_sentences(tiny_benchmark, cut, words):
    with pytest.raises(UsageError) as caught:
        load_benchmark(tiny_benchmark, **cut)
    assert words in str(caught.value)


def test_unknown_names_and_folders_are_sentences(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'coco-mig'"):
        load_benchmark("coco-mgi")
    with pytest.raises(MissingData, match=r"no benchmark\.toml"):
        load_benchmark(tmp_path)
    with pytest.raises(MissingData, match=r"no benchmark\.toml"):
        load_benchmark("no/such/folder")


def test_a_changed_samples_file_is_refused_with_both_sums(tiny_benchmark):
    file = tiny_benchmark / "samples.jsonl"
    file.write_bytes(file.read_bytes().replace(b"tiny-008", b"tiny-009"))
    with pytest.raises(BadInput, match=r"has sha256 .* but benchmark\.toml says"):
        load_benchmark(tiny_benchmark)


def test_a_missing_samples_file_is_a_sentence(tiny_benchmark):
    (tiny_benchmark / "samples.jsonl").unlink()
    with pytest.raises(MissingData, match=r"samples\.jsonl cannot be read"):
        load_benchmark(tiny_benchmark)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": 1}, "'version' must be given as str"),
        ({"images_per_sample": 0}, "at least 1"),
        ({"images_per_sample": 10**7}, "'images_per_sample' must be at least 1 and at most 10000, not 10000000"),
        ({"resolution": 2**20}, "'resolution' must be at least 1 and at most 16384"),
        ({"images_per_sample": True}, "'images_per_sample' must be given as int"),
        ({"name": "../up"}, "'name' must be lower-case"),
    ],
)
def test_a_bad_toml_names_the_key(make_benchmark, fields, words):
    folder = make_benchmark(**{"name": "tiny"})
    text = (folder / "benchmark.toml").read_text()
    for key, value in fields.items():
        old = next(line for line in text.splitlines() if line.startswith(f"{key} ="))
        text = text.replace(old, f"{key} = {json.dumps(value)}")
    (folder / "benchmark.toml").write_text(text)
    with pytest.raises(BadInput) as caught:
        load_benchmark(folder)
    assert words in str(caught.value)


def test_a_toml_that_is_none_is_a_sentence(tiny_benchmark):
    (tiny_benchmark / "benchmark.toml").write_bytes(b"name = \xff")
    with pytest.raises(BadInput, match="is not TOML"):
        load_benchmark(tiny_benchmark)


def _instance(**changes):
    row = tiny_row(1, 2)
    row["instances"][1] |= changes
    return row


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "byte 1 is not UTF-8"),
        (b"[" * 100_000, "line 2"),
        ([], "must be a JSON object"),
        (tiny_row(0, 2), "the id 'tiny-000' is taken by line 1"),
        (tiny_row(0, 2) | {"id": "TINY-000"}, "is taken by line 1"),
        (tiny_row(1, 2) | {"id": "../../etc"}, "'id' must be"),
        (tiny_row(1, 2) | {"id": 7}, "'id' must be"),
        (tiny_row(1, 2) | {"prompt": " "}, "'prompt' is empty"),
        (tiny_row(1, 2) | {"prompt": "\ud800"}, "surrogate"),
        (tiny_row(1, 2) | {"instances": []}, "at least one"),
        (tiny_row(1, 2) | {"instances": {}}, "'instances' must be a list"),
        (tiny_row(1, 2) | {"instance": []}, "Did you mean 'instances'"),
        (tiny_row(1, 2) | {"relations": [[0, "left of", 2]]}, "a relation must be"),
        (tiny_row(1, 2) | {"relations": [[0, "left of", 0]]}, "a relation must be"),
        (tiny_row(1, 2) | {"relations": [[0, True]]}, "a relation must be"),
        (tiny_row(1, 2) | {"tags": [1]}, "a tag must be a string"),
        (_instance(colour="red"), "Did you mean 'color'"),
        (_instance(color="reed"), "Did you mean 'red'"),
        (_instance(color=["red"]), "Unknown color"),
        (_instance(phrase=""), "instance 1: 'phrase' is empty"),
        (_instance(category=None), "instance 1: 'category' must be a string"),
        (_instance(box=[0, 0, 1]), "four finite numbers"),
        (_instance(box=[0, 0, 1, float("nan")]), "four finite numbers"),
        (_instance(box=[0, 0, 1, True]), "four finite numbers"),
        (_instance(box=[0.5, 0, 0.5, 1]), "0 <= x0 < x1 <= 1"),
        (_instance(box=[0, 0.9, 1, 0.1]), "0 <= x0 < x1 <= 1"),
        (_instance(box=[0, 0, 1.01, 1]), "0 <= x0 < x1 <= 1"),
        (_instance(box=[0, 0, 10**400, 1]), "line 2"),
    ],
)
def test_a_bad_row_is_named_with_its_line(make_benchmark, row, words):
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    folder = make_benchmark(json.dumps(tiny_row(0, 2)).encode() + b"\n" + line + b"\n")
    with pytest.raises(BadInput) as caught:
        load_benchmark(folder)
    assert "samples.jsonl, line 2: " in str(caught.value)
    assert words in str(caught.value)


def test_a_file_without_samples_is_refused(make_benchmark):
    with pytest.raises(BadInput, match="holds no sample"):
        load_benchmark(make_benchmark(b"\n\n"))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_junk_anywhere_in_a_row_gives_a_sample_or_a_sentence(data):
    row = copy.deepcopy(tiny_row(1, 2) | {"relations": [[0, "left of", 1]], "tags": ["x"]})
    *parents, last = data.draw(st.sampled_from([p for p in _places(row) if p]))
    target = row
    for key in parents:
        target = target[key]
    target[last] = data.draw(JUNK)
    line = json.dumps(row).encode()
    try:
        samples = parse_samples(line, "x.jsonl")
    except RadlBenchError:
        with pytest.raises(BadInput, match=r"^x\.jsonl, line 1: "):
            parse_samples(line, "x.jsonl")
    else:
        assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in (i.box for i in samples[0].instances))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_give_a_traceback(content):
    with pytest.raises(BadInput):
        parse_samples(content, "x.jsonl")


@given(st.sets(st.integers(1, 99), min_size=1))
def test_levels_are_read_as_written(levels):
    assert parse_levels(",".join(map(str, levels))) == sorted(levels)
    assert parse_levels(f"{min(levels)}-{max(levels)}") == list(range(min(levels), max(levels) + 1))


def test_a_run_finds_its_benchmark_again_and_notices_a_change(tiny_benchmark, make_benchmark):
    loaded = load_benchmark(tiny_benchmark, level=3, limit=2)
    recorded = {"name": "tiny", "sha256": loaded.samples_sha256, "filter": loaded.filter}
    manifest = {"benchmark": recorded | {"source": source_of(tiny_benchmark)}}
    assert benchmark_of(manifest) == loaded
    make_benchmark([tiny_row(n, 3) for n in range(4)])
    with pytest.raises(MissingData, match="Generate the run again"):
        benchmark_of(manifest)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nan", "'metrics.success.iou' must be a fraction from 0 to 1, not nan"),
        ("inf", "'metrics.success.iou' must be a fraction from 0 to 1, not inf"),
        ("2e9", "must be a fraction from 0 to 1, not 2000000000.0"),
        ("-0.1", "must be a fraction from 0 to 1"),
        ("true", "must be a fraction from 0 to 1, not True"),
        ('".5"', "must be a fraction from 0 to 1, not '.5'"),
        ("[0.5]", "must be a fraction from 0 to 1"),
        ("0.5\nother = nan", "'metrics.success.other' must be a finite number, not nan"),
        ('0.5\nother = "a\\nb"', "'metrics.success.other' must be one line of 1 to 200 characters"),
        ('0.5\nother = "\\u001b[2J"', "must be one line of 1 to 200 characters"),
        ('0.5\nother = ""', "must be one line of 1 to 200 characters"),
    ],
)
def test_a_value_that_no_metric_can_mean_is_refused_when_the_benchmark_is_read(make_benchmark, value, words):
    folder = make_benchmark()
    file = folder / "benchmark.toml"
    text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("iou"))
    file.write_text(text.replace("[metrics.success]", f"[metrics.success]\niou = {value}"))
    with pytest.raises(BadInput) as caught:
        load_benchmark(folder)
    assert words in str(caught.value)
