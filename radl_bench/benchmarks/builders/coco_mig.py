"""COCO-MIG at full size from COCO's own annotations, by the rules of the public sampler with its faults mended.

The public sampler draws without a seed; of an image with more than six objects it takes the first six and sorts those,
where the six largest are meant; and its file groups a prompt's objects by phrase, which loses their order. Here every
draw has a seed, the six are the largest, and objects stand in the order in which the prompt names them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from radl_bench.benchmarks.builders import Built, Options, version_of
from radl_bench.benchmarks.builders.coco import CocoImage, Thing, annotation_file, read_images
from radl_bench.benchmarks.builders.draw import pick, ranked
from radl_bench.benchmarks.importers.coco_mig import METRICS
from radl_bench.errors import BadInput
from radl_bench.files import file_sha256
from radl_bench.types import COLORS, Instance, Sample

SEED = 20261
PER_LEVEL = 160
LEVELS = (2, 3, 4, 5, 6)
SMALLEST_SIDE = 0.125
RULES = {
    "left_out_class": "person",
    "smallest_side": SMALLEST_SIDE,
    "crowd_regions": "the region is left out",
    "more_than_six": "the six with the largest boxes stay, in the order of the annotations",
}

FIELDS: dict[str, Any] = {
    "name": "coco-mig-full",
    "version": "1",
    "license": "boxes and classes from COCO annotations, CC BY 4.0",
    "citation": "Zhou et al., MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis, CVPR 2024; "
    "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    "description": "",
    "images_per_sample": 1,
    "resolution": 512,
}


def build(options: Options) -> Built:
    """Return the benchmark made from `instances_<split>.json`: `count` layouts at each of the levels 2 to 6.

    Raises:
        MissingData: the annotation file is absent.
        BadInput: the file is broken, or a level has fewer images than wanted.
    """
    seed, count = SEED if options.seed is None else options.seed, options.count or PER_LEVEL
    file = annotation_file(options.coco, "instances", options.split)
    images = read_images(file)
    things = {image.id: kept_things(image) for image in images.values()}
    order = ranked(images, seed, "coco-mig")
    chosen = {level: [key for key in order if len(things[key]) == level][:count] for level in LEVELS}
    for level, keys in chosen.items():
        if len(keys) < count:
            raise BadInput(f"{file} has {len(keys)} images with {level} fitting objects; {count} are needed.")
    keys = [chosen[level][k] for k in range(count) for level in LEVELS]
    version = version_of(str(FIELDS["version"]), seed, SEED, count, PER_LEVEL, options.split)
    description = f"{count} layouts a level out of COCO {options.split}, two to six coloured objects, seed {seed}"
    return Built(
        "coco-mig",
        tuple(_sample(key, things[key], seed) for key in keys),
        FIELDS | {"version": version, "description": description},
        METRICS,
        {file.name: file_sha256(file)},
        RULES,
        _counts(images, things),
        seed,
        {"image_ids.txt": tuple(map(str, keys))},
    )


def kept_things(image: CocoImage) -> list[Thing]:
    """Return the objects of a layout in the order of the annotations: the six largest of those that fit."""
    fitting = [t for t in image.things if not t.crowd and t.category != "person" and t.side >= SMALLEST_SIDE]
    largest = sorted(range(len(fitting)), key=lambda i: (-fitting[i].area, i))[: max(LEVELS)]
    return [fitting[i] for i in sorted(largest)]


def _counts(images: dict[int, CocoImage], things: dict[int, list[Thing]]) -> dict[str, int]:
    levels = Counter(len(kept) for kept in things.values())
    by_level = {f"with {level} fitting objects{' or more' * (level == 6)}": levels[level] for level in range(7)}
    crowds = sum(thing.crowd for image in images.values() for thing in image.things)
    return {"images": len(images)} | by_level | {"crowd regions, left out of their images": crowds}


def _sample(key: int, things: list[Thing], seed: int) -> Sample:
    instances = tuple(_instance(thing, place, key, seed) for place, thing in enumerate(things))
    return Sample(f"mig-{key:012d}", "a photo of " + " and ".join(i.phrase for i in instances), instances)


def _instance(thing: Thing, place: int, key: int, seed: int) -> Instance:
    color = COLORS[pick(len(COLORS), seed, f"color-{place}", key)]
    return Instance(f"a {color} {thing.category}", thing.category, color, thing.box)
