"""Runs in an object store: made, resumed, scored and reported, also where requests fail and take long."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from radl_bench.cli import build_app
from radl_bench.errors import MissingExtra, UsageError
from radl_bench.runs.store import RunFolder
from radl_bench.stores import store as requests
from radl_bench.stores.lease import EXPIRES, Lease
from radl_bench.stores.roots import _OPEN, copy_of, root_of
from radl_bench.stores.store import Store, StoreFailed

RANDOM = random.Random(0)


class Faulty(MemoryFileSystem):
    """A store in memory of which a share of the requests fails, before or after it was done, or takes long."""

    protocol = "faulty"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    share, slow, requests, failed, down = 0.0, 0.0, 0, 0, ""

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("faulty://", "memory://"))

    def _ask(self, request, *args, **kwargs):
        cls = type(self)
        cls.requests += 1
        if RANDOM.random() < cls.slow:
            time.sleep(0.05)
        fails = RANDOM.random() < cls.share or (cls.down and cls.down in str(args))
        if fails and RANDOM.random() < 0.5:
            cls.failed += 1
            raise OSError("503 Slow Down")
        done = request(*args, **kwargs)
        if fails:
            cls.failed += 1
            raise TimeoutError("no answer")
        return done

    def put_file(self, lpath, rpath, **kwargs):
        return self._ask(super().put_file, lpath, rpath, **kwargs)

    def get_file(self, rpath, lpath, **kwargs):
        return self._ask(super().get_file, rpath, lpath, **kwargs)

    def cat_file(self, path, **kwargs):
        return self._ask(super().cat_file, path, **kwargs)

    def pipe_file(self, path, value, **kwargs):
        return self._ask(super().pipe_file, path, value, **kwargs)

    def find(self, path, **kwargs):
        return self._ask(super().find, path, **kwargs)


class Closed(MemoryFileSystem):
    """A bucket that may be read alone."""

    protocol = "closed"

    def pipe_file(self, path, value, **kwargs):
        raise PermissionError("AccessDenied")


fsspec.register_implementation("faulty", Faulty, clobber=True)
fsspec.register_implementation("closed", Closed, clobber=True)
ORACLE = ["--detector", "oracle", "--segmenter", "box", "--encoder", "none"]


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "_PAUSES", (0.001,) * 7)
    monkeypatch.setenv("RADL_BENCH_STORES", str(tmp_path / "here"))
    for name, value in {"share": 0.0, "slow": 0.0, "requests": 0, "failed": 0, "down": ""}.items():
        monkeypatch.setattr(Faulty, name, value)
    _OPEN.clear()
    Faulty.store.clear()
    MemoryFileSystem.store.clear()


@pytest.fixture
def call(tiny_benchmark, toy_method, monkeypatch, tmp_path):
    """Return a function that runs a command of the command line and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *words: str, runs: str = "faulty://bucket/runs") -> str:
        if command == "generate":
            words = (str(tiny_benchmark), "--method", toy_method, "--images-per-sample", "4", *words)
        result = CliRunner().invoke(build_app(), [command, *words, "--runs", runs])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return call


def _new_machine(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "here")
    _OPEN.clear()


def _names() -> set[str]:
    return {name.removeprefix("/bucket/runs/") for name in Faulty.store}


def _scores(root: Path) -> bytes:
    (file,) = root.glob("*/*/*/scores/*/scores.json")
    return file.read_bytes()


def test_a_run_in_a_store_is_that_of_a_folder(call, tmp_path):
    call("generate", runs="local")
    call("score", *ORACLE, runs="local")
    assert "36 made" in call("generate")
    call("score", *ORACLE)
    (run,) = (tmp_path / "local").glob("*/*/*")
    own = {file.relative_to(tmp_path / "local").as_posix() for file in run.rglob("*") if file.is_file()}
    own = {name for name in own if "/." not in name and not name.endswith("/images.sqlite")}
    assert _names() == own
    _new_machine(tmp_path)
    local, stored = call("report", "--out", "a.md", runs="local"), call("report", "--out", "b.md")
    assert "| toy" in local or "toy" in local
    assert (tmp_path / "a.md").read_text() == (tmp_path / "b.md").read_text()
    assert stored.replace("b.md", "a.md").endswith(local)
    assert not list((tmp_path / "here").rglob("*.png"))  # a table needs none
    for word in ("toy", "complete"):
        assert word in call("ls", "runs")
    assert _scores(root_of("faulty://bucket/runs")) == _scores(tmp_path / "local")


def test_failing_and_slow_requests_cost_nothing(call, tmp_path, monkeypatch):
    call("generate", runs="local")
    call("score", *ORACLE, runs="local")
    monkeypatch.setattr(Faulty, "share", 0.05)
    monkeypatch.setattr(Faulty, "slow", 0.05)
    assert "36 made, 0 resumed, 0 failed" in call("generate")
    _new_machine(tmp_path)
    call("score", *ORACLE)
    assert Faulty.failed > 3
    _new_machine(tmp_path)
    monkeypatch.setattr(Faulty, "share", 0.0)
    call("ls", "runs")
    assert _scores(root_of("faulty://bucket/runs")) == _scores(tmp_path / "local")


