"""Getting a file over HTTP so that it can be stopped and gone on with, and unpacking archives within their folder."""

from __future__ import annotations

import fnmatch
import http.client
import os
import queue
import re
import shutil
import stat
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from radl_bench import __version__
from radl_bench.errors import BadInput, MissingData
from radl_bench.files import NO_ROOM, file_sha256, locked, no_room, replacing
from radl_bench.progress import Stage, stage
from radl_bench.text import safe

HEAD_TIMES = 3
"""Times `TIMEOUT` that the head of an answer may take."""

TIMEOUT = 60.0
"""Seconds without a byte after which the server counts as stalled."""

PAUSES = (1.0, 4.0, 15.0, 60.0)
"""Seconds between two attempts in a row that brought nothing; one that brought something starts the row anew."""

LEAST_RATE = 1024
"""Bytes a second, over `TIMEOUT` seconds, below which a server counts as stalled: it may trickle for ever."""

_PIECE = 1 << 20


class DownloadFailed(MissingData):
    """The file could not be got; what has come so far is kept, and the same command goes on from there."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server; `size` in bytes and `sha256` are what it must have."""

    name: str
    url: str
    size: int
    sha256: str


def download(remote: RemoteFile, folder: Path, *, timeout: float = TIMEOUT, pauses: Sequence[float] = PAUSES) -> Path:
    """Bring a file into `folder` and return its path; a file that is already there and right is kept.

    It grows under a hidden name and gets its own only when its sha256 is right, so a kill at any moment leaves nothing
    half done under the right name, and the next call resumes.

    Raises:
        DownloadFailed: the server does not answer, stalls, refuses, or the disk is too small.
        BadInput: what came is not the file: its size or sum differs. It is deleted.
        UsageError: another process is getting the same file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / remote.name, folder / f".{remote.name}.part"
    with locked(folder / f".{remote.name}.lock", busy=str(target)):
        if target.is_file() and target.stat().st_size == remote.size and file_sha256(target) == remote.sha256:
            return target
        resumed = _size(part) > 0
        try:
            _complete(remote, part, timeout, pauses)
        except BadInput:
            part.unlink(missing_ok=True)
            if not resumed:
                raise
            _complete(remote, part, timeout, pauses)  # the part may have been of another version: once more from zero
        os.replace(part, target)
    return target


def unpack(archive: Path, folder: Path, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Unpack the members of a zip file that match, and return their names; a name decides nothing but a place inside.

    The whole archive is refused, before anything is written, when one member has an absolute path, a `..`, a backslash
    or a drive in its name, or is a link; and when it would not fit on the disk.

    Raises:
        BadInput: the archive is broken or refused, or a pattern matches nothing.
        DownloadFailed: the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
            for member in members:
                _check_member(member, archive)
            chosen = [m for m in members if any(fnmatch.fnmatchcase(m.filename, p) for p in patterns)]
            _check_patterns(chosen, patterns, archive)
            _check_space(folder, sum(m.file_size for m in chosen), archive.name)
            for member in chosen:
                _extract(opened, member, folder / PurePosixPath(member.filename))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BadInput(f"{archive} is not a sound zip file ({error}). Delete it and fetch it again.") from None
    return [m.filename for m in chosen]


def _complete(remote: RemoteFile, part: Path, timeout: float, pauses: Sequence[float]) -> None:
    """Grow `part` to the whole file and check it."""
    _check_space(part.parent, remote.size - _size(part), remote.name)
    waits = iter(pauses)
    with stage(f"fetch {remote.name}", _mega(remote.size), _mega(_size(part)), "MB") as bar:
        while (before := _size(part)) < remote.size:
            problem = _attempt(remote, part, timeout, bar)
            if _size(part) - before >= LEAST_RATE * timeout:
                waits = iter(pauses)
                time.sleep(pauses[0] if problem else 0)
            elif problem:
                _pause(remote, part, problem, waits)
    found = file_sha256(part)
    if _size(part) != remote.size or found != remote.sha256:
        raise BadInput(
            f"{remote.url} gave a file of {_size(part):,} bytes with sha256 {found}, not {remote.size:,} bytes with "
            f"{remote.sha256}. It was deleted; the file on the server may have changed."
        )


def _attempt(remote: RemoteFile, part: Path, timeout: float, bar: Stage) -> str | None:
    """Ask for what is missing and append it; return what went wrong, or None."""
    start = _size(part)
    headers = {"User-Agent": f"radl-bench/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(remote.url, headers=headers | ({"Range": f"bytes={start}-"} if start else {}))
    try:
        with _open(request, timeout) as answer:
            _check_length(remote, answer, start)
            _append(answer, part, start if answer.status == 206 else 0, remote.size, bar, timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the server's file is shorter than what is here
            part.unlink(missing_ok=True)
        elif error.code not in (408, 425, 429) and error.code < 500:
            raise DownloadFailed(
                f"{remote.url} answers {error.code} {error.reason}; nothing can be downloaded."
            ) from None
        return f"the server answers {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise no_room(part, remote.size - _size(part)) from error
        return str(getattr(error, "reason", None) or error) or type(error).__name__
    return None if _size(part) >= remote.size else "the connection ended early"


def _open(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """Open a connection and read the answer's head, which may trickle too, in `HEAD_TIMES` times `timeout` at most."""
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            box.put(urllib.request.urlopen(request, timeout=timeout))
        except (OSError, http.client.HTTPException, ValueError) as error:
            box.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = box.get(timeout=HEAD_TIMES * timeout)
    except queue.Empty:
        raise TimeoutError("the head of the answer does not end") from None
    if isinstance(answer, ValueError):  # an address that urllib cannot read, e.g. one it was sent on to
        raise http.client.HTTPException(str(answer)) from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _check_length(remote: RemoteFile, answer: http.client.HTTPResponse, start: int) -> None:
    """Refuse an answer that cannot be the file, before it is read."""
    if answer.status == 206:
        match = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", ""), re.ASCII
        )
        if not match or int(match[1]) != start:
            raise http.client.HTTPException("it sent another part than was asked for")
        total = remote.size if match[2] == "*" else int(match[2])
    else:
        stated = (answer.headers.get("Content-Length") or str(remote.size)).strip()
        if not re.fullmatch(r"\d{1,18}", stated, re.ASCII):
            raise http.client.HTTPException(
                f"it states the length {safe(stated)[:40]!r}, which is not a number of bytes"
            )
        total = int(stated)
    if total != remote.size:
        kind = answer.headers.get("Content-Type", "unknown type")
        raise BadInput(f"{remote.url} offers {total:,} bytes ({kind}), not the {remote.size:,} bytes of {remote.name}.")


