"""reports/mini.py: its commands name what there is, and the reference's run to a table and a sheet."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.registry import GENERATORS

FILE = Path(__file__).parents[2] / "reports" / "mini.py"


def _script():
    spec = importlib.util.spec_from_file_location("mini_tables", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_method_and_every_sample_of_the_sheet_is_there():
    script = _script()
    assert {method.split()[0] for method in script.METHODS} == set(GENERATORS)
    known = {sample.id: len(sample.instances) for sample in load_benchmark("coco-mig").samples}
    assert {known[one] for one in script.SHEET} == {2, 3, 4, 5, 6}


def test_the_reference_runs_to_a_table_and_a_sheet(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mini.py", "--methods", "sprites", "--runs", str(tmp_path / "runs")])
    monkeypatch.chdir(tmp_path)
    script = _script()
    monkeypatch.setattr(script, "BENCHMARKS", {"coco-mig": ("--limit", "5")})
    monkeypatch.setattr(script, "SHEET", [sample.id for sample in load_benchmark("coco-mig", limit=5).samples][:2])
    monkeypatch.setenv("PYTHONPATH", str(FILE.parents[1]))
    script.main()
    files = {file.suffix for file in (tmp_path / "reports").iterdir()}
    assert {".md", ".png", ".pdf"} <= files


def test_a_dry_run_prints_the_commands():
    words = [sys.executable, str(FILE), "--dry-run", "--methods", "radl", "boxdiff"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "radl-bench generate coco-mig --method radl --workers 1 --runs runs"
    assert len(said) == 9
