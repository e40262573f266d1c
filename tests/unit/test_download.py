"""Downloads against a local server that truncates, corrupts, stalls, answers wrongly; archives that want out."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from http_server import Shop, serve

from radl_bench.downloads.download import DownloadFailed, RemoteFile, download, unpack
from radl_bench.errors import BadInput, DiskFull, UsageError

ROOT = Path(__file__).parents[2]
BODY = random.Random(5).randbytes(200_000)
FAST = {"timeout": 0.5, "pauses": (0.0, 0.0)}


@pytest.fixture
def shop():
    with serve() as running:
        running.goods["/file.bin"] = BODY
        yield running


def _remote(shop: Shop, body: bytes = BODY, **changes) -> RemoteFile:
    fields = {"name": "file.bin", "url": f"{shop.url}/file.bin", "size": len(body), "sha256": sha256(body).hexdigest()}
    return RemoteFile(**fields | changes)


def _left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("manners", "requests"),
    [
        ([], 1),
        (["redirect"], 2),
        (["slow"], 1),
        (["truncated"], 2),
        (["truncated", "truncated", "truncated", "truncated", "truncated"], 6),
        (["stalled"], 2),
        (["503", "500"], 3),
        (["truncated", "503", "503"], 4),
        (["truncated", "other-part"], 3),
        (["truncated", "no-range"], 2),
    ],
)
def test_whatever_goes_wrong_on_the_way_the_file_arrives_whole(shop, tmp_path, manners, requests):
    shop.manners[:] = manners
    file = download(_remote(shop), tmp_path, **FAST)
    assert file.read_bytes() == BODY
    assert _left(tmp_path) == ["file.bin"]
    assert len(shop.asked) == requests


def test_after_a_broken_connection_only_the_rest_is_asked_for(shop, tmp_path):
    shop.manners[:] = ["truncated"]
    download(_remote(shop), tmp_path, **FAST)
    assert [wanted for _, wanted, _ in shop.asked] == [None, "bytes=100000-"]
    assert shop.sent == len(BODY)


def test_a_file_that_is_here_is_not_asked_for_again(shop, tmp_path):
    download(_remote(shop), tmp_path, **FAST)
    download(_remote(shop), tmp_path, **FAST)
    assert len(shop.asked) == 1
    (tmp_path / "file.bin").write_bytes(b"x" + BODY[1:])  # damaged on the disk: same size, another sum
    assert download(_remote(shop), tmp_path, **FAST).read_bytes() == BODY


@pytest.mark.parametrize("manner", ["corrupted", "html", "longer"])
def test_a_wrong_file_is_refused_and_nothing_of_it_is_left(shop, tmp_path, manner):
    shop.manners[:] = [manner]
    with pytest.raises(BadInput, match="not"):
        download(_remote(shop), tmp_path, **FAST)
    assert _left(tmp_path) == []


def test_the_sentence_about_a_corrupted_file_has_both_sums(shop, tmp_path):
    shop.manners[:] = ["corrupted"]
    with pytest.raises(BadInput) as caught:
        download(_remote(shop), tmp_path, **FAST)
    wrong = BODY[:-1] + bytes([BODY[-1] ^ 1])
    assert sha256(wrong).hexdigest() in str(caught.value)
    assert sha256(BODY).hexdigest() in str(caught.value)


def test_a_page_in_place_of_the_file_is_named_by_its_type(shop, tmp_path):
    shop.manners[:] = ["html"]
    with pytest.raises(BadInput, match=r"offers 25 bytes \(text/html\), not the 200,000 bytes"):
        download(_remote(shop), tmp_path, **FAST)


def test_a_part_of_another_version_is_thrown_away_and_the_file_got_from_zero(shop, tmp_path):
    (tmp_path / ".file.bin.part").write_bytes(b"old" * 1000)
    assert download(_remote(shop), tmp_path, **FAST).read_bytes() == BODY
    assert [wanted for _, wanted, _ in shop.asked] == ["bytes=3000-", None]


def test_a_part_longer_than_the_file_is_thrown_away(shop, tmp_path):
    (tmp_path / ".file.bin.part").write_bytes(BODY + b"tail")
    assert download(_remote(shop), tmp_path, **FAST).read_bytes() == BODY


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("trickle", "bytes came in 0.5 seconds"),
        ("trickle-head", "the head of the answer does not end"),
        ("abc", "it states the length 'abc', which is not a number of bytes"),
        ("digits", "it states the length '9999"),
    ],
)
def test_a_server_that_never_ends_or_makes_no_sense_is_given_up(shop, tmp_path, manner, words):
    shop.manners[:] = [manner] * 20
    start = time.monotonic()
    with pytest.raises(DownloadFailed, match=words):
        download(_remote(shop), tmp_path, **FAST)
    assert time.monotonic() - start < 15
    shop.manners.clear()
    assert download(_remote(shop), tmp_path, **FAST).read_bytes()[-1000:] == BODY[-1000:]


def test_a_disk_that_fills_up_on_the_way_is_named_at_once(shop, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("radl_bench.downloads.download._append", full)
    with pytest.raises(DiskFull, match=r"file.bin.part of 200,000 bytes cannot be written"):
        download(_remote(shop), tmp_path, **FAST)
    assert len(shop.asked) == 1


@pytest.mark.parametrize(
    ("manners", "words"),
    [
        (["404"], "answers 404 Not Found; nothing can be downloaded"),
        (["403"], "answers 403 Forbidden"),
        (["503"] * 3, "the server answers 503"),
        (
            ["truncated", "503", "503", "503"],
            "100,000 of 200,000 bytes are kept; run the same command again to continue",
        ),
        (["stalled", "500", "500", "500"], "100,000 of 200,000 bytes are kept"),
    ],
)
def test_giving_up_is_a_sentence_and_keeps_what_came(shop, tmp_path, manners, words):
    shop.manners[:] = manners
    patience = FAST if "stalled" in manners else {**FAST, "timeout": 20.0}  # a busy machine must not time out instead
    with pytest.raises(DownloadFailed, match=words):
        download(_remote(shop), tmp_path, **patience)
    assert "file.bin" not in _left(tmp_path)
    shop.manners.clear()
    assert download(_remote(shop), tmp_path, **FAST).read_bytes() == BODY


def test_no_server_is_a_sentence(tmp_path):
    with serve() as shop:
        remote = _remote(shop)
    with pytest.raises(DownloadFailed, match="refused"):
        download(remote, tmp_path, **FAST)


def test_a_file_larger_than_the_disk_is_refused_before_anything_is_asked(shop, tmp_path):
    with pytest.raises(DownloadFailed, match="RADL_BENCH_HOME"):
        download(_remote(shop, size=10**18), tmp_path, **FAST)
    assert shop.asked == []


def test_two_processes_do_not_write_the_same_file(shop, tmp_path):
    from radl_bench.files import locked

    with locked(tmp_path / ".file.bin.lock"), pytest.raises(UsageError, match="Another process"):
        download(_remote(shop), tmp_path, **FAST)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again_it_goes_on_where_it_was(shop, tmp_path, how):
    shop.manners[:] = ["slow"]
    remote = _remote(shop)
    code = "from pathlib import Path\nfrom radl_bench.downloads.download import *\n"
    code += f"download({remote!r}, Path({str(tmp_path)!r}))"
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        # A shell starts its background jobs deaf to Ctrl-C, and children inherit that: hear it here in any case.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    part = tmp_path / ".file.bin.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 20_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(how)
    first.wait(30)
    kept = part.stat().st_size
    assert 20_000 < kept < len(BODY)
    assert download(remote, tmp_path, **FAST).read_bytes() == BODY
    assert shop.asked[-1][1] == f"bytes={kept}-"


def _zip(folder: Path, members: dict[str, bytes], link: str = "") -> Path:
    file = folder / "archive.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == link else 0o100644) << 16
            archive.writestr(info, content)
    return file


def test_an_archive_gives_the_members_that_match(tmp_path):
    archive = _zip(tmp_path, {"a/one.json": b"1", "a/two.json": b"2", "b/three.jpg": b"3"})
    assert unpack(archive, tmp_path / "out", ["a/one.json", "b/*.jpg"]) == ["a/one.json", "b/three.jpg"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == ["one.json", "three.jpg"]


@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "a\\..\\out.txt", "C:/out.txt", "link"]
)
def test_an_archive_that_would_leave_its_folder_is_refused_before_anything_is_written(tmp_path, name):
    archive = _zip(tmp_path, {"good.txt": b"good", name: b"/etc/passwd"}, link="link")
    if "\\" in name:  # the library turns its own separator into a slash when it reads, but not on this system
        archive.write_bytes(archive.read_bytes().replace(b"a/../out.txt", b"a\\..\\out.txt"))
    with pytest.raises(BadInput, match="would leave its folder"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.txt").exists()


def test_a_broken_archive_and_one_without_the_files_are_sentences(tmp_path):
    archive = _zip(tmp_path, {"a.txt": b"a" * 1000})
    with pytest.raises(BadInput, match=r"holds nothing named b\.txt"):
        unpack(archive, tmp_path / "out", ["a.txt", "b.txt"])
    whole = bytearray(archive.read_bytes())
    whole[35] ^= 0xFF  # in the packed bytes: the CRC must notice
    archive.write_bytes(whole)
    with pytest.raises(BadInput, match="not a sound zip file"):
        unpack(archive, tmp_path / "out")
    archive.write_bytes(b"PK no zip")
    with pytest.raises(BadInput, match="not a sound zip file"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.txt"))
