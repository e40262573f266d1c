"""Strata: facts of layouts, kept with a benchmark, and tables whose numbers equal those of the part scored alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.benchmarks.strata import FACTS, overlap_of, size_of, tercile_of, terciles
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, UsageError
from radl_bench.report import build_report
from radl_bench.report.formats import as_csv, as_json, markdown
from radl_bench.report.latex import latex
from radl_bench.report.strata import strata_of
from radl_bench.report.terminal import terminal
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_runs
from radl_bench.types import Detection, Instance, Sample

APS = ("ap", "ap50", "ap75")
SCORES = ("success_inst", "success_img", "miou", "ap", "ap50", "ap75")


def sample(*boxes: tuple[float, ...]) -> Sample:
    return Sample("s", "p", tuple(Instance("a cat", "cat", None, box) for box in boxes))


def test_facts_by_hand() -> None:
    pair = sample((0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5))
    assert size_of(pair) == 0.25
    assert overlap_of(pair) == 0.3333  # .125 of .375
    assert overlap_of(sample((0.0, 0.0, 0.5, 0.5))) == 0.0
    assert overlap_of(sample((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.5, 0.5, 1.0, 1.0))) == 0.5


def test_equal_layouts_stay_together_and_thirds_are_thirds() -> None:
    samples = [sample((0.0, 0.0, 0.1 * n, 1.0)) for n in range(1, 10)]
    cuts = terciles(samples)["size"]
    assert [tercile_of(size_of(s), cuts) for s in samples] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert terciles(samples)["overlap"] == [0.0, 0.0]
    assert {tercile_of(0.0, (0.0, 0.0))} == {0}


@pytest.mark.parametrize("name", ["coco-mig", "coco-position", "drawbench"])
def test_the_packaged_sets_keep_their_terciles(name) -> None:
    whole, part = load_benchmark(name), load_benchmark(name, limit=7)
    text = (whole.folder / "benchmark.toml").read_text("utf-8")
    assert all(f"{fact} = {cuts}" in text for fact, cuts in whole.strata.items())
    assert part.strata == whole.strata  # and not those of seven samples


def test_cuts_that_the_samples_do_not_have_are_refused(make_benchmark) -> None:
    folder = make_benchmark([row(np.random.default_rng(0), 0)[0]])
    file = folder / "benchmark.toml"
    text = file.read_text("utf-8")
    for line, said in (
        ("size = [0.1, 0.2]", "terciles of the samples are"),
        ("size = [0.2, 0.1]", "two rising fractions"),
        ("width = [0.1, 0.2]", "width"),
    ):
        file.write_text(f"{text}\n[strata]\n{line}\n")
        with pytest.raises(BadInput, match=said):
            load_benchmark(folder)


def row(rng: np.random.Generator, number: int):
    """Return a row of a benchmark and detections for it."""
    instances, found = [], []
    for _ in range(rng.integers(2, 5)):
        name, color = ("cat", "dog", "car")[rng.integers(3)], (None, "red", "blue")[rng.integers(3)]
        low, size = rng.uniform(0, 0.5, 2), rng.uniform(0.1, 0.45, 2)
        box = np.round(np.concatenate([low, low + size]), 4)
        phrase = f"a {color} {name}" if color else f"a {name}"
        instances.append({"phrase": phrase, "category": name, "color": color, "box": box.tolist()})
        near = np.clip(box + rng.normal(0, 0.03, 4), 0, 1)
        if near[0] < near[2] and near[1] < near[3]:
            found.append(Detection(name, tuple(near.tolist()), float(rng.uniform(0.2, 1))))
    return {"id": f"s{number:03d}", "prompt": "things", "instances": instances}, found


class World:
    """A benchmark of 48 layouts, and scored runs of it whose detections come from a table."""

    def __init__(self, root: Path, make_benchmark, monkeypatch) -> None:
        rng = np.random.default_rng(5)
        self.root, self.rows = root, [row(rng, n) for n in range(48)]
        self.folder = make_benchmark([of for of, _ in self.rows])
        with open(self.folder / "benchmark.toml", "a", encoding="utf-8") as stream:
            stream.write("[metrics.iou]\n[metrics.average_precision]\n")
        monkeypatch.setattr("radl_bench.judges.detectors.BlindDetector.detect", self.detect)
        monkeypatch.setattr("radl_bench.judges.detectors.BlindDetector.takes", ("pictures",), raising=False)

    def detect(self, images, queries, pictures):
        found = [self.rows[int(p.sample.id[1:])][1] for p in pictures]
        weak = [image.getpixel((0, 0))[2] == 9 for image in images]
        return [[d for d in of if not low or d.score > 0.6] for of, low in zip(found, weak, strict=True)]

    def run(self, name: str, blue: int = 7, **cut) -> Path:
        benchmark = load_benchmark(self.folder, **cut)
        generator = {"name": name, "revision": "1", "model": None, "params": {}, "weights_sha256": None}
        run = RunFolder.create(self.root / "runs", benchmark, generator, source=str(self.folder))
        with run.writer() as writer:
            for s in benchmark.samples:
                if s.id != "s003":  # a missing one
                    number = int(s.id[1:])
                    writer.write_image(s.id, 0, 1, Image.new("RGB", (16, 16), (number, 0, blue)), 0.0)
        run.update_status()
        score_runs([run.path], detector="blind", segmenter="box", encoder="none")
        return run.path


@pytest.fixture
def world(tmp_path, make_benchmark, monkeypatch) -> World:
    return World(tmp_path, make_benchmark, monkeypatch)


def numbers(cell) -> tuple:
    return tuple(None if v is None else round(v, 9) for v in (cell.value, cell.low, cell.high, cell.n, cell.missing))


def test_a_level_as_a_stratum_equals_the_score_of_the_level(world) -> None:
    (section,) = build_report([world.run("one")], by=["level"]).sections
    levels = {(c.metric, f"level=L{c.level}"): c for _, _, c in section.cells if c.level is not None}
    strata = {(c.metric, c.stratum): c for _, _, c in section.more}
    # the main tables of this benchmark are by level already, but for AP
    assert {metric for metric, _ in strata} == {"ap", "ap50", "ap75"}
    for key, cell in strata.items():
        assert numbers(cell) == numbers(levels[key]), key


@pytest.mark.parametrize("by", ["size", "overlap"])
def test_a_stratum_equals_the_part_scored_alone(world, by) -> None:
    (section,) = build_report([world.run("one")], by=[by]).sections
    benchmark = load_benchmark(world.folder)
    for n, stratum in enumerate(strata_of(benchmark, by)):
        ids = [s.id for s in benchmark.samples if tercile_of(FACTS[by](s), benchmark.strata[by]) == n]
        (alone,) = build_report([world.run(f"part{n}", ids=ids)]).sections
        expected = {c.metric: numbers(c) for _, _, c in alone.cells if c.level is None}
        got = {c.metric: numbers(c) for _, _, c in section.more if c.stratum == f"{by}={stratum.name}"}
        assert set(got) == set(SCORES)
        assert got == {name: expected[name] for name in SCORES}
    assert not any("no interval: " in note for note in section.notes) or any(c.note for _, _, c in section.more)
    assert any(f"By {by}, " in note and "terciles of the whole benchmark" in note for note in section.notes)


@pytest.mark.parametrize(("by", "key"), [("class", "category"), ("color", "color")])
def test_classes_and_colours_part_the_instances(world, by, key) -> None:
    path = world.run("one")
    (section,) = build_report([path], by=[by]).sections
    (run, _), *_ = section.runs
    rows = run.rows()
    rows = rows[rows["metric"] == "success_inst"]
    wanted: dict[str, list[float]] = {}
    for _, r in rows.iterrows():
        name = world.rows[int(r["sample_id"][1:])][0]["instances"][r["instance"]][key] or "any"
        wanted.setdefault(name, []).append(0.0 if np.isnan(r["value"]) else r["value"])
    got = {c.stratum.removeprefix(f"{by}="): c for _, _, c in section.more if c.metric == "success_inst"}
    assert {name: c.value for name, c in got.items()} == pytest.approx({n: np.mean(v) for n, v in wanted.items()})
    assert {name: c.n for name, c in got.items()} == {n: len(v) for n, v in wanted.items()}
    # Images have no class, and detections no colour.
    assert {c.metric for _, _, c in section.more} == {"success_inst", "miou"} | ({*APS} if by == "class" else set())
    assert any("no table of AP, AP50, AP75" in note for note in section.notes) == (by == "color")


def test_ap_of_a_class_equals_that_of_a_benchmark_with_nothing_else(world, make_benchmark) -> None:
    (section,) = build_report([world.run("one")], by=["class"]).sections
    got = {(c.stratum.removeprefix("class="), c.metric): c for _, _, c in section.more if c.metric in APS}
    rows = world.rows
    for name in ("cat", "dog", "car"):
        world.rows = [
            ({**row, "instances": [i for i in row["instances"] if i["category"] == name]}, found) for row, found in rows
        ]
        world.folder = make_benchmark([row for row, _ in world.rows if row["instances"]], name=f"only-{name}")
        with open(world.folder / "benchmark.toml", "a", encoding="utf-8") as stream:
            stream.write("[metrics.average_precision]\n")
        (alone,) = build_report([world.run(f"of-{name}")]).sections
        for cell in (c for _, _, c in alone.cells if c.level is None and c.metric in APS):
            assert numbers(got[name, cell.metric]) == numbers(cell)
    whole = {c.metric: c.value for _, _, c in section.cells if c.level is None}
    for metric in APS:
        assert whole[metric] == pytest.approx(np.mean([got[name, metric].value for name in ("cat", "dog", "car")]))


def test_ties_of_ap_by_class_are_tested_on_that_class(world) -> None:
    from radl_bench.report.paired import difference_of

    (section,) = build_report([world.run("one"), world.run("weak", blue=9)], by=["class"]).sections
    cells = {(label, c.stratum): c for _, label, c in section.more if c.metric == "ap50"}
    (one, _), (weak, _), *_ = ((run, label) for run, label, c in section.more if c.metric == "ap50")
    for stratum in strata_of(load_benchmark(world.folder), "class"):
        test, _ = difference_of(one, weak, "ap50", None, stratum.samples, stratum.name)
        best, other = (cells[label, f"class={stratum.name}"] for label in ("one", "weak"))
        assert test.value == pytest.approx(best.value - other.value)
        assert (best.group, other.group) == ((1, 2) if test.p < 0.05 else (1, 1))


def test_ties_are_those_of_the_stratum(world) -> None:
    (section,) = build_report([world.run("one"), world.run("weak", blue=9)], by=["size"]).sections
    cells = [(label, c) for _, label, c in section.more if c.metric in ("success_inst", "ap50")]
    assert {(label, c.best) for label, c in cells if c.group == 1 and not c.tied} >= {("one", True)}
    assert all(c.group is not None for _, c in cells)


def test_every_format_has_the_tables_and_the_terminal_fits_80_columns(world) -> None:
    runs = [world.run("one"), world.run("weak", blue=9)]
    report = build_report(runs, by=["size", "class", "color"])
    text = markdown(report)
    assert "### R_inst by size" in text
    assert "| class | instances | one" in text
    assert "R\\_inst by size" in latex(report)
    scores = json.loads(as_json(report))["sections"][0]["scores"]
    assert {s.get("stratum") for s in scores} >= {None, "size=small", "class=cat", "color=any"}
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert {line["stratum"] for line in lines} >= {"", "size=small", "class=cat"}
    assert all("|stratum:size=small|" in s["signature"] for s in scores if s.get("stratum") == "size=small")
    console = Console(width=80, file=io.StringIO(), record=True)
    for part in terminal(report):
        console.print(part)
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80
    narrow = shown[shown.index("R_inst by size") :]
    assert all(word in narrow for word in ("small", "medium", "large", "avg"))
    assert "…" not in narrow


def test_words_and_runs_that_give_no_table_are_told(world, tmp_path) -> None:
    path = world.run("one")
    with pytest.raises(UsageError, match="size"):
        build_report([path], by=["sise"])
    done = CliRunner().invoke(build_app(), ["report", str(path), "--by", "size", "--out", str(tmp_path / "r.md")])
    assert done.exit_code == 0, done.output
    assert "R_inst by size" in (tmp_path / "r.md").read_text("utf-8")
    (world.folder / "samples.jsonl").unlink()
    (section,) = build_report([path], by=["size"]).sections
    assert any(note.startswith("No tables by size: ") for note in section.notes)
    assert not section.more
