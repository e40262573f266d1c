"""What is served: the report in a folder of its own, written again when scores change, and the state of the runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from radl_bench.errors import RadlBenchError
from radl_bench.report import Report, build_report
from radl_bench.report.html import write_html
from radl_bench.report.html_folder import replaced_folder
from radl_bench.report.html_pages import NOW, write_pages
from radl_bench.runs.images import Picture
from radl_bench.runs.store import find_scores
from radl_bench.view.following import Following

IMAGES = "run-images"
"""First part of the address of an image: `run-images/<number of the run>/<file in its folder>`."""


class Desk:
    """The report of some runs while they go on.

    Args:
        find: returns the run folders, today's.
        folder: where the report is written; replaced as a whole.
        figures: whether to draw figures.
    """

    suffix = ""
    prefix = f"{IMAGES}/"

    def __init__(self, find: Callable[[], Sequence[Path]], folder: Path, figures: bool = True) -> None:
        self.folder, self._find, self._figures = folder, find, figures
        self._numbers: dict[Path, int] = {}
        self._following: dict[Path, Following] = {}
        self._written: tuple[tuple[str, int], ...] | None = None
        self._lock = threading.Lock()
        self.version, self.problem, self.scored = 0, "", 0
        self._write_now()

    def refresh(self) -> bool:
        """Write the report again where scores are new or changed; returns whether it did."""
        runs = list(self._find())
        files = [file for run in runs for file in find_scores(run)]
        state = tuple((str(file), file.stat().st_mtime_ns) for file in files if file.exists())
        if state == self._written:
            return False
        self._written = state
        try:
            scored = [run for run in runs if find_scores(run)]
            if scored:
                write_html(build_report(scored), self.folder, self, figures=self._figures, live=True)
            else:
                self._write_now()
            self.problem, self.scored = "", len(scored)
        except RadlBenchError as error:  # the last good report stays
            self.problem = str(error)
        self.version += 1
        return True

    def state(self) -> dict[str, Any]:
        """Return what the page of the moment shows, see `now.js`."""
        with self._lock:
            runs = list(self._find())
            shown = [one for run in runs if (one := self._run(run)) is not None]
        shown.sort(key=lambda one: (not one["going"], one["quiet"] is None, one["quiet"] or 0.0, one["name"]))
        return {"version": self.version, "problem": self.problem, "scored": self.scored, "runs": shown}

    def place(self, run: Path, pictures: Sequence[Picture]) -> list[str]:
        """Return the address of each image behind `prefix`, "" where there is none."""
        for picture in pictures:
            if picture.problem is None and not (picture.path and picture.path.is_file()):
                picture.problem = "the file is gone"
        return [self._address(run, p.path.relative_to(run)) if p.problem is None and p.path else "" for p in pictures]

    def image(self, number: int, file: str) -> Path | None:
        """Return the image at an address; None for anything that is no image of a run."""
        run = next((path for path, n in self._numbers.items() if n == number), None)
        if run is None:
            return None
        images, found = (run / "images").resolve(), (run / file).resolve()
        return found if found.is_relative_to(images) and found.is_file() else None

    def _run(self, run: Path) -> dict[str, Any] | None:
        progress = self._following.setdefault(run, Following(run)).progress()
        if progress is None:
            return None
        newest = [
            {"id": sample, "k": k, "address": self.prefix + self._address(run, Path(file))}
            for sample, k, file in progress.newest
        ]
        return {
            "name": "/".join(run.parts[-3:]),
            "status": progress.status,
            "going": progress.going,
            "planned": progress.planned,
            "made": progress.made,
            "failed": progress.failed,
            "rate": progress.rate,
            "left": progress.left,
            "quiet": progress.quiet,
            "scored": bool(find_scores(run)),
            "newest": newest,
        }

    def _address(self, run: Path, file: Path) -> str:
        number = self._numbers.setdefault(run, len(self._numbers))
        return f"{number}/{quote(file.as_posix())}"

    def _write_now(self) -> None:
        """Write the page of the moment alone: there are no scores to show."""
        with replaced_folder(self.folder) as part:
            write_pages(part, Report(()), [], [], live=True)


def first_page(desk: Desk) -> str:
    """Return the page to begin with: the moment while a run goes on or nothing is scored, else the tables."""
    going = any(run["going"] for run in desk.state()["runs"])
    return NOW if going or not desk.scored else "index.html"
