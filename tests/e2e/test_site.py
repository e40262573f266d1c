"""The site builds without a warning: links and anchors lead somewhere, pages have their place, names are found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[dev]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_link_is_broken(site) -> None:
    """Asked of the finished pages, so that links in docstrings and of the theme are seen too."""
    pages = {page: page.read_text("utf-8") for page in site.rglob("*.html") if page.name != "404.html"}
    marks = {page: set(re.findall(r'\bid="?([^"\s>]+)', text)) for page, text in pages.items()}
    broken, seen = [], 0
    for page, text in pages.items():
        for address in map(unescape, re.findall(r'<(?:a|img|link|script)\b[^>]*?\b(?:href|src)="([^"]*)"', text)):
            if re.match(r"https?:|mailto:|data:|javascript:", address):
                continue
            path, mark = urldefrag(address)
            there = (page.parent / unquote(path)).resolve() if path else page
            there = there / "index.html" if there.is_dir() else there
            seen += 1
            if not there.is_file() or (mark and there in marks and unquote(mark) not in marks[there]):
                broken.append((page.relative_to(site).as_posix(), address))
    assert seen > 1000
    assert broken == []


def test_nothing_is_loaded_from_other_hosts(site) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert re.findall(r'<(?:script|img|link rel="?stylesheet"?)\b[^>]*(?:src|href)="?https?:[^">]*', text) == []


def test_commands_and_public_names_are_in_the_reference(site) -> None:
    import radl_bench

    commands = (site / "docs" / "reference" / "commands" / "index.html").read_text("utf-8")
    assert all(f"radl-bench {name}" in commands for name in ("generate", "score", "report", "data build"))
    python = (site / "docs" / "reference" / "python" / "index.html").read_text("utf-8")
    names = [name for name in radl_bench.__all__ if name != "__version__"]
    assert [name for name in names if not re.search(rf'id="radl_bench\.[\w.]*\b{name}"', python)] == []


def test_what_commands_wrote_is_not_on_the_site(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import pages

    (tmp_path / "reports").mkdir()
    for name in ("demo.md", "report.md", "report.json", "mini.md", "reported.json"):
        (tmp_path / "reports" / name).write_text("x")
    assert pages.names(tmp_path) == ["reports/mini.md", "reports/reported.json"]
