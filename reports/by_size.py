"""R_inst by the size of the box, and how objects fail: `python reports/by_size.py RUN...` for scored runs.

The wanted objects of a run are cut into fifths of rising area, so every column holds as many of them. Prints two
Markdown tables; the kinds of the second are those of `radl-bench report --figures`.
"""

from __future__ import annotations

import sys

import numpy as np

from radl_bench.report import build_report
from radl_bench.report.figures_failures import KINDS, failure_kinds
from radl_bench.report.figures_judge import by_size
from radl_bench.report.figures_views import Seen, seen_by


def kinds(seen: Seen, columns: int) -> dict[str, list[float]]:
    """Return for each kind of failure its per cent of the objects of each column."""
    views = list(zip(seen.views, seen.strong, strict=True))
    found = np.array([kind for view, strong in views for kind in failure_kinds(view, strong, seen.rules)])
    boxes = np.array([i.box for view, _ in views for i in view.sample.instances])
    order = np.argsort((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
    parts = np.array_split(found[order], columns)
    return {kind: [100 * float((part == kind).mean()) for part in parts] for kind in KINDS[1:] if kind in found}


def main(runs: list[str]) -> None:
    """Print a row of areas, in per cent of the picture, and rows of R_inst with intervals, then of what fails."""
    for section in build_report(runs).sections:
        head, failed = "", []
        for run, _ in section.runs:
            seen = seen_by(run)
            rates = by_size(seen)
            if not head:
                head = "".join(f" {rate.x} % |" for rate in rates) + "\n|---" + "|---:" * len(rates) + "|"
                print(f"| method |{head}")
            print(f"| {run.method} | " + " | ".join(f"{r.value:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in rates) + " |")
            for kind, shares in kinds(seen, len(rates)).items():
                failed.append(f"| {run.method}: {kind} | " + " | ".join(f"{share:.1f}" for share in shares) + " |")
        print("\n".join(["", f"| failure |{head}", *failed]))


if __name__ == "__main__":
    main(sys.argv[1:])
