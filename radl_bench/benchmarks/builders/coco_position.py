"""COCO-Position at full size: 800 images of COCO val2014, their boxes and captions, eight images a layout.

The papers (MIGC, RaDL) say "800 images of COCO's validation set", a caption as prompt and class labels as phrases; ids,
filters and code of theirs are not public (ConsistCompose published a re-sampled set with a scorer in 2026). The filters
here are ours, stated and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.builders import Built, Options, version_of
from radl_bench.benchmarks.builders.coco import CocoImage, Thing, annotation_file, read_images
from radl_bench.benchmarks.builders.draw import pick, ranked
from radl_bench.errors import BadInput
from radl_bench.files import file_sha256
from radl_bench.types import Instance, Sample
from radl_model.verbs.extract import extract_verbs

SEED = 20262
IMAGES = 800
REFERENCES = 6400
"""Real images behind the FID, as many as are generated at eight images a layout."""

SMALLEST_SIDE = 0.125
MOST_INSTANCES = 8
RULES = {
    "smallest_side": SMALLEST_SIDE,
    "most_instances": MOST_INSTANCES,
    "crowd_regions": "the image is left out",
    "too_small_beside_a_kept_one_of_its_class": "the image is left out",
}

METRICS: dict[str, dict[str, Any]] = {
    "success": {"iou": 0.5},
    "iou": {},
    "average_precision": {},
    "clip_score": {},
    "fid": {},
}

FIELDS: dict[str, Any] = {
    "name": "coco-position-full",
    "version": "1",
    "license": "COCO annotations and captions, CC BY 4.0",
    "citation": "Zhou et al., MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis, CVPR 2024; "
    "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    "description": "Images of COCO val2014 with their captions and boxes",
    "images_per_sample": 8,
    "resolution": 512,
}


def build(options: Options) -> Built:
    """Return the benchmark made from `instances_<split>.json` and `captions_<split>.json`.

    Every image has a place in a random order that depends on the seed and its id alone; the first of those that pass
    the filters are taken. The images behind the FID are these and the next of the same order, filtered or not.

    Raises:
        MissingData: an annotation file is absent.
        BadInput: a file is broken, or fewer images than wanted pass.
    """
    seed, count = SEED if options.seed is None else options.seed, options.count or IMAGES
    files = [annotation_file(options.coco, kind, options.split) for kind in ("instances", "captions")]
    images = read_images(*files)
    reasons = {image.id: _why_not(image) for image in images.values()}
    counts = _counts(reasons)
    order = ranked(images, seed, "coco-position")
    chosen = [key for key in order if reasons[key] is None][:count]
    if len(chosen) < count:
        raise BadInput(f"{len(chosen)} images of {files[0].name} pass the filters ({counts}); {count} are needed.")
    samples = tuple(_sample(images[key], seed) for key in chosen)
    reference = [*chosen, *(key for key in order if key not in set(chosen))][: max(REFERENCES, count)]
    version = version_of(str(FIELDS["version"]), seed, SEED, count, IMAGES, options.split)
    return Built(
        "coco-position",
        samples,
        FIELDS | {"version": version, "description": f"{count} images of COCO {options.split}, captions and boxes"},
        METRICS | {"fid": {"reference": FIELDS["name"]}},
        {file.name: file_sha256(file) for file in files},
        RULES,
        counts,
        seed,
        {
            "image_ids.txt": tuple(map(str, chosen)),
            "fid_reference.txt": tuple(Path(images[key].file_name).stem for key in reference),
        },
    )


def kept_things(image: CocoImage) -> list[Thing]:
    """Return the objects that a layout may hold: no crowd region, no side under 1/8."""
    return [thing for thing in image.things if not thing.crowd and thing.side >= SMALLEST_SIDE]


def _why_not(image: CocoImage) -> str | None:
    """Return the first filter that leaves the image out, or None."""
    kept = kept_things(image)
    classes = {thing.category for thing in kept}
    if not image.captions:
        return "without a caption"
    if any(thing.crowd for thing in image.things):
        return "with a crowd region"
    if not kept:
        return "without an object of at least 1/8 a side"
    if len(kept) > MOST_INSTANCES:
        return f"with more than {MOST_INSTANCES} such objects"
    # Otherwise a detector that finds the small one would be called wrong: the layout does not hold it.
    if any(thing.category in classes for thing in image.things if thing.side < SMALLEST_SIDE):
        return "with a smaller object of a class that is kept"
    return None


def _counts(reasons: Mapping[int, str | None]) -> dict[str, int]:
    left_out = Counter(reason for reason in reasons.values() if reason is not None)
    return {"images": len(reasons)} | dict(left_out.most_common()) | {"passed": len(reasons) - left_out.total()}


def _sample(image: CocoImage, seed: int) -> Sample:
    caption = image.captions[pick(len(image.captions), seed, "caption", image.id)]
    instances = tuple(Instance(thing.category, thing.category, None, thing.box) for thing in kept_things(image))
    return Sample(f"pos-{image.id:012d}", caption, instances, verbs=extract_verbs(caption))
