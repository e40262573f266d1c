"""The HTML report: one folder that opens from disk and asks the network for nothing.

index.html        tables with intervals and tie groups; numbers lead to their images
leaderboard.html  every run in one table: sort by a score, filter, pin a baseline
gallery.html      samples x methods, filters, overlays, every row with its reason
compare.html      paired differences, and the samples that changed most
data/ images/ assets/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import MissingExtra, UsageError
from radl_bench.report.gallery import Gallery, Placing, script
from radl_bench.report.gallery_images import PictureCopies, PictureLinks
from radl_bench.report.html_board import board
from radl_bench.report.html_folder import replaced_folder
from radl_bench.report.html_pages import write_pages

if TYPE_CHECKING:
    from radl_bench.report import Report

PICTURES = ("copy", "link")

_SINGLE = "failures"
"""The figure of one panel; the others have many and need the whole width to be read."""


def write_html(
    report: Report,
    folder: Path,
    pictures: str | Placing = "copy",
    baseline: str | None = None,
    figures: bool = True,
    live: bool = False,
) -> Path:
    """Write the report's folder, complete or not at all, and return its first page.

    Args:
        report: what `build_report` gave.
        folder: replaced as a whole; it has to be absent, empty, or an earlier report.
        baseline: as in `figures.write_figures`.
        figures: whether to draw figures, which takes some seconds.
        pictures: "copy" (WebP, at most 512 pixels, the folder can be sent), "link" (the originals where they lie), or
            what places them otherwise.
        live: as in `html_pages.write_pages`.

    Raises:
        UsageError: `folder` holds other things, or another process is writing it.
        BadInput: rows or evidence of a run cannot be read.
    """
    if isinstance(pictures, str) and pictures not in PICTURES:
        raise UsageError(f"Pictures are 'copy' or 'link', not '{pictures}'.")
    galleries = [Gallery(section) for section in report.sections]
    with replaced_folder(folder) as part:
        placing = _placing(pictures, part, folder)
        for number, gallery in enumerate(galleries):
            gallery.write(part, number, placing)
            content = script(f"{number}-board", board(report.sections[number], gallery))
            (part / "data" / f"{number}-board.js").write_text(content, "ascii")
        compared = [n for n, gallery in enumerate(galleries) if _write_comparison(part, n, gallery)]
        drawn, undrawn = _figures(report, part, baseline) if figures else ([], [])
        write_pages(part, report, galleries, compared, drawn, undrawn, live)
    return folder / "index.html"


def _placing(pictures: str | Placing, part: Path, folder: Path) -> Placing:
    if not isinstance(pictures, str):
        return pictures
    return PictureCopies(part, folder) if pictures == "copy" else PictureLinks(folder)


def _write_comparison(part: Path, number: int, gallery: Gallery) -> bool:
    from radl_bench.report.html_compare import comparison

    if len(gallery.runs) < 2:
        return False
    content = script(f"{number}-compare", comparison(gallery))
    (part / "data" / f"{number}-compare.js").write_text(content, "ascii")
    return True


def _figures(report: Report, part: Path, baseline: str | None) -> tuple[list[dict[str, Any]], Sequence[str]]:
    from radl_bench.report.figures import write_figures

    try:
        drawn = write_figures(report, part / "figures", baseline)
    except MissingExtra as error:
        return [], [str(error)]
    shown = [
        {
            "file": f"figures/{f.svg.name}",
            "title": f.title,
            "caption": f.caption,
            "size": f.size,
            "single": f.name == _SINGLE,
        }
        for f in drawn.figures
    ]
    return shown, drawn.notes
