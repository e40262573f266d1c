"""Every code block of the pages: `bash` is run by a test, `sh` parses, `python` says who runs it or why nobody does."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from typing import NamedTuple

import pytest
import typer.main
import yaml

from radl_bench.errors import MissingExtra
from tests.e2e.test_docs import NOW, ROOT, run

RUN_WHOLE = {"README.md": "test_readme.py", "docs/adding.md": "test_docs.py"}
"""Pages whose blocks are all run together, and the test in tests/e2e that does so."""
RUN_HERE = {"docs/own-benchmark.md", "CONTRIBUTING.md"}
"""Pages whose `bash` blocks are run below, or name targets of the Makefile."""
BLOCK = re.compile(r"^((?:<!--.*?-->\n)?)( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:^|srun )radl-bench ")


class Block(NamedTuple):
    page: str
    remark: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return [line.split("  #")[0].strip() for line in self.text.splitlines() if line.strip()]


def blocks(name: str) -> list[Block]:
    text = (ROOT / name).read_text("utf-8")
    return [Block(name, remark.strip(), language, body) for remark, _, language, body in BLOCK.findall(text)]


BLOCKS = [block for name in NOW for block in blocks(name)]
COMMANDS = {(b.page, line) for b in BLOCKS if b.language in ("bash", "sh") for line in b.lines if OURS.search(line)}


def test_every_block_has_a_language_that_is_looked_at() -> None:
    assert len(BLOCKS) > 40
    known = {"bash", "sh", "python", "toml", "json", "yaml", "text"}
    assert [(b.page, b.text[:60]) for b in BLOCKS if b.language not in known] == []


def test_blocks_of_bash_are_run() -> None:
    assert {b.page for b in BLOCKS if b.language == "bash"} == {*RUN_WHOLE, *RUN_HERE}
    (lines,) = [b.lines for b in BLOCKS if b.page == "CONTRIBUTING.md"]
    assert lines == ["make test"]


def test_blocks_of_python_say_who_runs_them() -> None:
    for block in (b for b in BLOCKS if b.language == "python" and b.page != "docs/adding.md"):
        said = re.fullmatch(r"<!-- (?:run by (\S+)|not run: .{10,}) -->", block.remark)
        assert said, f"{block.page}: {block.text[:60]}"
        if said[1]:
            assert block.page.rsplit("/")[-1] in (ROOT / said[1]).read_text("utf-8"), f"{block.page}: {said[1]}"
        compile(block.text, block.page, "exec")


@pytest.mark.parametrize(("page", "line"), sorted(COMMANDS))
def test_every_command_parses(page, line) -> None:
    from radl_bench.cli import build_app

    words = shlex.split(line[OURS.search(line).end() :])
    command = typer.main.get_command(build_app())
    context = command.make_context("radl-bench", ["ls", "methods"])
    while hasattr(command, "get_command"):
        name, words = words[0], words[1:]
        command = command.get_command(context, name)
        assert command is not None, f"{page}: there is no command {name}"
    with suppress(MissingExtra):  # a store whose package is not installed is understood all the same
        command.make_context(name, words, parent=context)


def test_blocks_of_data_can_be_read() -> None:
    import sys

    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    for block in BLOCKS:
        if block.language == "toml":
            toml.loads(block.text)
        if block.language == "yaml":
            assert yaml.safe_load(block.text)
        if block.language == "json":
            assert all(json.loads(line) for line in block.text.splitlines())


def test_the_benchmark_of_one_file_runs_as_it_stands(tmp_path) -> None:
    """docs/own-benchmark.md: its file and its three commands."""
    page = blocks("docs/own-benchmark.md")
    (tmp_path / "things.csv").write_text(next(b.text for b in page if b.language == "text"), "utf-8")
    for line in next(b.lines for b in page if b.language == "bash"):
        done = run(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "things@1" in (tmp_path / "reports" / "report.md").read_text("utf-8")


@pytest.mark.slow
def test_the_block_of_the_model_runs() -> None:
    """radl_model/README.md."""
    (block,) = [b for b in blocks("radl_model/README.md") if b.language == "python"]
    names: dict = {}
    exec(block.text, names)
    (image,) = names["images"]
    assert image.size == (128, 128)
