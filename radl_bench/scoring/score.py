"""Scoring: run folders in, rows and scores out, in one folder a judge set and protocol (`scoring.score_files`).

Images are judged chunk by chunk, so memory holds one chunk of images whatever the size of the run. What a judge saw
is kept as evidence; scoring again, or under other thresholds, reads that and loads no model. No generator is ever
imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radl_bench.errors import RadlBenchError, UsageError
from radl_bench.judges.contracts import NONE, Judge, Remarking, declared
from radl_bench.judges.kinds import Kind
from radl_bench.judges.kinds.cosines import look_of
from radl_bench.progress import stage
from radl_bench.registry import resolve
from radl_bench.runs.image_import import notes_of
from radl_bench.runs.images import Picture
from radl_bench.runs.plan import RunImages
from radl_bench.runs.scale import measured_scale, scale_of_manifest
from radl_bench.scoring.aggregate import Conditions, MeanPool, scores_of
from radl_bench.scoring.evidence import Evidence, kinds_of
from radl_bench.scoring.judging import Judges, judge, make_judges
from radl_bench.scoring.metrics import Context, Metric
from radl_bench.scoring.protocol import THRESHOLDS, Protocol, resolve_protocol
from radl_bench.scoring.score_files import ScoreWriter, scores_key, scoring_into
from radl_bench.scoring.seen_files import SeenFiles
from radl_bench.scoring.statistics import RESAMPLES
from radl_bench.types import Benchmark

USUAL = ("success", "iou", "average_precision", "clip_score")
"""Metrics of a benchmark that names none: those that any layout has and that need no reference."""


@dataclass(frozen=True)
class Scored:
    """What scoring a run gave: its `scores.json`, how many images were asked for, and why some could not be judged.

    `notes` are sentences about the pictures (see `image_import`), about files of results, and about single scores, such
    as a Frechet distance of too few images.
    """

    run: Path
    file: Path
    images: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def score_runs(runs: Sequence[str | Path], **options: Any) -> list[Path]:
    """Score runs and return their `scores.json` files; the options are those of `score_each`."""
    return [scored.file for scored in score_each(runs, **options)]


def score_each(
    runs: Sequence[str | Path],
    *,
    detector: str = "mini",
    segmenter: str | None = None,
    encoder: str = "mini",
    features: str | None = None,
    protocol: str = "strict",
    iou: float | None = None,
    score_threshold: float | None = None,
    coverage: float | None = None,
    nms: float | None = None,
    fid_reference: str | Path | None = None,
    device: str | None = None,
    judges: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    batch_size: int = 16,
) -> list[Scored]:
    """Score runs one after the other; a run that cannot be scored does not keep the others from it.

    Args:
        detector, segmenter, encoder, features: names of judges or `path/to/file.py:Class`; the segmenter goes with the
            detector and the features go with the encoder when not given. The encoder "none" leaves the CLIP scores
            out, the features "none" FID and KID. `file:PATH` is a file of COCO results with boxes (detector) or masks
            (segmenter), see `radl_bench.scoring.result_files`.
        protocol: a key of `protocol.PROTOCOLS`.
        iou, score_threshold, coverage, nms: thresholds, fractions; the benchmark's or the protocol's when not given.
        fid_reference: statistics of real images, see `metrics.fid`; the benchmark's when not given.
        device: passed to judges that take one.
        judges: more judges, names by role, for kinds of measurement that are not built in.
        resamples: draws of the bootstrap; batch_size: pictures a call of a judge.

    Raises:
        UsageError: unknown judge, protocol or metric, or a threshold out of range.
        RadlBenchError: some runs could not be scored; the sentence names them. The class is that of the first failure.
    """
    thresholds = {"iou": iou, "score": score_threshold, "coverage": coverage, "nms": nms}
    resolve_protocol(protocol, **thresholds)  # a bad threshold must not wait for the judges
    own = [role for role in judges or {} if role in ("detector", "segmenter", "encoder", "features")]
    if own:
        raise UsageError(f"The {own[0]} has an option of its own: --{own[0]} NAME.")
    made = make_judges(detector, segmenter, encoder, device, features, **(judges or {}))
    parameters = {"fid": {"reference": str(fid_reference)}} if fid_reference is not None else {}
    done: list[Scored] = []
    failures: list[RadlBenchError] = []
    for run in runs:
        try:
            done.append(score_run(Path(run), made, protocol, thresholds, resamples, batch_size, parameters))
        except RadlBenchError as error:
            failures.append(error)
    if failures:
        raise type(failures[0])(" ".join(map(str, failures)))
    return done


def score_run(
    path: Path,
    judges: Judges,
    protocol: str,
    thresholds: dict[str, float | None],
    resamples: int = RESAMPLES,
    batch_size: int = 16,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Scored:
    """Score one run folder; see `score_each`. `parameters` of metrics by name win over the benchmark's tables."""
    images = RunImages.open(path)
    rules = resolve_protocol(protocol, **(_thresholds_of(images.benchmark) | _given(thresholds)))
    asked = metrics_of(images.benchmark)
    judges.check_roles(frozenset().union(*(m.requires for m in asked)))
    metrics = [m for m in asked if judges.having(m.requires)]
    needs = _needs(metrics, rules)
    parties = judges.standing() | judges.of(needs)
    content = _summary(images, judges, parties, rules, parameters)
    evidence = Evidence(images.run.evidence_dir, batch_size, **parties)
    try:
        with scoring_into(images.run.scores_dir / scores_key(content)) as out:
            scoring = _Scoring(images, metrics, parameters, resamples, parties.get("features"))
            pictures = scoring.judge(evidence, rules, needs, out)
            scores, draws = scores_of(
                metrics, scoring.means, scoring.pools, _conditions(images, rules, parties, kinds_of(needs))
            )
            counts = {"n": len(pictures), "n_missing": sum(p.problem is not None for p in pictures)}
            notes = [*notes_of(path), *_notes_of_judges(parties.values(), pictures)]
            content |= {"images": counts, "notes": notes, "scores": scores}
            file = out.finish(content, draws)
    finally:
        evidence.close()
    problems = tuple(f"{p.sample.id}_{p.k}: {p.problem}" for p in pictures if p.problem is not None)
    of_scores = dict.fromkeys(f"{entry['metric']}: {entry['note']}" for entry in scores if "note" in entry)
    return Scored(path, file, len(pictures), problems, (*notes, *of_scores))


