"""What makes a method of the user's own this very method: its settings, its source, what that imports, its files.

Built-in methods state all of it themselves (`params`, `weights_sha256`). The code of others is read as text, so that
an import inside a function counts too, whether or not it has been run yet.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from radl_bench.errors import UsageError
from radl_bench.files import file_sha256, known_sha256
from radl_bench.registry import GENERATORS, is_file_spec, resolve
from radl_bench.types import Generator

_OURS = ("radl_bench", "radl_model")
_UNSET = object()


def identity_of(spec: str, generator: Generator, settings: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the facts about a method that is not built in, for its manifest and so for the name of its run folder.

    Args:
        spec: `path/to/file.py:Class`, or the name of an entry point; a built-in method gives no facts.
        generator: the instance; its `files` (paths beside the class's file, or absolute; folders count whole) are what
            else makes an image: a script that it starts, weights.
        settings: what the command set. Those that `params` of the instance holds already are not said twice.

    Returns:
        `source_sha256` of the class's file; where there are any: `imports` (neighbours that the file imports, directly
        or not) and `files`, each path -> sha256, and `settings`.

    Raises:
        UsageError: `files` is no list of names, or one of them is not there.
    """
    if spec in GENERATORS:
        return {}
    params = getattr(generator, "params", None) or {}
    facts: dict[str, object] = {"settings": {k: v for k, v in (settings or {}).items() if params.get(k, _UNSET) != v}}
    source, folder = _source(spec)
    if source is not None:
        facts["source_sha256"] = file_sha256(source)
        facts["imports"] = {name: file_sha256(file) for name, file in _imports(source, folder)}
    facts["files"] = _declared(spec, generator, source.parent if source else Path.cwd())
    return {key: value for key, value in facts.items() if value}


def forget_imports(spec: str) -> None:
    """Let go of the modules that `path/to/file.py:Class` imports beside it, so that edited ones are read again."""
    if not is_file_spec(spec):
        return
    own = {str(file) for _, file in _imports(*_source(spec))}
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) in own]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _source(spec: str) -> tuple[Path | None, Path | None]:
    """Return the file of a class (None for one that has none), and the folder below which its imports are its own."""
    if is_file_spec(spec):
        source = Path(spec.rpartition(":")[0]).expanduser().resolve()
        return source, source.parent
    name = getattr(resolve("generators", spec), "__module__", "")
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return None, None
    source = Path(file).resolve()
    depth = len(name.split(".")) - (source.name != "__init__.py")
    return source, source.parents[depth - 1] if depth else None  # a module outside of a package has no neighbours


def _imports(source: Path | None, folder: Path | None) -> list[tuple[str, Path]]:
    """Return name and path of every file below `folder` that `source` imports, directly or through others."""
    if source is None or folder is None:
        return []
    packages = [place / "__init__.py" for place in source.parents if place.is_relative_to(folder)]
    packages = [package for package in packages if package.is_file()]
    root = folder.parent if folder / "__init__.py" in packages else folder
    found: dict[Path, str] = {}
    todo = [source]
    while todo:
        for file in [*_imported_by(todo.pop(), root), *packages]:
            if file != source and file not in found and file.is_relative_to(folder):
                found[file] = file.relative_to(folder).as_posix()
                todo.append(file)
    return sorted((name, file) for file, name in found.items())


def _imported_by(file: Path, root: Path) -> Iterator[Path]:
    """Yield the files below `root` that a Python file imports; one that cannot be parsed imports nothing."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files_of(base, [*parts, alias.name])


def _files_of(base: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files that importing `a.b.c` from `base` runs: packages on the way and the module, if c is one."""
    if parts[0] in _OURS:
        return
    for part in parts:
        module, base = base / f"{part}.py", base / part
        if (base / "__init__.py").is_file():
            yield (base / "__init__.py").resolve()
        elif module.is_file():
            yield module.resolve()
            return


def _declared(spec: str, generator: Generator, folder: Path) -> dict[str, str]:
    """Return path -> sha256 of what the instance declares in `files`."""
    declared = getattr(generator, "files", None) or ()
    if not isinstance(declared, (list, tuple)) or not all(isinstance(name, (str, Path)) for name in declared):
        raise UsageError(f"{spec}: 'files' must be a list of paths, e.g. files = ['worker.py'], not {declared!r:.80}.")
    sums = {}
    for name in map(Path, declared):
        place = folder / name.expanduser()
        inside = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in inside:
            if not file.is_file():
                raise UsageError(f"{spec} declares the file {name}, but there is none at {file}.")
            sums[(name / file.relative_to(place)).as_posix()] = known_sha256(file)
    return sums
