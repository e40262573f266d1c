"""Which scores stand in which table, as data: the three tables of the literature, and one form for any benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

METRICS = {
    "success_inst": "R_inst",
    "success_img": "R_img",
    "miou": "mIoU",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "clip": "CLIP",
    "local_clip": "Local CLIP",
    "fid": "FID",
    "kid": "KID ×1000",
    "drawbench_attribute": "Attribute",
    "drawbench_quantity": "Quantity",
    "drawbench_relation": "Relation",
}
"""Metric name -> column head, in the order of the columns; metrics unknown here follow under their own name."""

LOWER_IS_BETTER = frozenset({"fid", "kid"})

SUCCESS = ("success_inst", "success_img", "miou")
DETECTION_AND_TEXT = ("ap", "ap50", "ap75", "clip", "local_clip")
AVERAGE = "avg"
"""Head of the column over all levels. As in the literature it is the mean over objects (or images), not over levels."""


@dataclass(frozen=True)
class Layout:
    """The main table of a benchmark.

    Attributes:
        name: what the literature calls it, e.g. "Table II"; empty for benchmarks that the literature does not know.
        what: its subject, in words.
        columns: the metrics of the table, in order; scores outside it go into a second table.
        by_level: whether each metric gets a table of its own with a column a level, where a run has several.
    """

    name: str
    what: str
    columns: tuple[str, ...]
    by_level: bool = False


LAYOUTS = {
    "coco-position": Layout("Table I", "position, text and realism", (*SUCCESS, *DETECTION_AND_TEXT, "fid")),
    "coco-mig": Layout("Table II", "success and position", SUCCESS, by_level=True),
    "drawbench": Layout(
        "Table III", "attributes, quantities and relations", tuple(m for m in METRICS if m.startswith("drawbench_"))
    ),
}
"""By the name of the benchmark; "coco-mig-public" and other variants take the layout of "coco-mig"."""

ANY = Layout("", "success and position", SUCCESS, by_level=True)


def layout_of(benchmark: str) -> Layout:
    """Return the layout of a benchmark by name."""
    return LAYOUTS.get(family(benchmark), ANY)


def family(benchmark: str) -> str:
    """Return the key of `LAYOUTS` that a benchmark is a variant of, or its own name."""
    return next((name for name in LAYOUTS if benchmark == name or benchmark.startswith(f"{name}-")), benchmark)


def head(metric: str) -> str:
    """Return the column head of a metric; an arrow marks those of which less is better."""
    return METRICS.get(metric, metric) + (" ↓" if metric in LOWER_IS_BETTER else "")


def decimals(metric: str) -> int:
    """Return how many decimals a value is printed with; KID, times 1,000 already, is told apart below 1 as well."""
    return 2 if metric == "kid" else 1


def number(metric: str, value: float) -> str:
    """Return a value as every format prints it."""
    return f"{value:.{decimals(metric)}f}"


def place(metric: str) -> tuple[int, str]:
    """Return what to sort metrics by: the order of `METRICS`, then the name."""
    names = list(METRICS)
    return (names.index(metric) if metric in names else len(names), metric)


def in_order(metrics: Iterable[str]) -> list[str]:
    """Return each metric once, in the order of the columns."""
    return sorted(set(metrics), key=place)
