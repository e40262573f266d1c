"""Fetching by name: what the catalogue promises, what lies where, what offline says, and the hub's way."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import zipfile
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from http_server import serve
from typer.testing import CliRunner

from radl_bench.cli import build_app
from radl_bench.downloads import fetch as parts
from radl_bench.downloads.fetch import catalogue, fetch, find, is_ready, require, verify_fetched
from radl_bench.errors import BadInput, MissingData, MissingWeights, UsageError

ROOT = Path(__file__).parents[2]
FAST = {"timeout": 0.5, "pauses": (0.0, 0.0)}
WEIGHTS = random.Random(1).randbytes(5000)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shop():
    with serve() as running:
        running.goods["/net.bin"] = WEIGHTS
        running.goods["/notes.zip"] = _zip({"annotations/a.json": b"[1]", "annotations/b.json": b"[2]"})
        yield running


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _items(shop, folder: Path) -> dict:
    def entry(path: str) -> str:
        body = shop.goods[path]
        fields = {"name": path[1:], "url": shop.url + path, "size": len(body), "sha256": sha256(body).hexdigest()}
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())

    text = '[net]\nkind = "weights"\nwhat = "a net"\nlicense = "MIT"\n[[net.files]]\n' + entry("/net.bin")
    text += '[notes]\nkind = "data"\nwhat = "notes"\nlicense = "CC0-1.0"\nunpack = ["annotations/a.json"]\n'
    file = folder / "catalogue.toml"
    file.write_text(text + "[[notes.files]]\n" + entry("/notes.zip"), "utf-8")
    return catalogue(file)


def test_the_catalogue_names_url_size_sum_or_revision_and_licence_of_everything():
    items = catalogue()
    assert {"grounding-dino", "sam", "open-clip", "inception", "sd14", "coco-annotations", "coco-val2014"} <= set(items)
    for item in items.values():
        assert item.kind in ("weights", "data")
        assert item.license
        assert item.size > 1_000_000
        assert bool(item.files) != bool(item.hub)
        assert all(re.fullmatch(r"[0-9a-f]{64}", f.sha256) and f.url.startswith("http") for f in item.files)
        assert not item.hub or re.fullmatch(r"[0-9a-f]{40}", item.hub["revision"])
        assert set(item.sums or {}) <= set(item.patterns)


def test_the_inception_judge_looks_where_fetch_puts_its_file():
    from radl_bench.judges.inception import SHA256, default_weights

    (remote,) = find("inception").files
    assert (find("inception").folder / remote.name, remote.sha256) == (default_weights(), SHA256)


def test_weights_and_data_go_to_their_folders_with_a_record(shop, tmp_path, home):
    items = _items(shop, tmp_path)
    assert not is_ready(items["net"])
    assert fetch(items["net"], **FAST) == home / "weights" / "net"
    assert (home / "weights" / "net" / "net.bin").read_bytes() == WEIGHTS
    folder = fetch(items["notes"], **FAST)
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*.json")].count("annotations/a.json") == 1
    assert not list(folder.glob("*.zip"))
    assert not (folder / "annotations" / "b.json").exists()
    record = json.loads((folder / "SOURCE.json").read_text())
    assert record["files"] == {"annotations/a.json": {"size": 3, "sha256": sha256(b"[1]").hexdigest()}}
    assert is_ready(items["net"])
    assert is_ready(items["notes"])
    fetch(items["notes"], **FAST)
    assert len(shop.asked) == 2


def test_a_lost_file_or_another_version_is_fetched_again(shop, tmp_path, home):
    item = _items(shop, tmp_path)["net"]
    fetch(item, **FAST)
    (item.folder / "net.bin").unlink()
    assert not is_ready(item)
    fetch(item, **FAST)
    shop.goods["/net.bin"] = WEIGHTS[::-1]
    newer = _items(shop, (tmp_path / "newer").mkdir() or tmp_path / "newer")["net"]
    assert not is_ready(newer)
    assert (fetch(newer, **FAST) / "net.bin").read_bytes() == WEIGHTS[::-1]


def test_a_corrupted_download_leaves_no_record(shop, tmp_path):
    item = _items(shop, tmp_path)["net"]
    shop.manners[:] = ["corrupted"]
    with pytest.raises(BadInput):
        fetch(item, **FAST)
    assert not is_ready(item)
    assert not (item.folder / "net.bin").exists()


def test_offline_names_everything_missing_at_once_and_asks_nobody(shop, tmp_path):
    items = _items(shop, tmp_path)
    with pytest.raises(MissingData) as caught:
        require(items.values())
    assert re.findall(r"radl-bench fetch (\S+)", str(caught.value)) == ["net", "notes"]
    assert shop.asked == []
    fetch(items["net"], **FAST)
    with pytest.raises(MissingData) as caught:
        require(items.values())
    assert re.findall(r"radl-bench fetch (\S+)", str(caught.value)) == ["notes"]
    require([items["net"]])


def test_verifying_hashes_what_was_fetched_again(shop, tmp_path, home):
    for item in _items(shop, tmp_path).values():
        fetch(item, **FAST)
    assert [(name, problems) for name, _, problems in verify_fetched()] == [("notes", []), ("net", [])]
    (home / "weights" / "net" / "net.bin").write_bytes(WEIGHTS[::-1])
    (home / "data" / "notes" / "annotations" / "a.json").unlink()
    (_, _, (gone,)), (_, _, (differs,)) = verify_fetched()
    assert differs.endswith("net.bin differs from what was fetched")
    assert gone.endswith("a.json is gone")
    (home / "weights" / "net" / "SOURCE.json").write_text("{")
    assert "is broken" in next(iter(verify_fetched("net")))[2][0]


def test_the_command_lists_fetches_and_refuses(shop, tmp_path, monkeypatch):
    items = _items(shop, tmp_path)
    monkeypatch.setattr(parts, "catalogue", lambda: items)
    run = CliRunner().invoke
    listed = run(build_app(), ["fetch"])
    assert re.search(r"net +. no +. 0\.0 MB +. MIT", listed.output)
    assert run(build_app(), ["fetch", "net", "notes"]).exit_code == 0
    assert run(build_app(), ["fetch", "--offline"]).output == "Nothing is missing: net, notes.\n"
    with pytest.raises(UsageError, match="Did you mean 'net'"):
        run(build_app(), ["fetch", "nett"], catch_exceptions=False)


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download of one revision needs."""

    repo, revision = "someone/net", "a" * 40
    files: dict[str, bytes]
    lies: dict[str, str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file(head=True)

    def do_GET(self) -> None:
        if self.path.startswith(f"/api/models/{self.repo}/tree/{self.revision}"):
            return self._json([self._entry(name, body) for name, body in self.files.items()])
        self._file(head=False)

    def _entry(self, name: str, body: bytes) -> dict:
        oid = self.lies.get(name, sha256(body).hexdigest())
        lfs = {"lfs": {"oid": oid, "size": len(body), "pointerSize": 100}} if name.endswith(".safetensors") else {}
        return {"type": "file", "path": name, "size": len(body), "oid": "0" * 40, **lfs}

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _file(self, head: bool) -> None:
        prefix = f"/{self.repo}/resolve/{self.revision}/"
        path = unquote(urlsplit(self.path).path)
        if not path.startswith(prefix) or path.removeprefix(prefix) not in self.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        body = self.files[path.removeprefix(prefix)]
        tag = {"ETag": f'"{sha256(body).hexdigest()}"', "X-Repo-Commit": self.revision}
        self._send(200, body, tag, head)

    def _send(self, status: int, body: bytes, headers: dict[str, str], head: bool = False) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)


