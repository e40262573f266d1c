"""The pages say what is true: docs/adding.md runs as it stands, links lead somewhere, named files and modules exist."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from scores import scores as scores_of

from radl_bench.registry import KINDS
from tests.unit.test_code_shape import PACKAGES, imports, modules

ROOT = Path(__file__).parents[2]
ADDING = (ROOT / "docs" / "adding.md").read_text("utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", ADDING, re.M | re.S))
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", ADDING, re.M | re.S) for line in block.splitlines()]
PAGES = sorted(
    str(file.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "reports/*.md", "benchmarks/*/README.md", "radl_*/**/README.md")
    for file in ROOT.glob(pattern)
)


def run(line: str, folder: Path, *path: Path) -> subprocess.CompletedProcess:
    code = "import sys; from radl_bench.cli import main; sys.argv = sys.argv[1:]; main()"
    places = os.pathsep.join(map(str, (ROOT, *path)))
    env = {**os.environ, "PYTHONPATH": places, "RADL_BENCH_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, *shlex.split(line)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files of docs/adding.md, written as the page says, and its commands run in order."""
    folder = tmp_path_factory.mktemp("adding")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    for line in COMMANDS:
        done = run(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return folder


def test_the_page_has_all_four_parts() -> None:
    wanted = {"shapes/samples.jsonl", "shapes/benchmark.toml", "shapes/exact_count.py", "paint.py", "by_fill.py"}
    assert set(FILES) == wanted | {"pyproject.toml"}
    assert [shlex.split(line)[1] for line in COMMANDS] == ["generate", "generate", "score", "report"]


def test_the_four_parts_of_the_page_work_together(folder) -> None:
    found = {}
    for file in folder.glob("runs/shapes/paint/*/manifest.json"):
        slip = json.loads(file.read_text("utf-8"))["generator"]["params"]["slip"]
        content = scores_of(file.parent)
        found[slip] = {s["metric"]: s for s in content["scores"] if s["level"] is None}
    assert set(found) == {0.0, 0.1}
    exact, slipped = found[0.0], found[0.1]
    assert {name: exact[name]["value"] for name in ("success_inst", "success_img", "exact_count")} == {
        "success_inst": 100.0,
        "success_img": 100.0,
        "exact_count": 100.0,
    }
    assert 97 < exact["miou"]["value"] <= 100  # but for the rounding to pixels
    assert slipped["miou"]["value"] < 80
    assert slipped["success_inst"]["value"] < 100
    for score in exact.values():
        assert {"bench:shapes@1:8de894fb", "det:by-fill@1"} <= set(score["signature"].split("|"))
    assert (exact["success_inst"]["n"], exact["exact_count"]["n"]) == (12, 8)


def test_the_report_of_the_page_has_both_lines(folder) -> None:
    text = (folder / "reports" / "report.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| paint")]
    assert len([line for line in lines if "100.0" in line]) >= 1
    assert any("slip" in line for line in lines)
    assert "Exact" in text


def test_the_entry_points_of_the_page_give_names(folder) -> None:
    text = FILES["pyproject.toml"].replace("project.entry-points.", "").replace('["', "[").replace('"]', "]")
    info = folder / "package" / "shapes_parts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes-parts\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(text.replace('"', ""), "utf-8")
    path = (folder / "package", folder, folder / "shapes")
    listed = "".join(run(f"radl-bench ls {what}", folder, *path).stdout for what in ("methods", "judges", "metrics"))
    rows = [" ".join(line.replace("│", " ").split()) for line in listed.splitlines()]
    for start in ("paint yes", "detector by-fill", "exact-count"):
        assert any(row.startswith(start) and "cannot be used" not in row for row in rows), start
    done = run("radl-bench generate ./shapes --method paint --limit 1 --runs named", folder, *path)
    assert done.returncode == 0, done.stderr
    done = run("radl-bench score --runs named --detector by-fill --encoder none", folder, *path)
    assert done.returncode == 0, done.stderr


def room(module: str) -> str | None:
    """Name of the room a module is in; None for the ground floor, which is no room."""
    package, *rest = module.split(".")
    return rest[0] if rest and any(other.startswith(f"{package}.{rest[0]}.") for other in modules()) else None


