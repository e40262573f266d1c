"""Appending to a run: one writer a shard, images first, then their rows, both synced."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, cast

from radl_bench.errors import DiskFull, UsageError
from radl_bench.files import NO_ROOM, no_room, own_tag, remove_leftovers, replace_file, temporary_name
from radl_bench.runs.in_hand import InHand
from radl_bench.runs.made import MadeImage, encode_png
from radl_bench.text import safe

if TYPE_CHECKING:
    from PIL.Image import Image

_SYNCS = 8
"""Images of one batch that are synced to the disk at a time."""


class _Facts(TypedDict, total=False):
    """What a row says beside its image's name and file; `object` is what nobody checks when it is read."""

    seed: object
    seconds: object
    width: int | None
    height: int | None
    error: str | None
    note: str | None
    at: str | None
    bytes: int | None
    mtime_ns: int | None


class MadeRow(_Facts):
    """The row of an image that was made."""

    sample_id: str
    k: int
    status: Literal["ok"]
    file: str
    sha256: str


class _NoFile(_Facts, total=False):
    file: str | None
    sha256: str | None


class FailedRow(_NoFile):
    """The row of an image that could not be made; `error` says why."""

    sample_id: str
    k: int
    status: Literal["error"]


ImageRow = MadeRow | FailedRow
"""A row of `generations-<i>of<n>.jsonl`."""


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts of a run, counted from 0."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of "2/3" (the second of three, as the command line counts); raises `UsageError`."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"'{text}' is not a shard. Write the part and the number of parts, e.g. --shard 1/3 to 3/3."
            )
        return cls(int(match[1]) - 1, int(match[2]))

    @property
    def name(self) -> str:
        """`0of3`, as in the name of the rows file."""
        return f"{self.index}of{self.count}"

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


class ShardWriter:
    """Writes images and rows of one shard; get it from `RunFolder.writer`.

    Args:
        nested: spread the images over sub-folders, see `image_file`.
    """

    def __init__(self, run: Path, shard: Shard, nested: bool = False) -> None:
        self._run, self._nested = run, nested
        self._tag = f"{shard.name}.{own_tag()}"
        images = run / "images"
        for tag in (shard.name, f"{shard.name}.*"):  # this shard is ours alone
            for left_over in images.glob(temporary_name(Path("*"), tag).name):
                left_over.unlink()
        remove_leftovers(images)
        self._file = run / f"generations-{shard.name}.jsonl"
        _cut_torn_end(self._file)
        self._pool = ThreadPoolExecutor(_SYNCS)  # starts a thread only when there is something to do
        self.in_hand = InHand(run, shard.name)
        self._open()

    def close(self) -> None:
        """Close the rows file."""
        self._pool.shutdown()
        self.in_hand.remove()
        if self._is_open():
            os.close(self._rows)

    def _open(self) -> None:
        self._rows = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._place = os.fstat(self._rows)

    def _is_open(self) -> bool:
        """Say whether the rows file is still the one behind its number, which a method may have closed."""
        try:
            return os.path.samestat(os.fstat(self._rows), self._place)
        except OSError:
            return False

    def write(self, batch: Sequence[MadeImage]) -> list[ImageRow]:
        """Save images and append their rows, and those of failures; returns the rows.

        The files are synced side by side, since a disk syncs many at the cost of one, and the rows together.

        Raises:
            DiskFull: there is no room for an image or the rows; nothing of the batch is left behind.
        """
        rows = [_row_of(made, self._nested) for made in batch]
        saved = [(row, made.content) for row, made in zip(rows, batch, strict=True) if row["status"] == "ok"]
        try:
            list(map(self._save, *zip(*saved, strict=True)) if len(saved) == 1 else self._side_by_side(saved))
            self._append(rows)
        except DiskFull:
            for row, _ in saved:
                (self._run / row["file"]).unlink(missing_ok=True)
            raise
        return rows

    def _side_by_side(self, saved: list[tuple[MadeRow, bytes | None]]) -> Iterator[None]:
        return self._pool.map(self._save, *zip(*saved, strict=True)) if saved else iter(())

    def _save(self, row: MadeRow, content: bytes | None) -> None:
        assert content is not None  # its row says "ok"
        file = self._run / row["file"]
        try:
            stat = self._put(file, content)
        except FileNotFoundError:  # the method, which runs beside this, has just tidied up
            stat = self._put(file, content)
        row["bytes"], row["mtime_ns"] = stat.st_size, stat.st_mtime_ns

    def _put(self, file: Path, content: bytes) -> os.stat_result:
        for folder in (file.parent, self._run / "images"):  # a sub-folder's first image, or a method that tidied up
            folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, content, self._tag, beside=self._run / "images" / file.name)
        return file.stat()

    def write_image(
        self, sample_id: str, k: int, seed: int | None, image: Image, seconds: float, note: str | None = None
    ) -> ImageRow:
        """Save an image as RGB PNG and append its row, as `write` does; `note` is what is to be said of the image."""
        return self.write([MadeImage(sample_id, k, seed, seconds, encode_png(image), image.size, note)])[0]

    def write_failure(self, sample_id: str, k: int, seed: int | None, error: str, seconds: float) -> ImageRow:
        """Append the row of an image that could not be made; `error` says why in one sentence."""
        return self.write([MadeImage(sample_id, k, seed, seconds, error=error)])[0]

    def _append(self, rows: Sequence[ImageRow]) -> None:
        for row in rows:
            row["at"] = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if not self._is_open():
            self._open()
        before = os.fstat(self._rows).st_size
        try:
            if os.write(self._rows, lines) < len(lines):
                raise OSError(errno.ENOSPC, "the rows were cut short")
            os.fsync(self._rows)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            os.ftruncate(self._rows, before)
            raise no_room(self._file, len(lines)) from error


def image_file(sample_id: str, k: int, nested: bool = False) -> str:
    """Return where an image lies in its run: `images/a_0.png`, or nested `images/3f/a_0.png`.

    The sub-folder is the first two hexadecimal digits of the name's sha256: 256 folders, equally full.
    """
    name = f"{sample_id}_{k}.png"
    return f"images/{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}" if nested else f"images/{name}"


def _row_of(made: MadeImage, nested: bool) -> ImageRow:
    shared = {"sample_id": made.sample_id, "k": made.k, "seed": made.seed, "seconds": round(made.seconds, 4)}
    if made.content is None:
        nothing = dict.fromkeys(("file", "sha256", "width", "height"))
        return cast("FailedRow", {**shared, **nothing, "status": "error", "error": made.error})
    width, height = made.size or (None, None)
    file, sha256 = image_file(made.sample_id, made.k, nested), hashlib.sha256(made.content).hexdigest()
    row = {**shared, "file": file, "sha256": sha256, "width": width, "height": height, "status": "ok", "error": None}
    return cast("MadeRow", row | ({"note": safe(made.note)} if made.note else {}))


def _cut_torn_end(file: Path) -> None:
    """Remove what follows the last line end, so that the next row starts on its own line."""
    if not file.exists():
        return
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)
