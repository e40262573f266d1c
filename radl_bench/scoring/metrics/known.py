"""Facts of the built-in scores, for scores.json files of versions that did not carry them."""

from __future__ import annotations

from functools import cache

from radl_bench.registry import METRICS, resolve
from radl_bench.scoring.metrics.spec import ScoreSpec, unknown_spec


def known_spec(name: str) -> ScoreSpec:
    """Return the spec of a built-in score, or what can be said of one that is not."""
    return _built_in().get(name) or unknown_spec(name)


@cache
def _built_in() -> dict[str, ScoreSpec]:
    return {spec.name: spec for metric in METRICS for spec in resolve("metrics", metric).METRIC.scores}
