"""What mkdocs shows: the pages of the repository at the places they have in it, so that their links work unchanged.

`mkdocs.yml` names this file as a hook. Beside the Markdown pages the site gets the images and data they link to, the
commands of `radl-bench` out of their own help, and the notebook.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "*.md", "NOTICE", "LICENSE", "docs/*.md", "docs/*.png", "docs/*.ipynb", "docs/reference/*.md", "docs/cluster/*",
    "reports/*.md", "reports/*.png", "reports/*.webp", "reports/*.json", "benchmarks/*/README.md",
    "radl_*/**/README.md",
)  # fmt: skip
OUTPUTS = ("reports/demo.*", "reports/report.*")
"""What `radl-bench demo` and `radl-bench report` write beside the committed reports."""

NOTEBOOK = "docs/first-hour.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the site: those of the repository, and two that are written here."""
    shown = [File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names(ROOT)]
    made = {"docs/reference/commands.md": commands(), "docs/notebook.md": notebook(ROOT / NOTEBOOK)}
    theirs = [file for file in files if file.src_dir != config.docs_dir]  # the theme's
    return Files([*theirs, *shown, *(File.generated(config, name, content=text) for name, text in made.items())])


def names(root: Path) -> list[str]:
    """Return the files that the site shows, by their names in the repository."""
    found = {file.relative_to(root).as_posix() for pattern in SHOWN for file in root.glob(pattern)}
    return sorted(name for name in found if not any(fnmatch(name, output) for output in OUTPUTS))


def commands() -> str:
    """Return the help of every command as one Markdown page."""
    import typer.main
    from typer.cli import get_docs_for_click

    from radl_bench.cli import build_app

    command = typer.main.get_command(build_app())
    context = command.make_context("radl-bench", ["ls", "methods"])
    text = get_docs_for_click(obj=command, ctx=context, name="radl-bench")
    return re.sub(r"(?<=[\w\]])\[", r"\\[", text.replace("# `radl-bench`", "# Commands", 1))  # "[@WxH]" is no link


def notebook(file: Path) -> str:
    """Return the cells of a notebook as a Markdown page, with a link to the notebook."""
    cells = json.loads(file.read_text("utf-8"))["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    head, *rest = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in texts]
    return "\n\n".join([head, f"[Download the notebook]({file.name}).", *rest])
