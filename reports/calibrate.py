"""Calibration on real pictures: what a given detector says of photographs, and of Stable Diffusion's DrawBench.

    python reports/calibrate.py --shared ../shared/data [--pictures FOLDER]

Writes `calibration.md` beside this script. `--shared` holds `coco_tiny` (photographs of COCO val2017 with annotations)
and `drawbench` (the public prompts with boxes, 64 pictures of Stable Diffusion v1.4), each with detections of NanoDet.
Nothing of it is committed: the photographs have licences of their own, the others state none. `--pictures` draws ten of
them with their boxes into a folder of yours.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd
from calibration_pictures import STRICT, draw, fit

from radl_bench.benchmarks.builders.coco import CocoImage, read_images
from radl_bench.benchmarks.builders.coco_position import kept_things
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.drawbench import FIELDS, read_drawbench
from radl_bench.benchmarks.importers.drawbench import METRICS as DRAWBENCH
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.image_import import import_images
from radl_bench.scoring.metrics.relation import holds
from radl_bench.scoring.score import score_each
from radl_bench.scoring.score_files import part_of
from radl_bench.types import Instance, Relation, Sample

POSITION = {"success": {"iou": 0.5}, "iou": {}, "average_precision": {}}
HEADS = {
    "success_inst": "R_inst", "success_img": "R_img", "miou": "mIoU", "ap": "AP", "ap50": "AP50", "ap75": "AP75",
    "drawbench_attribute": "Attribute", "drawbench_quantity": "Quantity", "drawbench_relation": "Relation",
}  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """Scores over all levels by metric, and the rows behind them."""

    cells: dict[str, dict]
    rows: pd.DataFrame

    def text(self, metric: str) -> str:
        """Return `81.2 [70.1, 88.9]`."""
        cell = self.cells[metric]
        return f"{cell['value']:.1f} [{cell['ci_low']:.1f}, {cell['ci_high']:.1f}]"


@dataclass(frozen=True)
class Case:
    """Pictures and a benchmark, imported as a run; `detections` is the file of results."""

    run: Path
    detections: Path

    def score(self, segmenter: str = "grabcut", **thresholds: float) -> Scores:
        """Score under these thresholds of the command line."""
        (done,) = score_each(
            [self.run], detector=f"file:{self.detections}", segmenter=segmenter, encoder="none", **thresholds
        )
        content = json.loads(done.file.read_text("utf-8"))
        cells = {s["metric"]: s for s in content["scores"] if s["level"] is None}
        return Scores(cells, pd.read_parquet(part_of(done.file, content, "rows")))


def make_case(work: Path, name: str, samples: Iterable[Sample], metrics: dict, images: Path, detections: Path) -> Case:
    """Write a benchmark of these samples into `work` and import the pictures as its run."""
    folder, fields = work / name, FIELDS | {"name": name, "images_per_sample": 1, "license": "see ../shared/data"}
    write_benchmark(folder, samples, fields, metrics)
    done = import_images(images, load_benchmark(folder), name=name, out=work / "runs", source=str(folder))
    return Case(done.run, detections)


def photo_sample(image: CocoImage, everything: bool = False) -> Sample:
    """Return a photograph as a sample: its annotated things, with the relations and numbers that they show."""
    things = [t for t in image.things if not t.crowd] if everything else kept_things(image)
    instances = tuple(Instance(t.category, t.category, None, t.box) for t in things)
    tags = () if everything else ("quantity", "relation")
    relations = () if everything else tuple(_relations(instances))
    return Sample(Path(image.file_name).stem, "a photograph", instances, relations, tags=tags)


def _relations(instances: tuple[Instance, ...]) -> Iterable[Relation]:
    """Yield where two things of classes that come once lie to each other, along the axis that parts them more."""
    names = [i.category for i in instances]
    for a, b in combinations([n for n, name in enumerate(names) if names.count(name) == 1], 2):
        (ax, ay), (bx, by) = ((i.box[0] + i.box[2], i.box[1] + i.box[3]) for i in (instances[a], instances[b]))
        words = ("left of", "right of") if abs(ax - bx) >= abs(ay - by) else ("above", "below")
        found = [word for word in words if holds(word, instances[a].box, instances[b].box, STRICT)]
        if found:
            yield Relation(a, found[0], b)


def split(scores: Scores, metric: str) -> tuple[int, int, int]:
    """Return how many units passed, failed because the detector found too little, and failed otherwise."""
    rows = scores.rows[scores.rows["metric"] == metric]
    passed, unseen = rows["value"] == 100.0, rows["reason"].str.contains("detected")
    return int(passed.sum()), int((~passed & unseen).sum()), int((~passed & ~unseen).sum())


def counts(scores: Scores) -> tuple[int, int, int]:
    """Return how many pictures were counted right, with too few, and with too many or both."""
    rows = scores.rows[scores.rows["metric"] == "drawbench_quantity"]
    pairs = rows["reason"].str.findall(r"expected (\d+) [^;]*?, counted (\d+)")
    few = [bool(p) and all(int(got) < int(want) for want, got in p) for p in pairs]
    right = int((rows["value"] == 100.0).sum())
    return right, sum(few), len(rows) - right - sum(few)


def table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table whose first column is words."""
    heads = list(heads)
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (heads, rule, *lines))


