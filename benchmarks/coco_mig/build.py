"""Build `samples.jsonl` and `benchmark.toml` of COCO-MIG from the box facts of a COCO-MIG annotation file.

    python benchmarks/coco_mig/build.py mig_bench_anno.yaml

From the file are taken facts of COCO's annotations only: which classes an image holds, and where. Which image comes
when, the order of the instances and every colour are drawn here under `SEED`, so prompts, phrases and ids are this
benchmark's own. The result depends on the facts alone, not on the order of the file.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from radl_bench.benchmarks.builders.draw import shuffled
from radl_bench.benchmarks.builders.facts import LEVELS, Fact, draw, read_facts
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.coco_mig import METRICS
from radl_bench.types import COLORS, Box, Instance, Sample

SEED = 20261
PER_LEVEL = 160

FIELDS = {
    "name": "coco-mig",
    "version": "1",
    "license": "Apache-2.0; boxes and classes from COCO annotations, CC BY 4.0",
    "citation": "Zhou et al., MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis, CVPR 2024; "
    "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    "description": "Layouts of 2 to 6 coloured objects out of COCO val2014, 160 a level, colours drawn anew",
    "images_per_sample": 1,
    "resolution": 512,
    "table": {
        "name": "Table II",
        "what": "success and position",
        "columns": ["success_inst", "success_img", "miou"],
        "by_level": True,
        "differences": ["success_inst", "success_img", "miou", "local_clip", "clip", "ap", "fid"],
    },
    "paper": {"images_per_sample": 1, "steps": 60, "seed": 0, "seed_policy": "hashed"},
}


def build(file: Path) -> list[Sample]:
    """Return the 800 samples; levels take turns, so that any head of the list is balanced over them."""
    rng = random.Random(SEED)
    facts = read_facts(file)
    drawn = {level: draw(facts, level, PER_LEVEL, rng) for level in LEVELS}
    order = [drawn[level][k] for k in range(PER_LEVEL) for level in LEVELS]
    return [_sample(n, fact, rng) for n, fact in enumerate(order)]


def _sample(number: int, fact: Fact, rng: random.Random) -> Sample:
    instances = tuple(_instance(category, box, rng) for category, box in shuffled(fact, rng))
    prompt = "a photo of " + " and ".join(i.phrase for i in instances)
    return Sample(f"mig-{number:06d}", prompt, instances)


def _instance(category: str, box: Box, rng: random.Random) -> Instance:
    color = COLORS[int(rng.random() * len(COLORS))]
    return Instance(f"a {color} {category}", category, color, box)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build COCO-MIG from the box facts of a COCO-MIG annotation file.")
    parser.add_argument("file", type=Path, help="a mig_bench_anno.yaml")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args()
    write_benchmark(options.out, build(options.file), FIELDS, METRICS)
