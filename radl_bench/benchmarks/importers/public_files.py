"""What readers of public files share: YAML whose keys are unique, boxes, and problems that are all told at once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.parsing import is_file, shown
from radl_bench.types import Box
from radl_model.boxes import fraction_box


def load_yaml(file: Path) -> object:
    """Return what a YAML file holds; raises `MissingData`, or `BadInput` with the line, also for a repeated key."""
    import yaml

    if not is_file(file):
        raise MissingData(f"There is no file {file}. Give the path of a mig_bench_anno.yaml.")
    try:
        return yaml.load(file.read_bytes(), _loader())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError, OverflowError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds bytes or values that YAML does not allow"
        what = problem if getattr(error, "repeated", False) else f"this is not YAML: {problem}"
        raise BadInput(f"{file}{where}: {what}.") from None


@cache
def _loader() -> type:
    """Return a safe loader, by libyaml where it is there (files have 20,000 lines), that refuses repeated keys."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class UniqueKeys(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            lines: dict[Any, int] = {}
            for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node)
                if key in lines:
                    text = f"the key {quoted(key)} is given twice, first in line {lines[key]}"
                    error = yaml.constructor.ConstructorError(None, None, text, key_node.start_mark)
                    error.repeated = True  # type: ignore[attr-defined]
                    raise error
                lines[key] = key_node.start_mark.line + 1
            return super().construct_mapping(node, deep=deep)

    return UniqueKeys


def read_box(box: object, phrase: str, where: str) -> Box:
    """Return an xyxy box in fractions; raises `BadInput`, which starts with `where`."""
    found = fraction_box(box)
    if found is None:
        raise BadInput(
            f"{where}: the box {shown(box)} of {quoted(phrase)} should be x0 < x1, y0 < y1, four fractions from 0 to 1."
        )
    return found


def read_index(value: object) -> int | None:
    """Return a whole number of at most nine digits, also one written as text; None for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None
    return value if type(value) is int and 0 <= value < 10**9 else None


def leave_out(problems: list[str], skipped: list[str] | None, left: int) -> None:
    """Raise `BadInput` with all problems, or move them to `skipped` where that is a list and something is left."""
    if not problems:
        return
    if skipped is not None and left:
        skipped += problems
        return
    listed = "\n".join(problems)
    hint = "--skip leaves out what is at fault." if left else "Nothing is left to import."
    head = f"{len(problems)} problems, nothing is imported:\n" if len(problems) > 1 else ""
    raise BadInput(f"{head}{listed}\n{hint}" if head else f"{listed} {hint}")


def quoted(text: object) -> str:
    """Return a text of the file for a message: in quotes, cut when it is long."""
    return f"'{text if len(text) <= 200 else text[:197] + '...'}'" if isinstance(text, str) else shown(text)