def photographs(shared: Path, work: Path) -> tuple[list[str], Scores]:
    """Return the report's part on photographs and the scores of their relations and numbers."""
    images, results = shared / "coco_tiny" / "val2017", shared / "coco_tiny" / "nanodet_detections.json"
    known = read_images(shared / "coco_tiny" / "instances_val2017.json").values()
    every = [photo_sample(i, everything=True) for i in known if any(not t.crowd for t in i.things)]
    good = [photo_sample(i) for i in known if fit(i)]
    lines = []
    for name, samples in (
        (f"every annotated thing, {len(every)} photographs", every),
        (f"COCO-Position's filters, {len(good)}", good),
    ):
        case = make_case(work, f"photos-{len(samples)}", samples, POSITION, images, results)
        scores = case.score("box")
        lines.append([f"{name} ({sum(s.level for s in samples)} things)", *(scores.text(m) for m in list(HEADS)[:6])])
    clauses = make_case(work, "photo-clauses", good, DRAWBENCH, images, results).score("box")
    text = table(["photographs (real)", *list(HEADS.values())[:6]], lines)
    return ["## Real photographs: position", text, *_counting(work, "photo", good, images, results)], clauses


def _counting(work: Path, name: str, samples: list[Sample], images: Path, results: Path) -> list[str]:
    lines = []
    for least in (0.25, 0.35, 0.5):
        metrics = {"quantity": DRAWBENCH["quantity"] | {"count": least}}
        scores = make_case(
            work, f"count-{name.lower().replace(' ', '-')}-{least}", samples, metrics, images, results
        ).score("box")
        lines.append([f"score {least:.2f} and more count", scores.text("drawbench_quantity"), *counts(scores)])
    return [table([f"quantity, {name}s", "% right", "right", "too few", "too many or both"], lines)]


def stable_diffusion(shared: Path, work: Path) -> tuple[list[str], Scores]:
    """Return the report's part on Stable Diffusion's pictures, and their scores with GrabCut's masks."""
    folder = shared / "drawbench"
    samples = read_drawbench(folder / "imagen.csv", folder / "layouts_gpt4.yaml")[0]
    results = folder / "sd14_nanodet_detections.json"
    case = make_case(work, "drawbench-sd14", samples, DRAWBENCH, folder / "sd14", results)
    settings = (
        ("masks are boxes, least score .15", "box", {"score_threshold": 0.15}),
        ("masks are boxes, least score .35", "box", {"score_threshold": 0.35}),
    )
    settings = (("as defined, masks by GrabCut", "grabcut", {}), ("masks are boxes", "box", {}), *settings)
    scores = {label: case.score(masks, **thresholds) for label, masks, thresholds in settings}
    first = scores["as defined, masks by GrabCut"]
    lines = [[label, *(s.text(m) for m in list(HEADS)[6:])] for label, s in scores.items()]
    heads = ["Stable Diffusion v1.4, 64 pictures", *list(HEADS.values())[6:]]
    counting = [s for s in samples if "quantity" in s.tags]
    more = _counting(work, "Stable Diffusion picture", counting, folder / "sd14", results)
    signatures = "\n".join(f"- `{first.cells[m]['signature']}`" for m in list(HEADS)[6:])
    return ["## Stable Diffusion v1.4 on the public DrawBench", table(heads, lines), *more, signatures], first


