"""Runs that travel: merged shards, bundles whose numbers are checked again, the Hub, forms of other tools."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import radl_bench as rb
from radl_bench.cli import build_app
from radl_bench.downloads.download import DownloadFailed
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.report import report_runs
from radl_bench.runs.merge import ROWS, merge_runs
from radl_bench.runs.rows import read_rows
from radl_bench.sharing import hub
from radl_bench.sharing.bundle import install, pack, unpack
from radl_bench.sharing.check import verify_bundle
from tests.scores import part, scores

JUDGES = {"detector": "oracle", "segmenter": "box", "encoder": "none"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tiny_benchmark, toy_method) -> Path:
    run = rb.generate(tiny_benchmark, toy_method, images_per_sample=2).run
    rb.score(run, **JUDGES)
    return run


def timeless(rows):
    return [{key: value for key, value in row.items() if key not in ("at", "seconds", "mtime_ns")} for row in rows]


def test_merged_shards_are_the_unsharded_run(run, tiny_benchmark, toy_method, tmp_path):
    parts = [
        rb.generate(tiny_benchmark, toy_method, images_per_sample=2, shard=f"{n}/3", runs=f"machine{n}").run
        for n in (1, 2, 3)
    ]
    merged = merge_runs([parts[2], parts[0], parts[1]], tmp_path / "merged")
    assert merged.manifest["status"] == "complete"
    assert merged.path.name == run.name
    assert timeless(read_rows(merged.path / ROWS)) == timeless(read_rows(run / ROWS))
    images = {file.name: file.read_bytes() for file in (run / "images").iterdir()}
    assert {file.name: file.read_bytes() for file in merged.images_dir.iterdir()} == images
    rb.score(merged.path, **JUDGES)
    assert part(merged.path, "rows").read_bytes() == part(run, "rows").read_bytes()
    assert scores(merged.path)["scores"] == scores(run)["scores"]
    again = rb.generate(tiny_benchmark, toy_method, images_per_sample=2, runs=tmp_path / "merged")
    assert (again.made, again.resumed) == (0, 18)


def test_merging_into_one_of_the_parts(tiny_benchmark, toy_method, tmp_path):
    parts = [rb.generate(tiny_benchmark, toy_method, shard=f"{n}/2", runs=f"m{n}").run for n in (1, 2)]
    merged = merge_runs(parts, Path("m1"))
    assert merged.path.resolve() == parts[0]
    assert [file.name for file in merged.path.glob("generations-*")] == [ROWS]
    assert len(merged.done()) == 9


def test_parts_that_do_not_belong_together(tiny_benchmark, toy_method, tmp_path):
    one = rb.generate(tiny_benchmark, toy_method, shard="1/2", runs="m1").run
    other = rb.generate(tiny_benchmark, toy_method, shard="2/2", runs="m2", settings={"size": 32}).run
    with pytest.raises(UsageError, match=r"generator\.params"):
        merge_runs([one, other], tmp_path / "merged")
    with pytest.raises(UsageError, match="two or more"):
        merge_runs([one], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_different_images_of_one_name_are_refused(tiny_benchmark, toy_method, tmp_path):
    one = rb.generate(tiny_benchmark, toy_method, limit=3, runs="m1").run
    shutil.copytree(one, "m2")
    (rows,) = Path("m2").glob("generations-*")
    text = rows.read_text("utf-8")
    digest = next(iter(read_rows(rows)))["sha256"]
    rows.write_text(text.replace(digest, "0" * 64), "utf-8")
    with pytest.raises(BadInput, match="different images"):
        merge_runs([one, Path("m2")], tmp_path / "merged")


def test_a_bundle_holds_and_is_the_same_twice(run):
    file = pack(run)
    assert file.read_bytes() == pack(run, Path("again.zip")).read_bytes()
    done = verify_bundle(file, share=1.0)
    assert (done.samples, done.judged) == (9, 0)
    assert done.rows == 2 * (27 + 9)
    assert done.means == 2 * 4
    drawn = verify_bundle(file, seed=1)
    assert drawn.samples == 1
    names = zipfile.ZipFile(file).namelist()
    assert not any(name.endswith(".png") for name in names)
    assert "argv" not in json.loads(zipfile.ZipFile(file).read("run/manifest.json"))
    assert str(run.absolute().parents[3]).encode() not in zipfile.ZipFile(file).read("run/manifest.json")


def test_a_bundle_with_images_is_judged_again(run):
    done = verify_bundle(pack(run, images=True), share=0.3, seed=3)
    assert done.judged == done.rows > 0


def repacked(file: Path, change, honest: bool = True) -> Path:
    """The bundle with files changed; an honest one has sums that fit."""
    with zipfile.ZipFile(file) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    change(contents)
    if honest:
        index = json.loads(contents["bundle.json"])
        index["files"] = {n: sha256(c).hexdigest() for n, c in contents.items() if n != "bundle.json"}
        contents["bundle.json"] = json.dumps(index).encode()
    with zipfile.ZipFile("changed.zip", "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return Path("changed.zip")


def better_scores(contents):
    (name,) = [n for n in contents if n.endswith("scores.json")]
    data = json.loads(contents[name])
    data["scores"][0]["value"] += 1
    contents[name] = json.dumps(data).encode()


def better_rows(contents):
    import io

    (name,) = [n for n in contents if n.endswith(".parquet")]
    frame = pd.read_parquet(io.BytesIO(contents[name]))
    frame["value"] = 100.0
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    contents[name] = out.getvalue()
    (name,) = [n for n in contents if n.endswith("scores.json")]
    data = json.loads(contents[name])
    for score in data["scores"]:
        score["value"] = 100.0
    contents[name] = json.dumps(data).encode()


def better_evidence(contents):
    import numpy as np

    better_rows(contents)
    (name,) = [n for n in contents if "coverage" in n and n.endswith(".sqlite")]
    Path("evidence.sqlite").write_bytes(contents[name])
    base = sqlite3.connect("evidence.sqlite")
    with base:
        base.execute("UPDATE evidence SET coverage = ?", (np.ones(7).tobytes(),))
    base.close()
    contents[name] = Path("evidence.sqlite").read_bytes()


@pytest.mark.parametrize(("change", "said"), [(better_scores, "scores.json says"), (better_rows, "by the evidence")])
def test_changed_numbers_are_refused(run, change, said):
    with pytest.raises(BadInput, match=said):
        verify_bundle(repacked(pack(run), change), share=1.0)


def test_changed_evidence_is_refused_by_the_images(run):
    with pytest.raises(BadInput, match="by the images"):
        verify_bundle(repacked(pack(run, images=True), better_evidence), share=1.0)
    verify_bundle(repacked(pack(run), better_evidence), share=1.0)  # without images nobody can know


def test_changed_bytes_are_refused(run):
    with pytest.raises(BadInput, match=r"is not what bundle\.json says"):
        verify_bundle(repacked(pack(run), better_scores, honest=False))


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/passwd", "run/../../x.json", "benchmark/metric.py", "run/images/../x.png"]
)
def test_files_that_no_bundle_has_are_refused(run, name):
    with pytest.raises(BadInput, match="not a bundle"):
        unpack(repacked(pack(run), lambda contents: contents.update({name: b"x"})), Path("out"))
    assert not Path("out").exists() or not list(Path("out").rglob("*"))


def test_what_is_no_bundle(tmp_path, run):
    Path("text.zip").write_text("no", "utf-8")
    with pytest.raises(BadInput, match="not a bundle"):
        verify_bundle(Path("text.zip"))
    with pytest.raises(MissingData):
        verify_bundle(Path("gone.zip"))
    with pytest.raises(UsageError, match="share"):
        verify_bundle(pack(run), share=0)
    shutil.rmtree(run / "scores")
    with pytest.raises(MissingData, match="not scored"):
        pack(run, Path("x.zip"))


def test_an_installed_run_is_reported_like_its_own(run, tmp_path):
    there = install(pack(run), Path("elsewhere"))
    assert there == Path("elsewhere") / Path(*run.parts[-3:])
    mine, theirs = (rb.read_scores(path).rows for path in (run, there))
    pd.testing.assert_frame_equal(mine, theirs)
    assert report_runs([there], "csv") == report_runs([run], "csv")
    with pytest.raises(UsageError, match="already"):
        install(pack(run), Path("elsewhere"))


def test_a_run_on_a_bare_file_is_packed_with_its_benchmark(toy_method):
    Path("mine.csv").write_text("id,category,color,x0,y0,x1,y1\na,car,red,0,0,1,1\nb,dog,,0,0,1,1\n", "utf-8")
    run = rb.generate("mine.csv", toy_method).run
    rb.score(run, **JUDGES)
    file = pack(run)
    Path("mine.csv").unlink()
    assert verify_bundle(file, share=1.0).samples == 2


class Hub:
    """A stand-in for HfApi that keeps repositories in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, []

    def create_repo(self, repo, repo_type, private, exist_ok):
        self.calls.append((repo, repo_type, private, exist_ok))
        (self.root / repo).mkdir(parents=True, exist_ok=True)

    def upload_folder(self, repo_id, repo_type, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)

    def hf_hub_download(self, repo, name, repo_type, revision, local_dir):
        if not (self.root / repo).is_dir():
            raise OSError("404 Client Error")
        return shutil.copyfile(self.root / repo / name, Path(local_dir) / name)