@pytest.fixture
def hub():
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "model.bin": b"pickle", "unet/config.json": b"[]"}
    handler = type("Handler", (_Hub,), {"files": files, "lies": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _from_hub(url: str, folder: Path, patterns: list[str], sums: dict[str, str]) -> subprocess.CompletedProcess:
    """In a process of its own, since huggingface_hub reads its address once, when it is imported."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom radl_bench.errors import RadlBenchError\n"
        "from radl_bench.downloads.hub import from_hub\ntry:\n"
        f"    print(sorted(from_hub('someone/net', {'a' * 40!r}, {patterns!r}, {sums!r}, Path({str(folder)!r}))))\n"
        "except RadlBenchError as error:\n    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    env = os.environ | {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HOME": str(folder.parent / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


def test_from_the_hub_come_the_files_that_match_and_no_others(hub, tmp_path):
    done = _from_hub(hub[1], tmp_path / "net", ["*.json", "model.safetensors"], {})
    assert done.stdout.strip() == "['config.json', 'model.safetensors', 'unet/config.json']", done.stderr
    assert (tmp_path / "net" / "model.safetensors").read_bytes() == WEIGHTS
    assert not (tmp_path / "net" / "model.bin").exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_file_of_the_hub_with_another_sum_is_refused(hub, tmp_path, recorded):
    wrong = "b" * 64
    hub[0].lies.update({} if recorded else {"model.safetensors": wrong})
    done = _from_hub(hub[1], tmp_path / "net", ["model.safetensors"], {"model.safetensors": wrong} if recorded else {})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("BadInput")
    assert wrong in done.stderr
    assert not (tmp_path / "net" / "model.safetensors").exists()


def test_a_hub_without_the_file_and_no_hub_at_all_are_sentences(hub, tmp_path):
    done = _from_hub(hub[1], tmp_path / "net", ["other.safetensors"], {})
    assert done.stderr.splitlines()[-1].startswith("DownloadFailed: someone/net at aaaa")
    done = _from_hub("http://127.0.0.1:9", tmp_path / "net", ["config.json"], {})
    assert done.stderr.splitlines()[-1].startswith("DownloadFailed: someone/net could not be downloaded from the hub")


def test_the_fetched_base_model_is_the_one_that_sd14_means(home):
    from radl_model.checkpoints.places import resolve_base

    folder = find("sd14").folder
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    with pytest.raises(MissingWeights, match="radl-bench fetch sd14"):
        resolve_base("sd14")  # without its record the folder is not complete
    (folder / "SOURCE.json").write_text("{}")
    assert resolve_base("sd14") == folder
