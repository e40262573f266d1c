"""CPU-seconds of GroundingDINO SwinT-OGC: one full forward a query against the detector of this package.

    python benchmarks/speed/grounding_dino.py [--side 800] [--threads 1] [--distinct | --one] [--double] [--repeats 1]
    python benchmarks/speed/grounding_dino.py --size tiny --side 128      # the real Swin-T, small layers after it
    python benchmarks/speed/grounding_dino.py --count                     # forwards that all of COCO-MIG takes

Random weights in the real config; the cost does not depend on their values. A query of the public scorer is one
instance of a layout, so "a red car", "a blue car" and "a white dog" cost it three forwards; this package asks for "car"
and "dog", once each, and runs the backbone once. The layout is one of COCO-MIG's level 4 with a category twice, as 224
of its 800 layouts have; `--distinct` takes four categories, so that nothing is won by repetition. Prints the seconds
(the two ways in turn, the least of the repeats) and how many rows of the answers are equal.

`--double` computes in float64, which tells rounding from a fault: what is equal there and not in float32 is rounding.
transformers gives the logits as float32 even then, so the boxes alone show the distance below 1e-7.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import numpy as np

CATEGORIES = ("car", "dog", "dining table", "car")
DISTINCT = ("car", "dog", "dining table", "cup")
ONE = ("dining table",)


def main() -> None:
    """Run the comparison and print it as a Markdown table."""
    import torch
    from PIL import Image

    from radl_bench.judges.grounding import Query, pixels_of
    from radl_bench.judges.grounding_dino import TransformersNetwork
    from radl_bench.judges.local_weights import exact

    options = _options()
    if options.count:
        count()
        return
    torch.set_num_threads(options.threads)
    names = ONE if options.one else DISTINCT if options.distinct else CATEGORIES
    queries = {name: Query(*_tokens(name)) for name in names}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    pixels, model = pixels_of(image, options.side), _random(_config(options.size))
    if options.double:
        pixels, model = pixels.double(), model.double()
    network, befores, afters = TransformersNetwork(copy.deepcopy(model)), [], []
    with exact():
        for _ in range(options.repeats):
            stock, seconds = _timed(lambda: [_full(model, pixels, queries[name]) for name in names])
            befores.append(seconds)
            own, seconds = _timed(lambda: _ours(network, pixels, queries))
            afters.append(seconds)
    before, after = min(befores), min(afters)
    pairs = [(stock[n], own[name], len(queries[name].ids)) for n, name in enumerate(names)]
    rows, apart = [_equal(*pair) for pair in pairs], [_apart(*pair) for pair in pairs]
    print(f"| queries: {len(names)}, pixels: {options.side}, threads: {options.threads} | CPU-seconds | a query |")
    print("|---|---|---|")
    print(f"| one full forward a query | {before:.2f} | {before / len(names):.2f} |")
    print(f"| this package | {after:.2f} | {after / len(names):.2f} |")
    shares = ", ".join(f"{100 * row:.1f}" for row in rows)
    print(f"\n{before / after:.2f} times less. Rows equal within 1e-4, %, by query: {shares}.")
    print("Median difference of raw logits, by query: " + ", ".join(f"{value:.1e}" for value in apart) + ".")
    boxes = [float((a[1] - b[1]).abs().max()) for a, b, _ in pairs]
    print("Greatest difference of a box, by query: " + ", ".join(f"{value:.1e}" for value in boxes) + ".")
    different = [len(np.unique(a[1].numpy().round(4), axis=0)) for a, _, _ in pairs]
    print(f"Different boxes among {len(pairs[0][0][1])}, by query: {', '.join(map(str, different))}.")


class Counting:
    """A network that answers nothing and counts what it is asked."""

    at_once = 1

    def __init__(self) -> None:
        self.images = self.queries = 0

    def see(self, pixels: Any) -> None:
        self.images += 1

    def ask(self, queries: Any) -> tuple[Any, Any]:
        import torch

        self.queries += len(queries)
        return torch.zeros(len(queries), 1, 256), torch.zeros(len(queries), 1, 4)

    def forget(self) -> None:
        """Nothing is kept."""


def count() -> None:
    """Print how often each part of the network runs over COCO-MIG, one image a layout."""
    from PIL import Image

    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.judges.grounding import GroundingDetector, Query

    class Detector(GroundingDetector):
        signature, tokenizer, network = "counting", None, Counting()

        def _query(self, name: str) -> Query:
            return Query(*_tokens(name))

    samples = load_benchmark("coco-mig").samples
    detector = Detector(side=8)
    for n, sample in enumerate(samples):
        image = Image.new("RGB", (8, 8), (n % 256, n // 256, 0))
        detector.detect([image], [[thing.category for thing in sample.instances]])
    full, seen = sum(len(sample.instances) for sample in samples), detector.network
    print(f"| COCO-MIG, {len(samples)} images | backbone | fusion layers and decoder |")
    print("|---|---|---|")
    print(f"| one full forward a query | {full} | {full} |")
    print(f"| this package | {seen.images} | {seen.queries} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=800, help="pixels of the shorter side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", choices=("real", "tiny"), default="real", help="of the layers after the backbone")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--count", action="store_true", help="count forwards instead of timing them")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--distinct", action="store_true", help="four categories, none of them twice")
    which.add_argument("--one", action="store_true", help="one category")
    parser.add_argument("--double", action="store_true", help="float64")
    return parser.parse_args()


def _tokens(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return ids and span of a caption; the ids of the words are arbitrary, their number is BERT's."""
    words = tuple(3000 + sum(map(ord, word)) for word in name.split())
    return (101, *words, 1012, 102), tuple(range(1, len(words) + 1))


def _config(size: str) -> Any:
    """Return SwinT-OGC's config, or one with the same backbone and small layers after it."""
    from radl_bench.judges.grounding_config import default_config

    config = default_config()
    if size == "tiny":
        config.encoder_layers = config.decoder_layers = 2
        config.encoder_ffn_dim = config.decoder_ffn_dim = 64
        config.num_queries, config.text_config.num_hidden_layers = 50, 1
    return config


def _random(config: Any) -> Any:
    """Return a model with no parameter at a constant start, so that every layer takes part in the answer."""
    import torch
    from transformers import GroundingDinoForObjectDetection

    torch.manual_seed(0)
    model = GroundingDinoForObjectDetection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2 or parameter.std() == 0:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def _full(model: Any, pixels: Any, query: Any) -> tuple[Any, Any]:
    import torch

    out = model(pixel_values=pixels, input_ids=torch.tensor([query.ids]))
    return out.logits[0], out.pred_boxes[0]


def _ours(network: Any, pixels: Any, queries: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    network.see(pixels)
    out = {}
    for name, query in queries.items():
        logits, boxes = network.ask([query])
        out[name] = logits[0], boxes[0]
    network.forget()
    return out


def _equal(a: tuple[Any, Any], b: tuple[Any, Any], tokens: int) -> float:
    """Return the share of rows, a box and the probability of each token, that are equal within 1e-4."""
    chances = (a[0].sigmoid() - b[0].sigmoid()).abs()[:, :tokens].amax(1)
    return float((chances.maximum((a[1] - b[1]).abs().amax(1)) < 1e-4).float().mean())


def _apart(a: tuple[Any, Any], b: tuple[Any, Any], tokens: int) -> float:
    """Return the median difference of the raw logits."""
    return float((a[0] - b[0]).abs()[:, :tokens].median())


def _timed(work: Any) -> tuple[Any, float]:
    start = time.process_time()
    return work(), time.process_time() - start


if __name__ == "__main__":
    main()
