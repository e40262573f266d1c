"""Re-sampled layouts in JSON: read as published, every problem told with its index, and nothing imported by half."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.importers.coco_mig import import_coco_mig
from radl_bench.benchmarks.importers.resampled import import_coco_position
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData

BOX = [0.1, 0.2, 0.5, 0.9]


def layout(*labels: str, **more: object) -> dict[str, object]:
    segments = [{"bbox": BOX, "label": label, "mask": None} for label in labels]
    return {"caption": "a cat sitting on a couch", "segment": segments, "image_id": 42} | more


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path):
    def write(content: object, name: str = "layouts.jsonl"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return tmp_path / name

    return write


def test_coco_position_is_read_as_published(write, home) -> None:
    file = write({"10": layout("a cat", "an hot dog", image_id=7), "2": layout("a orange")})
    done = CliRunner().invoke(build_app(), ["data", "import", "coco-position", str(file)])
    assert done.exit_code == 0, done.output
    assert "2 samples with 3 instances" in done.output
    benchmark = load_benchmark("coco-position-public")
    assert [s.id for s in benchmark.samples] == ["public-000002", "public-000010"]
    second = benchmark.samples[1]
    assert [(i.phrase, i.category, i.color, i.box) for i in second.instances] == [
        ("a cat", "cat", None, tuple(BOX)),
        ("an hot dog", "hot dog", None, tuple(BOX)),
    ]
    assert second.prompt == "a cat sitting on a couch"
    assert second.verbs
    assert benchmark.images_per_sample == 8
    assert (benchmark.folder / "image_ids.txt").read_text() == "42\n7\n"


def test_no_list_of_ids_where_one_is_lacking(write, home) -> None:
    import_coco_position(write({"0": layout("a cat")}))
    folder, _ = import_coco_position(write({"0": layout("a cat"), "1": layout("a cat", image_id=None)}))
    assert not (folder / "image_ids.txt").exists()


@pytest.mark.parametrize("name", ["layouts.json", "layouts.txt"])
def test_coco_mig_takes_its_colour_from_the_label(write, home, name) -> None:
    folder, samples = import_coco_mig(write({"3": layout("a red fire hydrant")}, name))
    (instance,) = samples[0].instances
    assert (instance.phrase, instance.category, instance.color) == ("a red fire hydrant", "fire hydrant", "red")
    assert load_benchmark(folder).name == "coco-mig-public"
    with pytest.raises(BadInput, match=r"layout 3, segment 0: .*'a COLOUR CLASS', not 'a cat'"):
        import_coco_mig(write({"3": layout("a cat")}, name))


BAD = {
    "x": (layout("a cat"), "layout 'x': the key"),
    "1": ([], "layout 1: it should be an object"),
    "2": (layout("a cat", caption=" "), "layout 2: 'caption'"),
    "3": (layout(), "layout 3: 'segment'"),
    "4": (layout("cat"), "layout 4, segment 0: .*'a CLASS'"),
    "5": (layout("a cat", segment=[{"bbox": [0.5, 0, 0.1, 1], "label": "a cat"}]), "layout 5, segment 0: the box"),
    "6": (layout("a cat", segment=[{"bbox": [0, 0, 512, 512], "label": "a cat"}]), "layout 6, segment 0: the box"),
    "7": (layout("a cat", segment=[{"label": "a cat"}]), "layout 7, segment 0: the box None"),
    "8": (layout("a cat", image_id="cat.jpg"), "layout 8: 'image_id'"),
    "9": (layout("a cat", segment=["a cat"]), "layout 9, segment 0"),
    "00": (layout("a cat"), "layout '00': the index 0 is given twice"),
}


def test_all_problems_are_told_at_once_and_skip_leaves_them_out(write, home) -> None:
    file = write({"0": layout("a cat"), **{key: entry for key, (entry, _) in BAD.items()}})
    with pytest.raises(BadInput, match=f"{len(BAD)} problems, nothing is imported") as caught:
        import_coco_position(file)
    for _, said in BAD.values():
        caught.match(said)
    assert not home.exists()
    done = CliRunner().invoke(build_app(), ["data", "import", "coco-position", str(file), "--skip"])
    assert done.exit_code == 0, done.output
    assert done.output.count("Note: left out:") == len(BAD)
    assert [s.id for s in load_benchmark("coco-position-public").samples] == ["public-000000"]


def test_several_problems_of_one_layout_are_all_told(write) -> None:
    with pytest.raises(BadInput, match=r"(?s)3 problems.*'caption'.*segment 0.*segment 1"):
        import_coco_position(write({"1": layout("cat", "dog", caption=None)}))


@pytest.mark.parametrize("text", ["[]", "{}", "7", "{", "\udcff", '{"1": {}, "1": {}}', '{"1": {}}\n{"2": {}}'])
def test_what_is_not_one_object_is_refused(write, tmp_path, text) -> None:
    file = tmp_path / "layouts.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=r"not one JSON object|no file of layouts"):
        import_coco_position(file)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(MissingData, match="There is no file"):
        import_coco_position(tmp_path / "x.jsonl")
