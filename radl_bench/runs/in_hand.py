"""What a call of `generate` has in hand: a small file that outlives the process where it ends without a word.

A method may end the process (`os._exit`, a crash in native code), and so may the system (SIGKILL, no memory left). The
call can say nothing then; the next one finds this file, and so does who looks at the run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from radl_bench.files import is_alive, own_tag
from radl_bench.runs.image_checks import few


class InHand:
    """The images that one shard has in hand, in `.<i>of<n>.in-hand` of the run; made by whoever holds its lock.

    Attributes:
        found: the images that an earlier call had in hand when it ended without a word; None where none did.
    """

    def __init__(self, run: Path, name: str) -> None:
        self._written = 0
        self._path = run / f".{name}.in-hand"
        self.found = self._earlier()
        self._path.unlink(missing_ok=True)
        self._open()
        self.take([])

    def take(self, images: Sequence[str]) -> None:
        """Write down what is made from now on, as `<sample_id>_<k>`."""
        if not self._is_open():  # a method may close what it did not open
            self._open()
        text = "\n".join([own_tag(), *images]).encode()
        os.lseek(self._file, 0, os.SEEK_SET)
        # Over the old text, with line ends up to its length: cutting a file short makes some file systems write it to
        # the disk at once, which takes milliseconds.
        os.write(self._file, text.ljust(self._written, b"\n"))
        self._written = max(self._written, len(text))

    def remove(self) -> None:
        """Nothing is in hand any more: the call ends with its state written."""
        if self._is_open():
            os.close(self._file)
        self._path.unlink(missing_ok=True)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        self._stat = os.fstat(self._file)
        self._written = self._stat.st_size

    def _is_open(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._stat)
        except OSError:
            return False

    def _earlier(self) -> list[str] | None:
        try:
            return [name for name in self._path.read_text("utf-8", "replace").split("\n")[1:] if name]
        except OSError:
            return None


def goes_on(run: Path) -> bool:
    """Say whether a call of `generate` may be at work on a run: one of this machine that is alive, or of another."""
    for file in run.glob(".*.in-hand"):
        try:
            if is_alive(file.read_text("utf-8", "replace").partition("\n")[0]):
                return True
        except OSError:  # it has just ended
            continue
    return False


def told(found: Sequence[str], made: int) -> str:
    """Return what is said of an earlier call that ended without a word, with `made` images done."""
    at = f" while it made {'one of ' * (len(found) > 1)}{few(list(found), 'image')}" if found else ""
    return (
        f"An earlier call ended without a word{at}: it was killed, or the method ended the process. {made} images are "
        "kept. If it ends there again, add --workers 2: an image that ends its worker becomes a failed one."
    )
