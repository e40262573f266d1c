"""The demo goes the whole way: images, scores, table, report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from scores import scores as scores_of

from radl_bench.cli import demo as module
from radl_bench.cli import doctor
from radl_bench.runs.store import find_runs
from radl_bench.scoring.score import score_runs

ROOT = Path(__file__).parents[2]


def test_the_way_of_the_demo_with_the_rendered_row_and_the_oracle(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "METHODS", ("sprites",))
    monkeypatch.setattr(
        "radl_bench.scoring.score.score_runs", lambda runs: score_runs(runs, detector="oracle", encoder="none")
    )
    module.demo(limit=5, root=tmp_path / "runs", reports=tmp_path / "reports")
    (run,) = find_runs(tmp_path / "runs")
    scores = scores_of(run)["scores"]
    (success,) = [s for s in scores if s["metric"] == "success_inst" and s["level"] is None]
    assert (success["n"], success["value"]) == (20, 100.0)
    printed = capsys.readouterr().out
    assert "real" in printed
    assert str(tmp_path / "reports" / "demo.md") in "".join(printed.split("\n"))
    page = tmp_path / "reports" / "demo" / "index.html"
    assert printed.strip().endswith(str(page))
    assert "R_inst" in page.read_text("utf-8")
    assert len(list((page.parent / "images").glob("*.webp"))) == 5
    assert "R_inst" in (tmp_path / "reports" / "demo.md").read_text()


@pytest.mark.parametrize(("cores", "workers"), [(1, [1, 1, 1]), (2, [1, 2, 2]), (16, [1, 2, 2])])
def test_the_models_run_on_two_cores_where_there_are_two(tmp_path, monkeypatch, cores, workers):
    asked = []

    def generate(*_, workers, **others):
        asked.append(workers)
        return SimpleNamespace(run=tmp_path)

    monkeypatch.setattr("radl_bench.api.making.generate", generate)
    monkeypatch.setattr("radl_bench.runs.local_workers.cores", lambda: cores)
    benchmark = SimpleNamespace(name="coco-mig", samples=[])
    assert [module._generate(benchmark, method, tmp_path) for method in module.METHODS] == [tmp_path] * 3
    assert asked == workers


@pytest.mark.slow
def test_the_demo_shows_all_three_methods(tmp_path, capsys):
    lacking = [check.what for check in doctor._weights() if check.needed and not check.ok]
    if lacking:
        pytest.skip(f"not in this checkout yet: {', '.join(lacking)}")
    module.demo(limit=5, root=tmp_path / "runs", reports=tmp_path / "reports")
    report = (tmp_path / "reports" / "demo.md").read_text()
    assert [name for name in ("real (rendered)", "Stable Diffusion (text only)", "RaDL") if name not in report] == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the seconds of a process from /proc")
def test_the_first_image_of_the_demo_is_there_within_15_seconds(tmp_path):
    """Seconds of computing, which another process on the machine does not change; starting Python is among them."""
    code = "import sys; from radl_bench.cli import main; sys.argv = ['radl-bench', 'demo']; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    ) as demo:
        lines = iter(demo.stderr.readline, "")
        first = next((line for line in lines if line.startswith("generate: 1/")), None)
        user, system = Path(f"/proc/{demo.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        demo.kill()
    assert first is not None
    assert len(list(tmp_path.glob("runs/coco-mig/sprites/*/images/*.png"))) >= 1
    assert (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") < 15
