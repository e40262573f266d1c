"""Skeletons of parts of one's own: a working file with comments, and its test (`radl-bench new`)."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.hints import command

KINDS = {"method": "py", "benchmark": "csv", "judge": "py", "metric": "py"}
"""Kind of part -> ending of its file."""


def write_skeleton(kind: str, name: str, folder: Path = Path(".")) -> tuple[list[Path], str]:
    """Write the skeleton of a part and its test; return the files, and what to do next.

    Args:
        kind: a key of `KINDS`.
        name: words of letters, digits, dashes or underscores: "my-method" gives `my_method.py` with `MyMethod`.

    Raises:
        UsageError: another kind, a name that makes no Python name, or a file that is there already.
    """
    if kind not in KINDS:
        raise UsageError(did_you_mean(kind, KINDS, "kind of part"))
    module = re.sub(r"[-\s]+", "_", name.strip())
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,59}", module):
        raise UsageError(f"{name!a:.60} makes no name. Use letters, digits and dashes, a letter first: my-{kind}.")
    module = module.lower()
    names = {
        "file": f"{module}.{KINDS[kind]}",
        "path": str(folder / f"{module}.{KINDS[kind]}"),
        "module": module,
        "Class": "".join(word.capitalize() for word in module.split("_")),
        "name": module.replace("_", "-"),
    }
    made = {folder / names["file"]: f"{kind}.txt", folder / f"test_{module}.py": f"{kind}_test.txt"}
    for file in made:
        if file.exists():
            raise UsageError(f"{file} is there already. Give another name, or --out DIR.")
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in made.items():
        text = (files("radl_bench.skeletons") / template).read_text(encoding="utf-8")
        file.write_text(_filled(text, names), "utf-8")
    return list(made), _next(kind, names)


def _next(kind: str, names: dict[str, str]) -> str:
    """Return what to do with a part that was written."""
    part = f"{names['path']}:{names['Class']}"
    if kind == "method":
        return command("generate", "coco-mig", limit=4, method=part)
    if kind == "benchmark":
        return command("generate", names["path"], method="sprites")
    if kind == "judge":
        return command("score", detector=part)
    return f'write [metrics."{names["file"]}:METRIC"] into a benchmark.toml, with {names["path"]} beside it'


def _filled(text: str, names: dict[str, str]) -> str:
    for key in ("module", "Class", "name"):
        text = text.replace(f"<<{key}>>", names[key])
    return text