def test_push_and_pull(run, tmp_path, monkeypatch):
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_api", lambda: stand_in)
    runner = CliRunner()
    done = runner.invoke(build_app(), ["push", str(run), "me/my-run"])
    assert done.exit_code == 0, done.output
    assert stand_in.calls == [("me/my-run", "dataset", True, True)]
    card = (tmp_path / "hub" / "me" / "my-run" / "README.md").read_text("utf-8")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["configs"][0]["data_files"][0]["path"] == "rows.parquet"
    assert "| R_inst |" in card
    done = runner.invoke(build_app(), ["pull", "me/my-run", "--runs", "pulled"])
    assert done.exit_code == 0, done.output
    (there,) = Path("pulled").glob("*/*/*")
    assert scores(there)["scores"] == scores(run)["scores"]
    with pytest.raises(DownloadFailed, match="404"):
        hub.pull("me/none", Path("pulled"))
    with pytest.raises(UsageError, match="OWNER/NAME"):
        hub.pull("../x", Path("pulled"))


def test_the_calls_fit_the_real_hub_library():
    """The stand-in takes what HfApi takes."""
    import inspect

    from huggingface_hub import HfApi

    for name in ("create_repo", "upload_folder", "hf_hub_download"):
        theirs = inspect.signature(getattr(HfApi, name)).parameters
        for mine in list(inspect.signature(getattr(Hub, name)).parameters)[1:]:
            assert mine in theirs or (mine, name) in {
                ("repo", "create_repo"),
                ("repo", "hf_hub_download"),
                ("name", "hf_hub_download"),
            }
    assert [*inspect.signature(HfApi.create_repo).parameters][1] == "repo_id"
    assert [*inspect.signature(HfApi.hf_hub_download).parameters][1:3] == ["repo_id", "filename"]


