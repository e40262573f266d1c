"""`radl-bench report --format html` on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gallery_runs import make_run

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.scoring.score import score_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = make_run(tmp_path_factory.mktemp("cli") / "runs", load_benchmark("coco-mig", limit=2), "radl", 0)
    score_runs([path], detector="oracle", encoder="none")
    return path


def report(cwd: Path, *words: str) -> subprocess.CompletedProcess:
    code = "from radl_bench.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, "report", *words], cwd=cwd, capture_output=True, text=True)


def test_the_folder_is_named_and_lies_under_reports(run):
    home = run.parents[3]
    done = report(home, "--format", "html", "--pictures", "link")
    assert done.returncode == 0, done.stderr
    assert "reports/html/index.html" in done.stdout
    assert (home / "reports" / "html" / "gallery.html").is_file()
    assert list((home / "reports" / "html" / "figures").glob("*.svg"))


def test_a_mistake_is_one_sentence(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = report(tmp_path, str(run), "--format", "html", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "holds files that are no report" in done.stderr
    assert "Traceback" not in done.stderr
