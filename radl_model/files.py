"""Files: their sha256, and writing so that a kill at any moment leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from radl_model.errors import DiskFull

_PIECE = 1 << 22

_TOLD_BY_TORCH = ("file write failed", "iostream error", "unexpected pos")
"""What `torch.save` says of a write that failed."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, a reached quota and a file too large for the file system."""


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def known_sha256(file: Path) -> str:
    """Return the sha256 of a file; one of the hub's cache that is named by its sha256 is not read again."""
    blob = file.resolve()
    if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    return file_sha256(file)


def replace_file(file: Path, content: bytes, tag: str = "", beside: Path | None = None) -> None:
    """Write `content` to `file` atomically; `tag` and `beside` as in `replacing`."""
    with replacing(file, tag, len(content), beside) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def replacing(file: Path, tag: str = "", size: int | None = None, beside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `file`; what was written there takes its place when the block ends well.

    It is synced to the disk first, and removed when the block raises. What a killed writer of the same file left on
    this machine is removed too.

    Args:
        tag: keeps the temporary names of two writers apart; by default the machine and the process.
        size: bytes that will be written, where that is known.
        beside: the temporary name is beside this file of the same file system, where that is not `file` itself.

    Raises:
        DiskFull: there is no room for it.
    """
    if not tag:
        remove_leftovers(file.parent, file.name)
    part = temporary_name(file if beside is None else beside.with_name(file.name), tag or own_tag())
    try:
        yield part
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part, file)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise no_room(file, size) from error
        raise


@contextlib.contextmanager
def room_for(file: Path) -> Iterator[None]:
    """Context that writes `file` in place; raises `DiskFull` where it finds no room.

    torch and safetensors do not raise `OSError` then, but errors of their own that tell of it.
    """
    try:
        yield
    except Exception as error:
        code, said = error.errno if isinstance(error, OSError) else None, str(error)
        numbers = any(f"os error {number})" in said or f"code: {number}," in said for number in NO_ROOM)
        if code in NO_ROOM or numbers or any(words in said for words in _TOLD_BY_TORCH):
            raise no_room(file) from error
        raise


def no_room(file: Path, size: int | None = None) -> DiskFull:
    """Return the error for a file that found no room, naming it, what it needs and what is free."""
    needs = "" if size is None else f" of {size:,} bytes"
    try:
        free = f"{shutil.disk_usage(file.parent).free:,} bytes are free there"
    except OSError:
        free = "the disk is full"
    return DiskFull(f"{file}{needs} cannot be written: {free}, or a quota is reached. Make room and run it again.")


def own_tag() -> str:
    """Return what tells the temporary files of this process from those of others: machine and process id."""
    return f"{_machine()}-{os.getpid()}"


def is_alive(tag: str) -> bool:
    """Say whether the process of an `own_tag` runs; that it does, where that cannot be told from here."""
    machine, _, process = tag.rpartition("-")
    return machine != _machine() or not process.isdigit() or process_runs(int(process))


def temporary_name(file: Path, tag: str) -> Path:
    """Return the name under which `replacing` writes; hidden, so no `*.png` pattern meets it."""
    return file.with_name(f".{file.name}.{tag}.part")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes of this machine left half written in `folder`, of one file or of all."""
    pattern = f".{'*' if name is None else glob.escape(name)}.{glob.escape(_machine())}-*.part"
    for part in folder.glob(pattern):
        process = part.name.rpartition("-")[2].removesuffix(".part")
        if process.isdigit() and not process_runs(int(process)):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", platform.node()) or "here"


def process_runs(process: int) -> bool:
    """Say whether a process runs; where that cannot be asked without harm (Windows), that it does."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
