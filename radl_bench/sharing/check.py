"""Verifying a bundle: sums, means, and a random part scored again from what the judges saw, or from the images.

Three things are held against each other, for every scoring in the bundle:

- each mean in `scores.json` against the mean of its rows, over all samples;
- the rows of the drawn samples against rows that are made anew from the evidence;
- where images are in the bundle: the same rows against what the judges say of the images now, if they can be made here.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from radl_bench.errors import BadInput, RadlBenchError, UsageError
from radl_bench.registry import is_file_spec
from radl_bench.report.scored_run import ScoredRun, read_scored
from radl_bench.runs.plan import RunImages
from radl_bench.runs.store import find_scores
from radl_bench.scoring.chosen import Chosen, choose
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.protocol import THRESHOLDS, Protocol, resolve_protocol
from radl_bench.sharing.bundle import unpack

SHARE = 0.02
CLOSE = 1e-6
"""Difference of two values, in the unit of the table, that is taken for none."""

_Key = tuple[str, int, int, str]


@dataclass
class Verified:
    """What was checked: samples drawn, rows made anew from evidence and from images, means; and what could not be."""

    samples: int = 0
    rows: int = 0
    judged: int = 0
    means: int = 0
    notes: list[str] = field(default_factory=list)


def verify_bundle(file: Path, share: float = SHARE, seed: int | None = None, device: str | None = None) -> Verified:
    """Check a bundle.

    Args:
        share: part of the samples that is scored again, more than 0 to 1; one sample at least.
        seed: of the draw; another one each time when not given, so that nobody knows it beforehand.
        device: of the judges, where images are judged again.

    Raises:
        UsageError: the share is out of range.
        BadInput: something does not match; the message lists it.
    """
    if not 0 < share <= 1:
        raise UsageError(f"The share must be more than 0 and at most 1, not {share:g}.")
    done = Verified()
    with tempfile.TemporaryDirectory() as folder:
        run = unpack(file, Path(folder))
        images = RunImages.open(run)
        ids = [sample.id for sample in images.benchmark.samples]
        drawn = random.Random(seed).sample(ids, max(1, round(share * len(ids))))
        done.samples = len(drawn)
        problems = []
        for scores in find_scores(run):
            scored = read_scored(run, scores)
            try:
                problems += [*_means(scored, images, done), *_rows(scored, images, drawn, done)]
            except (TypeError, ValueError, KeyError, AttributeError) as error:  # what a stranger wrote
                raise BadInput(f"{file}: {scores.parent.name}/scores.json cannot be used: {error!r:.200}.") from None
            if any((run / "images").glob("*.png")):
                problems += _judged(scored, images, drawn, done, device)
    if problems:
        more = f"\nand {len(problems) - 20} more" if len(problems) > 20 else ""
        raise BadInput(f"{file} is refused: {len(problems)} numbers do not match.\n" + "\n".join(problems[:20]) + more)
    done.notes = list(dict.fromkeys(done.notes))
    return done


def _means(scored: ScoredRun, images: RunImages, done: Verified) -> Iterator[str]:
    """Hold every mean to its rows."""
    rows, without = scored.rows(), set[str]()
    rowed = {name for one in _of(scored, images) for name in one.specs}
    if rows is None:
        raise BadInput(f"The bundle has no rows for {scored.file.parent.name}.")
    for (metric, level), entry in scored.cells.items():
        of = rows[(rows["metric"] == metric) & ((rows["level"] == level) if level is not None else True)]
        if not len(of) and metric not in rowed:
            without.add(scored.specs[metric].heading)
            continue
        counted = [c for c in map(scored.specs[metric].counted, of["value"]) if c is not None]
        value = sum(counted) / len(counted) if counted else math.nan
        done.means += 1
        said = math.nan if entry["value"] is None else entry["value"]
        if not _same(value, said) or entry["n"] != len(of):
            at = "all levels" if level is None else f"level {level}"
            yield f"{metric}, {at}: scores.json says {said:.4f} (n {entry['n']}), its rows {value:.4f} (n {len(of)})"
    if without:
        done.notes.append(f"{', '.join(sorted(without))} have no rows, so their values were not made anew.")


def _rows(scored: ScoredRun, images: RunImages, drawn: Sequence[str], done: Verified) -> Iterator[str]:
    """Make the rows of the drawn samples anew from the evidence."""
    try:
        made = _made_anew(scored, images, set(drawn), done, _recorded(scored, images))
    except RadlBenchError as error:
        yield f"{scored.file.parent.name}: the evidence gives no rows: {error}"
        return
    kept = _kept(scored, set(drawn), {name for one in _of(scored, images) for name in one.specs})
    done.rows += len(made)
    yield from _apart(kept, made, "the evidence")


def _judged(
    scored: ScoredRun, images: RunImages, drawn: Sequence[str], done: Verified, device: str | None
) -> Iterator[str]:
    """Have the images of the drawn samples judged again, where the same judges can be made here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            evidence = _asking(scored, images, Path(folder), device)
            made = _made_anew(scored, images, set(drawn), done, evidence)
        except RadlBenchError as error:
            done.notes.append(f"The images were not judged again: {error}")
            return
    done.judged += len(made)
    yield from _apart(_kept(scored, set(drawn), {key[3] for key in made}), made, "the images")


