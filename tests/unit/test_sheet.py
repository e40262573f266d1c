"""The sheet of images across methods: what it shows, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from gallery_runs import scored_runs
from PIL import Image

from radl_bench.errors import UsageError
from radl_bench.report import build_report
from radl_bench.report.sheet import write_sheets


def test_a_sheet_has_a_row_a_sample_and_a_column_a_method_and_equal_ones_equal_bytes(tmp_path) -> None:
    report = build_report(scored_runs(tmp_path, limit=5))
    ids = [sample["sample_id"] for sample in report.sections[0].runs[0][0].rows().to_dict("records")]
    first, second = list(dict.fromkeys(ids))[:2]
    png, pdf = write_sheets(report, [second, first], tmp_path / "a")
    assert pdf.read_bytes().startswith(b"%PDF")
    one = write_sheets(report, [first], tmp_path / "b")[0]
    with Image.open(png) as both, Image.open(one) as single:
        assert both.width == pytest.approx(single.width, abs=2)
        assert 1.6 < both.height / single.height < 2.0
        assert len(np.unique(np.asarray(single.convert("RGB")).reshape(-1, 3), axis=0)) > 1_000  # images, not frames
    again = write_sheets(report, [second, first], tmp_path / "c")
    assert [file.read_bytes() for file in again] == [png.read_bytes(), pdf.read_bytes()]
    with pytest.raises(UsageError, match="mig-nowhere"):
        write_sheets(report, [first, "mig-nowhere"], tmp_path / "d")
    assert not (tmp_path / "d").exists()
