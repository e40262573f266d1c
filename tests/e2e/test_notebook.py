"""The notebook runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "first-hour.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_the_outputs_are_stripped() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[dev]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[dev]'")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    images, rows, _, table = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"][-4:]
    assert [output.output_type for output in images].count("display_data") == 2
    assert all(text in rows[-1].data["text/plain"] for text in ("a red umbrella", "a blue suitcase", "success_inst"))
    assert all(text in table[-1].data["text/plain"] for text in ("R_inst", "sprites", "radl"))
