"""Build the embedded COCO-Position: `samples.jsonl` and `benchmark.toml` from the box facts of a COCO-MIG file.

    python benchmarks/coco_position/build.py mig_bench_anno.yaml

From the file are taken facts of COCO's annotations only: which classes an image holds, and where. Captions are written
here by a template whose relations follow from the boxes; which images, and the order of the objects, are drawn under
`SEED`. The full-size version has COCO's own captions: `radl-bench data build coco-position`.
"""

from __future__ import annotations

import argparse
import random
from itertools import permutations
from pathlib import Path

from radl_bench.benchmarks.builders.captions import told
from radl_bench.benchmarks.builders.coco_position import FIELDS, METRICS
from radl_bench.benchmarks.builders.draw import shuffled
from radl_bench.benchmarks.builders.facts import LEVELS, Fact, draw, read_facts
from radl_bench.benchmarks.builders.geometry import arranged, relation
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.types import Instance, Sample
from radl_model.verbs.extract import extract_verbs

SEED = 20262
PER_LEVEL = 32
EMBEDDED = {
    "name": "coco-position",
    "license": "Apache-2.0; boxes and classes from COCO annotations, CC BY 4.0",
    "description": "Layouts of 2 to 6 objects out of COCO val2014, 32 a level, captions by template",
    "images_per_sample": 2,
    "table": {
        "name": "Table I",
        "what": "position, text and realism",
        "columns": ["success_inst", "success_img", "miou", "ap", "ap50", "ap75", "clip", "local_clip", "fid"],
        "differences": ["success_inst", "success_img", "miou", "ap50", "ap75", "local_clip", "clip", "ap", "fid"],
    },
    "paper": {"images_per_sample": 8, "steps": 60, "seed": 0, "seed_policy": "hashed"},
}


def build(file: Path) -> list[Sample]:
    """Return the 160 samples; levels take turns, so that any head of the list is balanced over them."""
    rng = random.Random(SEED)
    facts = [fact for fact in read_facts(file) if _related(fact)]
    drawn = {level: draw(facts, level, PER_LEVEL, rng) for level in LEVELS}
    order = [drawn[level][k] for k in range(PER_LEVEL) for level in LEVELS]
    return [_sample(number, fact, rng) for number, fact in enumerate(order)]


def _related(fact: Fact) -> bool:
    return any(relation(a[1], b[1]) for a, b in permutations(fact, 2))


def _sample(number: int, fact: Fact, rng: random.Random) -> Sample:
    drawn = shuffled(fact, rng)
    order, relations = arranged(drawn)
    instances = tuple(Instance(f"a {drawn[i][0]}", drawn[i][0], None, drawn[i][1]) for i in order)
    caption = "a photo of " + told(instances, relations)
    return Sample(f"pos-{number:06d}", caption, instances, relations, extract_verbs(caption))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the embedded COCO-Position from a COCO-MIG annotation file.")
    parser.add_argument("file", type=Path, help="a mig_bench_anno.yaml")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args()
    write_benchmark(options.out, build(options.file), FIELDS | EMBEDDED, METRICS)
