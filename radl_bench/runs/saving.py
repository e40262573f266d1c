"""Saving the images of a run as they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from radl_bench.progress import Stage
from radl_bench.runs.beside import WAITING, beside, can_have_own_files
from radl_bench.runs.made import MadeImage
from radl_bench.runs.making import Finish, Source
from radl_bench.runs.writer import ImageRow, ShardWriter


class Keeping(Protocol):
    """What keeps the images of a shard while they are made."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Sizes of the files that it has, by their names in the run."""

    def add(self, files: Iterable[Path]) -> None:
        """Keep these images too."""

    def catch_up(self) -> None:
        """Bring the rows of other shards into the run's folder."""


class Saving:
    """Saves images as they come and counts them, beside the generator where that can do no harm."""

    def __init__(self, run: Path, writer: ShardWriter, keep: Keeping | None, bar: Stage, maker: Source) -> None:
        self._run, self._writer, self._keep, self._bar, self._maker = run, writer, keep, bar, maker
        self.spent, self.failed = 0.0, 0

    def all(self, images: Iterable[Finish]) -> None:
        """Save all images.

        A generator of somebody else may end the process: then what is not saved yet is made again. Where it did so
        before, every image is saved before the next call, so that a run gets on however often that happens.
        """
        if self._maker.foreign and self._writer.in_hand.found is not None:
            for finish in images:
                self._tell(self._save(finish))
        elif self._maker.foreign and not can_have_own_files():
            beside(_finished, images, lambda made: self._tell(self._save(lambda: made)), waiting=1)
        else:
            foreign = self._maker.foreign
            beside(self._save, images, self._tell, waiting=1 if foreign else WAITING, own_files=foreign)

    def _save(self, finish: Finish) -> tuple[list[MadeImage], list[ImageRow]]:
        images = finish()
        return images, self._writer.write(images)

    def _tell(self, saved: tuple[list[MadeImage], list[ImageRow]]) -> None:
        images, rows = saved
        wrong = sum(row["status"] == "error" for row in rows)
        if self._keep is not None:
            self._keep.add(self._run / row["file"] for row in rows if row["status"] == "ok")
        self.spent, self.failed = self.spent + sum(image.seconds for image in images), self.failed + wrong
        self._bar.remark = self._maker.remark()
        self._bar.advance(len(images), failed=wrong)


def _finished(finish: Finish) -> list[MadeImage]:
    return finish()
