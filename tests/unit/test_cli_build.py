"""`radl-bench data build` and `ls benchmarks`: what they write, say and refuse."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from coco_folder import annotations, write
from http_server import serve
from typer.testing import CliRunner

from radl_bench.benchmarks.builders import MANIFEST, Options, build, full_folder
from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.downloads.download import RemoteFile
from radl_bench.downloads.fetch import catalogue
from radl_bench.errors import BadInput, MissingData, UsageError


@pytest.fixture
def coco(tmp_path) -> Path:
    return write(tmp_path / "coco", *annotations())


def test_the_command_writes_a_benchmark_that_loads_and_a_manifest_with_every_sum(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    run = CliRunner().invoke
    done = run(build_app(), ["data", "build", "coco-position", "--coco", str(coco), "--count", "6"])
    assert done.exit_code == 0, done.output
    assert "radl-bench generate coco-position-full" in done.output
    assert "fid_reference.txt" in done.output
    folder = full_folder("coco-position")
    benchmark = load_benchmark("coco-position-full")
    assert (len(benchmark.samples), benchmark.images_per_sample) == (6, 8)
    assert benchmark.metrics["fid"] == {"reference": "coco-position-full"}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(manifest["files"]) == {"samples.jsonl", "image_ids.txt", "fid_reference.txt"}
    for name, digest in manifest["files"].items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    for name, digest in manifest["sources"].items():
        assert sha256((coco / "annotations" / name).read_bytes()).hexdigest() == digest
    assert (manifest["seed"], manifest["rules"]["smallest_side"]) == (20262, 0.125)
    listed = run(build_app(), ["ls", "benchmarks", "coco-position"]).output
    assert "built: coco-position-full" in " ".join(listed.split())
    assert run(build_app(), ["data", "verify", "coco-position-full"]).exit_code == 0
    (folder / "image_ids.txt").write_text("1\n")
    checked = run(build_app(), ["data", "verify", "coco-position-full"])
    assert isinstance(checked.exception, BadInput)
    assert "image_ids.txt is not what manifest.json says" in " ".join(checked.output.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["coco-mig"], "--coco DIR, or --download"),
        (["coco-mig", "--coco", "x", "--download"], "--coco DIR, or --download"),
        (["coco-mig", "--download", "--split", "val2017"], "val2014 alone"),
    ],
)
def test_calls_that_cannot_be_meant_are_sentences(arguments, words):
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(build_app(), ["data", "build", *arguments], catch_exceptions=False)
    assert words in str(caught.value)


def test_an_unknown_name_gets_the_nearest():
    wrong = CliRunner().invoke(build_app(), ["data", "build", "coco-posit", "--coco", "x"])
    assert wrong.exit_code == 2
    assert "Did you mean 'coco-position'" in wrong.output


def test_offline_a_build_names_all_it_would_download(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingData) as caught:
        CliRunner().invoke(
            build_app(),
            ["data", "build", "coco-position", "--download", "--images", "--offline"],
            catch_exceptions=False,
        )
    assert re.findall(r"radl-bench fetch (\S+)", str(caught.value)) == ["coco-annotations", "coco-val2014"]


def test_a_build_gets_the_annotations_itself_once(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for file in sorted((coco / "annotations").iterdir()):
            archive.write(file, f"annotations/{file.name}")
        archive.writestr("annotations/instances_train2014.json", "{}")
    body = stream.getvalue()
    arguments = ["data", "build", "coco-mig", "--download", "--count", "2"]
    with serve() as shop:
        shop.goods["/annotations.zip"] = body
        remote = RemoteFile("annotations.zip", f"{shop.url}/annotations.zip", len(body), sha256(body).hexdigest())
        item = replace(catalogue()["coco-annotations"], files=(remote,))
        monkeypatch.setattr(
            "radl_bench.downloads.fetch.catalogue", lambda: {"coco-annotations": item, "coco-val2014": item}
        )
        first = CliRunner().invoke(build_app(), arguments)
        assert first.exit_code == 0, first.output
        data = (full_folder("coco-mig") / "samples.jsonl").read_bytes()
        CliRunner().invoke(build_app(), [*arguments, "--offline"], catch_exceptions=False)
        assert len(shop.asked) == 1
    assert data == (full_folder("coco-mig") / "samples.jsonl").read_bytes()
    assert data == samples_bytes(build("coco-mig", Options(coco, count=2)).samples)
    kept = sorted(p.name for p in (tmp_path / "home" / "data" / "coco-annotations" / "annotations").iterdir())
    assert kept == ["captions_val2014.json", "instances_val2014.json"]


def test_the_list_of_benchmarks_names_size_source_and_whether_the_full_one_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))

    def words(*line: str) -> str:
        return " ".join(CliRunner().invoke(build_app(), ["ls", "benchmarks", *line]).output.replace("│", " ").split())

    assert "coco-mig 800 2-6 Layouts of" in words()
    assert "coco-position 160 2-6 Layouts of" in words()
    assert re.search(r"drawbench 60 1-6 ", words())
    one = words("coco-mig")
    assert "coco-mig, version 1: Layouts of" in one
    assert "samples 800, by level 2-6: 160 each" in one
    assert "source embedded full size not built: radl-bench data build coco-mig" in one
