"""The HTML report in a real browser: it opens from disk, toggles, filters, shows a sample, and never asks the network.

Needs playwright (`pip install -e ".[dev]"`) and a Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import until
from gallery_runs import HOSTILE, hostile_rows, hostile_runs, large_run
from PIL import Image
from scores import rows as rows_of

from radl_bench.report import build_report, write_report

pytestmark = pytest.mark.slow


def lines(page) -> list[int]:
    return [int(line.get_attribute("data-row")) for line in page.query_selector_all("#grid [data-row]")]


def count(page) -> int:
    return int(page.inner_text("#count").split()[0].replace(",", ""))


def test_a_page_of_lines_with_every_method_and_its_pictures(open_page):
    page = open_page("gallery.html")
    assert count(page) == 30
    assert lines(page) == list(range(24))
    assert page.locator("#grid [data-row]").nth(3).locator("img").count() == 3
    until(page, "document.querySelector('#grid img').naturalWidth === 128")
    page.click("#pager >> text=Next")
    until(page, "document.querySelectorAll('#grid [data-row]').length === 6")
    page.keyboard.press("Shift+ArrowLeft")
    until(page, "document.querySelectorAll('#grid [data-row]').length === 24")


def test_layout_and_detections_are_drawn_and_taken_away(open_page):
    page = open_page("gallery.html#g=0&level=3&m=2")
    assert page.locator(".overlay").count() == 0
    page.keyboard.press("l")
    page.wait_for_selector(".overlay .layout", state="attached")
    assert page.locator(".overlay .layout").count() == 3 * page.locator("#grid [data-row]").count() == 18
    page.check("[name=found]", force=True)
    page.wait_for_selector(".overlay .found", state="attached")
    assert page.locator(".overlay .found.matched").count() == 18  # the oracle finds every object
    page.keyboard.press("l")
    page.keyboard.press("d")
    page.wait_for_selector(".overlay", state="detached")


def test_each_filter_leaves_what_it_says(open_page):
    page = open_page("gallery.html")
    page.select_option("[name=level]", label="4 objects")
    until(page, "document.getElementById('count').textContent.startsWith('6 ')")
    assert {re.match(r"\d+", text)[0] for text in page.locator("[data-row] .prompt .facts").all_inner_texts()} == {"4"}
    page.click("#reset")
    page.select_option("[name=c]", label="blue")
    until(page, "!document.getElementById('count').textContent.startsWith('30 ')")
    assert all("blue" in text for text in page.locator("[data-row] .prompt p:first-child").all_inner_texts())
    blue = count(page)
    page.select_option("[name=o]", "differ")
    until(page, f"!document.getElementById('count').textContent.startsWith('{blue} ')")
    assert 0 < count(page) < blue
    page.click("#reset")
    page.fill("[name=q]", "no such words")
    page.wait_for_selector("text=No image is left")
    assert count(page) == 0
    page.click("#reset")
    page.uncheck("[name=m][value='0']", force=True)
    until(page, "document.querySelectorAll('.heads strong').length === 2")


def test_failed_objects_of_a_class_are_those_of_the_rows(open_page, page_runs):
    rows = rows_of(page_runs[1]).fillna(0.0)
    inst = rows[rows["metric"] == "success_inst"]
    failed = inst[inst["value"] == 0.0]["sample_id"].nunique()
    page = open_page("gallery.html#g=0&m=1&o=failed")
    whole = rows[(rows["metric"] == "success_img") & (rows["value"] == 0.0)]
    assert count(page) == len(whole) == failed
    page.select_option("[name=t]", label="car")
    until(page, f"!document.getElementById('count').textContent.startsWith('{failed} ')")
    cars = inst[inst["reason"].str.contains(r"\bcar\b|no image")]
    assert count(page) <= cars[cars["value"] == 0.0]["sample_id"].nunique()
    assert all("car" in text for text in page.locator("[data-row] .prompt p:first-child").all_inner_texts())


def test_every_number_leads_to_the_pictures_that_make_it(open_page):
    index = open_page("index.html")
    table = index.locator("table", has=index.locator("caption", has_text="R_inst by number"))
    cells = [(a.inner_text(), a.get_attribute("href")) for a in table.locator("td a").all()]
    assert len(cells) == 3 * 6
    page = open_page("gallery.html")
    for number, address in cells:
        page.goto("about:blank")
        page.goto(index.url.rpartition("/")[0] + "/" + address)
        page.wait_for_selector(".heads .facts >> nth=1")
        assert page.locator(".heads .facts").nth(1).inner_text().split(" %")[0] == number


def test_a_sample_shows_every_row_and_reason_and_has_an_address(open_page, page_runs):
    page = open_page("gallery.html")
    page.locator("[data-row='2'] .shot").first.click()
    page.wait_for_selector("dialog[open] table")
    sample = re.search(r"s=([\w-]+)", page.url)[1]
    shown = page.inner_text("dialog")
    for run in page_runs:
        rows = rows_of(run)
        reasons = rows[rows["sample_id"] == sample]["reason"]
        assert len(reasons) > 4
        assert [reason for reason in reasons if reason not in shown] == []
    assert "seed" in shown
    page.keyboard.press("ArrowRight")
    until(page, f"!location.hash.includes('{sample}')")
    again = open_page(f"gallery.html{page.url[page.url.index('#') :]}")
    again.wait_for_selector("dialog[open] table")
    assert again.inner_text("#sample-title") == page.inner_text("#sample-title")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert "s=" not in page.url
    page.locator("[data-row='0'] .shot").first.click()
    page.wait_for_selector("dialog[open]")
    page.go_back()  # as on a telephone: back closes the sample
    page.wait_for_selector("dialog", state="hidden")


def test_the_keyboard_is_enough(open_page):
    page = open_page("gallery.html")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.shot')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("d")
    page.wait_for_selector("dialog .overlay .found", state="attached")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"


def test_a_lost_picture_says_why_in_its_place(open_page):
    page = open_page("gallery.html#g=0&m=1")
    lost = page.locator(".frame .nothing")
    assert lost.count() == 1
    lost.click()
    page.wait_for_selector("dialog[open]")
    assert HOSTILE in page.inner_text("dialog .pictures")  # the text of an error, not its markup


def test_texts_of_others_stay_texts(open_page, tmp_path, make_benchmark):
    report = build_report(hostile_runs(tmp_path / "runs", make_benchmark(hostile_rows(), name="hostile")))
    write_report(report, "html", tmp_path / "html", figures=False)
    addresses = ["index.html", "gallery.html#g=0&layout=1&found=1&s=bad-1&k=0", "compare.html"]
    for address in (*addresses, "gallery.html#g=0&q=<script>window.pwned=1</script>&s=%22><script>"):
        page = open_page(address, tmp_path / "html")
        page.wait_for_timeout(200)
        assert page.evaluate("window.pwned === undefined")
        assert (
            page.evaluate("document.querySelectorAll('script:not([src]), img[src=x], svg[onload], main b').length") == 0
        )
    page = open_page(addresses[1], tmp_path / "html")
    page.wait_for_selector("dialog[open] table")
    assert page.inner_text("#sample-title") == f"1 {HOSTILE}"
    assert f"a red car {HOSTILE}" in page.inner_text("dialog table")


def test_a_comparison_and_the_samples_that_changed_most(open_page, page_runs):
    page = open_page("compare.html#g=0&a=2&b=1")
    sums = [rows_of(run).fillna(0.0) for run in page_runs]
    means = [r[r["metric"] == "success_inst"].groupby("sample_id")["value"].mean() for r in sums]
    gaps = (means[2] - means[1]).abs().sort_values(ascending=False, kind="stable")
    page.wait_for_selector(".card")
    shown = [abs(float(t.replace("−", "-"))) for t in page.locator(".delta").all_inner_texts()]
    assert shown == pytest.approx(list(gaps.iloc[: len(shown)]), abs=0.06)
    before = page.locator("#differences tr").nth(1).locator("td").all_inner_texts()
    page.click("#swap")
    until(page, "document.querySelectorAll('#differences td')[2].textContent.startsWith('−')")
    after = page.locator("#differences tr").nth(1).locator("td").all_inner_texts()
    assert (after[:2], after[2:3], after[4:]) == (before[1::-1], ["−" + before[2][1:]], before[4:])
    page.select_option("[name=metric]", "ap")
    page.wait_for_selector("text=AP is no mean over images")
    page.goto(page.url.partition("#")[0] + "#g=0&a=2&b=1&metric=success_inst")
    page.wait_for_selector(".card")
    page.locator(".card").first.click()
    page.wait_for_selector("dialog[open] table")
    assert page.locator("dialog figure").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_have_contrast(open_page, scheme):
    for address in ("index.html", "gallery.html#g=0&layout=1&s=mig-000002", "compare.html"):
        page = open_page(address, color_scheme=scheme)
        page.wait_for_timeout(300)
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert page.evaluate((Path(__file__).parent / "contrast.js").read_text("utf-8")) == []


def test_narrow_screens_need_no_sideways_scrolling(open_page):
    for address in ("index.html", "gallery.html", "gallery.html#g=0&found=1&s=mig-000002", "compare.html"):
        page = open_page(address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert (
            page.evaluate("Math.max(0, ...[...document.querySelectorAll('dialog[open]')].map(d => d.scrollWidth))")
            <= 360
        )


def test_6400_pictures_are_there_within_two_seconds(open_page, tmp_path):
    write_report(
        build_report([large_run(tmp_path, "coco-mig", "radl", images=8)]), "html", tmp_path / "html", figures=False
    )
    start = time.perf_counter()
    page = open_page("gallery.html", tmp_path / "html")
    until(page, "document.querySelectorAll('#grid img').length === 24 && document.querySelector('#grid img').complete")
    seconds = time.perf_counter() - start
    assert page.inner_text("#count").startswith("6,400 of 6,400")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    print(f"first paint {painted:.0f} ms, first pictures {seconds:.2f} s")
    assert painted < 2000
    page.select_option("[name=o]", "failed")
    until(page, "document.getElementById('count').textContent.startsWith('2,134 ')")


@pytest.mark.usefixtures("chromium")
def test_the_screenshot_of_the_readme_is_made_by_one_command(page_runs, tmp_path):
    out = tmp_path / "shot.png"
    script = Path(__file__).parents[2] / "docs" / "make_screenshot.py"
    command = [sys.executable, str(script), "--runs", str(page_runs[0].parents[2]), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size <= 300_000
    with Image.open(out) as image:
        assert image.size == (1280, 1000)
        assert len(image.convert("RGB").resize((64, 50)).getcolors(3200)) > 100  # pictures, not an empty page