def _asking(scored: ScoredRun, images: RunImages, folder: Path, device: str | None) -> Evidence:
    """Return empty evidence with the judges of a scoring; raises `UsageError` where other ones would be asked."""
    from radl_bench.scoring.judging import make_judges

    said = {role: judge for role, judge in scored.data.get("judges", {}).items() if isinstance(judge, Mapping)}
    names = {role: str(judge.get("name")) for role, judge in said.items()}
    foreign = [name for name in names.values() if is_file_spec(name) or name == "file"]
    if foreign:
        raise UsageError(f"the judge {', '.join(foreign)} has no name that is known everywhere.")
    known = {role: names.pop(role, "none") for role in ("detector", "segmenter", "encoder", "features")}
    judges = make_judges(**known, device=device, **names)
    needs = frozenset[str]().union(*(one.metric.requires for one in _of(scored, images)), {"coverage"})
    parties = judges.standing() | judges.of(need for need in needs if judges.having([need]))
    for role, judge in parties.items():
        if judge is not None and judge.signature != said.get(role, {}).get("signature"):
            raise UsageError(f"the {role} here is {judge.signature}, not {said.get(role, {}).get('signature')}.")
    judges.prepare(list(images.planned()))
    return Evidence(folder, 16, **parties)


def _of(scored: ScoredRun, images: RunImages, done: Verified | None = None) -> list[Chosen]:
    """Return the metrics whose rows the scoring has."""
    return [one for one in _chosen(images, done) if one.metric.rows and set(one.specs) <= set(scored.specs)]


def _chosen(images: RunImages, done: Verified | None = None) -> list[Chosen]:
    """Return the metrics by name; a metric that is a file is never run."""
    benchmark = images.benchmark
    files = [name for name in benchmark.metrics if is_file_spec(name)]
    if files and done is not None:
        done.notes.append(f"Not made anew, since a metric in a file is not run: {', '.join(files)}.")
    kept = {name: table for name, table in benchmark.metrics.items() if name not in files}
    return choose(replace(benchmark, metrics=kept)) if kept or not files else []


def _recorded(scored: ScoredRun, images: RunImages) -> Evidence:
    judges = scored.data.get("judges", {})
    signatures = {
        role: str(j["signature"]) for role, j in judges.items() if isinstance(j, Mapping) and j.get("signature")
    }
    return Evidence.recorded(images.run.evidence_dir, signatures)


def _made_anew(
    scored: ScoredRun, images: RunImages, drawn: set[str], done: Verified, evidence: Evidence
) -> dict[_Key, float]:
    """Return the rows of the drawn samples by evidence that is kept, or is gathered now."""
    made: dict[_Key, float] = {}
    try:
        for one in _of(scored, images, done):
            rules = _rules(scored, one)
            needs = one.metric.requires | ({"coverage"} if rules.color_gates_iou else frozenset())
            pictures = [p for p in images.planned(files=False) if p.sample.id in drawn]
            for view in evidence.views(pictures, replace(rules, own={}), needs):
                for row in one.rows(view, rules):
                    made[view.sample.id, view.k, row.instance, row.metric] = row.value
    finally:
        evidence.close()
    return made


def _rules(scored: ScoredRun, one: Chosen) -> Protocol:
    """Return the rules that a metric was scored under, as the facts of its scores say them."""
    facts = scored.data.get("facts", {}).get(next(iter(one.specs)), {}).get("thresholds", {})
    thresholds = {**scored.data.get("thresholds", {}), **{k: v for k, v in facts.items() if k in THRESHOLDS}}
    own = {key: value for key, value in facts.items() if key not in THRESHOLDS}
    return replace(resolve_protocol(str(scored.data.get("protocol")), **thresholds), own=own)


def _kept(scored: ScoredRun, drawn: set[str], metrics: set[str]) -> dict[_Key, float]:
    rows = scored.rows()
    assert rows is not None
    of = rows[rows["sample_id"].isin(drawn) & rows["metric"].isin(metrics)]
    columns = (of["sample_id"], of["k"], of["instance"], of["metric"], of["value"])
    return {(s, int(k), int(i), m): float(v) for s, k, i, m, v in zip(*columns, strict=True)}


def _apart(kept: Mapping[_Key, float], made: Mapping[_Key, float], source: str) -> Iterator[str]:
    for key in sorted({*kept, *made}):
        old, new = kept.get(key), made.get(key)
        if old is None or new is None or not _same(old, new):
            said = "no row" if old is None else f"{old:.4f}"
            is_now = "no row" if new is None else f"{new:.4f}"
            where = f"{key[0]}_{key[1]}" + (f", instance {key[2]}" if key[2] >= 0 else "")
            yield f"{where}: {key[3]} is {said} in the rows, {is_now} by {source}"


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= CLOSE
