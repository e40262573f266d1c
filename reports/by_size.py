"""R_inst by the size of the box: `python reports/by_size.py RUN...` for scored runs; prints a Markdown table.

The wanted objects of a run are cut into fifths of rising area, so every column holds as many of them.
"""

from __future__ import annotations

import sys

from radl_bench.report import build_report
from radl_bench.report.figures_judge import by_size
from radl_bench.report.figures_views import seen_by


def main(runs: list[str]) -> None:
    """Print a row of areas, in per cent of the picture, and a row of R_inst with intervals for each method."""
    for section in build_report(runs).sections:
        for number, (run, _) in enumerate(section.runs):
            rates = by_size(seen_by(run))
            if not number:
                print("| method | " + " | ".join(f"{rate.x} %" for rate in rates) + " |")
                print("|---" + "|---:" * len(rates) + "|")
            print(f"| {run.method} | " + " | ".join(f"{r.value:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in rates) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