class _Scoring:
    """What is gathered over the images of a run: sums of the scores with rows, pools of the others."""

    def __init__(
        self,
        images: RunImages,
        metrics: Sequence[Metric],
        parameters: Mapping[str, Mapping[str, Any]] | None,
        resamples: int,
        features: Judge | None,
    ) -> None:
        self.images, self.metrics = images, metrics
        self.means = {score: MeanPool(score, resamples) for m in metrics if m.pool is None for score in m.scores}
        context = Context(resamples, images.benchmark, features=features)
        self.pools = {
            m.name: m.pool(_with_parameters(context, m.name, parameters)) for m in metrics if m.pool is not None
        }

    def judge(self, evidence: Evidence, rules: Protocol, needs: frozenset[str], out: ScoreWriter) -> list[Picture]:
        """Have every image judged and write its rows; returns the images, with what kept some from being judged."""
        pictures = list(self.images.planned())
        files = SeenFiles(self.images.run.evidence_dir)
        with closing(files.table), out.rows as writer, stage("score", len(pictures)) as bar:
            for view in judge(pictures, evidence, rules, needs, files):
                rows = [row for m in self.metrics if m.rows is not None for row in m.rows(view, rules)]
                writer.write(view, rows)
                for mean in self.means.values():
                    mean.add(view, rows)
                for pool in self.pools.values():
                    pool.add(view)
                bar.advance(1, failed=int(view.problem is not None))
        return pictures


def metrics_of(benchmark: Benchmark) -> list[Metric]:
    """Return the metrics that the benchmark names, or `USUAL`; raises `UsageError` for an unknown one."""
    found = [resolve("metrics", name) for name in benchmark.metrics or USUAL]
    return [getattr(item, "METRIC", item) for item in found]


def _with_parameters(context: Context, metric: str, given: Mapping[str, Mapping[str, Any]] | None) -> Context:
    table = context.benchmark.metrics.get(metric, {})
    return replace(context, parameters={**table, **(given or {}).get(metric, {})})


def _needs(metrics: Sequence[Metric], rules: Protocol) -> frozenset[str]:
    needs = frozenset().union(*(m.requires for m in metrics))
    return needs | {"coverage"} if rules.color_gates_iou and "detections" in needs else needs


def _thresholds_of(benchmark: Benchmark) -> dict[str, float | None]:
    tables = benchmark.metrics.values()
    return {key: value for table in tables for key, value in table.items() if key in THRESHOLDS}


def _given(thresholds: dict[str, float | None]) -> dict[str, float | None]:
    return {key: value for key, value in thresholds.items() if value is not None}


def _conditions(
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
        **{role: _signature(parties.get(role)) for role in ("detector", "segmenter", "encoder", "features")},
        phrase=look_of(encoder is not None and declared(encoder).ensembles, rules).phrase,
        more={kind.key: kind.setting(judge) for kind, judge in asked if judge is not None},
    )


def _signature(judge: Judge | None) -> str:
    return NONE if judge is None else judge.signature


def _summary(
    images: RunImages,
    judges: Judges,
    parties: Mapping[str, Judge | None],
    rules: Protocol,
    parameters: Mapping[str, Mapping[str, Any]] | None,
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
        "generator": {key: generator.get(key) for key in ("name", "revision", "model", "params")},
        "status": "complete" if images.finished else "partial",
        "judges": {
            role: {"name": judges.names[role], "signature": None if judge is None else judge.signature}
            for role, judge in parties.items()
        },
    }


def _notes_of_judges(parties: Iterable[object], pictures: Sequence[Picture]) -> list[str]:
    """Return what judges that read files have to say of these images."""
    return [note for party in parties if isinstance(party, Remarking) for note in party.notes(pictures)]