def test_the_table_of_imports_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("## Who imports whom")[1]
    said = {
        name: set(re.findall(r"`(\w+)`", others))
        for name, others in re.findall(r"^\| `(\w+)` \| (.*?) ?\|$", page, re.MULTILINE)
    }
    real: dict[str, set[str]] = {}
    for name, tree in modules().items():
        if (own := room(name)) is not None:
            others = {room(other) for other in imports(name, tree)} - {own, None}
            real.setdefault(own, set()).update(other for other in others if other is not None)
    hint = "docs/architecture.md: bring the table of imports, and the list of rooms, up to date"
    assert {n: sorted(r) for n, r in said.items()} == {n: sorted(r) for n, r in real.items()}, hint


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text("utf-8"))):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), f"{name}: {target}"
        assert not anchor or anchor in slugs(there), f"{name}: {target}"


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(name: str) -> list[str]:
    """Pieces of code in running text; the changelog speaks of the past, so it is not asked."""
    return re.findall(r"`([^`\n]+)`", without_blocks((ROOT / name).read_text("utf-8")))


NOW = [page for page in PAGES if page != "CHANGELOG.md"]  # which speaks of the past
THEIRS = {*FILES, "exact_count.py", "my_method.py", "my_guidance.py", "worker.py", "offset.py", "path/to/file.py"}
"""Files that the pages have a reader write."""
MADE = {"reports/report.md", "reports/html/", "reports/demo/index.html"}
"""What commands of the pages write."""
FOLDERS = (*PACKAGES, "benchmarks", "docs", "reports", "tests")


@cache
def tracked() -> set[str]:
    """Paths of the repository's files and folders, folders with a slash at the end."""
    listed = {f for top in FOLDERS for f in (ROOT / top).rglob("*") if "__pycache__" not in f.parts}
    return (
        {f"{f.relative_to(ROOT)}{'/' * f.is_dir()}" for f in listed}
        | {file.name for file in ROOT.iterdir()}
        | {f"{top}/" for top in FOLDERS}
    )


def missing(span: str) -> bool:
    """Say whether a piece of code is a path, or the name of a Python file or a page, that is not there."""
    path = re.split(r"[: ]", span.removeprefix("python "))[0]
    below = path.startswith(tuple(f"{top}/" for top in FOLDERS))
    if not (below or re.fullmatch(r"[\w./-]+\.(?:py|md)", path)) or path in THEIRS | MADE:
        return False
    there = tracked()
    if below:
        return not any(fnmatch(name, wanted) for wanted in (path, f"{path}/") for name in there)
    return not any(name == path or name.endswith(f"/{path}") for name in there)


@pytest.mark.parametrize("name", NOW)
def test_named_files_exist(name) -> None:
    text = without_blocks((ROOT / name).read_text("utf-8"))
    assert [span for span in re.findall(r"`([^`\n]+)`", text) if missing(span)] == []


def test_a_file_that_is_not_there_is_noticed() -> None:
    assert all(
        map(missing, ("radl_model/verbs.py", "verbs.py", "python benchmarks/no.py --x", "tests/unit/test_no.py::test"))
    )
    assert not any(map(missing, ("radl_model/verbs/extract.py", "extract.py", "my_method.py:Boxes", "score --x")))


@pytest.mark.parametrize("name", NOW)
def test_named_modules_exist(name) -> None:
    dotted = set(re.findall(r"\b(radl_(?:bench|model)(?:\.\w+)+)", (ROOT / name).read_text("utf-8")))
    assert sorted(one for one in dotted if one.split(".")[1] not in KINDS and not is_there(one)) == []


def is_there(dotted: str) -> bool:
    """Say whether a dotted name is a module, or a name that stands in one."""
    module, _, attribute = dotted.rpartition(".")
    if dotted in modules() or module not in modules():
        return dotted in modules()
    nodes = [*ast.walk(modules()[module])]
    named = {getattr(node, "name", getattr(node, "id", None)) for node in nodes}
    return attribute in named | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def test_the_new_places_in_the_changelog_are_right() -> None:
    """What the table of moved names says: the old module is gone, or has not the name, and the new one has it."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    lines = re.findall(r"^\| (`.*?`) \| `(radl_[\w.]+)` \| `(radl_[\w.]+)` \|$", text, re.MULTILINE)
    assert len(lines) >= 30
    for names, old, new in lines:
        for name in re.findall(r"`(\w+)`", names):
            assert is_there(f"{new}.{name}"), f"{new}.{name}"
            assert old not in modules() or not is_there(f"{old}.{name}"), f"{old}.{name}"
