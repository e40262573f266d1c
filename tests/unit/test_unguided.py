"""What a method left without guidance: one sentence for every method, counted when a run is scored, told beside it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.report import build_report
from radl_bench.report.formats import as_json, markdown
from radl_bench.runs.notes import notes_of, unguided_of
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_runs
from tests.report_runs import make_run
from tests.scores import scores


def make(root, name: str, notes: list[str | None]):
    benchmark = load_benchmark("coco-position", limit=len(notes))
    generator = {"name": name, "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(root / "runs", benchmark, generator, images_per_sample=1)
    with run.writer() as writer:
        for sample, note in zip(benchmark.samples, notes, strict=True):
            writer.write_image(sample.id, 0, 1, Image.new("RGB", (16, 16)), 0.0, note=note)
    run.update_status()
    return run, benchmark


SAID = "No guidance for 1 of 3 instances, whose words the prompt lacks: 'a man'."


def test_the_share_stands_beside_the_scores(tmp_path) -> None:
    run, benchmark = make(tmp_path, "boxdiff", [SAID, None, f"Cut: the end. {SAID}; made again", None, None])
    other, _ = make(tmp_path, "radl", [None] * 5)
    of = sum(sample.level for sample in benchmark.samples)
    assert unguided_of(run.rows(), benchmark) == {"n": 2, "of": of}
    assert unguided_of(other.rows(), benchmark) is None
    score_runs([run.path, other.path], detector="blind", segmenter="box", encoder="none")
    assert scores(run.path)["unguided"] == {"n": 2, "of": of}
    report = build_report([run.path, other.path])
    text = markdown(report)
    lines = [line for line in text.splitlines() if line.startswith("| BoxDiff") or line.startswith("| RaDL")]
    assert lines
    for line in lines:
        share = line.rstrip("| ").rpartition("|")[2].strip()
        assert share.startswith(f"{200 / of:.1f}" if "BoxDiff" in line else "–")
    assert text.count("Unguided %") == len([line for line in lines if "RaDL" in line]) + 1  # heads, and the note
    (record,) = [s for s in json.loads(as_json(report))["sections"][0]["scores"] if s["metric"] == "unguided"]
    assert (record["method"], record["value"], record["n"]) == ("boxdiff", pytest.approx(200 / of), of)


def test_remarks_that_differ_in_numbers_and_names_are_one_sentence(tmp_path) -> None:
    other = "No guidance for 2 of 4 instances, whose words the prompt lacks: 'a cup', 'a cup'."
    run, benchmark = make(tmp_path, "boxdiff", [SAID, other, SAID, f"{other}; made again", None])
    ids = [f"{sample.id}_0" for sample in benchmark.samples]
    assert notes_of(run.path, benchmark)[:2] == [
        f"4 images ({ids[0]}, {ids[2]}, {ids[1]}, {ids[3]}) {SAID.rstrip('.')}; 1 more of this kind.",
        f"1 image ({ids[3]}) made again.",
    ]
    alone, _ = make(tmp_path, "layout-guidance", [None, other, None, None, None])
    assert notes_of(alone.path, benchmark)[0] == f"1 image ({ids[1]}) {other}"


def test_no_column_where_nothing_is_recorded(tmp_path) -> None:
    report = build_report([make_run(tmp_path, "radl", 0.7), make_run(tmp_path, "boxdiff", 0.2)])
    assert "Unguided" not in markdown(report)


def test_every_method_says_it_in_the_words_that_are_counted(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from radl_model.gligen.session import GligenSession
    from radl_model.guidance.words import note_of_unguided
    from radl_model.layout_diffusion.labels import Encoded

    words = note_of_unguided(SimpleNamespace(phrases=("a man", "a dog")), [False, True])
    gligen = GligenSession.notes(SimpleNamespace(counts=[32], kept=[list(range(31))]))[0]
    none = torch.zeros(0)
    pixels = Encoded(none, none, ("unicorn",), cut=0, asked=4).note
    run, benchmark = make(tmp_path, "m", [words, gligen, pixels, None])
    assert unguided_of(run.rows(), benchmark)["n"] == 3
    assert Encoded(none, none, ("a", "b"), cut=3, asked=9).note.startswith("No guidance for 5 of 9 instances: no class")
