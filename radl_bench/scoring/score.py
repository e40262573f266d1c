"""Scoring: run folders in, rows and scores out, in one folder a judge set and protocol (`scoring.score_files`).

Images are judged chunk by chunk, so memory holds one chunk of images whatever the size of the run. What a judge saw
is kept as evidence; scoring again, or under other thresholds, reads that and loads no model. No generator is ever
imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radl_bench.errors import RadlBenchError, UsageError
from radl_bench.judges.contracts import Judge, Remarking
from radl_bench.progress import stage
from radl_bench.runs.images import Picture
from radl_bench.runs.notes import notes_of, unguided_of
from radl_bench.runs.plan import RunImages
from radl_bench.scoring.aggregate import Entry, MeanPool, facts_of, gather, kept_of, pools_of, scores_of
from radl_bench.scoring.chosen import Chosen, by_rules, choose
from radl_bench.scoring.evidence import Evidence, kinds_of
from radl_bench.scoring.judging import Judges, judge, make_judges
from radl_bench.scoring.metrics import Context, Metric, Pool
from radl_bench.scoring.protocol import Protocol, note_of_missing, resolve_protocol
from radl_bench.scoring.score_files import ScoreWriter, scores_key, scoring_into
from radl_bench.scoring.seen_files import SeenFiles
from radl_bench.scoring.summary import conditions_of, summary_of, thresholds_of
from radl_bench.scoring.text_notes import notes_of_encoder
from radl_bench.scoring.workers import Panel
from radl_bench.types import Benchmark


@dataclass(frozen=True)
class Scored:
    """What scoring a run gave: its `scores.json`, how many images were asked for, and why some could not be judged.

    `notes` are sentences about the images (see `image_import`), about files of results, and about single scores, such
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
    runs: Iterable[str | Path],
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
    box_format: str = "auto",
    judges: Mapping[str, str] | None = None,
    batch_size: int = 16,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
) -> list[Scored]:
    """Score runs one after the other; a run that cannot be scored does not keep the others from it.

    Args:
        runs: the folders; they are first asked for when all options are found to be right.
        detector, segmenter, encoder, features: names of judges or `path/to/file.py:Class`; the segmenter goes with the
            detector and the features go with the encoder when not given. The encoder "none" leaves the CLIP scores
            out, the features "none" FID and KID. `file:PATH` is a file of COCO results with boxes (detector) or masks
            (segmenter), see `radl_bench.scoring.result_files`.
        protocol: a key of `protocol.PROTOCOLS`.
        iou, score_threshold, coverage, nms: thresholds, fractions; the benchmark's or the protocol's when not given.
        fid_reference: statistics of real images, see `metrics.fid`; the benchmark's when not given.
        device: passed to judges that take one.
        box_format: how the boxes of files of results are read, see `box_formats.parse_format`.
        judges: more judges, names by role, for kinds of measurement that are not built in.
        batch_size: images a call of a judge.
        workers: processes of this machine, or actors of a Ray cluster, that judge side by side.
        engine: "local" or "ray"; address: of the cluster.

    Raises:
        UsageError: unknown judge, protocol or metric, or a number out of range.
        RadlBenchError: some runs could not be scored; the sentence names them. The class is that of the first failure.
    """
    thresholds = {"iou": iou, "score": score_threshold, "coverage": coverage, "nms": nms}
    resolve_protocol(protocol, **thresholds)  # a bad threshold must not wait for the judges
    own = [role for role in judges or {} if role in ("detector", "segmenter", "encoder", "features")]
    if own:
        raise UsageError(f"The {own[0]} has an option of its own: --{own[0]} NAME.")
    chosen = {"detector": detector, "segmenter": segmenter, "encoder": encoder, "features": features, **(judges or {})}
    asked: dict[str, Any] = {**chosen, "device": device, "box_format": box_format}
    made, panel = make_judges(**asked), Panel(asked, workers, batch_size, engine, address)
    parameters = {"fid": {"reference": str(fid_reference)}} if fid_reference is not None else {}
    done: list[Scored] = []
    failures: list[RadlBenchError] = []
    with panel:
        for run in runs:
            try:
                done.append(score_run(Path(run), made, panel, protocol, thresholds, batch_size, parameters))
            except RadlBenchError as error:
                failures.append(error)
    if failures:
        raise type(failures[0])(" ".join(map(str, failures)))
    return done


def score_run(
    path: Path,
    judges: Judges,
    panel: Panel,
    protocol: str,
    thresholds: dict[str, float | None],
    batch_size: int = 16,
    parameters: Mapping[str, Mapping[str, str]] | None = None,
) -> Scored:
    """Score one run folder; see `score_each`. `parameters` of metrics by name win over the benchmark's tables."""
    images = RunImages.open(path)
    asked = choose(images.benchmark)
    judges.check_roles(frozenset().union(*(one.metric.requires for one in asked)))
    thresholds = thresholds_of(judges, thresholds)
    groups = by_rules([one for one in asked if judges.having(one.metric.requires)], protocol, thresholds)
    scoring = _Scoring(images, groups)
    _refuse_unused(parameters or {}, {one.name for one, _ in scoring.chosen}, images.benchmark)
    parties = judges.standing() | judges.of(scoring.kinds)
    judges.prepare(scoring.pictures)
    panel.measure(path, scoring.rules, scoring.pictures, parties)
    content = summary_of(images, judges, parties, _main_rules(groups), parameters)
    evidence = Evidence(images.run.evidence_dir, batch_size, **parties)
    try:
        with scoring_into(images.run.scores_dir / scores_key(content)) as out:
            pools = scoring.judge(evidence, out, parties.get("features"), parameters or {})
            conditions = conditions_of(images, groups[0][0], parties, kinds_of(scoring.kinds))
            scores = scores_of(scoring.chosen, scoring.means, pools, conditions)
            content |= scoring.found(parties) | {"scores": scores}
            file = out.finish(content, kept_of(scoring.chosen, pools))
    finally:
        evidence.close()
    return Scored(path, file, len(scoring.pictures), scoring.problems, (*content["notes"], *_notes_of_scores(scores)))