def _append(answer: http.client.HTTPResponse, part: Path, start: int, size: int, bar: Stage, timeout: float) -> None:
    """Write what comes behind `start`, never beyond `size`; raises `TimeoutError` where hardly anything comes."""
    have = start
    since, then = time.monotonic(), start
    with open(part, "r+b" if part.exists() else "wb") as stream:
        stream.truncate(start)
        stream.seek(start)
        try:
            while have < size and (piece := answer.read1(min(_PIECE, size - have))):
                stream.write(piece)
                bar.advance(_mega(have + len(piece)) - _mega(have))
                have += len(piece)
                if time.monotonic() - since >= timeout:
                    if have < size and have - then < LEAST_RATE * timeout:
                        raise TimeoutError(f"only {have - then:,} bytes came in {timeout:g} seconds")
                    since, then = time.monotonic(), have
        finally:
            stream.flush()
            os.fsync(stream.fileno())


def _pause(remote: RemoteFile, part: Path, problem: str, waits: Iterator[float]) -> None:
    wait = next(waits, None)
    if wait is None:
        raise DownloadFailed(
            f"{remote.url} could not be downloaded: {problem}. {_size(part):,} of {remote.size:,} bytes are kept; "
            "run the same command again to continue."
        )
    time.sleep(wait)


def _check_space(folder: Path, needed: int, what: str) -> None:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DownloadFailed(
            f"{what} needs {needed:,} more bytes in {folder}, where {free:,} are free. Make room, or set "
            "RADL_BENCH_HOME to a larger disk."
        )


def _check_member(member: zipfile.ZipInfo, archive: Path) -> None:
    name = member.filename
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise BadInput(f"{archive} holds {name!r}, which would leave its folder. Nothing of it was unpacked.")


def _check_patterns(chosen: Sequence[zipfile.ZipInfo], patterns: Sequence[str], archive: Path) -> None:
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(m.filename, pattern) for m in chosen):
            raise BadInput(f"{archive} holds nothing named {pattern}.")


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, opened.open(member) as source, open(part, "wb") as stream:
        shutil.copyfileobj(source, stream, _PIECE)  # reads no more than the size in the directory; checks the CRC


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _mega(size: int) -> int:
    return size // 1_000_000
