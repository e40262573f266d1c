"""What a benchmark promises is checked row by row, and no broken file ends in a traceback."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import string
import time
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.agreement import names_category, names_color
from radl_bench.benchmarks.loading import benchmark_folders, load_benchmark
from radl_bench.benchmarks.samples import find_problems, parse_samples
from radl_bench.benchmarks.verify import verify
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, RadlBenchError, UsageError
from tests.conftest import tiny_row

BROKEN_FILES = 2000


@pytest.mark.parametrize(
    ("phrase", "category", "named"),
    [
        ("a red car", "car", True),
        ("Black Banana", "banana", True),
        ("two hot dogs", "hot dog", True),
        ("three sheep", "sheep", True),
        ("four mice", "mouse", True),
        ("knives", "knife", True),
        ("a car", "cars", True),
        ("some people", "person", True),
        ("two buses", "bus", True),
        ("six benches", "bench", True),
        ("a man", "person", False),
        ("a dog that is hot", "hot dog", False),
        ("a red car", "truck", False),
        ("a red car", "!", False),
    ],
)
def test_a_phrase_names_its_class_in_singular_or_plural(phrase, category, named):
    assert names_category(phrase, category) is named


@pytest.mark.parametrize(("phrase", "color", "named"), [("Red Car", "red", True), ("a reddish car", "red", False)])
def test_a_phrase_names_its_colour_as_a_word(phrase, color, named):
    assert names_color(phrase, color) is named


def _changed(**changes):
    row = tiny_row(1, 2)
    row["instances"][1] |= changes
    return row


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_changed(category="truck"), "instance 1: the phrase 'a blue bench' does not name its category 'truck'"),
        (_changed(color="red"), "instance 1: the phrase 'a blue bench' does not name its color 'red'"),
        (tiny_row(1, 3), "it has 3 instances, but benchmark.toml promises the levels 2"),
    ],
)
def test_a_row_that_breaks_a_promise_is_named_with_its_line(row, words):
    data = b"".join(json.dumps(r).encode() + b"\n" for r in (tiny_row(0, 2), row))
    with pytest.raises(BadInput) as caught:
        parse_samples(data, "x.jsonl", levels=[2])
    assert str(caught.value).startswith("x.jsonl, line 2: ")
    assert words in str(caught.value)


def test_phrases_may_be_free_where_the_benchmark_says_so(make_benchmark):
    rows = [_changed(category="person", phrase="a blue man")]
    with pytest.raises(BadInput, match='write phrases = "free"'):
        load_benchmark(make_benchmark(rows))
    assert load_benchmark(make_benchmark(rows, phrases="free")).samples[0].instances[1].category == "person"
    with pytest.raises(BadInput, match="'phrases' must be"):
        load_benchmark(make_benchmark(rows, phrases="loose"))


def _promise(folder: Path, levels: str) -> Path:
    file = folder / "benchmark.toml"
    file.write_text(file.read_text() + f"[levels]\n{levels}\n")
    return folder


def test_levels_are_as_promised(make_benchmark):
    assert len(load_benchmark(_promise(make_benchmark(), "2 = 3\n3 = 3\n4 = 3")).samples) == 9
    with pytest.raises(BadInput, match=r"has 3 samples of level 4; benchmark\.toml promises 4"):
        load_benchmark(_promise(make_benchmark(), "2 = 3\n3 = 3\n4 = 4"))
    with pytest.raises(BadInput, match="line 2: it has 3 instances"):
        load_benchmark(_promise(make_benchmark(), "2 = 3\n4 = 3"))
    for broken in ("x = 3", "2 = 0", "2 = true", "2 = '3'", "1234 = 1"):
        with pytest.raises(BadInput, match="'levels' must be a table"):
            load_benchmark(_promise(make_benchmark(), broken))


@pytest.mark.parametrize("name", ["coco-mig", "coco-position"])
def test_the_embedded_sets_promise_their_levels(name):
    text = (benchmark_folders()[name] / "benchmark.toml").read_text("utf-8")
    counts = Counter(s.level for s in load_benchmark(name).samples)
    assert "[levels]\n" + "".join(f"{level} = {n}\n" for level, n in sorted(counts.items())) in text


def test_all_problems_of_a_file_are_found_at_once():
    rows = [tiny_row(0, 2), _changed(color="red"), tiny_row(2, 2) | {"prompt": ""}, tiny_row(0, 2)]
    problems = find_problems(b"\n".join(json.dumps(row).encode() for row in rows), "x.jsonl")
    assert [p.split(":")[0] for p in problems] == ["x.jsonl, line 2", "x.jsonl, line 3", "x.jsonl, line 4"]
    assert find_problems(b"", "x.jsonl") == ["x.jsonl holds no sample; expected one JSON object a line."]


def test_verify_names_every_bad_line_and_ends_with_exit_code_2(make_benchmark):
    good = make_benchmark(name="good")
    assert [c.problems for c in verify(str(good))] == [[]]
    bad = make_benchmark([_changed(color="red") | {"id": f"a{n}"} for n in range(30)], name="bad")
    (checked,) = verify(str(bad))
    assert len(checked.problems) == 21
    assert checked.problems[-1].endswith("and 10 more lines.")
    done = CliRunner().invoke(build_app(), ["data", "verify", str(bad)])
    assert isinstance(done.exception, BadInput)
    assert done.exception.exit_code == 2
    assert "line 20" in done.output


def test_verify_notices_a_changed_byte_and_an_unknown_name(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    shutil.copytree(benchmark_folders()["coco-position"], folder)
    file = folder / "samples.jsonl"
    file.write_bytes(file.read_bytes().replace(b"0.5", b"0.6", 1))
    (checked,) = verify(str(folder))
    assert "has sha256" in checked.problems[0]
    with pytest.raises(UsageError, match="Did you mean 'coco-mig'"):
        list(verify("coco-mog"))
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="radl-bench fetch inception"):
        list(verify("inception"))


def test_verify_checks_everything_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    found = {c.name: c.problems for c in verify()}
    assert found["coco-mig"] == found["coco-position"] == []


# ---- 2,000 broken files ----

JUNK = [
    None,
    True,
    -1,
    0,
    2**70,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "red",
    "\x00",
    "\ud800",
    [],
    {},
    [[]],
]


def _junk(rng: random.Random) -> object:
    if rng.random() < 0.2:
        return "".join(rng.choices(string.printable + "äπ\u2028", k=rng.randrange(40)))
    return copy.deepcopy(rng.choice(JUNK))


def _places(value: object, path: tuple = ()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _mutate_rows(rows: list, rng: random.Random) -> None:
    """Put junk somewhere, drop something, double something, or swap two things."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(rows))
        if not places:
            return
        *parents, last = rng.choice(places)
        target = rows
        for key in parents:
            target = target[key]
        kind = rng.randrange(4)
        if kind == 0:
            target[last] = _junk(rng)
        elif kind == 1:
            del target[last]
        elif kind == 2 and isinstance(target, list):
            target.insert(last, copy.deepcopy(target[last]))
        elif isinstance(target, dict):
            target[str(_junk(rng))] = target.pop(last)
        else:
            rng.shuffle(target)


