"""The demo goes the whole way: images, scores, table, report."""

from __future__ import annotations

import pytest
from scores import scores as scores_of

from radl_bench.cli import demo as module
from radl_bench.cli import doctor
from radl_bench.runs.store import find_runs
from radl_bench.scoring.score import score_runs


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


@pytest.mark.slow
def test_the_demo_shows_all_three_methods(tmp_path, capsys):
    lacking = [check.what for check in doctor._weights() if check.needed and not check.ok]
    if lacking:
        pytest.skip(f"not in this checkout yet: {', '.join(lacking)}")
    module.demo(limit=5, root=tmp_path / "runs", reports=tmp_path / "reports")
    report = (tmp_path / "reports" / "demo.md").read_text()
    assert [name for name in ("real (rendered)", "Stable Diffusion (text only)", "RaDL") if name not in report] == []
