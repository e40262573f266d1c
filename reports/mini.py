"""Everything in mini.md: images of all methods on the three benchmarks, their scores, the tables and a sheet.

    python reports/mini.py [--runs FOLDER] [--workers 2] [--methods radl migc] [--dry-run]

Re-running resumes; finished images are kept. All of it takes hours, BoxDiff the most of them. Each command is printed
before it is run.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

BENCHMARKS = {
    "coco-mig": (),
    "coco-position": ("--images-per-sample", "1"),
    "drawbench": ("--images-per-sample", "1"),
}
FLOORS = ("class", "color", "lookalike", "place")
TRAINED = ("stable-diffusion", "layout-diffusion", "gligen", "migc", "radl")
TRAINING_FREE = ("layout-guidance", "multidiffusion", "boxdiff")
METHODS: dict[str, tuple[str, ...]] = {
    "sprites": (),
    **{f"sprites wrong={what}": ("--set", f"wrong={what}") for what in FLOORS},
    **dict.fromkeys(TRAINED + TRAINING_FREE, ()),
}
SHEET = tuple(f"mig-{n:06d}" for n in range(0, 800, 34))  # 24 samples, of all levels


def commands(runs: Path, workers: int, methods: Sequence[str]) -> Iterator[list[str]]:
    """Yield the commands, the cheap methods first, so that a table is there early."""
    for method in methods:
        for benchmark, more in BENCHMARKS.items():
            if method == "sprites wrong=color" and benchmark != "coco-mig":
                continue  # things there have no colour, or one of their own choice
            words = ["generate", benchmark, "--method", method.split()[0], *METHODS[method], *more]
            yield [*words, "--workers", str(workers), "--runs", str(runs)]
    yield ["score", "--workers", str(workers), "--runs", str(runs)]
    yield ["report", "--format", "markdown", "--runs", str(runs)]
    yield ["report", "--sheet", ",".join(SHEET), "--runs", str(runs)]


def main() -> None:
    """Run them one after the other; ends with the first that fails."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=Path, default=Path("runs"))
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    options.add_argument("--dry-run", action="store_true", help="print the commands alone")
    given = options.parse_args()
    for words in commands(given.runs, given.workers, given.methods):
        print(shlex.join(["radl-bench", *words]), flush=True)
        if not given.dry_run:
            subprocess.run([sys.executable, "-c", "from radl_bench.cli import main; main()", *words], check=True)


if __name__ == "__main__":
    main()
