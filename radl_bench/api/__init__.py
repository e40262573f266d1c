"""What `import radl_bench as rb` offers, and the command line calls: benchmarks, runs, scores, comparisons, figures."""

from __future__ import annotations

from radl_bench.api.frames import Scores, compare, read_scores, wandb_table
from radl_bench.api.making import generate
from radl_bench.api.plotting import plot
from radl_bench.api.scoring import score
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.benchmarks.own import new_benchmark

__all__ = [
    "Scores",
    "compare",
    "generate",
    "load_benchmark",
    "new_benchmark",
    "plot",
    "read_scores",
    "score",
    "wandb_table",
]
