"""The one reader of image folders, for `score --images` and `data fid-reference` alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from radl_bench.errors import MissingData
from radl_bench.parsing import is_folder
from radl_bench.runs.image_checks import few
from radl_bench.runs.image_reading import SUFFIXES

OVERLAY = "anno_"
"""How images with boxes drawn on are named, which some scripts write beside the images."""

_UNREAD = frozenset(
    {".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".ppm", ".tga", ".eps", ".npy"}
)
_TRASH = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass
class ImageFolder:
    """What lies in a folder and its subfolders, by kind; paths are relative, in order, without hidden ones.

    Attributes:
        files: images in a format that is read.
        overlays: images named `anno_*`, which are left out.
        unread: images in formats that are not read.
        others: all other files.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    overlays: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return sentences about images that are left out."""
        said = {"skipped as overlays": self.overlays, "in a format that is not read; convert to PNG": self.unread}
        return [f"{few(list(map(str, files)))} {what}." for what, files in said.items() if files]


def read_folder(folder: Path) -> ImageFolder:
    """Return the files of a folder and its subfolders; raises `MissingData` where there is no such folder."""
    if not is_folder(folder):
        raise MissingData(f"There is no folder {folder}.")
    found = ImageFolder(folder)
    for file in sorted(f.relative_to(folder) for f in folder.rglob("*") if f.is_file()):
        if any(part.startswith(".") or part in _TRASH for part in file.parts):
            continue
        suffix = file.suffix.lower()
        if suffix not in SUFFIXES:
            (found.unread if suffix in _UNREAD else found.others).append(file)
        else:
            (found.overlays if file.name.startswith(OVERLAY) else found.files).append(file)
    return found


def stem_of(file: Path) -> str:
    """Return the path of a file without its ending, with slashes: its name where endings do not count."""
    return file.with_suffix("").as_posix() if file.suffix.lower() in SUFFIXES else file.as_posix()


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that come more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]
