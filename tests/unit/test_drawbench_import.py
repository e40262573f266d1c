"""Reading the public DrawBench: names as they are there, numbers in words, and files that are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.importers.drawbench import import_drawbench, read_drawbench, read_name
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.scoring.metrics.relation import holds
from radl_bench.scoring.protocol import resolve_protocol

SHARED = Path(os.environ.get("RADL_BENCH_SHARED") or Path(__file__).parents[3] / "shared") / "data" / "drawbench"
PUBLIC = [SHARED / "imagen.csv", SHARED / "layouts_gpt4.yaml"]
needs_public = pytest.mark.skipif(not PUBLIC[0].is_file(), reason=f"the public DrawBench is not at {SHARED}")

TABLE = """Prompt,Category
A black colored banana.,Colors
A pink colored car.,Colors
A horse riding an astronaut.,Conflicting
Two cats and one teddy bear sitting on the grass.,Counting
A knife to the right of a sheep.,Positional
A cup under a bed.,Positional
"""
BOXES = """A black colored banana:
  Black Banana: [[0.1, 0.1, 0.5, 0.5]]
A pink colored car:
  pink car: [[0.1, 0.1, 0.5, 0.5]]
Two cats and one teddy bear sitting on the grass:
  a teddy bear: [[0.7, 0.1, 0.9, 0.5]]
  two cats: [[0.1, 0.1, 0.3, 0.5], [0.4, 0.1, 0.6, 0.5]]
A knife to the right of a sheep:
  a sheep: [[0.1, 0.1, 0.4, 0.5]]
  knife: [[0.6, 0.1, 0.9, 0.5]]
