"""The gallery as data: samples x methods with the same seed side by side, and every row behind each picture.

A section becomes one index (what the grid and its filters need) and many small blocks (rows with their reasons and
detections), all of them JavaScript files that call `RADL.take`, since a page opened from disk may load scripts but not
read files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from radl_bench.errors import RadlBenchError
from radl_bench.report.gallery_run import GalleryRun, ScoreRow
from radl_bench.report.layouts import in_order
from radl_bench.report.tables import Section
from radl_bench.runs.images import Picture
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.types import Sample

_BLOCK = 96  # pictures a block: some 100 KB

PASSED, FAILED, UNKNOWN = "1", "0", "-"


class Placing(Protocol):
    """How pictures come into the report: `gallery_images.PictureCopies` or `PictureLinks`."""

    prefix: str
    suffix: str

    def place(self, run: Path, pictures: Sequence[Picture]) -> list[str]:
        """Return the name of each picture, "" where it cannot be shown."""
        ...


class Gallery:
    """One section of a report with its pictures.

    Attributes:
        runs: the runs that can be shown, in the order of the tables.
        samples: all samples that any of the runs was asked for, in the benchmark's order.
        rows: (index of the sample, k), one a line of the grid.
        problems: sentences about runs that cannot be shown.
    """

    def __init__(self, section: Section) -> None:
        self.section, self.title, self.problems = section, section.title, list[str]()
        labelled = {run.path: (run, label) for run, label, _ in section.cells}
        self.runs: list[GalleryRun] = []
        for scored, label in labelled.values():
            try:
                run = GalleryRun(scored, label)
                _ = run.benchmark, run.scores  # read now, so that a broken run costs its own pictures alone
                self.runs.append(run)
            except RadlBenchError as error:
                self.problems.append(f"{label} has no images in this report: {error}")
        self.samples = _union([run.benchmark.samples for run in self.runs])
        images = max((run.images_per_sample for run in self.runs), default=0)
        self.rows = [(n, k) for n in range(len(self.samples)) for k in range(images)]
        self.specs = {name: spec for run in reversed(self.runs) for name, spec in run.scored.specs.items()}
        used = {row[1] for run in self.runs for rows in run.scores.values() for row in rows}
        self.specs = {name: known_spec(name) for name in used} | self.specs
        self.metrics = {spec.name: n for n, spec in enumerate(in_order(self.specs[name] for name in used))}
        self.colors = list(dict.fromkeys(name for sample in self.samples for name in sample.color_names))
        self.categories = sorted({i.category for sample in self.samples for i in sample.instances})

    @property
    def going(self) -> list[str]:
        """Sentences about runs that are not complete."""
        return [sentence for run in self.runs if (sentence := run.going)]

    @property
    def block_size(self) -> int:
        """Lines of the grid a block."""
        return max(1, _BLOCK // max(1, len(self.runs)))

    def write(self, folder: Path, number: int, placing: Placing) -> None:
        """Write `data/<number>.js`, `data/<number>-<block>.js` and the pictures into the report's folder."""
        data = folder / "data"
        data.mkdir(exist_ok=True)
        pictures = [[run.picture(self.samples[n], k) for n, k in self.rows] for run in self.runs]
        names = [
            placing.place(run.scored.path, shown) for run, shown in zip(self.runs, pictures, strict=True)
        ]  # before the blocks: a picture that cannot be read gets its problem here
        (data / f"{number}.js").write_text(script(f"{number}", self._index(names, placing)), "ascii")
        for block, content in enumerate(self._blocks(pictures)):
            (data / f"{number}-{block}.js").write_text(script(f"{number}-{block}", content), "ascii")

    def _index(self, names: list[list[str]], placing: Placing) -> dict[str, Any]:
        return {
            "title": self.title,
            "going": self.going,
            "prefix": placing.prefix,
            "suffix": placing.suffix,
            "block": self.block_size,
            "colors": self.colors,
            "categories": self.categories,
            "metrics": [[metric, self.specs[metric].column] for metric in self.metrics],
            "samples": [self._sample(sample) for sample in self.samples],
            "rows": self.rows,
            "runs": [self._run(run, shown) for run, shown in zip(self.runs, names, strict=True)],
        }

    def _sample(self, sample: Sample) -> dict[str, Any]:
        instances = [
            [
                i.phrase,
                self.categories.index(i.category),
                self.colors.index(i.color) if i.color in self.colors else -1,
                *(round(1000 * v) for v in i.box),
            ]
            for i in sample.instances
        ]
        relations = [f"{r.subject + 1} {r.predicate} {r.object + 1}" for r in sample.relations]
        return {"id": sample.id, "prompt": sample.prompt, "instances": instances, "relations": relations}

    def _run(self, run: GalleryRun, names: list[str]) -> dict[str, Any]:
        rows = [run.scores.get((self.samples[n].id, k), []) for n, k in self.rows]
        judged = [outcome(found, self.samples[n], self.specs) for found, (n, _) in zip(rows, self.rows, strict=True)]
        sizes = (run.generated(self.samples[n].id, k) for n, k in self.rows)
        size = next(((row["width"], row["height"]) for row in sizes if row.get("width") and row.get("height")), (1, 1))
        return {
            "label": run.label,
            "model": run.scored.model,
            "run": run.name,
            "size": size,
            "pictures": names,
            "passed": "".join(whole for whole, _ in judged),
            "objects": [marks for _, marks in judged],
        }

    def _blocks(self, pictures: list[list[Picture]]) -> Iterator[list[list[dict[str, Any]]]]:
        for start in range(0, len(self.rows), self.block_size):
            lines = range(start, min(start + self.block_size, len(self.rows)))
            yield [[self._detail(run, pictures[r][line]) for r, run in enumerate(self.runs)] for line in lines]

    def _detail(self, run: GalleryRun, picture: Picture) -> dict[str, Any]:
        generated = run.generated(picture.sample.id, picture.k)
        rows = run.scores.get((picture.sample.id, picture.k), [])
        found = run.detections(picture) if picture.problem is None else None
        return {
            "problem": picture.problem,
            "seed": generated.get("seed"),
            "file": f"{run.name}/{generated['file']}" if generated.get("file") else None,
            "rows": [[n, self.metrics[metric], _rounded(value), reason] for n, metric, value, reason in rows],
            "found": found and [[self.categories.index(d[0]), *(round(v, 3) for v in d[1:])] for d in found],
        }


