"""Scores of several judge sets side by side, files that change together, and image files that change behind them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scores import part
from scores import rows as rows_of
from scores import scores as scores_of
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.report import build_report
from radl_bench.report.choice import Choice
from radl_bench.report.collect import collect
from radl_bench.runs.store import RunFolder, find_scores
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.score import score_each, score_runs

ORACLE = {"detector": "oracle", "segmenter": "box", "encoder": "none"}
BLIND = ORACLE | {"detector": "blind"}
ABOUT = {"revision": "1", "model": None, "params": {}, "weights_sha256": None}


def paint(run: RunFolder, samples, value: int = 128) -> None:
    with run.writer() as writer:
        for n, sample in enumerate(samples):
            pixels = np.full((32, 32, 3), value, np.uint8)
            pixels[0, 0] = (n, 0, 0)
            writer.write_image(sample.id, 0, 7, Image.fromarray(pixels), 0.0)
    run.update_status()


@pytest.fixture
def benchmark(tiny_benchmark):
    return load_benchmark(tiny_benchmark)


@pytest.fixture
def make(tmp_path, benchmark, tiny_benchmark):
    def make(name: str = "painter", number: int = 9) -> RunFolder:
        source = str(tiny_benchmark)
        run = RunFolder.create(tmp_path / "runs", benchmark, ABOUT | {"name": name}, source=source, scale="paper")
        paint(run, benchmark.samples[:number])
        return run

    return make


def files(run: RunFolder) -> list[str]:
    return sorted(p.relative_to(run.scores_dir).as_posix() for p in run.scores_dir.rglob("*") if p.is_file())


def test_another_judge_or_protocol_overwrites_nothing(make) -> None:
    run = make()
    for n, options in enumerate((ORACLE, BLIND, ORACLE | {"protocol": "mig_bench_v1"}, ORACLE | {"iou": 0.7}), start=1):
        score_runs([run.path], **options)
        assert len(find_scores(run.path)) == n
    before = {file: file.read_bytes() for file in find_scores(run.path)}
    score_runs([run.path], **ORACLE)
    assert {file: file.read_bytes() for file in find_scores(run.path)} == before
    assert scores_of(run.path)["judges"]["detector"]["name"] == "oracle"  # the one that was made last is the newest
    assert len(files(run)) == 4 * 4  # scores, rows, parts and the lock


def test_the_report_shows_the_newest_or_all_or_those_of_a_judge(make, tmp_path) -> None:
    runs = [make("a").path, make("b").path]
    score_runs(runs, **ORACLE)
    score_runs(runs, **BLIND)
    score_runs(runs[:1], **ORACLE | {"segmenter": "grabcut"})

    def shown(choice: Choice | None = None) -> list[tuple[str, str]]:
        scored, _ = collect(runs, choice)
        judges = [run.data["judges"] for run in scored]
        return [(j["detector"]["name"], j["segmenter"]["name"]) for j in judges]

    assert shown() == [("oracle", "grabcut"), ("blind", "box")]
    assert shown(Choice(judges=("blind",))) == [("blind", "box")] * 2
    assert shown(Choice(judges=("oracle", "box"))) == [("oracle", "box")] * 2
    assert len(shown(Choice(every=True))) == 5
    sections = build_report(runs, choice=Choice(every=True)).sections
    assert sorted(len(section.runs) for section in sections) == [1, 2, 2]  # never two scorings of a run in one table
    with pytest.raises(MissingData, match="Not scored with mini"):
        build_report(runs, choice=Choice(judges=("mini",)))
    call = ["report", *map(str, runs), "--format", "csv", "--stdout"]
    done = CliRunner().invoke(build_app(), [*call, "--scores", "all", "--judges", "blind"])
    assert done.exit_code == 0, done.output
    assert "det:blind" in done.output
    assert "det:oracle" not in done.output
    wrong = CliRunner().invoke(build_app(), [*call, "--scores", "al"])
    assert isinstance(wrong.exception, UsageError)


class Enc:
    """An encoder that no metric here needs, so that it stands in no signature."""

    signature = "enc"

    def encode_images(self, images):
        return np.ones((len(images), 1))

    encode_texts = encode_images


def test_two_scorings_of_one_run_never_share_a_table(make) -> None:
    run = make()
    score_runs([run.path], **ORACLE)
    score_runs([run.path], **ORACLE | {"encoder": f"{__file__}:Enc"})
    sections = build_report([run.path], choice=Choice(every=True)).sections
    assert [len(section.runs) for section in sections] == [1, 1]
    assert len({section.title for section in sections}) == 2


def test_two_runs_are_compared_under_the_judges_both_have(make) -> None:
    runs = [make("a").path, make("b").path]
    score_runs(runs, **ORACLE)
    score_runs(runs[:1], **BLIND)
    assert {line.metric for line in compare_runs(*runs).lines} == {"success_inst", "success_img"}
    score_runs(runs[1:], **ORACLE | {"segmenter": "grabcut"})
    shutil.rmtree(find_scores(runs[0])[1].parent)
    with pytest.raises(UsageError, match="was measured differently"):
        compare_runs(*runs)


def test_scores_of_earlier_versions_are_read_and_replaced(make) -> None:
    run = make()
    score_runs([run.path], **ORACLE)
    new = find_scores(run.path)[0]
    old = run.scores_dir / "scores.json"
    content = scores_of(run.path)
    rows = part(run.path, "rows")
    del content["files"], content["scale"]
    old.write_text(json.dumps(content))
    shutil.copy(rows, run.scores_dir / "rows.parquet")
    (run.scores_dir / ".rows.parquet.7.part").write_bytes(b"left over")
    shutil.rmtree(new.parent)
    (scored,), _ = collect([run.path])
    assert (scored.file.name, len(scored.rows())) == ("scores.json", 36)
    assert scored.plan.finished
    score_runs([run.path], **ORACLE)
    assert len(collect([run.path], Choice(every=True))[0]) == 1  # same judges and protocol: the newer stands for both
    assert not list(run.scores_dir.rglob("*.part"))


def test_a_name_of_a_file_leads_nowhere_else(make, tmp_path) -> None:
    run = make()
    score_runs([run.path], **ORACLE)
    (tmp_path / "secret.parquet").write_bytes(part(run.path, "rows").read_bytes())
    file = find_scores(run.path)[0]
    content = json.loads(file.read_text()) | {"files": {"rows": str(tmp_path / "secret.parquet")}}
    file.write_text(json.dumps(content))
    (scored,), _ = collect([run.path])
    assert scored.rows() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_step_scores_and_rows_belong_together(make, benchmark, tmp_path) -> None:
    run = make(number=3)
    score_runs([run.path], **ORACLE)
    first = scores_of(run.path)
    paint(run, benchmark.samples, value=200)
    whole = Path(shutil.copytree(run.path, tmp_path / "whole"))
    score_runs([whole], **ORACLE)
    last = scores_of(whole)
    assert first["scores"] != last["scores"]
    seen = []
    for count in range(200):
        at = Path(shutil.copytree(run.path, tmp_path / "kills" / str(count)))
        killed = _score_and_die(at, count)
        content = scores_of(at)
        assert content in (first, last)
        table = rows_of(at)
        assert len(table) == 36
        made = content["images"]["n"] - content["images"]["n_missing"]
        assert table[table["metric"] == "success_img"]["value"].notna().sum() == made
        assert len(np.load(part(at, "parts")).files) == 0
        seen.append(content == last)
        shutil.rmtree(at)
        if not killed:
            break
    else:
        pytest.fail("it never came to an end")
    assert seen == sorted(seen)
    assert {True, False} == set(seen)
    assert len(seen) >= 8
    left = Path(shutil.copytree(run.path, tmp_path / "left"))
    _score_and_die(left, 4)
    score_runs([left], **ORACLE)
    assert scores_of(left) == last
    assert not list(left.rglob("*.part"))


def _score_and_die(run: Path, count: int) -> bool:
    """Score in a process that is killed at its `count`-th change of a folder or sync; says whether it was."""
    child = os.fork()
    if child == 0:
        left = [count]

        def dying(true):
            def call(*arguments, **options):
                if left[0] == 0:
                    os._exit(77)  # as a kill: no handler, no finally
                left[0] -= 1
                return true(*arguments, **options)

            return call

        os.replace, os.fsync, os.unlink = dying(os.replace), dying(os.fsync), dying(os.unlink)
        try:
            score_runs([run], **ORACLE)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 77)
    return code == 77


def test_a_file_that_changes_behind_kept_evidence_is_noticed(make, benchmark) -> None:
    run = make()
    score_runs([run.path], **ORACLE)
    swapped, zeroed, cut, gone = (run.path / f"images/{s.id}_0.png" for s in benchmark.samples[:4])
    Image.new("RGB", (32, 32), (1, 2, 3)).save(swapped)
    zeroed.write_bytes(bytes(zeroed.stat().st_size))  # the same size
    cut.write_bytes(cut.read_bytes()[:-9])
    gone.unlink()
    (scored,) = score_each([run.path], **ORACLE)
    assert [p.partition(": ")[2] for p in scored.problems] == [
        *(f"the file {f.name} is not the one that was generated" for f in (swapped, zeroed, cut)),
        f"the file {gone.name} is gone",
    ]
    assert scores_of(run.path)["images"]["n_missing"] == 4


def test_a_file_that_was_touched_is_hashed_again_and_no_other(make, benchmark, monkeypatch) -> None:
    from radl_bench.scoring import seen_files

    run = make()
    score_runs([run.path], **ORACLE)
    hashed = []
    true = seen_files.file_sha256
    monkeypatch.setattr(seen_files, "file_sha256", lambda file: hashed.append(file.name) or true(file))
    os.utime(run.path / f"images/{benchmark.samples[5].id}_0.png")
    (scored,) = score_each([run.path], **ORACLE)
    assert (hashed, scored.problems) == ([f"{benchmark.samples[5].id}_0.png"], ())
    hashed.clear()
    score_runs([run.path], **ORACLE)
    assert hashed == []


def test_verify_hashes_every_image_of_a_run(make, benchmark) -> None:
    run = make()
    score_runs([run.path], **ORACLE)
    words = ["data", "verify", str(run.path)]
    assert CliRunner().invoke(build_app(), words).exit_code == 0
    file = run.path / f"images/{benchmark.samples[2].id}_0.png"
    stat = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the one change that scoring alone does not see
    assert score_each([run.path], **ORACLE)[0].problems == ()
    result = CliRunner().invoke(build_app(), words)
    assert isinstance(result.exception, BadInput)
    assert f"{file.name} is not the one that was generated" in result.output
    assert score_each([run.path], **ORACLE)[0].problems != ()  # and from then on it does


def test_a_row_that_points_to_another_image_is_refused(make, benchmark) -> None:
    run = make()
    rows = run.path / "generations-0of1.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    lines[1] |= {key: lines[0][key] for key in ("file", "sha256")}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=r"generations-0of1.jsonl, line 2 is not a row of an image"):
        score_runs([run.path], **ORACLE)