def _notes_of_scores(scores: Sequence[Entry]) -> list[str]:
    """Return the notes of the scores over all levels, each once with the names of its scores."""
    noted: dict[str, list[str]] = {}
    for entry in scores:
        if entry["level"] is None and "note" in entry:
            noted.setdefault(str(entry["note"]), []).append(str(entry["metric"]))
    return [f"{', '.join(names)}: {note}" for note, names in noted.items()]


Groups = Sequence[tuple[Protocol, Sequence[tuple[Chosen, Protocol]]]]
"""Metrics with their rules, in groups that share all thresholds; see `chosen.by_rules`."""


class _Scoring:
    """One pass over the images of a run: what each group of metrics needs, and what is gathered."""

    def __init__(self, images: RunImages, groups: Groups) -> None:
        self.images, self.groups = images, groups
        self.chosen = [member for _, members in groups for member in members]
        self.needs = [_needs([one.metric for one, _ in members], rules) for rules, members in groups]
        self.kinds = frozenset[str]().union(*self.needs)
        self.pictures = list(images.planned())
        rowed = [one for one, _ in self.chosen if one.metric.rows]
        self.means = {name: MeanPool(spec) for one in rowed for name, spec in one.specs.items()}

    @property
    def rules(self) -> list[tuple[Protocol, frozenset[str]]]:
        """The rules of each group, with what it needs."""
        return [(rules, needs) for (rules, _), needs in zip(self.groups, self.needs, strict=True)]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why some images could not be judged."""
        return tuple(f"{p.sample.id}_{p.k}: {p.problem}" for p in self.pictures if p.problem is not None)

    def judge(
        self,
        evidence: Evidence,
        out: ScoreWriter,
        features: Judge | None,
        parameters: Mapping[str, Mapping[str, str]],
    ) -> dict[str, Pool]:
        """Have every image judged under the rules of each group, write its rows, and return the filled pools."""
        pools = pools_of(self.chosen, Context(self.images.benchmark, features=features), parameters)
        files = SeenFiles(self.images.run.evidence_dir)
        with closing(files.table), out.rows as writer, stage("score", len(self.pictures)) as bar:
            seen = [
                judge(self.pictures, evidence, rules, needs, files if n == 0 else None)  # the first looks at the files
                for n, (rules, needs) in enumerate(self.rules)
            ]
            for views in zip(*seen, strict=True):
                for view, (_, members) in zip(views, self.groups, strict=True):
                    writer.write(view, gather(view, members, self.means, pools))
                bar.advance(1, failed=int(views[0].problem is not None))
        return pools

    def found(self, parties: Mapping[str, Judge | None]) -> dict[str, Any]:
        """Return what scores.json says of the images and the scores, beside the numbers."""
        benchmark = self.images.benchmark
        asked = {kind.role.name for kind in kinds_of(self.kinds)}
        others = [judge for role, judge in parties.items() if role in asked - {"encoder", "features"}]  # no text
        said = _notes_of_judges(others, self.pictures)
        if "encoder" in asked:
            said += notes_of_encoder(parties.get("encoder"), self.pictures, self.images.run.evidence_dir)
        said += note_of_missing(self.groups[0][0], len(self.problems))
        return {
            "images": {"n": len(self.pictures), "n_missing": len(self.problems)},
            "notes": [*notes_of(self.images.run.path, benchmark, self.images.rows.values()), *said],
            "unguided": unguided_of(self.images.rows.values(), benchmark),
            "table": asdict(benchmark.table) if benchmark.table else None,
            "facts": facts_of(self.chosen),
        }


def _refuse_unused(parameters: Mapping[str, Mapping[str, str]], metrics: Set[str], benchmark: Benchmark) -> None:
    if "fid" in parameters and "fid" not in metrics:
        why = "the features are none" if "fid" in benchmark.metrics else f"{benchmark.name} measures no FID"
        raise UsageError(f"--fid-reference is of no use here: {why}. Leave it out.")


def _needs(metrics: Sequence[Metric], rules: Protocol) -> frozenset[str]:
    needs = frozenset().union(*(m.requires for m in metrics))
    if rules.crop == "det" and "cosines" in needs:
        needs |= {"detections"}
    return needs | {"coverage"} if rules.color_gates_iou and "detections" in needs else needs


def _main_rules(groups: Groups) -> Protocol:
    """Return the rules of the metric that stands first in the tables: what images and figures are shown under."""
    places = {min(spec.order for spec in one.metric.scores): rules for rules, members in groups for one, _ in members}
    return places[min(places)] if places else groups[0][0]


def _notes_of_judges(parties: Iterable[object], pictures: Sequence[Picture]) -> list[str]:
    """Return what the judges have to say of these images and their texts: names, boxes, prompts that are too long."""
    return [note for party in parties if isinstance(party, Remarking) for note in party.notes(pictures)]