"""


@pytest.fixture
def files(tmp_path):
    def write(table: str = TABLE, boxes: str = BOXES) -> list[Path]:
        (tmp_path / "prompts.csv").write_text(table, "utf-8")
        (tmp_path / "boxes.yaml").write_text(boxes, "utf-8")
        return [tmp_path / "prompts.csv", tmp_path / "boxes.yaml"]

    return write


@pytest.mark.parametrize(
    ("name", "color", "category"),
    [
        ("Black Banana", "black", "banana"),
        ("White colored sandwich", "white", "sandwich"),
        ("orange colored sandwich", None, "sandwich"),
        ("an orange", None, "orange"),
        ("a toliet", None, "toilet"),
        ("a blue cell phone", "blue", "cell phone"),
        ("two cats", None, "cat"),
        ("Five buses", None, "bus"),
        ("three knives", None, "knife"),
        ("four sheep", None, "sheep"),
        ("two wine glasses", None, "wine glass"),
        ("a wine glass", None, "wine glass"),
        ("skis", None, "skis"),
        ("the red benches", "red", "bench"),
        ("two ties", None, "tie"),
        ("two mice", None, "mouse"),
    ],
)
def test_names_of_the_files(name, color, category) -> None:
    assert read_name(name) == (color, category)


def test_a_small_pair_of_files(files) -> None:
    samples, notes = read_drawbench(*files())
    banana, car, cats, knife = samples
    assert [s.id for s in samples] == ["colors_001", "colors_002", "counting_004", "positional_005"]
    assert (banana.instances[0].phrase, banana.instances[0].category) == ("Black Banana", "banana")
    assert car.instances[0].color is None
    assert [i.category for i in cats.instances] == ["cat", "cat", "teddy bear"]
    assert [i.category for i in knife.instances] == ["knife", "sheep"]
    assert (knife.relations[0].subject, knife.relations[0].predicate, knife.verbs) == (0, "to the right of", "right of")
    assert [s.tags for s in samples] == [("attribute",), ("attribute",), ("quantity",), ("relation",)]
    assert "1 prompts have no boxes in boxes.yaml and are left out: 'A cup under a bed.'." in notes
    assert any("it is not checked: 'A pink colored car.'" in note for note in notes)


@needs_public
def test_the_public_files() -> None:
    samples, notes = read_drawbench(*PUBLIC)
    assert len(samples) == 64
    assert sum(s.level for s in samples) == 141
    assert [sum(kind in s.tags for s in samples) for kind in ("attribute", "quantity", "relation")] == [25, 19, 20]
    assert len(notes) == 1
    assert notes[0].startswith("3 prompts ask for a colour that is none of")
    assert sum(i.color is not None for s in samples if "attribute" in s.tags for i in s.instances) == 32
    by_prompt = {s.prompt: s for s in samples}
    assert by_prompt["A black colored banana."].instances[0].phrase == "Black Banana"
    assert by_prompt["A donut underneath a toilet."].instances[1].category == "toilet"
    strict = resolve_protocol("strict")
    for s in samples:
        for r in s.relations:  # the boxes that the literature uses agree with our reading of the words
            assert holds(r.predicate, s.instances[r.subject].box, s.instances[r.object].box, strict), s.prompt


@needs_public
def test_the_command_keeps_it_and_the_name_finds_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    words = ["data", "import", "drawbench", *map(str, reversed(PUBLIC))]
    result = CliRunner().invoke(build_app(), words)
    assert result.exit_code == 0, result.output
    assert "Imported 64 prompts with 141 boxes" in result.output
    assert "'A pink colored car.'" in result.output
    kept = load_benchmark("drawbench-public")
    assert len(kept.samples) == 64
    assert set(kept.metrics) == {"attribute", "quantity", "relation"}
    assert "sha256" in kept.description


@pytest.mark.parametrize(
    ("table", "boxes", "sentence"),
    [
        ("name\nx\n", BOXES, "columns Prompt,Category"),
        (TABLE, "- 1\n", "should map prompts"),
        (TABLE, "a: [b\n", "this is not YAML"),
        (TABLE, "A cat.:\n  a cat: [[0, 0, 1, 1]]\n", "Are they a pair"),
        (TABLE, BOXES.replace("0.1, 0.1, 0.3, 0.5", "0.3, 0.1, 0.1, 0.5"), "four fractions from 0 to 1"),
        (TABLE, BOXES.replace("[[0.1, 0.1, 0.3, 0.5], ", "["), "has 1 boxes of cat, but the prompt says 2"),
        (
            TABLE,
            BOXES.replace("  a teddy bear: [[0.7, 0.1, 0.9, 0.5]]\n", ""),
            "the numbers two, one, but boxes",
        ),
        (TABLE, BOXES.replace("  knife:", "  spoon:"), "speaks of knife and sheep"),
        (TABLE.replace("to the right of", "riding"), BOXES.replace("to the right of", "riding"), "no relation"),
        (TABLE, BOXES.replace("Black Banana", "3"), "names no class"),
        (TABLE, BOXES.replace("[[0.7, 0.1, 0.9, 0.5]]", "7"), "list of boxes"),
    ],
)
def test_files_that_are_wrong_are_named(files, table, boxes, sentence) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_drawbench(*files(table, boxes))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            TABLE + "a black  colored banana,Colors\n",
            "line 8: the prompt 'a black  colored banana' is given twice, first",
        ),
        (TABLE + ",Colors\n", "line 8: it has no prompt: 'Colors'"),
        (TABLE + "A cat.\n", "line 8: it has no category: 'A cat.'"),
        (TABLE + "A cat, and a dog.,Colors\n", "line 8: it has more cells than the first line; put quotes around"),
        (TABLE.replace("Colors", "Colours"), "line 2: Unknown category 'Colours'. Did you mean 'Colors'"),
        (TABLE.replace(",", ";"), "it has 'Prompt;Category'"),
        (TABLE.replace(",", "\t"), r"it has 'Prompt\\tCategory'"),
        ("Prompt\nA cat.\n", "it has 'Prompt'"),
        ("Prompt,Category,Prompt\nA cat.,Colors,b\n", "it has 'Prompt,Category,Prompt'"),
        ("", "it has ''"),
        (TABLE.replace("A pink", '"A pink'), "not a CSV file"),
        (TABLE + "A " + "x" * 200_000 + ",Colors\n", "not a CSV file"),
    ],
)
def test_odd_tables_are_named_with_the_line(files, table, sentence) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_drawbench(*files(table))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_table_in_another_encoding_is_refused(files, encoding) -> None:
    table, boxes = files()
    table.write_bytes(TABLE.replace("banana", "ban\xe4na").encode(encoding))
    with pytest.raises(BadInput, match="Save it as CSV in UTF-8"):
        read_drawbench(table, boxes)


@pytest.mark.parametrize(
    "table",
    [
        "\ufeff" + TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("A horse", "\n\n,\nA horse"),
        TABLE + "\n\n",
        TABLE.replace("\n", ",0\n").replace("Category,0", "Category,Place"),
    ],
)
def test_what_does_no_harm_is_read(files, table) -> None:
    samples, _ = read_drawbench(*files(table))
    assert [s.prompt for s in samples] == [s.prompt for s in read_drawbench(*files())[0]]


def test_all_problems_of_both_files_are_told_and_skipped_on_request(files) -> None:
    pair = files(TABLE + ",Colors\nA cat.,Colour\n", BOXES.replace("[[0.1, 0.1, 0.3, 0.5], ", "["))
    with pytest.raises(BadInput) as caught:
        read_drawbench(*pair)
    told = str(caught.value).splitlines()
    assert told[0] == "3 problems, nothing is imported:"
    assert ["line 8" in told[1], "line 9" in told[2], "'Two cats and one" in told[3]] == [True] * 3
    samples, notes = read_drawbench(*pair, skip=True)
    assert [s.id for s in samples] == ["colors_001", "colors_002", "positional_005"]
    assert notes[0].startswith("3 prompts are left out: ")


def test_boxes_of_prompts_that_the_table_lacks_are_counted(files) -> None:
    notes = read_drawbench(*files(TABLE.replace("A pink colored car.,Colors\n", "")))[1]
    assert "1 prompts of boxes.yaml are none of prompts.csv and are left out." in notes


def test_two_files_are_needed(files, tmp_path) -> None:
    with pytest.raises(UsageError, match="two files"):
        import_drawbench(files()[:1], tmp_path)
    with pytest.raises(MissingData, match="There is no file"):
        import_drawbench([tmp_path / "a.csv", tmp_path / "b.yaml"], tmp_path)
    result = CliRunner().invoke(build_app(), ["data", "import", "coco-mig", "a.yaml", "b.yaml"])
    assert "imported from one file" in str(result.exception)