def test_another_machine_resumes_by_listing(call, tmp_path):
    assert "18 made" in call("generate", "--limit", "9", "--images-per-sample", "2")
    _new_machine(tmp_path)
    assert "18 made, 18 resumed" in call("generate")
    made = {file.name for file in (tmp_path / "here").rglob("*.png")}
    assert len(made) == 18  # what the store has was not fetched
    lost = next(name for name in Faulty.store if name.endswith("_0.png"))
    del Faulty.store[lost]
    _new_machine(tmp_path)
    assert "1 made, 35 resumed" in call("generate")
    assert lost in Faulty.store


def test_images_that_could_not_be_copied_are_told_and_copied_later(call, monkeypatch):
    monkeypatch.setattr(Faulty, "down", "tiny-004_2.png")
    with pytest.raises(StoreFailed, match=r"1 images were not copied: .*tiny-004_2.png could not be written .*again"):
        call("generate")
    monkeypatch.setattr(Faulty, "down", "")
    assert "0 made, 36 resumed" in call("generate")
    assert sum(name.endswith(".png") for name in _names()) == 36
    assert any("generations" in name for name in _names())


def test_shards_of_two_machines_are_one_run(call, tmp_path):
    call("generate", "--shard", "1/2")
    _new_machine(tmp_path)
    call("generate", "--shard", "2/2")
    (manifest,) = (content for name, content in Faulty.store.items() if name.endswith("manifest.json"))
    assert json.loads(manifest.getvalue())["status"] == "complete"
    _new_machine(tmp_path)
    call("score", *ORACLE)
    assert not [name for name in _names() if "/." in name]


def test_scoring_again_removes_what_no_scores_name(call):
    call("generate")
    call("score", *ORACLE)
    before = _names()
    root = root_of("faulty://bucket/runs")
    (rows,) = root.glob("*/*/*/scores/*/rows-*.parquet")
    rows.rename(rows.with_name("rows-00000000.parquet"))  # as other scores would have been named
    copy_of(root).push(rows.parents[2])
    assert any("rows-00000000" in name for name in _names())
    call("score", *ORACLE)
    assert _names() == before


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("closed://bucket", UsageError, "There is no reading and writing in closed://bucket: .*AccessDenied.*creden"),
        ("nowhere://bucket", UsageError, "nowhere://bucket is no store of runs"),
        ("s3://bucket", MissingExtra, "s3:// needs another package: .*s3fs"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(call, url, error, words, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "s3fs":
            raise ImportError("Install s3fs to access S3")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(error, match=words):
        call("generate", "--method", "no_such_method", runs=url)


def test_commands_of_folders_refuse_an_address(call):
    with pytest.raises(UsageError, match="works in a folder"):
        call("demo")
    with pytest.raises(UsageError, match="become a run in a folder"):
        call("score", "--images", ".", "--benchmark", "coco-mig")


def test_two_machines_do_not_write_one_shard_whatever_their_clocks_say(monkeypatch):
    store = Store("faulty://bucket/runs")
    monkeypatch.setattr("radl_bench.stores.lease.platform.node", lambda: "one")
    with Lease(store, "run/.writer"):
        monkeypatch.setattr("radl_bench.stores.lease.platform.node", lambda: "two")
        with pytest.raises(UsageError, match=rf"one, process {os.getpid()}, seen 0 s ago"):
            Lease(store, "run/.writer").__enter__()
        held = store._files._strip_protocol("faulty://bucket/runs/run/.writer")
        file = Faulty.store[held]
        file.modified -= timedelta(seconds=EXPIRES + 1)  # by the clock of the store
        monkeypatch.setattr(time, "time", lambda: 0.0)
        with Lease(store, "run/.writer"):
            pass
    Faulty.store.clear()
    store.write("run/.writer", json.dumps({"machine": "two", "process": 2**22 + 1}).encode())
    with Lease(store, "run/.writer"):  # that process of this machine has ended
        pass


def test_a_run_is_not_made_where_another_machine_makes_it(call):
    call("generate")
    store, (run,) = Store("faulty://bucket/runs"), root_of("faulty://bucket/runs").glob("*/*/*")
    name = run.relative_to(root_of("faulty://bucket/runs")).as_posix()
    store.write(f"{name}/.writer-0of1.json", b'{"machine": "other", "process": 1}')
    with pytest.raises(UsageError, match="Another process writes this run: other, process 1"):
        call("generate", "--images-per-sample", "8")
    assert len(RunFolder.open(run).rows()) == 36


def test_a_path_that_was_an_address_is_refused():
    with pytest.raises(UsageError, match="Give it as a text"):
        root_of(Path("s3://bucket/runs"))
    assert root_of("file:///tmp/runs") == Path("/tmp/runs")
    assert root_of("runs") == Path("runs")
