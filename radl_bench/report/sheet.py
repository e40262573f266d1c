"""A sheet of images for a paper: one row a sample, its layout first, then every method, as PNG and PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.files import replace_file
from radl_bench.report.figures_style import BLUE, STYLE
from radl_bench.report.gallery import Gallery
from radl_bench.report.gallery_run import GalleryRun
from radl_bench.runs.store import slug
from radl_bench.types import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from radl_bench.report import Report

_SIDE = 1.7  # inches an image
_PROMPT = 30  # characters a line
_DPI = 200


def write_sheets(report: Report, ids: Sequence[str], folder: Path) -> list[Path]:
    """Write `sheet-<section>.png` and `.pdf` for each section that has any of these samples; return the files.

    The first image of a sample is shown (k = 0), with the boxes of its layout; a method without one says so.

    Raises:
        UsageError: no section has a sample of that id, or the folder cannot be written.
    """
    from matplotlib import rc_context

    galleries = [Gallery(section) for section in report.sections]
    known = {sample.id for gallery in galleries for sample in gallery.samples}
    for wanted in ids:
        if wanted not in known:
            raise UsageError(did_you_mean(wanted, known, "sample"))
    files: list[Path] = []
    with rc_context(STYLE):  # type: ignore[arg-type]
        for number, gallery in enumerate(galleries, 1):
            samples = [sample for wanted in ids for sample in gallery.samples if sample.id == wanted]
            if samples:
                files += _write(gallery, samples, folder / f"sheet-{number}-{slug(gallery.title.lower())}")
    return files


def _write(gallery: Gallery, samples: Sequence[Sample], stem: Path) -> list[Path]:
    from matplotlib.figure import Figure

    columns = len(gallery.runs) + 1
    figure = Figure(figsize=(_SIDE * columns, (_SIDE + 0.35) * len(samples) + 0.3), layout="constrained")
    grid = figure.subplots(len(samples), columns, squeeze=False)
    for panels, sample in zip(grid, samples, strict=True):
        _layout(panels[0], sample)
        for panel, run in zip(panels[1:], gallery.runs, strict=True):
            _image(panel, run, sample)
    for panel, label in zip(grid[0], ["layout", *(run.label for run in gallery.runs)], strict=True):
        panel.set_title(fill(label, 18), fontsize=9)
    return [_saved(figure, stem.with_name(f"{stem.name}.{kind}"), kind) for kind in ("png", "pdf")]


def _saved(figure: Figure, file: Path, kind: str) -> Path:
    stream = io.BytesIO()
    undated = {"Software": None} if kind == "png" else {"CreationDate": None}
    figure.savefig(stream, format=kind, dpi=_DPI, metadata=undated)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, stream.getvalue())
    except OSError as error:
        raise UsageError(f"The sheet cannot be written to {file} ({error.strerror}). Give another --out.") from None
    return file


def _layout(panel: Axes, sample: Sample) -> None:
    _bare(panel, framed=True)
    _boxes(panel, sample, 1.0, 1.0)
    for instance in sample.instances:
        x, y = (instance.box[0] + instance.box[2]) / 2, (instance.box[1] + instance.box[3]) / 2
        panel.text(x, y, fill(instance.phrase, 12), ha="center", va="center", fontsize=6)
    panel.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
    panel.set_xlabel(fill(sample.prompt, _PROMPT), fontsize=7)


def _image(panel: Axes, run: GalleryRun, sample: Sample) -> None:
    _bare(panel)
    picture = run.picture(sample, 0)
    image = None if picture.problem is not None else picture.load()
    if image is None:
        panel.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=8, transform=panel.transAxes)
        panel.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
        return
    pixels = np.asarray(image.convert("RGB"))
    picture.close()
    height, width = pixels.shape[:2]
    panel.imshow(pixels, extent=(0, width, height, 0))
    _boxes(panel, sample, width, height)
    panel.set(xlim=(0, width), ylim=(height, 0))


def _boxes(panel: Axes, sample: Sample, width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    for x0, y0, x1, y1 in (instance.box for instance in sample.instances):
        corner, sides = (x0 * width, y0 * height), ((x1 - x0) * width, (y1 - y0) * height)
        for color, line in (("white", 2.0), (BLUE, 1.0)):
            panel.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=color, linewidth=line))


def _bare(panel: Axes, framed: bool = False) -> None:
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set(visible=framed, linewidth=0.5)
    panel.grid(visible=False)
