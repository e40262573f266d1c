"""Judging: from the names of the judges and a list of pictures to what was seen in each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from radl_bench.errors import RadlBenchError, UsageError
from radl_bench.judges.templates import Look
from radl_bench.registry import describe_error, is_file_spec, known, resolve
from radl_bench.runs.images import Picture
from radl_bench.scoring.box_formats import AUTO, parse_format
from radl_bench.scoring.evidence import Evidence, batches
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Boxes, Match, Protocol, match_instances, suppress
from radl_bench.types import COLORS

CHUNK = 64
"""Pictures held at once."""

SEGMENTER_OF = {"mini": "mini", "oracle": "mini", "blind": "mini"}
"""Segmenter that goes with a detector; grabcut with every other one."""

FEATURES_OF = {"mini": "mini", "none": "none"}
"""Feature judge that goes with an encoder; inception with every other one."""

NO_ENCODER = "none"


@dataclass(frozen=True)
class Judges:
    """Names and objects of the judges; `encoder` and `features` may be None."""

    names: dict[str, str]
    detector: Any
    segmenter: Any
    encoder: Any | None
    device: str | None = None

    @cached_property
    def features(self) -> Any | None:
        """The feature judge, made when a metric first needs it: its weights are not on every machine."""
        name = self.names["features"]
        return None if name == NO_ENCODER else make_feature_judge(name, self.device)

    def prepare(self, pictures: Sequence[Picture]) -> None:
        """Show all images of a run to judges that read files, which judge their names and boxes as a whole."""
        for judge in (self.detector, self.segmenter):
            if callable(getattr(judge, "prepare", None)):
                judge.prepare(pictures)

    def having(self, requires: frozenset[str]) -> bool:
        """Say whether these judges can give such evidence."""
        lacking = {"cosines": "encoder", "features": "features"}
        return not any(kind in requires and self.names[judge] == NO_ENCODER for kind, judge in lacking.items())


def make_judges(
    detector: str,
    segmenter: str | None,
    encoder: str,
    device: str | None = None,
    features: str | None = None,
    box_format: str = AUTO,
) -> Judges:
    """Return judges by name, ready but not loaded; raises `UsageError` for one that breaks its contract.

    `box_format` is how files of results are read, see `box_formats.parse_format`.
    """
    parse_format(box_format)
    if box_format != AUTO and not any(str(name).startswith("file:") for name in (detector, segmenter)):
        raise UsageError("--box-format belongs to --detections and --masks.")
    segmenter = segmenter or SEGMENTER_OF.get(detector, "grabcut")
    names = {"detector": detector, "segmenter": segmenter, "encoder": encoder}
    methods = {"detector": ("detect",), "segmenter": ("masks",), "encoder": ("encode_images", "encode_texts")}
    made: dict[str, Any] = {"encoder": None}
    for kind, name in names.items():
        if name != NO_ENCODER or kind != "encoder":
            made[kind] = _make(kind, name, methods[kind], device, box_format)
    chosen = features or FEATURES_OF.get(encoder, "inception")
    names = {kind: "file" if name.startswith("file:") else name for kind, name in names.items()}
    return Judges(names | {"features": chosen}, **made, device=device)


def make_feature_judge(name: str, device: str | None = None) -> Any:
    """Return a feature judge by name, ready but not loaded; raises `UsageError` and what its weights raise."""
    return _make("feature", name, ("features",), device)


def _make(kind: str, name: str, methods: tuple[str, ...], device: str | None, box_format: str = AUTO) -> Any:
    if name.startswith("file:") and kind in ("detector", "segmenter"):
        from radl_bench.judges.from_file import load_result_judge

        return load_result_judge(kind, name, box_format)
    head, _, spec = name.partition(":")
    if not spec or is_file_spec(name) or head not in known(f"{kind}s"):
        head, spec = name, ""
    factory = resolve(f"{kind}s", head)
    if not callable(factory):
        raise UsageError(f"The {kind} '{name}' is no class.")
    given = {key: value for key, value in {"device": device, "spec": spec}.items() if value}
    takes = inspect.signature(factory).parameters
    if "spec" in given and "spec" not in takes:
        raise UsageError(f"The {kind} '{head}' takes nothing after its name, so '{name}' says too much.")
    try:
        judge = factory(**{key: value for key, value in given.items() if key in takes})
    except RadlBenchError:
        raise
    except Exception as error:
        raise UsageError(f"The {kind} '{name}' cannot be made: {describe_error(error)}.") from error
    lacking = [m for m in methods if not callable(getattr(judge, m, None))]
    if lacking or not isinstance(getattr(judge, "signature", None), str):
        raise UsageError(f"The {kind} '{name}' has no {lacking[0] + '()' if lacking else 'signature: str'}.")
    return judge


def judge(pictures: Sequence[Picture], evidence: Evidence, rules: Protocol, needs: frozenset[str]) -> Iterator[View]:
    """Yield the view of each picture, in order; measures what is not known yet of the evidence in `needs`."""
    try:
        for chunk in batches(pictures, CHUNK):
            yield from _judge_chunk(chunk, evidence, rules, needs)
            for picture in chunk:
                picture.close()
    finally:
        evidence.flush()  # also when a judge failed half way: what was measured stays measured


def _judge_chunk(chunk: list[Picture], evidence: Evidence, rules: Protocol, needs: frozenset[str]) -> list[View]:
    views: dict[int, dict[str, Any]] = {}
    if "detections" in needs:
        evidence.measure_detections([p for p in chunk if p.problem is None])
        views = {n: _position(p, evidence, rules) for n, p in enumerate(chunk) if p.problem is None}
    if "coverage" in needs:
        for n, seen in views.items():
            seen["shares"] = _shares(chunk[n], seen["matches"], evidence, rules)
    if "object_colors" in needs:
        for n, seen in views.items():
            seen["object_shares"] = _object_shares(chunk[n], seen["found"], evidence, rules)
    if "cosines" in needs:
        look = evidence.look(rules)
        evidence.measure_cosines([p for p in chunk if p.problem is None], look)
        for n, picture in enumerate(chunk):
            if picture.problem is None:
                views.setdefault(n, {}).update(_cosines(picture, evidence, look))
    if "features" in needs:
        evidence.measure_features([p for p in chunk if p.problem is None])
        for n, picture in enumerate(chunk):
            if picture.problem is None:
                views.setdefault(n, {})["features"] = evidence.features(picture)
    return [_view(p, views.get(n, {})) for n, p in enumerate(chunk)]


def _view(picture: Picture, seen: dict[str, Any]) -> View:
    if picture.problem is not None:
        return View(picture.sample, picture.k, picture.problem)
    seen.setdefault("shares", np.zeros((len(picture.sample.instances), 7)))
    return View(picture.sample, picture.k, **seen)


def _position(picture: Picture, evidence: Evidence, rules: Protocol) -> dict[str, Any]:
    found = {category: suppress(boxes, rules.nms) for category, boxes in evidence.detections(picture).items()}
    strong = {category: boxes.above(rules.score) for category, boxes in found.items()}
    return {"found": found, "matches": tuple(match_instances(picture.sample.instances, strong, rules))}


def _shares(picture: Picture, matches: Sequence[Match], evidence: Evidence, rules: Protocol) -> np.ndarray:
    """Return float [N, 7]: colour shares under each instance's mask; zeros for one not found or of a free colour."""
    instances = picture.sample.instances
    boxes = [i.box if rules.mask_prompt == "box" else m.box for i, m in zip(instances, matches, strict=True)]
    # the mask of a thing whose colour is free would be looked at by nobody, and GrabCut takes a second for it
    prompts = [None if i.color is None else box for i, box in zip(instances, boxes, strict=True)]
    evidence.measure_coverage(picture, [p for p in prompts if p is not None])
    if picture.problem is not None:
        return np.zeros((len(instances), 7))
    return np.stack([np.zeros(7) if p is None else evidence.coverage(picture, p) for p in prompts])


def _object_shares(
    picture: Picture, found: Mapping[str, Boxes], evidence: Evidence, rules: Protocol
) -> dict[str, np.ndarray]:
    """Return the colour shares of the strongest detections of each coloured category; see `View.object_shares`."""
    instances = picture.sample.instances
    out = {}
    for category in {i.category for i in instances if i.color is not None}:
        most = sum(i.category == category for i in instances)
        boxes = [tuple(box) for box in found[category].above(rules.score).boxes[:most]]
        evidence.measure_coverage(picture, boxes)
        if picture.problem is None:
            out[category] = np.array([evidence.coverage(picture, box) for box in boxes]).reshape(-1, len(COLORS))
    return out


def _cosines(picture: Picture, evidence: Evidence, look: Look) -> dict[str, Any]:
    local = tuple(evidence.cosine(picture, i.phrase, i.box, look) for i in picture.sample.instances)
    return {"clip": evidence.cosine(picture, picture.sample.prompt, look=look), "local_clip": local}
