"""A real browser and a report to look at, for the tests of pages.

Needs playwright (`pip install -e ".[dev]"`) and a Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import until
from gallery_runs import scored_runs

from radl_bench.report import build_report, write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; a test that needs it is skipped where there is none."""
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture(scope="session")
def page_runs(tmp_path_factory) -> list[Path]:
    """Three scored runs of 30 samples: the reference, a bad method with a lost image, a good one."""
    return scored_runs(tmp_path_factory.mktemp("browser") / "runs", limit=30)


@pytest.fixture(scope="session")
def page_folder(page_runs, tmp_path_factory) -> Path:
    """The HTML report of `page_runs`, in a folder whose name an address has to escape."""
    out = tmp_path_factory.mktemp("report") / "html #1"
    write_report(build_report(page_runs), "html", out)
    return out


def lost(request) -> list[str]:
    """Return the complaint about a failed request: none if the page was left before the answer came."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"failed: {request.url}: {request.failure}"]


@pytest.fixture
def open_page(browser, page_folder) -> Iterator[Callable]:
    """Return a function that opens a page; at the end there is no complaint and no request but to the folder."""
    complaints, contexts = [], []

    def start(address: str, where: Path = page_folder, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.extend(lost(request)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        name, mark, fragment = address.partition("#")
        page.goto((where / name).absolute().as_uri() + mark + fragment)
        if name != "index.html":
            until(page, "!document.querySelector('[role=status]').textContent.startsWith('Loading')")
        return page

    yield start
    for context in contexts:
        context.close()
    assert complaints == []