def _mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, or put in bytes."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            content[at:] = b""
        elif kind == 1:
            content[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif kind == 2:
            content[at:at] = content[at : at + rng.randrange(1, 300)]
        elif kind == 3:
            content[at:at] = rng.choice(
                [b"[" * 5000, b"9" * 5000, b"\xef\xbb\xbf", b"\r\n\x00", b'"', b"\n{}\n", b"=", b"[["]
            )
        else:
            del content[at : at + rng.randrange(1, 30)]
    return bytes(content)


def _broken(rng: random.Random, toml: str) -> tuple[bytes, bytes]:
    """Return samples.jsonl and benchmark.toml of which at least one is broken; the sum is mostly made to fit."""
    rows = [tiny_row(n, 2 + n % 3) | {"relations": [[0, "left of", 1]], "tags": ["t"]} for n in range(4)]
    kind = rng.randrange(3)
    if kind == 0:
        _mutate_rows(rows, rng)
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if kind == 1:
        data = _mutate_bytes(data, rng)
    table = toml.replace("SUM", hashlib.sha256(data).hexdigest() if rng.random() < 0.9 else "0" * 64).encode()
    return data, _mutate_bytes(table, rng) if kind == 2 else table


def _load(folder: Path) -> tuple[tuple, RadlBenchError | None]:
    try:
        return load_benchmark(folder).samples, None
    except RadlBenchError as error:
        return (), error


def test_two_thousand_broken_files_give_a_sound_benchmark_or_a_sentence_and_soon(make_benchmark):
    folder = _promise(make_benchmark([tiny_row(n, 2 + n % 3) for n in range(4)]), "2 = 2\n3 = 1\n4 = 1")
    loaded = load_benchmark(folder)
    toml = (folder / "benchmark.toml").read_text().replace(loaded.samples_sha256, "SUM")
    outcomes: Counter[str] = Counter()
    start, slowest = time.process_time(), 0.0
    for number in range(BROKEN_FILES):
        data, table = _broken(random.Random(number), toml)
        (folder / "samples.jsonl").write_bytes(data)
        (folder / "benchmark.toml").write_bytes(table)
        before = time.process_time()
        samples, problem = _load(folder)
        outcomes[type(problem).__name__] += 1
        assert len(str(problem)) < 1000, number
        boxes = [i.box for s in samples for i in s.instances]
        assert all(0 <= b[0] < b[2] <= 1 and 0 <= b[1] < b[3] <= 1 for b in boxes)
        assert len({s.id.casefold() for s in samples}) == len(samples)
        slowest = max(slowest, time.process_time() - before)
    assert outcomes["BadInput"] > BROKEN_FILES // 2, outcomes
    assert set(outcomes) <= {"BadInput", "NoneType"}, outcomes
    assert slowest < 0.5
    assert time.process_time() - start < 30
