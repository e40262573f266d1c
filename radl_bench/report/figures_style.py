"""How every figure looks: one palette that colour-blind readers can tell apart, one style, SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from radl_bench.report.scored_run import ScoredRun

# Okabe and Ito, "Color Universal Design" (2008), without the yellow that is lost on white.
BLUE, SKY, GREEN, ORANGE, PURPLE, VERMILION, BLACK = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#CC79A7",
    "#D55E00",
    "#000000",
)
GREY = "#6B6B6B"

METHOD_COLORS = {
    "stable-diffusion": BLUE,
    "multidiffusion": SKY,
    "layout-guidance": GREEN,
    "boxdiff": ORANGE,
    "layout-diffusion": "#999933",
    "gligen": PURPLE,
    "migc": BLACK,
    "radl": VERMILION,
}
# Tol's muted scheme, for methods beyond those; when they are used up, what is free of the others.
_FREE = ("#882255", "#44AA99", "#332288", "#AA4499", *METHOD_COLORS.values())
_MARKERS = "osD^vPX<>*"

STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "radl-bench",
    "text.parse_math": False,  # a method may be called "a$b$"
}

_PNG_DPI = 160


@dataclass(frozen=True)
class FigureFile:
    """A figure on disk: `name` of its kind, `title`, a `caption` that says what is to be seen, and its two files."""

    name: str
    title: str
    caption: str
    svg: Path
    png: Path
    size: tuple[int, int] = (0, 0)
    """Width and height in CSS pixels."""


@dataclass(frozen=True)
class Look:
    """How the marks of one run look; a method has the same colour in every figure."""

    color: str
    marker: str
    line: str


def looks(runs: Sequence[tuple[ScoredRun, str]]) -> dict[str, Look]:
    """Return a look for each label; references are grey and dashed, two runs of one method differ."""
    colors: dict[str, str] = {}
    for run, label in runs:
        color = GREY if run.reference else METHOD_COLORS.get(run.method)
        if color and (run.reference or color not in colors.values()):
            colors[label] = color
    for n, (_, label) in enumerate(runs):
        if label not in colors:
            colors[label] = next((c for c in _FREE if c not in colors.values()), _FREE[n % len(_FREE)])
    return {
        label: Look(colors[label], _MARKERS[n % len(_MARKERS)], "--" if run.reference else "-")
        for n, (run, label) in enumerate(runs)
    }


def panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels side by side, `width` x `height` inches each, and the panels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, **options)
    return figure, list(axes[0])


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """Put one legend for all panels under them; the figure grows by its lines."""
    handles, labels = axes.get_legend_handles_labels()
    figure.set_figheight(figure.get_figheight() + 0.24 * ((len(labels) - 1) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `<stem>.svg` and `<stem>.png`, each atomically, and return both; equal figures give equal bytes."""
    svg, png = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    for file, settings in (
        (svg, {"metadata": {"Date": None}}),
        (png, {"dpi": _PNG_DPI, "metadata": {"Software": None}}),
    ):
        stream = io.BytesIO()
        figure.savefig(stream, format=file.suffix[1:], **settings)  # type: ignore[arg-type]
        replace_file(file, stream.getvalue())
    return svg, png
