"""Make docs/screenshot.png, the image of the gallery in the README, out of scored runs.

    radl-bench demo
    python docs/make_screenshot.py

Needs playwright (`pip install -e ".[dev]"`) and a Chromium (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from radl_bench.errors import MissingData, MissingExtra, RadlBenchError
from radl_bench.report import build_report, write_report
from radl_bench.runs.store import find_runs

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT = 300_000
"""Bytes that the file may have."""


def main() -> None:
    """Parse the command line, take the image, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the scored runs are")
    parser.add_argument("--out", type=Path, default=HERE / "screenshot.png")
    parser.add_argument(
        "--page", default="gallery.html#g=0&level=4&layout=1", help="page of the report, with its state"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 1000), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--dark", action="store_true", help="in the dark colours")
    options = parser.parse_args()
    try:
        content = small_png(screenshot(options.runs, options.page, tuple(options.size), options.dark))
    except RadlBenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    options.out.write_bytes(content)
    print(f"{options.out}: {len(content) / 1000:.0f} kB")


def screenshot(root: Path, address: str, size: tuple[int, int], dark: bool = False) -> bytes:
    """Write the report of the runs under `root` to a temporary folder and return a PNG of one of its pages.

    Raises:
        MissingExtra: playwright or a Chromium is not installed.
        MissingData: there are no scored runs under `root`.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise MissingExtra("The package playwright is not installed. Run: pip install -e '.[dev]'") from None
    chromium = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if chromium is None:
        raise MissingExtra("There is no Chromium on this machine. Run: apt-get install chromium")
    runs = find_runs(root)
    if not runs:
        raise MissingData(f"There is no run under {root}. Run: radl-bench demo")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        _, first = write_report(build_report(runs), "html", Path(folder) / "html")
        page = playwright.chromium.launch(executable_path=chromium).new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        page.goto(first.parent.as_uri() + "/" + address)
        page.wait_for_load_state("load")
        # Not `wait_for_function`, whose second try is an `eval`, which the page forbids.
        while not page.evaluate("[...document.images].every((image) => image.loading === 'lazy' || image.complete)"):
            page.wait_for_timeout(20)
        page.wait_for_timeout(1000)  # lazy images in view
        return page.screenshot()


def small_png(content: bytes) -> bytes:
    """Return the image within `LIMIT` bytes: as it is, or else with a palette of its own, as large as fits."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    palette = image.quantize(256)
    smooth = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    for shown in (image, smooth, palette, image.quantize(128), image.quantize(64)):
        stream = io.BytesIO()
        shown.save(stream, "PNG", optimize=True)
        if len(stream.getvalue()) <= LIMIT:
            break
    return stream.getvalue()


if __name__ == "__main__":
    main()
