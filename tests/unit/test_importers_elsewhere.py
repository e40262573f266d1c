"""Public files with mistakes: every problem is told, nothing is lost silently, and what is imported can be loaded."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.agreement import names_category, names_color
from radl_bench.benchmarks.importers.coco_mig import import_coco_mig, read_annotations
from radl_bench.benchmarks.importers.drawbench import import_drawbench, read_drawbench, read_name
from radl_bench.benchmarks.importers.public_files import load_yaml
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData
from radl_model.coco_classes import COCO_CLASSES
from radl_model.plurals import singular

ENTRY = """\
{prompt}:
  a red car:
  - [0.1, 0.2, 0.5, 0.9]
  coco_id: '{index}'
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "anno.yaml"):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ENTRY.format(prompt="a", index=1) + ENTRY.format(prompt="a", index=2), "line 5: the key 'a'"),
        (
            "a:\n  a red car:\n  - [0,0,1,1]\n  a red car:\n  - [0,0,.5,1]\n  coco_id: 1\n",
            "line 4: the key 'a red car'",
        ),
        ("a: {a red car: [[0,0,1,1]], a red car: [[0,0,1,1]], coco_id: 1}\n", "line 1: the key 'a red car'"),
        ("a:\n  a red car:\n  - [0,0,1,1]\n  coco_id: 1\n  coco_id: 2\n", "line 5: the key 'coco_id'"),
        ("a: 1\n'a': 2\n", "line 2: the key 'a'"),
        ("1: 1\n1: 2\n", "line 2: the key 1"),
    ],
)
def test_a_repeated_key_is_refused_with_its_line(write, text, said) -> None:
    with pytest.raises(BadInput, match=f"{said}.*is given twice, first in line"):
        load_yaml(write(text))


def test_merged_keys_are_no_repetition(write) -> None:
    assert load_yaml(write("a: &x {k: 1}\nb: {<<: *x, k: 2}\n"))["b"] == {"k": 2}


@pytest.mark.parametrize(
    "index",
    [
        *("9" * 200, "9" * 6000, "'" + "9" * 200 + "'", "'" + "9" * 6000 + "'", "0x" + "f" * 6000),
        *("1e309", "1.0e+309", ".nan", "-1", "true", "1.5", "[1]", "", "'\u0663'"),
    ],
)
def test_an_index_that_is_none_is_refused(write, index) -> None:
    with pytest.raises(BadInput, match=r"coco_id|not YAML"):
        read_annotations(write(f"a photo:\n  a red car:\n  - [0.1, 0.2, 0.5, 0.9]\n  coco_id: {index}\n"))


@pytest.mark.parametrize(
    "number", ["9" * 400, "9" * 6000, "1e309", "1.0e+309", ".inf", "-.inf", ".nan", "true", "0x" + "f" * 6000]
)
def test_a_coordinate_beyond_all_measure_is_refused(write, number) -> None:
    with pytest.raises(BadInput, match=r"four fractions|not YAML"):
        read_annotations(write(f"a photo:\n  a red car:\n  - [0.1, 0.2, {number}, 0.9]\n  coco_id: 1\n"))


BAD = """\
bad one:
  a mauve car:
  - [0.1, 0.2, 0.5, 0.9]
  coco_id: '7'
bad two:
  a red car:
  - [0.5, 0.2, 0.1, 0.9]
  coco_id: '8'
"""


