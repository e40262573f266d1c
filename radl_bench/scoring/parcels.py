"""Judging where the run's folder is not: images go there with the question, and come back as rows of evidence."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from radl_bench.registry import is_file_spec
from radl_bench.runs.environment import describe_environment, versions_of
from radl_bench.scoring.evidence_table import EvidenceTable, Row
from radl_bench.scoring.judging_work import Errand, JudgeRecipe, JudgingMaker


class Parcel(NamedTuple):
    """A chunk of images to be judged, with the bytes of their files; None for one that cannot be read."""

    errand: Errand
    contents: list[bytes | None]

    @classmethod
    def of(cls, errand: Errand) -> Parcel:
        """Return a chunk with what is in its files."""
        return cls(errand, [None if picture.path is None else _read(picture.path) for picture in errand.pictures])

    def singles(self) -> list[Parcel]:
        """Return its images one by one."""
        return [Parcel(one, [data]) for one, data in zip(self.errand.singles(), self.contents, strict=True)]


class Rows(NamedTuple):
    """New rows of one table of evidence, and what the table is made by."""

    file: str
    signature: str
    keys: tuple[str, ...]
    values: Mapping[str, str]
    facts: Mapping[str, bool]
    rows: list[Row]


class Judged(NamedTuple):
    """What came back of a parcel: how many images it had, and the evidence."""

    images: int
    tables: list[Rows]

    def kept(self, evidence: Path) -> int:
        """Put it into a folder of evidence, where what is known stays; returns the number of images."""
        for one in self.tables:
            table = EvidenceTable(evidence / one.file, one.signature, one.keys, one.values, one.facts)
            with contextlib.closing(table):
                table.put(one.rows)
        return self.images


@dataclass(frozen=True)
class ParcelRecipe:
    """How a worker on another machine sets its judges up."""

    recipe: JudgeRecipe

    def open(self) -> ParcelMaker:
        """Return the judges, ready but not loaded; raises what `make_judges` raises."""
        return ParcelMaker(self.recipe.open())


class ParcelMaker:
    """Judges with a folder of their own for each run, where parcels are unpacked."""

    def __init__(self, maker: JudgingMaker) -> None:
        self._maker = maker
        self._room = tempfile.TemporaryDirectory(prefix="radl-bench-")
        self._folders: dict[Path, Path] = {}
        self._marks: dict[Path, int] = {}

    @property
    def facts(self) -> dict[str, str]:
        """Signatures by role, and versions that can change a score."""
        return self._maker.facts | versions()

    def make(self, parcel: Parcel) -> Judged:
        """Have a parcel judged; what was sent back before is known and not sent again."""
        run = parcel.errand.run
        folder = self._folders.setdefault(run, Path(self._room.name) / f"{len(self._folders)}")
        images = folder / "images"
        images.mkdir(parents=True)
        try:
            pictures = []
            for n, (picture, data) in enumerate(zip(parcel.errand.pictures, parcel.contents, strict=True)):
                file = images / f"{n}-{picture.path.name if picture.path is not None else ''}"
                if data is not None:
                    file.write_bytes(data)
                pictures.append(replace(picture, file=None if picture.file is None else file))
            count = self._maker.make(parcel.errand._replace(run=folder, pictures=pictures))
        finally:
            shutil.rmtree(images)
        return Judged(count, [self._rows(table) for table in self._maker.tables if table.file is not None])

    def _rows(self, table: EvidenceTable) -> Rows:
        assert table.file is not None
        rows, self._marks[table.file] = table.since(self._marks.get(table.file, 0))
        return Rows(table.file.name, table.signature, table.keys, table.values, table.facts, rows)


def versions() -> dict[str, str]:
    """Return the versions that have to be the same wherever images are judged."""
    return {f"version of {name}": str(version) for name, version in versions_of(describe_environment(None)).items()}


def absolute(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of judges with whole paths, since a worker may start in another folder."""
    files = {k: v for k, v in options.items() if isinstance(v, str) and is_file_spec(v)}
    return {**options, **{name: str(Path(spec).absolute()) for name, spec in files.items()}}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # told when the image is judged
        return None
