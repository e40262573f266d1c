"""Every page of the report at the widths of a desk and of a telephone, light and dark: whole, readable, accessible.

Screenshots are kept where the environment variable RADL_BENCH_SHOTS names a folder, to be looked at.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import until
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.store import RunFolder
from radl_bench.view.desk import Desk
from radl_bench.view.server import open_server

pytestmark = pytest.mark.slow

WIDTHS = (1400, 420)
SAMPLE = "gallery.html#g=0&layout=1&found=1&s=mig-000002&k=0"
PAGES = ("index.html", "leaderboard.html", "leaderboard.html#g=0&b=1&sort=ap", "gallery.html", SAMPLE, "compare.html")

CUT = (Path(__file__).parent / "cut.js").read_text("utf-8")
"""Texts that are wider than their place, and parts that slide sideways without a hint that they do."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_whole_and_accessible(open_page, tmp_path, address, width, scheme) -> None:
    page = open_page(address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.wait_for_timeout(300)
    page.evaluate("document.querySelectorAll('img').forEach((image) => (image.loading = 'eager'))")
    until(page, "[...document.images].every((image) => image.complete)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    assert violations(page) == []
    shot = page.screenshot(full_page="s=" not in address)
    keep(shot, f"{PAGES.index(address)}-{address.partition('.')[0]}-{width}-{scheme}.png", tmp_path)
    with Image.open(io.BytesIO(shot)) as image:
        assert image.width == width
        assert len(image.convert("L").resize((64, 64)).getcolors()) > 20  # there is something on it


def violations(page) -> list[str]:
    """Return what axe-core finds, of any impact."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core is not installed: pip install -e '.[dev]'"
    )
    # without preloading, by which axe reads style sheets again, as the page forbids
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [f"{one['impact']}: {one['id']}: {one['nodes'][0]['html'][:120]}" for one in found]


def keep(shot: bytes, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("RADL_BENCH_SHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(shot)


@pytest.fixture
def served(page_runs, tmp_path, browser) -> Iterator:
    """A page of a server that follows three scored runs and one that grows, that run, and what is served."""
    growing = RunFolder.create(tmp_path / "more", load_benchmark("coco-mig"), {"name": "toy", "revision": "1"})
    desk = Desk(lambda: [*page_runs, growing.path], tmp_path / "report", figures=False)
    desk.refresh()
    with open_server(desk.folder, 0, desk) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(viewport={"width": 420, "height": 900})
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        yield page, growing, desk
        context.close()
        server.shutdown()
        assert complaints == []


def test_a_served_page_follows_a_run_and_its_scores(served, tmp_path) -> None:
    page, growing, desk = served
    assert page.url.endswith("/now.html")  # a run goes on
    page.wait_for_selector("text=4 runs, 1 going on. The tables hold 3 runs.")
    first = page.locator(".run").first
    assert "0 of 800 images" in first.inner_text()
    with growing.writer() as writer:
        for n, sample in enumerate(load_benchmark("coco-mig", limit=2).samples):
            writer.write_image(sample.id, 0, n, Image.new("RGB", (64, 64), (90 * n, 120, 40)), 0.1)
    page.wait_for_selector("text=2 of 800 images")
    assert first.locator("img").count() == 2
    until(page, "[...document.querySelectorAll('.run img')].every((image) => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.evaluate(CUT) == []
    assert violations(page) == []
    keep(page.screenshot(), "now-420.png", tmp_path)
    with page.expect_navigation():  # the page is loaded again
        desk.version += 1  # as after new scores
    page.goto(page.url.replace("now.html", "gallery.html"))
    until(page, "document.querySelector('#grid img')?.naturalWidth > 0")


def names(page) -> list[str]:
    return [text.split(" mini")[0] for text in page.locator("#board tbody th").all_inner_texts()]


def values(page, head: str) -> list[float]:
    heads = [text.split(" ▼")[0].split(" ▲")[0] for text in page.locator("#board thead th").all_inner_texts()]
    cells = page.locator(f"#board tbody tr td:nth-child({heads.index(head) + 1})").all_inner_texts()
    return [float(text.split()[0]) for text in cells]


def test_the_leaderboard_is_sorted_by_any_score_both_ways(open_page) -> None:
    page = open_page("leaderboard.html")
    assert values(page, "R_inst") == sorted(values(page, "R_inst"), reverse=True)
    page.click("#board [data-key=miou]")
    page.wait_for_selector("#board th[aria-sort=descending] [data-key=miou]")
    best_first = values(page, "mIoU")
    assert best_first == sorted(best_first, reverse=True)
    assert len(set(best_first)) > 1
    assert page.evaluate("document.activeElement.dataset.key") == "miou"  # the table was drawn anew
    page.keyboard.press("Enter")
    page.wait_for_selector("#board th[aria-sort=ascending] [data-key=miou]")
    assert values(page, "mIoU") == best_first[::-1]
    again = open_page(f"leaderboard.html{page.url[page.url.index('#') :]}")
    assert values(again, "mIoU") == best_first[::-1]


def test_the_leaderboard_is_filtered(open_page) -> None:
    page = open_page("leaderboard.html")
    assert len(names(page)) == 3
    page.check("[name=methods]", force=True)
    until(page, "document.getElementById('count').textContent.startsWith('2 of 3')")
    assert names(page) == ["RaDL", "BoxDiff"]
    page.fill("[name=q]", "box")
    until(page, "document.getElementById('count').textContent.startsWith('1 of 3')")
    assert names(page) == ["BoxDiff"]
    page.click("#reset")
    until(page, "document.getElementById('count').textContent.startsWith('3 of 3')")
    page.select_option("[name=level]", label="4 objects")
    until(page, "location.hash.includes('level=4')")
    assert "level=4" in page.locator("#board td a").first.get_attribute("href")


def test_a_pinned_baseline_stands_first_and_the_others_differ_from_it(open_page, page_runs) -> None:
    from radl_bench.scoring.compare import compare_runs

    page = open_page("leaderboard.html")
    page.get_by_label("Baseline: BoxDiff").click()
    page.wait_for_selector("#board .pinned")
    assert names(page)[0] == "BoxDiff"
    lines = {line.metric: line for line in compare_runs(page_runs[2], page_runs[1]).lines if line.level is None}
    row = page.locator("#board tbody:not(.pinned) tr", has_text="RaDL")
    shown = row.locator(".gap").all_inner_texts()
    keys = page.evaluate("[...document.querySelectorAll('thead [data-key]')].map((button) => button.dataset.key)")
    wanted = [lines[key] for key in keys if key in lines]
    assert len(shown) == len(wanted) > 4
    for text, line in zip(shown, wanted, strict=True):
        number, mark = text.split()
        assert float(number.replace("−", "-")) == pytest.approx(line.difference, abs=0.051)
        assert mark == ("●" if line.p < 0.05 else "○")
    page.get_by_label("Baseline: BoxDiff").click()
    page.wait_for_selector("#board .pinned", state="detached")


def test_places_are_the_groups_of_ties(open_page, page_runs) -> None:
    from radl_bench.report import build_report

    (section,) = build_report(page_runs).sections
    groups = {
        label: cell.group for _, label, cell in section.cells if (cell.metric, cell.level) == ("success_inst", None)
    }
    page = open_page("leaderboard.html")
    places = page.locator("#board tbody tr td:nth-child(2)").all_inner_texts()
    assert places == ["–", *(str(groups[name]) for name in names(page)[1:])]
