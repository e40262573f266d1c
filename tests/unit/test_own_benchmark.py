"""Benchmarks of one's own: three kinds of file, all problems at once, colours beside the seven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import benchmark_of, load_benchmark, source_of
from radl_bench.benchmarks.own import new_benchmark
from radl_bench.benchmarks.own_colors import parse_color, read_colors
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, UsageError
from radl_bench.judges.color import coverage, table_name
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_runs
from tests.scores import rows, scores

CSV = """id,category,color,x0,y0,x1,y1,relation,attributes,prompt
a,car,red,0.1,0.1,0.5,0.5,left of 1,,
a,dog,,0.6,0.1,0.9,0.5,,old,
b,umbrella,blue,0.2,0.2,0.8,0.8,,,a blue umbrella in the rain
"""
PURPLE = read_colors({"purple": [{"h": [129, 158], "s": [50, 255], "v": [70, 255]}]}, "test")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def test_a_csv_becomes_a_benchmark_with_sums(tmp_path):
    made = new_benchmark(write(tmp_path, "My Set.csv", CSV))
    loaded = load_benchmark("my-set")
    assert made.folder == loaded.folder
    a, b = loaded.samples
    assert a.prompt == "a photo of a red car and an old dog"
    assert [(i.phrase, i.color, i.attributes) for i in a.instances] == [
        ("a red car", "red", ()),
        ("an old dog", None, ("old",)),
    ]
    assert [(r.subject, r.predicate, r.object) for r in a.relations] == [(0, "left of", 1)]
    assert b.prompt == "a blue umbrella in the rain"
    assert "relation" in loaded.metrics
    assert any("attributes" in note for note in made.notes)


def test_a_bare_file_is_the_benchmark_that_is_made_of_it(tmp_path):
    file = write(tmp_path, "things.csv", CSV)
    new_benchmark(file, out=tmp_path / "made")
    bare, made = load_benchmark(file), load_benchmark(tmp_path / "made")
    assert (bare.name, bare.samples, bare.samples_sha256) == (made.name, made.samples, made.samples_sha256)
    copy = tmp_path / "again.jsonl"
    copy.write_bytes((tmp_path / "made" / "samples.jsonl").read_bytes())
    assert load_benchmark(str(copy)).samples_sha256 == made.samples_sha256
    run = RunFolder.create(tmp_path / "runs", bare, {"name": "m"}, source=source_of(file))
    assert benchmark_of(run.manifest).samples == bare.samples


def test_coco_json(tmp_path):
    content = {
        "images": [
            {"id": 7, "file_name": "street.jpg", "width": 200, "height": 100},
            {"id": 8, "file_name": "e.jpg", "width": 9, "height": 9},
        ],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [20, 10, 100, 50], "area": 5000, "iscrowd": 0}
        ],
    }
    made = new_benchmark(write(tmp_path, "boxes.json", json.dumps(content)))
    (sample,) = made.samples
    assert (sample.id, sample.prompt, sample.instances[0].box) == ("street", "a photo of a car", (0.1, 0.1, 0.6, 0.6))
    assert made.notes == ("1 images have no object and were left out.",)


def test_pixels_need_a_size(tmp_path):
    sized = "id,category,x0,y0,x1,y1,width,height\na,car,20,10,120,60,200,100\n"
    assert load_benchmark(write(tmp_path, "sized.csv", sized)).samples[0].instances[0].box == (0.1, 0.1, 0.6, 0.6)
    with pytest.raises(BadInput, match="line 2: the box is in pixels"):
        load_benchmark(write(tmp_path, "bare.csv", "id,category,x0,y0,x1,y1\na,car,20,10,120,60\n"))


def test_all_problems_are_told_with_their_lines_and_nothing_is_written(tmp_path):
    text = """id,category,color,x0,y0,x1,y1
