"""What a scoring says beside its numbers: under which rules and by which judges they were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radl_bench.judges.color import table_name
from radl_bench.judges.contracts import NONE, Judge, declared
from radl_bench.judges.kinds import Kind
from radl_bench.judges.kinds.cosines import look_of
from radl_bench.runs.notes import sizes_of
from radl_bench.runs.plan import RunImages
from radl_bench.runs.scale import measured_scale, scale_of_manifest
from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.judging import Judges
from radl_bench.scoring.protocol import THRESHOLDS, Protocol


def thresholds_of(judges: Judges, given: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the thresholds that the detector declares, those given by hand over them."""
    detector = judges.standing().get("detector")
    own = {} if detector is None else declared(detector).thresholds
    return {**own, **{key: value for key, value in given.items() if value is not None}}


def conditions_of(
    images: RunImages, rules: Protocol, parties: Mapping[str, Judge | None], kinds: Sequence[Kind[Any]]
) -> Conditions:
    recorded, encoder = images.run.manifest["benchmark"], parties.get("encoder")
    asked = ((kind, parties.get(kind.role.name)) for kind in kinds)
    return Conditions(
        benchmark=recorded,
        levels=tuple(sorted({sample.level for sample in images.benchmark.samples})),
        images_per_sample=recorded["images_per_sample"],
        seeds=images.run.manifest["seeds"],
        protocol=rules,
        detector=_signature(parties.get("detector")),
        segmenter=_signature(parties.get("segmenter")),
        encoder=_signature(parties.get("encoder")),
        features=_signature(parties.get("features")),
        phrase=look_of(encoder is not None and declared(encoder).ensembles, rules).phrase,
        sizes=sizes_of(images.run, images.benchmark, images.rows.values()),
        colors=table_name(images.benchmark.colors),
        more={kind.key: kind.setting(judge) for kind, judge in asked if judge is not None},
    )


def _signature(judge: Judge | None) -> str:
    return NONE if judge is None else judge.signature


def summary_of(
    images: RunImages,
    judges: Judges,
    parties: Mapping[str, Judge | None],
    rules: Protocol,
    parameters: Mapping[str, Mapping[str, str]] | None,
) -> dict[str, Any]:
    """Return what scores.json says beside numbers: under which conditions, and of what."""
    manifest = images.run.manifest
    recorded, generator = manifest["benchmark"], manifest["generator"]
    scales = [declared(judge).scale for judge in parties.values() if judge is not None]
    return {
        "schema_version": 1,
        "protocol": rules.name,
        "thresholds": {key: getattr(rules, key) for key in THRESHOLDS},
        **({"parameters": parameters} if parameters else {}),
        "scale": measured_scale(scale_of_manifest(manifest), scales),
        "benchmark": {key: recorded[key] for key in ("name", "version", "sha256", "filter", "images_per_sample")},
        "generator": {key: generator.get(key) for key in ("name", "revision", "model", "params", "reference")},
        "status": "complete" if images.finished else "partial",
        "judges": {
            role: {"name": judges.names[role], "signature": None if judge is None else judge.signature}
            for role, judge in parties.items()
        },
    }
