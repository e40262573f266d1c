"""Pictures of the gallery: copies in WebP named by the sha256 of the original, or links to the originals."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from radl_bench.files import replacing
from radl_bench.progress import stage
from radl_bench.runs.images import Picture

MAX_SIDE = 512
"""Pixels of the longer side of a copy; smaller pictures keep their size."""

_QUALITY = 90


class PictureCopies:
    """Copies pictures into `<report>/images/`, so that the folder can be moved and sent.

    Args:
        folder: the report that is being written.
        earlier: the report that it replaces; a copy that is there already is linked, not encoded again.
    """

    prefix, suffix = "images/", ".webp"

    def __init__(self, folder: Path, earlier: Path) -> None:
        self.folder, self.earlier = folder / "images", earlier / "images"

    def place(self, run: Path, pictures: Sequence[Picture]) -> list[str]:
        """Return the name of each picture's copy, "" (and its `problem` set) where it cannot be shown."""
        self.folder.mkdir(exist_ok=True)
        names = []
        with ThreadPoolExecutor(os.cpu_count()) as pool, stage("pictures", len(pictures)) as bar:
            for name in pool.map(self._copy, pictures):
                names.append(name)
                bar.advance(1, failed=int(not name))
        return names

    def _copy(self, picture: Picture) -> str:
        if picture.problem is not None:
            return ""
        name = picture.sha256[:16]
        file = self.folder / f"{name}{self.suffix}"
        if not file.exists() and not _link(self.earlier / file.name, file):
            image = picture.load()
            picture.close()
            if image is None:
                return ""
            image.thumbnail((MAX_SIDE, MAX_SIDE))
            # equal pictures of two runs may be encoded at once: each writes its own file, the last rename wins
            with replacing(file, str(id(picture))) as part:
                image.save(part, "WEBP", quality=_QUALITY, method=2)
        return name


class PictureLinks:
    """Links to the originals: quick and small, but the report shows them only where the runs lie."""

    suffix = ""

    def __init__(self, report: Path) -> None:
        self.report, self.prefix = report.absolute(), ""

    def place(self, run: Path, pictures: Sequence[Picture]) -> list[str]:
        """Return the address of each picture relative to the report, "" where there is none."""
        for picture in pictures:
            if picture.problem is None and not (picture.path and picture.path.is_file()):
                picture.problem = "the file is gone"
        return [self._address(p.path) if p.problem is None and p.path else "" for p in pictures]

    def _address(self, path: Path) -> str:
        try:
            return quote(Path(os.path.relpath(path.absolute(), self.report)).as_posix())
        except ValueError:  # another drive
            return path.absolute().as_uri()


def _link(source: Path, target: Path) -> bool:
    if not source.is_file():
        return False
    with contextlib.suppress(OSError):
        os.link(source, target)
    if not target.exists():
        shutil.copyfile(source, target)
    return True
