"""Scoring a run: what is written, what is counted, what is measured again, and pictures made elsewhere."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scores import rows as rows_of
from scores import scores as scores_of
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, GenerationFailed, MissingData, UsageError
from radl_bench.judges.detectors import OracleDetector
from radl_bench.judges.segmenters import MiniSegmenter
from radl_bench.runs.image_import import import_images
from radl_bench.runs.store import RunFolder, find_scores
from radl_bench.scoring.score import score_each, score_runs
from radl_bench.scoring.statistics import sample_sums

RGB = {"red": (220, 20, 20), "blue": (20, 40, 220), "green": (20, 180, 30), "white": (250, 250, 250)}
ORACLE = {"detector": "oracle", "encoder": "none"}
GENERATOR = {"name": "painter", "revision": "1", "model": None, "params": {}, "weights_sha256": None}


def paint(sample, wrong: int = 0) -> Image.Image:
    """Return the layout as coloured blocks on grey, the first `wrong` of them in green's or red's place."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    for n, instance in enumerate(sample.instances):
        x0, y0, x1, y1 = (round(64 * v) for v in instance.box)
        other = "red" if instance.color == "green" else "green"
        pixels[y0:y1, x0:x1] = RGB[other if n < wrong else instance.color]
    return Image.fromarray(pixels)


@pytest.fixture
def benchmark(tiny_benchmark):
    with open(tiny_benchmark / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.iou]\n")
    return load_benchmark(tiny_benchmark)


@pytest.fixture
def run(tmp_path, benchmark, tiny_benchmark) -> RunFolder:
    """Nine samples: number 0 has one wrong colour, number 1 failed, number 2 was never made."""
    run = RunFolder.create(tmp_path / "runs", benchmark, GENERATOR, source=str(tiny_benchmark))
    with run.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            if n == 1:
                writer.write_failure(sample.id, 0, 7, "out of luck", 0.0)
            elif n != 2:
                writer.write_image(sample.id, 0, 7, paint(sample, wrong=int(n == 0)), 0.0)
    run.update_status()
    return run


def read(run: RunFolder) -> tuple[dict, pd.DataFrame]:
    return scores_of(run.path), rows_of(run.path)


def cell(content: dict, metric: str, level: int | None = None) -> dict:
    return next(s for s in content["scores"] if (s["metric"], s["level"]) == (metric, level))


def test_scores_count_what_is_wrong_failed_and_missing(run) -> None:
    (scored,) = score_each([run.path], **ORACLE)
    content, _ = read(run)
    inst, img, miou = (cell(content, name) for name in ("success_inst", "success_img", "miou"))
    # 27 instances: one has the wrong colour, three and four are in the pictures that are not there
    assert inst["value"] == pytest.approx(100 * 19 / 27)
    assert (inst["n"], inst["n_missing"]) == (27, 7)
    assert img["value"] == pytest.approx(100 * 6 / 9)
    assert (img["n"], img["n_missing"]) == (9, 2)
    assert miou["value"] == pytest.approx(100 * 20 / 27)
    assert cell(content, "success_inst", 2)["value"] == pytest.approx(100 * 5 / 6)
    assert inst["ci_low"] < inst["value"] < inst["ci_high"]
    assert content["status"] == "partial"
    assert (scored.images, len(scored.problems)) == (9, 2)
    assert "tiny-001_0: generating it failed: out of luck" in scored.problems


