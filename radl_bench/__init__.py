"""Benchmark suite for layout-to-image generation of several instances.

    import radl_bench as rb

    run = rb.generate("coco-mig", "radl", limit=20)
    scores = rb.score(run)
    scores.table, scores.rows                      # pandas DataFrames
    rb.compare(run, rb.generate("coco-mig", "migc", limit=20))

These names load what they need when they are first used: importing the package loads neither torch nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from radl_bench.api import (
        Scores,
        compare,
        generate,
        load_benchmark,
        new_benchmark,
        plot,
        read_scores,
        score,
        wandb_table,
    )
    from radl_bench.types import Benchmark, Detection, Instance, Relation, Sample

__all__ = [
    "Benchmark",
    "Detection",
    "Instance",
    "Relation",
    "Sample",
    "Scores",
    "__version__",
    "compare",
    "generate",
    "load_benchmark",
    "new_benchmark",
    "plot",
    "read_scores",
    "score",
    "wandb_table",
]

_TYPES = ("Benchmark", "Detection", "Instance", "Relation", "Sample")


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'radl_bench' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("radl_bench.types" if name in _TYPES else "radl_bench.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