def outcome(rows: Sequence[ScoreRow], sample: Sample, specs: Mapping[str, ScoreSpec]) -> tuple[str, str]:
    """Return whether the picture passed, and the same for each instance, as "1", "0", or "-" where nothing says so.

    Rates that give the verdict (`ScoreSpec.verdict`: R_img of an image, R_inst of an instance) decide where they were
    measured; otherwise every rate has to pass, as those of DrawBench. A unit that is missing has failed or is left
    out, as in the scores.
    """
    found = [(n, specs[metric], specs[metric].passes(value)) for n, metric, value, _ in rows if specs[metric].is_rate]
    whole, part = ([f for f in found if f[1].verdict and f[1].unit == u] or found for u in ("image", "instance"))
    marks = [_all([passed for at, _, passed in part if at == n]) for n in range(len(sample.instances))]
    return _all([passed for _, _, passed in whole]), "".join(marks)


def _all(passed: Sequence[bool | None]) -> str:
    known = [p for p in passed if p is not None]
    if not known:
        return UNKNOWN
    return PASSED if all(known) else FAILED


def _union(lists: Sequence[Sequence[Sample]]) -> list[Sample]:
    """Return all samples once. Each list is a part of one benchmark in its order, and so is the result."""
    longest = max(lists, key=len, default=())
    known = {sample.id for sample in longest}
    return [*longest, *{s.id: s for samples in lists for s in samples if s.id not in known}.values()]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def script(name: str, content: Any) -> str:
    """Return the JavaScript file that hands `content` to the page under `name`."""
    # pure ASCII and no "<": whatever a prompt holds, it cannot end the script, also when someone inlines it
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'RADL.take("{name}",{text});\n'
