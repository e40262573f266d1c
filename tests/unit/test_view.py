"""`radl-bench view`: how far a run is, what is served, and to whom."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from gallery_runs import make_run
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import MissingData, UsageError
from radl_bench.report.html_folder import MARK
from radl_bench.runs.store import RunFolder, find_runs
from radl_bench.scoring.score import score_runs
from radl_bench.view.desk import Desk, first_page
from radl_bench.view.following import NEWEST, QUIET, Following
from radl_bench.view.server import open_server

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def run(tmp_path) -> Path:
    """Three images of a benchmark of three samples, the second of them lost."""
    benchmark = load_benchmark("coco-mig", limit=3)
    return make_run(tmp_path / "runs", benchmark, "radl", 4, lost=benchmark.samples[1].id)


def rows(path: Path, *lines: str, end: str = "\n") -> None:
    with (path / "generations-0of1.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + end)


def row(n: int, seconds: float, status: str = "ok") -> str:
    at = (START + timedelta(seconds=seconds)).isoformat()
    file = f"images/s{n}_0.png" if status == "ok" else None
    return json.dumps({"sample_id": f"s{n}", "k": 0, "status": status, "file": file, "at": at})


@pytest.fixture
def growing(tmp_path) -> Path:
    """A run of 800 images that says it is running and has no row yet."""
    return RunFolder.create(tmp_path, load_benchmark("coco-mig"), {"name": "toy", "revision": "1"}).path


def test_progress_follows_the_rows_as_they_grow(growing) -> None:
    following = Following(growing)
    first = following.progress(START)
    assert (first.planned, first.made, first.failed, first.rate, first.quiet, first.going) == (
        800,
        0,
        0,
        None,
        None,
        True,
    )
    rows(growing, row(0, 0), row(1, 2), row(2, 4, "error"))
    second = following.progress(START + timedelta(seconds=5))
    assert (second.made, second.failed, second.rate, second.quiet) == (2, 1, 0.5, 1.0)
    assert second.left == pytest.approx(797 / 0.5)
    rows(growing, row(2, 6), row(3, 8)[:20], end="")  # an image that failed is made; a line is cut short
    third = following.progress(START + timedelta(seconds=8))
    assert (third.made, third.failed) == (3, 0)
    rows(growing, row(3, 8)[20:], "no row", row(4, 10))
    fourth = following.progress(START + timedelta(seconds=10))
    assert (fourth.made, [k[0] for k in fourth.newest]) == (5, ["s4", "s3", "s2", "s1", "s0"])
    assert fourth == Following(growing).progress(START + timedelta(seconds=10))  # read at once it is the same


def test_a_run_without_a_new_image_is_quiet_and_has_no_end(growing) -> None:
    rows(growing, *(row(n, n) for n in range(2 * NEWEST)))
    late = Following(growing).progress(START + timedelta(seconds=2 * NEWEST + QUIET))
    assert (late.status, late.going, late.left, len(late.newest)) == ("running", False, None, NEWEST)


def test_a_run_that_ended_does_not_go_on(run) -> None:
    progress = Following(run).progress()
    assert (progress.status, progress.going, progress.made, progress.failed) == ("failed", False, 2, 1)


@pytest.fixture
def desk(run, tmp_path) -> Desk:
    return Desk(lambda: find_runs(tmp_path / "runs"), tmp_path / "report", figures=False)


def test_the_report_comes_with_the_scores_and_stays_when_they_break(desk, run) -> None:
    assert desk.refresh()
    assert {file.name for file in desk.folder.glob("*.html")} == {"now.html"}
    assert first_page(desk) == "now.html"
    score_runs([run], detector="oracle", encoder="none")
    assert desk.refresh()
    assert not desk.refresh()
    assert (desk.scored, desk.problem, first_page(desk)) == (1, "", "index.html")
    index = (desk.folder / "index.html").read_text("utf-8")
    assert "now.html" in index
    assert "assets/live.js" in index
    (scores,) = run.glob("scores/*/scores.json")
    scores.write_text("{")
    version = desk.version
    assert desk.refresh()
    assert "is not JSON" in desk.problem
    assert desk.version == version + 1
    assert (desk.folder / "index.html").read_text("utf-8") == index


def test_a_written_report_asks_no_server(run, tmp_path) -> None:
    from radl_bench.report import build_report, write_report

    score_runs([run], detector="oracle", encoder="none")
    write_report(build_report([run]), "html", tmp_path / "html", figures=False)
    pages = {file.name: file.read_text("utf-8") for file in (tmp_path / "html").glob("*.html")}
    assert not any("live.js" in text or "connect-src" in text for text in pages.values())
    assert set(pages) == {"index.html", "leaderboard.html", "gallery.html"}


@pytest.fixture
def server(desk) -> Iterator[tuple[str, int]]:
    desk.refresh()
    desk.state()
    with open_server(desk.folder, 0, desk) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.server_address[:2]
        served.shutdown()


def ask(server: tuple[str, int], path: str, host: str | None = None, method: str = "GET") -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection(*server, timeout=20)
    connection.putrequest(method, path, skip_host=True)  # as it stands: nothing tidies the path up
    connection.putheader("Host", host or f"127.0.0.1:{server[1]}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_state_and_images_are_served(server, run) -> None:
    status, body, heads = ask(server, "/state.json")
    assert (status, heads["Content-Type"]) == (200, "application/json")
    (one,) = json.loads(body)["runs"]
    assert (one["name"], one["made"], one["failed"], one["planned"]) == ("/".join(run.parts[-3:]), 2, 1, 3)
    status, body, heads = ask(server, "/" + one["newest"][0]["address"])
    assert (status, heads["Content-Type"]) == (200, "image/png")
    assert body == (run / "images" / f"{one['newest'][0]['id']}_0.png").read_bytes()
    assert ask(server, "/")[2]["Location"] == "/now.html"
    assert b"Runs" in ask(server, "/now.html")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/run-images/0/manifest.json",
        "/run-images/0/images/../manifest.json",
        "/run-images/0/images/%2e%2e/manifest.json",
        "/run-images/0//etc/hostname",
        "/run-images/0/images/link.png",
        "/run-images/9/images/a.png",
        "/run-images/-1/images/a.png",
        "/run-images/0/%00",
        "/run-images/0/images",
        "/../runs",
        "/%2e%2e/secret.txt",
        "/assets/",
        "/nothing.html",
    ],
)
def test_nothing_else_is_served(server, run, tmp_path, path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    outside = tmp_path / "outside.png"
    Image.new("RGB", (4, 4)).save(outside)
    (run / "images" / "link.png").symlink_to(outside)
    assert ask(server, path)[0] == 404


def test_another_name_of_this_machine_is_refused(server) -> None:
    for host in ("evil.example", f"evil.example:{server[1]}", ""):
        assert ask(server, "/state.json", host or "x")[0] == 403
    for host in (f"localhost:{server[1]}", f"127.0.0.1:{server[1]}"):
        assert ask(server, "/state.json", host)[0] == 200
    assert ask(server, "/state.json", "evil.example", "HEAD")[0] == 403
    assert ask(server, "/state.json", method="POST")[0] == 501


def test_a_port_that_is_taken_is_said(server, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"is taken. Give another"):
        open_server(tmp_path, server[1])


def test_folders_that_cannot_be_served_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / MARK).write_text("")
    for arguments, kind, words in [
        ([], MissingData, "There is no folder runs/"),
        (["empty"], MissingData, "is no run and no report"),
        (["report", "empty"], UsageError, "One report is served"),
    ]:
        found = CliRunner().invoke(build_app(), ["view", *arguments])
        assert isinstance(found.exception, kind), found.exception
        assert words in str(found.exception)