def test_each_metric_is_judged_by_its_own_threshold(run, tiny_benchmark, monkeypatch) -> None:
    """Detections a little off: right at the .5 of success, matched anew at the .9 that mIoU asks for."""
    detect = OracleDetector.detect

    def moved(self, images, queries, samples=None):
        found = detect(self, images, queries, samples)
        return [[replace(d, box=(d.box[0], d.box[1], d.box[2], d.box[3] - 0.15)) for d in seen] for seen in found]

    monkeypatch.setattr(OracleDetector, "detect", moved)
    file = tiny_benchmark / "benchmark.toml"
    file.write_text(file.read_text("utf-8").replace("[metrics.iou]\n", "[metrics.iou]\niou = 0.9\n"), "utf-8")
    for protocol, miou in (("strict", 70.0), ("mig_bench_v1", 70.0)):
        score_runs([run.path], **ORACLE, protocol=protocol)
        content, rows = read(run)
        assert cell(content, "success_inst")["value"] > 60  # at .9 all would be out of place
        assert "iou:.5" in cell(content, "success_inst")["signature"].split("|")
        assert "iou:.9" in cell(content, "miou")["signature"].split("|")
        assert cell(content, "miou")["value"] == pytest.approx(miou * 20 / 27)
        assert content["thresholds"]["iou"] == 0.5  # what the gallery and the figures show R_inst under
        assert content["facts"]["miou"]["thresholds"]["iou"] == 0.9
        assert len(rows) == 27 + 9 + 27


def test_rows_say_why_and_their_means_are_the_scores(run) -> None:
    score_runs([run.path], **ORACLE)
    content, rows = read(run)
    assert list(rows.columns) == ["sample_id", "k", "instance", "level", "metric", "value", "reason"]
    assert len(rows) == 27 + 9 + 27
    assert (rows["reason"].str.len() > 5).all()
    for score in content["scores"]:
        mine = rows[
            (rows["metric"] == score["metric"]) & ((rows["level"] == score["level"]) | (score["level"] is None))
        ]
        assert sample_sums(mine["sample_id"], mine["value"]).value == pytest.approx(score["value"])
    wrong = rows[(rows["sample_id"] == "tiny-000") & (rows["metric"] == "success_inst") & (rows["value"] == 0)]
    assert wrong["reason"].item() == "expected a red car, found a car of which 0% is red, but 100% green"


def test_signatures_name_everything_and_differ_with_it(run) -> None:
    score_runs([run.path], **ORACLE)
    content, _ = read(run)
    assert cell(content, "success_inst")["signature"].startswith("success_inst|bench:tiny@1:")
    parts = set(cell(content, "success_inst", 3)["signature"].split("|"))
    assert parts >= {"level:3", "n:9", "img:1", "protocol:strict", "det:oracle", "score:.25", "nms:1", "iou:.5"}
    assert parts >= {
        "color:hsv-mig@.2",
        f"mask:{MiniSegmenter.signature}@det",
        "seed:hashed",
        "ci:none",  # three samples
        "v:0.1.0",
    }
    assert "|ci:wilson-clustered|" in cell(content, "success_inst")["signature"]
    assert "color" not in cell(content, "miou")["signature"]
    score_runs([run.path], **ORACLE, protocol="mig_bench_v1", iou=0.6)
    content, _ = read(run)
    assert {"protocol:mig_bench_v1", "iou:.6"} <= set(cell(content, "miou")["signature"].split("|"))
    assert "color" in cell(content, "miou")["signature"]
    assert cell(content, "miou")["value"] == pytest.approx(100 * 19 / 27)