def test_forms_of_other_tools(run):
    content = json.loads(report_runs([run], "harness"))
    said = {s["metric"]: s for s in scores(run)["scores"] if s["level"] is None}
    assert content["results"]["tiny"]["success_inst,strict"] == said["success_inst"]["value"]
    assert set(content["results"]) == {"tiny", "tiny_level2", "tiny_level3", "tiny_level4"}
    assert content["higher_is_better"]["tiny"]["success_inst"] is True
    assert content["radl_bench"]["signatures"]["tiny/success_inst"] == said["success_inst"]["signature"]
    card = report_runs([run], "model-index")
    head = yaml.safe_load(card.split("---\n")[1])
    (result,) = head["model-index"][0]["results"]
    assert {m["type"]: m["value"] for m in result["metrics"]} == {k: round(s["value"], 4) for k, s in said.items()}
    assert result["dataset"]["revision"] == scores(run)["benchmark"]["sha256"]


def test_the_hub_reads_the_model_index(run):
    """huggingface_hub itself parses it."""
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results

    head = yaml.safe_load(report_runs([run], "model-index").split("---\n")[1])
    name, results = model_index_to_eval_results(head["model-index"])
    assert name == "toy"
    assert {r.metric_type for r in results} == {"success_inst", "success_img"}
    assert ModelCardData(**head).tags == ["radl-bench", "layout-to-image"]


def fewer_rows(contents):
    """All rows of one level are gone, and the score says that nothing was measured there."""
    import io

    (name,) = [n for n in contents if n.endswith(".parquet")]
    frame = pd.read_parquet(io.BytesIO(contents[name]))
    out = io.BytesIO()
    frame[frame["level"] != 2].to_parquet(out, index=False)
    contents[name] = out.getvalue()


def test_rows_that_are_gone_are_refused(run):
    with pytest.raises(BadInput, match="level 2"):
        verify_bundle(repacked(pack(run), fewer_rows))
