"""Titles of sections: what was measured and how; where two would read alike, also in what they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from radl_bench.report.collect import Group
from radl_bench.runs.scale import LABELS
from radl_bench.text import safe


def titles(groups: Sequence[Group]) -> list[str]:
    """Return a title for each group, e.g. "coco-mig 1, level 6, protocol strict (mini)"; no two are equal.

    Groups whose titles would be equal are told apart by whatever differs between them: samples, images a sample,
    thresholds, judges, version.
    """
    plain = [_title(group, []) for group in groups]
    out: list[str] = []
    for group, title in zip(groups, plain, strict=True):
        alike = [other for other, name in zip(groups, plain, strict=True) if name == title]
        full = _title(group, _differences(group, alike)) if len(alike) > 1 else title
        out.append(full if full not in out else f"{full} #{len(out) + 1}")
    return out


def _title(group: Group, more: Sequence[str]) -> str:
    benchmark = group.benchmark
    kept = {key: value for key, value in benchmark.get("filter", {}).items() if key != "limit"}
    words = [f"{benchmark['name']} {benchmark['version']}", *(f"{key} {value}" for key, value in kept.items())]
    words += [f"protocol {group.runs[0].data.get('protocol', 'unknown')}", *more]
    return safe(", ".join(words)) + (f" ({LABELS[group.scale]})" if LABELS[group.scale] else "")


def _differences(group: Group, alike: Sequence[Group]) -> list[str]:
    facts = _facts(group)
    others = [_facts(other) for other in alike]
    return [f"{what} {value}" for what, value in facts.items() if any(of.get(what) != value for of in others)]


def _facts(group: Group) -> dict[str, str]:
    data: dict[str, Any] = group.runs[0].data
    thresholds = data.get("thresholds", {}).items()
    judges = {kind: judge for kind, judge in data.get("judges", {}).items() if judge}
    facts = {
        "samples": str(group.benchmark["sha256"])[:8],
        "images a sample": str(group.benchmark.get("images_per_sample", "unknown")),
        "thresholds": " ".join(f"{key} {value:g}" for key, value in thresholds),
    }
    facts |= {kind: str(judge.get("signature") if isinstance(judge, dict) else judge) for kind, judge in judges.items()}
    first = next(iter(group.signatures.values()), "")
    version = next((part for part in first.split("|") if part.startswith("v:")), "v:unknown")
    return facts | {"version": version.removeprefix("v:")}
