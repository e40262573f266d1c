"""Commands that are suggested: whole, quoted, and with the options that the next one needs."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path

from radl_bench.registry import KINDS

DEFAULT_RUNS = Path("runs")
"""Folder of the runs where `--runs` is not given; a hint leaves it out."""

_FAMILIES = {"detector": "detectors", "segmenter": "segmenters", "encoder": "encoders", "features": "features"}
"""Option of `score` -> kind of part whose names it takes."""


def command(*words: object, **options: object) -> str:
    """Return a command line of radl-bench, ready to be pasted.

    `command("score", "my runs/a", runs=Path("my runs"), device=None)` gives `radl-bench score 'my runs/a' --runs 'my
    runs'`. An option that is None or False, and the default of `--runs`, are left out; True is a bare flag; a list
    gives the option once an item.
    """
    line = ["radl-bench", *map(str, words)]
    for name, value in options.items():
        if value is None or value is False or (name == "runs" and value == DEFAULT_RUNS):
            continue
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list | tuple) else [value]:
            line += [flag] if one is True else [flag, _shown(one)]
    return shlex.join(line)


def _shown(value: object) -> str:
    """Return a value as it was given; the folder of a store's working copy is its address."""
    if not isinstance(value, Path):
        return str(value)
    from radl_bench.stores.roots import shown

    return shown(value)


def first_images(root: Path) -> str:
    """Return the command that makes the first run of a folder."""
    return command("generate", "coco-mig", level=6, runs=root)


def paper_judges(needed: Collection[str]) -> dict[str, object]:
    """Return the options of `score` for the scale of the papers; `needed` are names of the judges' weights."""
    return {
        "detector": "grounding-dino",
        "segmenter": "sam" if "sam" in needed else "box",
        "encoder": "open-clip" if "open-clip" in needed else "none",
        "features": "inception" if "inception" in needed else "none",
    }


def judge_options(names: Iterable[str]) -> dict[str, object]:
    """Return the options of `score` that choose judges with these names; a name that is none of ours is left out."""
    options: dict[str, object] = {}
    for name in names:
        for role, family in _FAMILIES.items():
            if name in KINDS[family]:
                options.setdefault(role, name)
                break
    return options
