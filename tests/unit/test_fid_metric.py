"""FID and KID in a scoring: the reference, the pool, the command, and what is refused or noted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scores import part
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.report import build_report
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.fid_reference import (
    Reference,
    build_reference,
    find_reference,
    folder_images,
    read_reference,
    rendered_reference,
    write_reference,
)
from radl_bench.scoring.metrics import View
from radl_bench.scoring.metrics.fid import FeaturePool
from radl_bench.scoring.metrics.frechet import frechet_distance, moments_of
from radl_bench.scoring.metrics.set_distances import FID_NOTE, kernel_parts, kid_value
from radl_bench.scoring.score import score_each
from radl_bench.types import Sample

GENERATOR = {"name": "painter", "revision": "1", "model": None, "params": {}, "weights_sha256": None}


class Colours:
    """A real little feature judge: the mean colour and the mean of the upper left quarter, in six numbers."""

    signature = "colours@1"
    calls = 0

    def features(self, images):
        Colours.calls += len(images)
        arrays = [np.asarray(image.resize((8, 8)), np.float32) / 255 for image in images]
        return np.stack([np.concatenate([a.mean((0, 1)), a[:4, :4].mean((0, 1))]) for a in arrays])


def picture(seed: int, tint: float = 0.0) -> Image.Image:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 200, 3) + tint
    return Image.fromarray(np.clip(base + rng.normal(0, 30, (16, 16, 3)), 0, 255).astype(np.uint8))


def pictures(number: int):
    return [(f"p{n}", hashlib.sha256(str(n).encode()).hexdigest(), picture(n)) for n in range(number)]


@pytest.fixture
def reference() -> Reference:
    return build_reference("ours", pictures(80), Colours())


def views(number: int, features: np.ndarray | None = None) -> list[View]:
    judge = Colours()
    samples = [Sample(f"s{n // 2}", "p", ()) for n in range(number)]
    found = judge.features([picture(1000 + n, 20.0) for n in range(number)]) if features is None else features
    return [View(sample, n % 2, features=vector) for n, (sample, vector) in enumerate(zip(samples, found, strict=True))]


def test_a_reference_keeps_what_it_was_made_of(reference, tmp_path) -> None:
    write_reference(reference, tmp_path / "r.npz")
    again = read_reference(tmp_path / "r.npz")
    assert (again.ids[:2], again.judge, again.moments.n) == (("p0", "p1"), "colours@1", 80)
    assert np.array_equal(again.moments.cov, reference.moments.cov)
    assert np.array_equal(again.vectors, reference.vectors)
    assert again.setting == reference.setting == f"ref:ours:80:{reference.images_sha256[:8]}"
    assert build_reference("ours", pictures(80)[::-1], Colours()).images_sha256 != reference.images_sha256
    with pytest.raises(UsageError, match="two images at least"):
        build_reference("one", pictures(1), Colours())


def test_the_pool_gives_the_distances_and_their_intervals(reference) -> None:
    pool = FeaturePool(reference)
    seen = views(60)
    for view in [*seen, View(Sample("s99", "p", ()), 0, problem="it is gone")]:
        pool.add(view)
    found = pool.estimates(None)
    vectors = np.stack([view.features for view in seen])
    assert found["fid"].value == pytest.approx(
        frechet_distance(moments_of([vectors], [vectors]), reference.moments), rel=1e-9
    )
    assert found["kid"].value == pytest.approx(
        1000 * kid_value(kernel_parts(vectors, np.arange(60) // 2, reference.vectors)), rel=1e-9
    )
    assert found["kid"].ci_low < found["kid"].value < found["kid"].ci_high
    assert [(e.n, e.n_missing) for e in found.values()] == [(61, 1)] * 2
    assert np.isnan([found["fid"].ci_low, found["fid"].ci_high]).all()
    assert "biased upwards" in found["fid"].note
    assert found["fid"].note.endswith(FID_NOTE)
    assert found["kid"].note is None
    assert pool.estimates(3) == {}


def test_few_images_have_no_interval_and_one_has_no_distance(reference) -> None:
    few, one = FeaturePool(reference), FeaturePool(reference)
    for view in views(8):
        few.add(view)
    one.add(views(1)[0])
    assert np.isfinite(few.estimates(None)["fid"].value)
    assert np.isnan(few.estimates(None)["fid"].ci_low)
    assert np.isnan(one.estimates(None)["fid"].value)
    assert "two images at least" in one.estimates(None)["fid"].note
    assert np.isnan(one.estimates(None)["kid"].value)
    with pytest.raises(BadInput, match="features of 6 numbers"):
        one.add(views(1, np.zeros((1, 5), np.float32))[0])


def test_statistics_of_another_suite_have_no_kid(tmp_path, reference) -> None:
    np.savez(tmp_path / "theirs.npz", mu=reference.moments.mean, sigma=reference.moments.cov)
    theirs = read_reference(tmp_path / "theirs.npz")
    assert theirs.judge is None
    assert theirs.setting.startswith("ref:theirs:unknown:")
    pool = FeaturePool(theirs)
    for view in views(20):
        pool.add(view)
    found = pool.estimates(None)
    assert np.isfinite(found["fid"].value)
    assert "has no vectors" in found["kid"].note


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"mu": np.zeros(3)}, "not a reference with mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.zeros((2, 2))}, "do not fit"),
        ({"mu": np.array([np.nan, 0]), "sigma": np.zeros((2, 2))}, "do not fit"),
        ({"mu": np.array([None]), "sigma": np.zeros((2, 2))}, "not a reference"),
    ],
)
def test_a_bad_file_is_a_sentence(tmp_path, arrays, sentence) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadInput, match=sentence):
        read_reference(tmp_path / "bad.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(BadInput, match="not a reference"):
        read_reference(tmp_path / "torn.npz")


def test_which_reference_a_run_gets(tmp_path, tiny_benchmark, reference, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    benchmark = load_benchmark(tiny_benchmark)
    with pytest.raises(MissingData, match="radl-bench data fid-reference"):
        find_reference(benchmark, None, Colours())
    with pytest.raises(MissingData, match="There is no reference"):
        find_reference(benchmark, "coco", Colours())
    write_reference(reference, tmp_path / "fid" / "coco.npz")
    assert find_reference(benchmark, "coco", Colours()).ids == reference.ids
    other = Colours()
    other.signature = "colours@2"
    with pytest.raises(BadInput, match="made with colours@1"):
        find_reference(benchmark, "coco", other)


def test_rendered_scenes_are_made_once_and_differ_from_those_of_runs(tmp_path, tiny_benchmark, monkeypatch) -> None:
    from radl_bench.mini.scenes import render
    from radl_bench.runs.seeds import image_seed

    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    monkeypatch.setattr("radl_bench.scoring.fid_reference.RENDERED", 20)
    benchmark = load_benchmark(tiny_benchmark)
    before = Colours.calls
    first = rendered_reference(benchmark, Colours())
    assert (first.moments.n, Colours.calls - before) == (27, 27)  # three scenes of each of the nine layouts
    assert rendered_reference(benchmark, Colours()).ids == first.ids
    assert Colours.calls - before == 27
    sample = benchmark.samples[0]
    run = hashlib.sha256(render(sample, image_seed(benchmark.name, sample.id, 0)).tobytes()).hexdigest()
    assert run not in {
        sha for _, sha, _ in __import__("radl_bench.scoring.fid_reference", fromlist=["x"])._scenes(benchmark, 3)
    }
    level = load_benchmark(tiny_benchmark, level=2)
    assert {i.partition("_")[0] for i in rendered_reference(level, Colours()).ids} == {s.id for s in level.samples}


@pytest.fixture
def paint(tmp_path, make_benchmark):
    """Make nine pictures of noise on a benchmark that asks for FID alone."""
    folder = make_benchmark()
    text = (folder / "benchmark.toml").read_text("utf-8")
    (folder / "benchmark.toml").write_text(text.replace("[metrics.success]\niou = 0.5", "[metrics.fid]"), "utf-8")
    benchmark = load_benchmark(folder)

    def make(name: str = "painter", tint: float = 0.0, left_out: int | None = None) -> RunFolder:
        run = RunFolder.create(tmp_path / "runs", benchmark, GENERATOR | {"name": name}, source=str(folder))
        with run.writer() as writer:
            for n, sample in enumerate(benchmark.samples):
                if n != left_out:
                    writer.write_image(sample.id, 0, 7, picture(n, tint), 0.0)
        run.update_status()
        return run

    return make


@pytest.fixture
def run(paint) -> RunFolder:
    return paint()


@pytest.fixture
def judge(tmp_path) -> str:
    """Return `path/to/file.py:Class` of the little judge."""
    file = tmp_path / "colours.py"
    source = Path(__file__).read_text("utf-8")
    body = source[source.index("class Colours") : source.index("def picture(")]
    file.write_text("import numpy as np\n\n\n" + body, "utf-8")
    return f"{file}:Colours"


def test_score_writes_fid_with_its_note_and_signature(run, judge, reference, tmp_path) -> None:
    write_reference(reference, tmp_path / "ours.npz")
    options = {"detector": "oracle", "encoder": "none", "features": judge}
    (scored,) = score_each([run.path], **options, fid_reference=tmp_path / "ours.npz")
    content = json.loads(scored.file.read_text("utf-8"))
    (fid, kid) = content["scores"]
    assert (fid["metric"], fid["level"], fid["n"]) == ("fid", None, 9)
    assert f"features:colours@1|{reference.setting}|form:float64-eigh" in fid["signature"]
    assert "biased upwards" in fid["note"]
    assert scored.notes[-1] == f"fid: {fid['note']}"
    assert kid["ci_low"] < kid["value"] < kid["ci_high"]
    assert content["judges"]["features"]["signature"] == "colours@1"
    kept = np.load(part(run.path, "parts"))
    assert set(kept.files) == {f"fid/{name}" for name in ("form", "scores", "reference", "setting")}
    assert str(kept["fid/reference"]) == str(tmp_path / "ours.npz")
    with pytest.raises(MissingData, match="data fid-reference"):
        score_each([run.path], **options)
    with pytest.raises(UsageError, match="--fid-reference is of no use here: the features are none"):
        score_each([run.path], detector="oracle", encoder="none", fid_reference=tmp_path / "ours.npz")
    (without,) = score_each([run.path], detector="oracle", encoder="none")
    assert json.loads(without.file.read_text("utf-8"))["scores"] == []


def test_fid_and_kid_are_compared_by_swapping_the_images_of_both_runs(paint, judge, reference, tmp_path) -> None:
    write_reference(reference, tmp_path / "ours.npz")
    near, far, part = paint("near"), paint("far", 120.0), paint("part", 120.0, left_out=3)
    options = {"detector": "oracle", "encoder": "none", "features": judge, "fid_reference": tmp_path / "ours.npz"}
    score_each([near.path, far.path, part.path], **options)
    fid, kid = compare_runs(near.path, far.path).lines
    assert (fid.metric, kid.metric) == ("fid", "kid")
    for line in (fid, kid):
        assert line.difference == pytest.approx(line.a - line.b, rel=1e-9)
        assert (line.n, line.groups) == (9, (1, 2))
        assert line.p < 0.05
    assert kid.ci_low < kid.difference < kid.ci_high < 0
    back = compare_runs(far.path, near.path).lines[1]
    assert (back.ci_low, back.ci_high, back.p, back.groups) == (-kid.ci_high, -kid.ci_low, kid.p, (2, 1))
    alike = compare_runs(far.path, part.path).lines[1]  # on the eight images that both have
    assert (alike.n, alike.difference, alike.p) == (8, pytest.approx(0.0, abs=1e-9), 1.0)
    (section,) = build_report([near.path, far.path]).sections
    assert [line.cells[0].group for line in section.tables[0].lines] in ([1, 2], [2, 1])
    write_reference(build_reference("ours", pictures(40), Colours()), tmp_path / "ours.npz")  # another one of its name
    found = compare_runs(near.path, far.path)
    assert [line.p for line in found.lines] == [None, None]
    assert any(note.startswith("FID, KID ×1000: not tested") for note in found.notes)


def test_the_command_builds_a_reference_of_a_folder(tmp_path, judge) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(5):
        picture(n).save(folder / f"{n:03d}.png")
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "ids.txt").write_text("003\n001\n\n002\n")
    words = ["data", "fid-reference", str(folder), "--features", judge, "--ids", str(tmp_path / "ids.txt")]
    done = CliRunner().invoke(build_app(), [*words, "--out", str(tmp_path / "r.npz")])
    assert done.exit_code == 0, done.output
    assert "3 images" in done.output
    assert read_reference(tmp_path / "r.npz").ids == ("003", "001", "002")
    with pytest.raises(MissingData, match="no image 'x'"):
        list(folder_images(folder, ["x"]))
    with pytest.raises(MissingData, match="no images"):
        list(folder_images(tmp_path / "empty"))
    (folder / "bad.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"bad.png cannot be read"):
        list(folder_images(folder))
