"""What a `scores.json` must hold for a report or a comparison to rely on it."""

from __future__ import annotations

from typing import Any

from radl_bench.schema import NONE, NUMBER, Kinds, problem_of
from radl_bench.scoring.metrics.spec import read_spec

_NEEDED: Kinds = {
    "benchmark": (dict,),
    "benchmark.name": (str,),
    "benchmark.version": (str, int),
    "benchmark.sha256": (str,),
    "generator": (dict,),
    "generator.name": (str,),
    "scores": (list,),
    "scores[].metric": (str,),
    "scores[].level": (int, NONE),
    "scores[].value": (*NUMBER, NONE),
    "scores[].ci_low": (*NUMBER, NONE),
    "scores[].ci_high": (*NUMBER, NONE),
    "scores[].n": (int,),
    "scores[].n_missing": (int,),
}
_OPTIONAL: Kinds = {
    "protocol": (str,),
    "status": (str,),
    "scale": (str, NONE),
    "judges": (dict,),
    "notes": (list,),
    "facts": (dict,),
    "table": (dict, NONE),
    "unguided": (dict, NONE),
    "unguided.n": (int,),
    "unguided.of": (int,),
    "thresholds": (dict,),
    "images": (dict,),
    "images.n": (int,),
    "images.n_missing": (int,),
    "benchmark.filter": (dict,),
    "benchmark.images_per_sample": (int,),
    "generator.model": (str, NONE),
    "generator.revision": (str, NONE),
    "generator.params": (dict, NONE),
    "scores[].signature": (str,),
    "scores[].note": (str, NONE),
}


def problem_of_scores(data: Any) -> str | None:
    """Return what is wrong with the content of a scores.json, as half a sentence, None for nothing."""
    problem = problem_of(data, _NEEDED, _OPTIONAL)
    if problem:
        return problem
    if any(type(value) not in NUMBER for value in data.get("thresholds", {}).values()):
        return "'thresholds' must be numbers"
    if any(type(note) is not str for note in data.get("notes", [])):
        return "'notes' must be sentences"
    problem = _problem_of_facts(data.get("facts", {}))
    if problem:
        return problem
    keys = [(score["metric"], score["level"]) for score in data["scores"]]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    return None if twice is None else f"the score {twice[0]} of level {twice[1]} stands there twice"


def _problem_of_facts(facts: dict[str, Any]) -> str | None:
    """What is wrong with the facts about the scores, see `ScoreSpec`."""
    if not all(isinstance(table, dict) for table in facts.values()):
        return "'facts' must be a table by score"
    try:
        _ = [read_spec(name, table) for name, table in facts.items()]
    except ValueError as error:
        return f"'facts' are not understood ({error})"
    return None