a,car,purple,0.1,0.1,0.5,0.5
a,dog,red,0.6,0.1,x,0.5
b,dog,red,0.6,0.1,0.2,0.5
c,dog,red,0.6,0.1,0.9
"""
    with pytest.raises(BadInput) as caught:
        new_benchmark(write(tmp_path, "bad.csv", text))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("has 4 problems; nothing was written.")
    assert [line.split("bad.csv, ")[1].split(":")[0] for line in lines[1:]] == ["line 2", "line 3", "line 4", "line 5"]
    assert not (tmp_path / "home" / "benchmarks").exists()


def test_all_problems_of_json_lines_even_two_in_one(tmp_path):
    good = {"phrase": "a car", "category": "car", "color": None, "box": [0, 0, 1, 1]}
    bad = [{**good, "colour": "red"}, {**good, "box": [1, 0, 0, 1]}]
    text = "\n".join(
        json.dumps({"id": n, "prompt": "p", "instances": i}) for n, i in (("a", [good]), ("b", bad), ("a", [good]))
    )
    with pytest.raises(BadInput) as caught:
        new_benchmark(write(tmp_path, "bad.jsonl", text))
    told = str(caught.value)
    assert "line 2: instance 0: " in told
    assert "instance 1: 'box'" in told
    assert "line 3: the id 'a' is taken by line 1" in told


def test_changed_samples_need_another_version(tmp_path):
    new_benchmark(write(tmp_path, "set.csv", CSV))
    new_benchmark(tmp_path / "set.csv")  # the same again is no change
    write(tmp_path, "set.csv", CSV.replace("0.9", "0.8"))
    with pytest.raises(UsageError, match="--version"):
        new_benchmark(tmp_path / "set.csv")
    new_benchmark(tmp_path / "set.csv", version="2")
    assert load_benchmark("set").version == "2"


@pytest.mark.parametrize("text", ["purple", "purple=1-2,3-4", "purple=a-b,1-2,3-4"])
def test_a_colour_that_is_none(text):
    with pytest.raises(UsageError, match="--color"):
        parse_color(text)


@pytest.mark.parametrize(
    "table",
    [
        {"red": [{"h": [0, 1], "s": [0, 1], "v": [0, 1]}]},
        {"Two Words": []},
        {"teal": [{"h": [9, 1], "s": [0, 1], "v": [0, 1]}]},
        {"teal": [{"h": [0, 181], "s": [0, 1], "v": [0, 1]}]},
        [],
    ],
)
def test_a_table_of_colours_that_is_none(table):
    with pytest.raises(BadInput):
        read_colors(table, "benchmark.toml")


def test_an_own_colour_is_measured_beside_the_seven():
    patch = np.full((4, 4, 3), (160, 30, 200), np.uint8)  # H 143 in OpenCV's scale
    shares = coverage(patch, np.ones((1, 4, 4), bool), PURPLE)[0]
    assert shares.tolist() == [0.0] * 7 + [1.0]
    assert table_name(PURPLE).startswith("hsv-mig+")
    assert table_name() == "hsv-mig"


def test_an_own_colour_from_the_command_to_the_score(tmp_path, monkeypatch):
    """Patches in the wanted colour and in another one, judged in the true boxes."""
    from PIL import Image

    from radl_bench.runs.image_import import import_images

    text = "id,category,color,x0,y0,x1,y1\nright,car,purple,0,0,1,1\nwrong,car,purple,0,0,1,1\n"
    file = write(tmp_path, "violet.csv", text)
    runner = CliRunner()
    done = runner.invoke(build_app(), ["data", "new", str(file), "--color", "purple=129-158,50-255,70-255"])
    assert done.exit_code == 0, done.output
    benchmark = load_benchmark("violet")
    assert benchmark.samples[0].color_names[-1] == "purple"
    (tmp_path / "images").mkdir()
    for name, color in (("right", (160, 30, 200)), ("wrong", (200, 20, 20))):
        Image.new("RGB", (64, 64), color).save(tmp_path / "images" / f"{name}.png")
    run = import_images(tmp_path / "images", benchmark, out=tmp_path / "runs").run
    score_runs([run], detector="oracle", segmenter="box", encoder="none")
    table = rows(run)
    found = table[table.metric == "success_inst"].set_index("sample_id")
    assert found.value.to_dict() == {"right": 100.0, "wrong": 0.0}
    assert "0% is purple, but 100% red" in found.reason["wrong"]
    (line,) = [s for s in scores(run)["scores"] if s["metric"] == "success_inst" and s["level"] is None]
    assert f"color:{table_name(PURPLE)}@.2" in line["signature"]


def test_changed_ranges_measure_anew(tmp_path):
    from PIL import Image

    from radl_bench.runs.image_import import import_images

    file = write(tmp_path, "violet.csv", "id,category,color,x0,y0,x1,y1\nright,car,purple,0,0,1,1\n")
    Image.new("RGB", (64, 64), (160, 30, 200)).save(write(tmp_path, "right.png", ""))
    (tmp_path / "images").mkdir()
    (tmp_path / "right.png").rename(tmp_path / "images" / "right.png")
    values = []
    for hue in ([129, 158], [100, 110]):
        colors = read_colors({"purple": [{"h": hue, "s": [50, 255], "v": [70, 255]}]}, "test")
        new_benchmark(file, colors=colors)
        run = import_images(tmp_path / "images", load_benchmark("violet"), out=tmp_path / "runs").run
        score_runs([run], detector="oracle", segmenter="box", encoder="none")
        values.append(rows(run).set_index("metric").value["success_inst"])
    assert values == [100.0, 0.0]


def test_a_phrase_names_its_attributes(tmp_path):
    text = "id,category,phrase,attributes,x0,y0,x1,y1\na,dog,a small dog,old,0,0,1,1\n"
    with pytest.raises(BadInput, match="does not name its attribute 'old'"):
        load_benchmark(write(tmp_path, "set.csv", text))