def causes(photos: Scores, made: Scores) -> str:
    """Return the table of what failed because nothing was detected, and what failed although it was."""
    lines = []
    for label, scores, metric in (
        ("relations, real photographs", photos, "drawbench_relation"),
        ("relations, Stable Diffusion", made, "drawbench_relation"),
        ("colours, Stable Diffusion", made, "drawbench_attribute"),
    ):
        passed, unseen, wrong = split(scores, metric)
        seen = f"{passed} of {passed + wrong}"
        lines.append([label, passed + unseen + wrong, passed, unseen, wrong, seen])
    return table(["clauses", "n", "right", "thing not detected", "detected and wrong", "right among detected"], lines)


def report(shared: Path, work: Path) -> str:
    """Return the text of calibration.md."""
    position, photos = photographs(shared, work)
    drawbench, made = stable_diffusion(shared, work)
    relations, numbers = photos.cells["drawbench_relation"], photos.cells["drawbench_quantity"]
    _, unseen, wrong = split(photos, "drawbench_relation")
    limit = LIMIT.format(
        relation=photos.text("drawbench_relation"),
        relations=relations["n"],
        failures=unseen + wrong,
        unseen=unseen,
        wrong=wrong,
        quantity=photos.text("drawbench_quantity"),
        photographs=numbers["n"],
    )
    parts = ["# Calibration on real pictures", INTRODUCTION, *position, *drawbench]
    return "\n\n".join([*parts, "## What fails, and why", causes(photos, made), limit, PICTURES]) + "\n"


LIMIT = """Photographs show what their annotations say, so every point below 100 on them is the detector's:

- **Relation.** Of {relations} true relations {relation} % are judged right. Among the {failures} failures are {unseen}
  of things that the detector does not see; {wrong} had both things and the wrong place. The rule of centres is not what
  limits this score, the detector's recall is: with this detector a generator can hardly reach more than this row.
- **Quantity.** Of {photographs} photographs {quantity} % are counted right, all classes of a photograph together,
  although nothing in them is wrong. A generator's score in that range says little about the generator. The least score
  of a counted thing, .35, was chosen with the table of photographs in view: below it false alarms prevail, above it
  misses do.
- **Attribute.** Photographs have no colour labels, so there is no real row; the table of causes shows how many coloured
  things fail because no detection is there. Some are not in the picture, others are not seen: the detector alone cannot
  tell which.

Colours and relations of Stable Diffusion are therefore understated by what this detector misses, by how much cannot be
said from detections alone, and generators compare only where one detector measured them. Published rows use a stronger
one (GroundingDINO): its row on the same photographs belongs beside this one before numbers of the two are compared."""

INTRODUCTION = """Made by `python reports/calibrate.py --shared ../shared/data`, protocol `strict`, 95 % intervals.
The detector is NanoDet (Apache-2.0; AP 28 on these photographs over all classes), run elsewhere, its results given as
`--detections`. Photographs are 80 of COCO val2017 (COCO_Tiny), annotations CC BY 4.0. The 64 pictures of Stable
Diffusion v1.4 are those of DrawBench-Glance, one a prompt, on the public prompts of Imagen with the boxes of T2I_Layout
(`radl-bench data import drawbench`). CLIP and FID are not here: they need weights that are not given with the data.
AP asks for the classes of each photograph alone, as for generated pictures, so it is higher than COCO's own."""

PICTURES = """## Pictures

`calibration.png` shows ten of them as boxes on blank: what NanoDet found (red, score .25 and more) and, for the five
photographs, what is annotated (green). The pictures themselves are not part of this project, since the photographs have
licences of their own and the others state none: `python reports/calibrate.py --shared ../shared/data --pictures FOLDER`
draws the same ten with their boxes into a folder of yours."""


def main() -> None:
    """Read the arguments, write the report and the boxes, or draw the pictures."""
    parser = argparse.ArgumentParser(description="Calibrate the scores on real pictures.")
    parser.add_argument("--shared", type=Path, required=True, help="folder with coco_tiny and drawbench")
    parser.add_argument("--pictures", type=Path, help="draw ten pictures with their boxes into this folder, no report")
    options = parser.parse_args()
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        draw(options.shared, options.pictures)
        return
    with tempfile.TemporaryDirectory() as work:
        Path(__file__).with_name("calibration.md").write_text(report(options.shared, Path(work)), "utf-8")
    draw(options.shared, None)


if __name__ == "__main__":
    main()
