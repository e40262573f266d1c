"""Scoring: run folders in, `scores/rows.parquet` and `scores/scores.json` out.

Images are judged chunk by chunk, so memory holds one chunk of pictures whatever the size of the run. What a judge saw
is kept as evidence; scoring again, or under other thresholds, reads that and loads no model. No generator is ever
imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.loading import benchmark_of
from radl_bench.errors import RadlBenchError
from radl_bench.files import replace_file
from radl_bench.progress import stage
from radl_bench.runs.image_import import notes_of
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.aggregate import MeanPool, facts_of, gather, pools_of, scores_of
from radl_bench.scoring.chosen import Chosen, by_rules, choose
from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import NO_ENCODER, Judges, judge, make_judges
from radl_bench.scoring.metrics import Context, Metric
from radl_bench.scoring.protocol import THRESHOLDS, Protocol, resolve_protocol
from radl_bench.scoring.score_files import RowWriter, write_draws
from radl_bench.scoring.statistics import RESAMPLES
from radl_bench.types import Benchmark


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
        resamples: draws of the bootstrap; batch_size: pictures a call of a judge.

    Raises:
        UsageError: unknown judge, protocol or metric, or a threshold out of range.
        RadlBenchError: some runs could not be scored; the sentence names them. The class is that of the first failure.
    """
    thresholds = {"iou": iou, "score": score_threshold, "coverage": coverage, "nms": nms}
    resolve_protocol(protocol, **thresholds)  # a bad threshold must not wait for the judges
    judges = make_judges(detector, segmenter, encoder, device, features)
    parameters = {"fid": {"reference": str(fid_reference)}} if fid_reference is not None else {}
    done: list[Scored] = []
    failures: list[RadlBenchError] = []
    for run in runs:
        try:
            done.append(score_run(Path(run), judges, protocol, thresholds, resamples, batch_size, parameters))
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
    parameters: Mapping[str, Mapping[str, str]] | None = None,
) -> Scored:
    """Score one run folder; see `score_each`. `parameters` of metrics by name win over the benchmark's tables."""
    run = RunFolder.open(path)
    benchmark = benchmark_of(run.manifest)
    declared = getattr(judges.detector, "thresholds", {})
    thresholds = {**declared, **{key: value for key, value in thresholds.items() if value is not None}}
    groups = by_rules([c for c in choose(benchmark) if judges.having(c.metric.requires)], protocol, thresholds)
    chosen = [member for _, members in groups for member in members]
    needs = [_needs([one.metric for one, _ in members], rules) for rules, members in groups]
    features = judges.features if any("features" in kinds for kinds in needs) else None
    pictures = plan_pictures(run, benchmark)
    means = {n: MeanPool(spec, resamples) for c, _ in chosen if c.metric.rows for n, spec in c.specs.items()}
    context = Context(resamples, benchmark, features=features)
    pools = pools_of(chosen, context, parameters or {})
    evidence = Evidence(run.evidence_dir, judges.detector, judges.segmenter, judges.encoder, batch_size, features)
    run.scores_dir.mkdir(exist_ok=True)
    with RowWriter(run.scores_dir / "rows.parquet") as writer, stage("score", len(pictures)) as bar:
        seen = [judge(pictures, evidence, rules, kinds) for (rules, _), kinds in zip(groups, needs, strict=True)]
        for views in zip(*seen, strict=True):
            for view, (_, members) in zip(views, groups, strict=True):
                writer.write(view, gather(view, members, means, pools))
            bar.advance(1, failed=int(views[0].problem is not None))
    conditions = _conditions(run, benchmark, groups[0][0], judges, evidence)
    scores, draws = scores_of(chosen, means, pools, conditions)
    content = _summary(run, judges, _main_rules(groups), pictures, features)
    content |= {
        "table": asdict(benchmark.table) if benchmark.table else None,
        "facts": facts_of(chosen),
        "scores": scores,
    }
    write_draws(run.scores_dir / "draws.npz", draws)
    file = run.scores_dir / "scores.json"
    replace_file(file, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    problems = tuple(f"{p.sample.id}_{p.k}: {p.problem}" for p in pictures if p.problem is not None)
    of_scores = dict.fromkeys(f"{entry['metric']}: {entry['note']}" for entry in scores if "note" in entry)
    notes = (*content["notes"], *of_scores)
    return Scored(path, file, len(pictures), problems, notes)


def plan_pictures(run: RunFolder, benchmark: Benchmark) -> list[Picture]:
    """Return every image the run was asked for, in the benchmark's order; one that is not there has a `problem`."""
    rows = {(row["sample_id"], row["k"]): row for row in run.rows()}
    out = []
    for sample in benchmark.samples:
        for k in range(run.manifest["benchmark"]["images_per_sample"]):
            row = rows.get((sample.id, k))
            if row is None:
                out.append(Picture(sample, k, None, problem="it is not generated yet"))
            elif row["status"] != "ok":
                out.append(Picture(sample, k, None, problem=f"generating it failed: {row.get('error')}"))
            else:
                file = run.path / row["file"]
                problem = None if file.is_file() else f"the file {file.name} is gone"
                out.append(Picture(sample, k, file, row["sha256"], problem))
    return out


def _needs(metrics: Sequence[Metric], rules: Protocol) -> frozenset[str]:
    needs = frozenset().union(*(m.requires for m in metrics))
    return needs | {"coverage"} if rules.color_gates_iou and "detections" in needs else needs


def _main_rules(groups: Sequence[tuple[Protocol, Sequence[tuple[Chosen, Protocol]]]]) -> Protocol:
    """Return the rules of the metric that stands first in the tables: what pictures and figures are shown under."""
    places = {min(spec.order for spec in one.metric.scores): rules for rules, members in groups for one, _ in members}
    return places[min(places)] if places else groups[0][0]


def _conditions(
    run: RunFolder, benchmark: Benchmark, rules: Protocol, judges: Judges, evidence: Evidence
) -> Conditions:
    recorded = run.manifest["benchmark"]
    return Conditions(
        benchmark=recorded,
        levels=tuple(sorted({sample.level for sample in benchmark.samples})),
        images_per_sample=recorded["images_per_sample"],
        seeds=run.manifest["seeds"],
        protocol=rules,
        detector=judges.detector.signature,
        segmenter=judges.segmenter.signature,
        encoder=judges.encoder.signature if judges.encoder else NO_ENCODER,
        features=evidence.featurer.signature if evidence.featurer else NO_ENCODER,
        phrase=evidence.look(rules).phrase,
    )


def _summary(
    run: RunFolder, judges: Judges, rules: Protocol, pictures: Sequence[Picture], features: Any | None
) -> dict[str, Any]:
    recorded, generator = run.manifest["benchmark"], run.manifest["generator"]
    known = {(row["sample_id"], row["k"]) for row in run.rows()}
    finished = all((p.sample.id, p.k) in known for p in pictures)
    objects = {"detector": judges.detector, "segmenter": judges.segmenter, "encoder": judges.encoder}
    objects |= {"features": features} if features is not None else {}
    return {
        "schema_version": 1,
        "protocol": rules.name,
        "thresholds": {key: getattr(rules, key) for key in THRESHOLDS},
        "benchmark": {key: recorded[key] for key in ("name", "version", "sha256", "filter", "images_per_sample")},
        "generator": {key: generator.get(key) for key in ("name", "revision", "model", "params", "reference")},
        "status": "complete" if finished else "partial",
        "images": {"n": len(pictures), "n_missing": sum(p.problem is not None for p in pictures)},
        "judges": {
            kind: {"name": judges.names[kind], "signature": getattr(item, "signature", None)}
            for kind, item in objects.items()
        },
        "notes": [*notes_of(run.path), *_notes_of_judges(judges, pictures)],
    }


def _notes_of_judges(judges: Judges, pictures: Sequence[Picture]) -> list[str]:
    """Return what judges that read files have to say of these pictures."""
    objects = [judge for judge in (judges.detector, judges.segmenter) if hasattr(judge, "notes")]
    return [note for judge in objects for note in judge.notes(pictures)]