def test_scoring_again_or_under_other_thresholds_asks_no_judge(run, monkeypatch) -> None:
    score_runs([run.path], **ORACLE)
    before, _ = read(run)

    def refuse(*_args, **_kwargs):
        raise AssertionError("a judge was asked again")

    monkeypatch.setattr(OracleDetector, "detect", lambda self, images, queries, samples=None: refuse())
    monkeypatch.setattr(MiniSegmenter, "masks", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    score_runs([run.path], **ORACLE)
    assert read(run)[0] == before
    score_runs([run.path], **ORACLE, iou=0.9, score_threshold=0.8, coverage=1.0, nms=0.5)
    assert cell(read(run)[0], "success_inst")["value"] == pytest.approx(100 * 19 / 27)


def test_a_picture_made_later_is_judged_alone(run, benchmark, monkeypatch) -> None:
    score_runs([run.path], **ORACLE)
    asked = []
    detect = OracleDetector.detect
    monkeypatch.setattr(
        OracleDetector,
        "detect",
        lambda self, images, queries, samples=None: asked.extend(samples) or detect(self, images, queries, samples),
    )
    with run.writer() as writer:
        for sample in benchmark.samples[1:3]:
            writer.write_image(sample.id, 0, 7, paint(sample), 0.0)
    run.update_status()
    (scored,) = score_each([run.path], **ORACLE)
    assert [sample.id for sample in asked] == ["tiny-001", "tiny-002"]
    assert scored.problems == ()
    assert read(run)[0]["status"] == "complete"


def test_a_judge_that_fails_leaves_the_old_scores_and_what_was_measured(run, monkeypatch) -> None:
    score_runs([run.path], **ORACLE)
    before = find_scores(run.path)[0].read_bytes()
    monkeypatch.setattr(MiniSegmenter, "signature", "mini-other")
    monkeypatch.setattr(MiniSegmenter, "masks", lambda *_: 1 / 0)
    with pytest.raises(Exception, match="The judge 'mini-other' failed: ZeroDivisionError"):
        score_runs([run.path], **ORACLE)
    assert find_scores(run.path)[0].read_bytes() == before
    assert [file.name for file in run.scores_dir.rglob("*.part")] == []


def test_one_bad_run_does_not_keep_the_others_from_being_scored(run, tmp_path) -> None:
    with pytest.raises(MissingData, match="is not a run"):
        score_runs([tmp_path / "nothing", run.path], **ORACLE)
    assert find_scores(run.path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"detector": "orcale"}, "Did you mean 'oracle'"),
        ({"protocol": "strikt"}, "Did you mean 'strict'"),
        ({"iou": 50}, "from 0 to 1"),
        ({"segmenter": __file__ + ":ORACLE"}, "segmenter"),
    ],
)
def test_bad_options_are_sentences(run, options, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        score_runs([run.path], **(ORACLE | options))


def test_a_reference_for_a_benchmark_without_fid_is_an_error(run) -> None:
    with pytest.raises(UsageError, match="--fid-reference is of no use here: tiny measures no FID"):
        score_each([run.path], detector="oracle", fid_reference="photographs.npz")
    assert not (run.scores_dir / "scores.json").exists()


def test_scoring_imports_no_generator(run) -> None:
    import subprocess

    code = (
        f"import sys; from radl_bench.scoring.score import score_runs; score_runs([{str(run.path)!r}], **{ORACLE!r}); "
        "print([m for m in ('torch', 'diffusers', 'radl_bench.runs.generate', 'radl_bench.mini') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def folder(tmp_path, benchmark) -> Path:
    """Pictures made elsewhere: all three ways of naming, one of another size, one broken, one overlay, one stranger."""
    folder = tmp_path / "their-method"
    folder.mkdir()
    for n, sample in enumerate(benchmark.samples[:7]):
        name = f"{sample.id}.jpg" if n == 3 else f"{sample.id}_0.png" if n % 2 else f"{sample.id}.png"
        image = paint(sample)
        (image.resize((32, 32)) if n == 5 else image).save(folder / name, quality=95)
    (folder / f"{benchmark.samples[7].id}.png").write_bytes(b"not a picture")
    paint(benchmark.samples[0]).save(folder / "anno_tiny-000.png")
    (folder / "readme.txt").write_text("hello")
    return folder


def test_a_folder_of_pictures_becomes_a_run(folder, benchmark, tiny_benchmark, tmp_path) -> None:
    done = import_images(folder, benchmark, out=tmp_path / "runs", source=str(tiny_benchmark))
    notes = "\n".join(done.notes)
    assert "1 file (anno_tiny-000.png) skipped as overlays" in notes
    assert "1 file (readme.txt) belong to no sample of tiny" in notes
    assert "1 file (tiny-008_0) missing" in notes
    assert "1 file (tiny-007.png) cannot be read" in notes
    assert "1 file (tiny-005_0.png (32x32)) of another size than the others (64x64)" in notes
    run = RunFolder.open(done.run)
    assert run.manifest["generator"]["name"] == "their-method"
    score_runs([run.path], **ORACLE)
    content, rows = read(run)
    made = rows[(rows["metric"] == "success_inst") & rows["value"].notna()]
    assert (made["value"] == 100).all()
    assert cell(content, "success_img")["n_missing"] == 2
    assert import_images(folder, benchmark, out=tmp_path / "runs", source=str(tiny_benchmark)).run == run.path
    paint(benchmark.samples[8]).save(folder / "tiny-008.png")
    assert import_images(folder, benchmark, out=tmp_path / "runs", source=str(tiny_benchmark)).run != run.path


def test_a_table_maps_files_to_samples(tmp_path, benchmark, tiny_benchmark) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        paint(benchmark.samples[n]).save(folder / f"img{n}.png")
    table = tmp_path / "map.csv"
    table.write_text(
        "file,sample_id,k\nimg0.png,tiny-000,0\nimg1.png,tiny-001,\nimg2.png,tiny-002,0\nimg9.png,tiny-003,0\n"
    )
    done = import_images(folder, benchmark, name="m", table=table, out=tmp_path / "runs", source=str(tiny_benchmark))
    assert done.pictures == 3
    assert any("img9.png" in note for note in done.notes)
    rows = {row["sample_id"]: row["status"] for row in RunFolder.open(done.run).rows()}
    assert [rows[f"tiny-00{n}"] for n in range(4)] == ["ok", "ok", "ok", "error"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,sample\n", "columns file,sample_id"),
        ("file,sample_id\nimg0.png,nobody\n", "line 2: the benchmark has no sample 'nobody'"),
        ("file,sample_id,k\nimg0.png,tiny-000,x\n", "line 2: k must be a number"),
        ("file,sample_id\n../secret.png,tiny-000\n", "is not a file inside"),
        ("file,sample_id\na.png,tiny-000\nb.png,tiny-000\n", "line 3: image 0 of 'tiny-000' was given before"),
    ],
)
def test_a_bad_table_names_its_line(folder, benchmark, tmp_path, text, sentence) -> None:
    table = tmp_path / "map.csv"
    table.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        import_images(folder, benchmark, table=table, out=tmp_path / "runs")


def test_a_folder_without_our_pictures_is_a_sentence(tmp_path, benchmark) -> None:
    with pytest.raises(MissingData, match="There is no folder"):
        import_images(tmp_path / "nothing", benchmark, out=tmp_path / "runs")
    with pytest.raises(MissingData, match="Name them tiny-000_0"):
        import_images(tmp_path, benchmark, out=tmp_path / "runs")


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        ([], MissingData, "There is no run under"),
        (["--images", "x"], UsageError, "--images needs --benchmark"),
        (["--benchmark", "tiny"], UsageError, "belong to --images"),
    ],
)
def test_command_line_mistakes(tmp_path, words, error, sentence) -> None:
    result = CliRunner().invoke(build_app(), ["score", "--runs", str(tmp_path / "none"), *words])
    assert isinstance(result.exception, error)
    assert sentence in str(result.exception)


def test_the_command_imports_scores_and_names_what_is_missing(folder, tiny_benchmark, tmp_path) -> None:
    words = ["score", "--images", str(folder), "--benchmark", str(tiny_benchmark), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(build_app(), [*words, "--detector", "oracle", "--encoder", "none", "--name", "theirs"])
    assert isinstance(result.exception, GenerationFailed)
    assert result.exception.exit_code == 1
    assert "2 of 9 images" in str(result.exception)
    assert "1 file (tiny-008_0) missing" in result.output
    assert len(list((tmp_path / "runs" / "tiny" / "theirs").glob("*/scores/*/scores.json"))) == 1