def test_all_problems_are_told_and_skip_leaves_them_out(write, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    file = write(ENTRY.format(prompt="good", index=3) + BAD)
    with pytest.raises(BadInput, match=r"(?s)2 problems, nothing is imported.*bad one.*bad two.*--skip"):
        import_coco_mig(file)
    assert not (tmp_path / "home").exists()
    words = ["data", "import", "coco-mig", str(file)]
    assert isinstance(CliRunner().invoke(build_app(), words).exception, BadInput)
    done = CliRunner().invoke(build_app(), [*words, "--skip"])
    assert done.exit_code == 0, done.output
    assert done.output.count("Note: left out:") == 2
    assert [s.id for s in load_benchmark("coco-mig-public").samples] == ["public-000003"]
    with pytest.raises(BadInput, match="Nothing is left"):
        import_coco_mig(write(BAD), skipped=[])


TABLE = "Prompt,Category\nA red car.,Colors\nTwo cats.,Counting\nA dog above a cat.,Positional\nA pink pig.,Colors\n"
LAYOUTS = """\
A red car:
  Red-Colored Car:
  - [0.1, 0.1, 0.9, 0.9]
Two cats:
  cats:
  - [0.1, 0.1, 0.4, 0.9]
A dog above a cat:
  dog:
  - [0.1, 0.6, 0.4, 0.5]
"""


def test_drawbench_tells_all_problems_and_can_skip_them(write, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    files = [write(TABLE, "imagen.csv"), write(LAYOUTS, "boxes.yaml")]
    with pytest.raises(BadInput, match=r"(?s)2 problems, nothing is imported.*Two cats.*A dog above.*--skip"):
        import_drawbench(files)
    done = import_drawbench(files, skip=True)
    assert [(s.id, s.instances[0].color, s.instances[0].category) for s in done.samples] == [
        ("colors_001", "red", "car")
    ]
    assert done.notes[0].startswith("2 prompts are left out:")
    assert "1 prompts have no boxes" in done.notes[1]
    assert load_benchmark("drawbench-public").samples == done.samples
    shown = CliRunner().invoke(build_app(), ["data", "import", "drawbench", *map(str, files), "--skip"])
    assert shown.exit_code == 0, shown.output


def test_prompts_that_differ_in_case_or_full_stop_alone_are_one_prompt(write) -> None:
    layouts = write("A red car:\n  car:\n  - [0,0,1,1]\na red  car.:\n  car:\n  - [0,0,.5,.5]\n", "boxes.yaml")
    with pytest.raises(BadInput, match="the prompt is given twice"):
        read_drawbench(write(TABLE, "imagen.csv"), layouts)


PLURALS = """
toothbrushes/toothbrush houses/house leaves/leaf wolves/wolf potatoes/potato cookies/cookie dress/dress
grass/grass octopus/octopus octopuses/octopus buses/bus bus/bus dresses/dress glasses/glass gloves/glove
knives/knife ties/tie tie/tie mice/mouse people/person benches/bench boxes/box sheep/sheep vases/vase
horses/horse zebras/zebra puppies/puppy cherries/cherry tomatoes/tomato shoes/shoe skis/skis toes/toe
scissors/scissors tennis/tennis pizzas/pizza geese/goose snowmen/snowman women/woman oranges/orange
olives/olive lenses/lens bees/bee keys/key toys/toy watches/watch tvs/tv axes/axe movies/movie heroes/hero
headaches/headache blouses/blouse pianos/piano taxis/taxi shelves/shelf scarves/scarf loaves/loaf waves/wave
fishes/fish feet/foot strawberries/strawberry roses/rose prizes/prize walruses/walrus
"""


@pytest.mark.parametrize(("plural", "one"), [pair.split("/") for pair in PLURALS.split()])
def test_one_rule_of_plurals(plural, one) -> None:
    assert singular(plural) == one
    assert read_name(f"three {plural}")[1] == one
    assert names_category(f"two red {plural}", one)


def test_classes_stay_what_they_are() -> None:
    for name in COCO_CLASSES.values():
        assert read_name(f"a {name}")[1] == name.lower()


@pytest.mark.parametrize(
    ("name", "color", "category"),
    [
        ("a black and white cow", None, "cow"),
        ("black-and-white cow", None, "cow"),
        ("a red, white and blue flag", None, "flag"),
        ("red/blue ball", None, "ball"),
        ("red-colored car", "red", "car"),
        ("Red-coloured houses", "red", "house"),
        ("dark blue car", "blue", "car"),
        ("orange slices", None, "orange slice"),
        ("red orange slices", "red", "orange slice"),
        ("a red orange", "red", "orange"),
        ("An orange colored sandwich", None, "sandwich"),
        ("An orange", None, "orange"),
        ("a silver spoon", None, "spoon"),
        ("redwood trees", None, "redwood tree"),
    ],
)
def test_colours_of_names(name, color, category) -> None:
    assert read_name(name) == (color, category)
    assert color is None or names_color(name, color)


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "a\0b.yaml"])
def test_names_no_file_system_takes_are_missing_files(name, tmp_path) -> None:
    from pathlib import Path

    with pytest.raises(MissingData, match="There is no file"):
        import_coco_mig(Path(name))
    with pytest.raises(MissingData, match="There is no file"):
        import_drawbench([Path(name), tmp_path / "x.csv"])
