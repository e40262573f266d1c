"""The shape of the code: sizes, types and the directions of imports, so that they stay what CONTRIBUTING says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("radl_bench", "radl_model")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the two packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(file.read_text("utf-8"))
    return found


def functions(tree: ast.AST, public: bool = True) -> Iterator[tuple[str, Function]]:
    """Yield every function with its qualified name; those under a private name only when `public` is False."""
    for node in ast.iter_child_nodes(tree):
        name = getattr(node, "name", "")
        if public and name.startswith("_") and not name.startswith("__"):
            continue
        if isinstance(node, Function):
            yield name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{name}.{inner}", f) for inner, f in functions(node, public))


def annotations(function: Function) -> Iterator[ast.expr]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    yield from (a.annotation for a in every if a is not None and a.annotation is not None)
    if function.returns is not None:
        yield function.returns


def has_any(function: Function) -> bool:
    names = (n for a in annotations(function) for n in ast.walk(a) if isinstance(n, ast.Name))
    return any(name.id == "Any" for name in names)


def test_files_are_short():
    long = {
        str(f.relative_to(ROOT)): count
        for folder in (*PACKAGES, "benchmarks", "reports")
        for f in (ROOT / folder).rglob("*.py")
        if (count := len(f.read_text("utf-8").splitlines())) > 300
    }
    assert long == {}


def test_functions_are_short():
    lengths = [
        f.end_lineno - f.lineno + 1 for tree in modules().values() for _, f in functions(tree, public=False)
    ]  # the decorators do not count
    assert median(lengths) <= 12
    assert quantiles(lengths, n=10)[-1] <= 40


def test_public_functions_say_their_types():
    """`Any` says nothing; at most one public function in twenty may have it."""
    found = {f"{module}.{name}": has_any(f) for module, tree in modules().items() for name, f in functions(tree)}
    loose = sorted(name for name, loose in found.items() if loose)
    assert len(loose) < 0.05 * len(found), f"{len(loose)} of {len(found)}:\n" + "\n".join(loose)


def imports(name: str, tree: ast.Module) -> set[str]:
    """Modules of the two packages that a module imports, anywhere in it except under TYPE_CHECKING."""
    found: set[str] = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        stack += ast.iter_child_nodes(node)
    return (found & modules().keys()) - {name}


def test_no_circle_of_imports():
    graph = {name: imports(name, tree) for name, tree in modules().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("radl_model", "radl_bench"),
        ("radl_bench.scoring", "radl_bench.generators"),
        ("radl_bench.report", "radl_bench.generators"),
        ("radl_bench.benchmarks", "radl_bench.scoring.score"),
        ("radl_bench.runs", "radl_bench.report"),
    ],
)
def test_a_room_does_not_look_up(room, forbidden):
    looking = {
        name: sorted(m for m in imports(name, tree) if m == forbidden or m.startswith(f"{forbidden}."))
        for name, tree in modules().items()
        if name == room or name.startswith(f"{room}.")
    }
    assert {name: found for name, found in looking.items() if found} == {}
