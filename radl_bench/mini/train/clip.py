"""Stage "clip": the mini CLIP, contrastively on (scene, caption) and (crop of an instance, phrase).

Every layout comes with a twin: the same boxes with other colours, with other classes, or with its colours exchanged. So
each batch holds the wrong pairs that differ in just what a caption says.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.judges.clip import build, tokenizer
from radl_bench.mini.judges.common import square
from radl_bench.mini.layouts import LayoutSampler, with_article
from radl_bench.mini.scenes import render_visible
from radl_bench.mini.train.augment import augment
from radl_bench.mini.train.config import LEARNS, takes
from radl_bench.mini.train.judges import VISIBLE, JudgeSettings, calibrate, save, to_tensor
from radl_bench.runs.images import crop_square
from radl_bench.types import COLORS, Instance, Sample
from radl_model.train.loop import Loop, LoopConfig

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

HELD_OUT = 970_000
CONTEXT = 48
COMMON_MERGES = 1500
_WORDS = (
    "a photo picture of there is and on top resting sitting leaning against facing looking at chasing left right above "
    "below in the with next to behind front under two three four five six"
)


class Settings(JudgeSettings):
    """The content of `configs/clip.toml`."""

    embed_dim: int
    vision: dict[str, object]
    text: dict[str, object]


@dataclass(frozen=True)
class Pair:
    """An image uint8 [128, 128, 3], a text that tells it, and a key: pairs of equal keys are no wrong pairs."""

    image: NDArray[np.uint8]
    text: str
    key: str


def write_vocabulary(path: Path, common: int = COMMON_MERGES) -> None:
    """Write CLIP's first `common` merges and all that can occur in the world's words, in CLIP's order, gzipped.

    The tokens of those words stay what they are under the full list: a merge is only ever used inside a word that
    contains it.
    """
    from open_clip.tokenizer import default_bpe

    words = [word + "</w>" for name in (*CATEGORIES, *COLORS, _WORDS) for word in name.split()]
    header, *merges = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    merges = merges[: 49152 - 256 - 2]
    kept = [m for n, m in enumerate(merges) if n < common or any(m.replace(" ", "") in word for word in words)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join([header, *kept]).encode(), mtime=0))


def recaption(sample: Sample, instances: tuple[Instance, ...]) -> Sample:
    """Return the sample with other instances, each named in the prompt where its predecessor was."""
    prompt, rest = "", sample.prompt
    for old, new in zip(sample.instances, instances, strict=True):
        before, _, rest = rest.partition(old.phrase)
        prompt += before + new.phrase
    return replace(sample, prompt=prompt + rest, instances=instances)


def _named(instance: Instance, category: str, color: str | None) -> Instance:
    phrase = with_article(f"{color} {category}" if color else category)
    return replace(instance, phrase=phrase, category=category, color=color)


def twin(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return a sample that differs in colours, in classes, or in which thing has which colour."""
    things = sample.instances
    if len(things) > 1 and rng.random() < 0.4:
        turned = (*things[1:], things[0])
        return recaption(sample, tuple(_named(i, i.category, j.color) for i, j in zip(things, turned, strict=True)))
    if rng.random() < 0.5:
        return recaption(sample, tuple(_named(i, i.category, str(rng.choice(COLORS))) for i in things))
    return recaption(sample, tuple(_named(i, str(rng.choice(CATEGORIES)), i.color) for i in things))


def scene_key(sample: Sample) -> str:
    """Return what a scene shows: its phrases in order of the alphabet, and its relations."""
    return " + ".join([*sorted(i.phrase for i in sample.instances), *(r.predicate for r in sample.relations)])


def crop_pair(image: NDArray[np.uint8], instance: Instance, rng: np.random.Generator) -> Pair:
    """Return the crop of an instance, its box moved by up to 4 % of its sides, and its phrase."""
    x0, y0, x1, y1 = instance.box
    jitter = rng.uniform(-0.04, 0.04, 4) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    crop = crop_square(Image.fromarray(image), np.clip(np.asarray(instance.box) + jitter, 0, 1).tolist())
    return Pair(square(crop), instance.phrase, instance.phrase)


def pairs(sample: Sample, rng: np.random.Generator, treat: bool = True) -> list[Pair]:
    """Return the scene with its caption, and one of its visible instances with its phrase."""
    image, visible = render_visible(sample, int(rng.integers(1 << 31)))
    if treat:
        image = augment(image, rng)
    seen = np.flatnonzero(visible >= VISIBLE)
    instance = sample.instances[int(rng.choice(seen))]
    return [Pair(image, sample.prompt, scene_key(sample)), crop_pair(image, instance, rng)]


def make_pairs(step: int, count: int, seed: int) -> list[Pair]:
    """Return `count` pairs of fresh scenes, half of them crops; a multiple of four."""
    rng = np.random.default_rng((seed, step))
    layouts = LayoutSampler(int(rng.integers(1 << 31)))
    found: list[Pair] = []
    while len(found) < count:
        sample = layouts.sample()
        found += pairs(sample, rng) + pairs(twin(sample, rng), rng)
    return found[:count]


def _pixels(images: Iterable[NDArray[np.uint8]]) -> Tensor:
    tensor = (to_tensor(list(images)) - 0.5) / 0.25
    return tensor.contiguous(memory_format=torch.channels_last)


def make_batch(step: int, batch_size: int, tokens: SimpleTokenizer, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return images [N, 3, 128, 128], token ids [N, 48], and float32 [N, N], 1 where two pairs have one key."""
    found = make_pairs(step, batch_size, seed)
    keys = np.array([pair.key for pair in found])
    same = torch.from_numpy((keys[:, None] == keys[None]).astype(np.float32))
    return _pixels(pair.image for pair in found), tokens([pair.text for pair in found]), same


def loss_fn(module: nn.Module, batch: tuple[Tensor, Tensor, Tensor], rng: torch.Generator) -> Tensor:
    """Symmetric cross-entropy of CLIP (Radford et al., arXiv 2103.00020), equal keys sharing the target."""
    images, texts, same = batch
    image, text, scale = module(images, texts)
    logits = scale.clamp(max=100.0) * image.float() @ text.float().T
    goal = same / same.sum(1, keepdim=True)
    return (nn.functional.cross_entropy(logits, goal) + nn.functional.cross_entropy(logits.T, goal)) / 2


def figures(module: nn.Module, tokens: SimpleTokenizer, count: int = 256) -> dict[str, float]:
    """Return held-out figures, not augmented: `retrieval` top-1 of 64 captions for a scene, `phrase` top-1 of all
    79 x 7 coloured phrases for a crop, `twin` share of scenes closer to their caption than to their twin's."""
    rng = np.random.default_rng(HELD_OUT)
    layouts = LayoutSampler(HELD_OUT, uncolored=0.0)
    samples = [layouts.sample() for _ in range(count)]
    scenes, crops = zip(*(pairs(sample, rng, treat=False) for sample in samples), strict=True)
    phrases = [with_article(f"{color} {name}") for name in CATEGORIES for color in COLORS]
    shown, cut = _images(module, scenes), _images(module, crops)
    captions = _texts(module, tokens, [pair.text for pair in scenes])
    others = _texts(module, tokens, [twin(sample, rng).prompt for sample in samples])
    named = (cut @ _texts(module, tokens, phrases).T).argmax(1)
    groups = [slice(start, start + 64) for start in range(0, count, 64)]
    hits = [(shown[g] @ captions[g].T).argmax(1) == torch.arange(64) for g in groups]
    own = (shown * captions).sum(1)
    return {
        "retrieval": float(torch.cat(hits).float().mean()),
        "phrase": float(np.mean([phrases[n] == pair.text for n, pair in zip(named, crops, strict=True)])),
        "twin": float((own > (shown * others).sum(1)).float().mean()),
        "cosine": float(own.mean()),
    }


def _images(module: nn.Module, found: Iterable[Pair]) -> Tensor:
    with torch.no_grad():
        parts = _pixels(pair.image for pair in found).split(64)
        return torch.cat([module.encode_image(part, normalize=True) for part in parts])  # type: ignore[operator]


def _texts(module: nn.Module, tokens: SimpleTokenizer, texts: list[str]) -> Tensor:
    with torch.no_grad():
        parts = tokens(texts).split(64)
        return torch.cat([module.encode_text(part, normalize=True) for part in parts])  # type: ignore[operator]


def on_sample(
    module: nn.Module, step: int, config: Mapping[str, object], tokens: SimpleTokenizer, out: Path
) -> dict[str, float]:
    """Calibrate the averaged weights, write them to `out/weights` and return the held-out figures."""
    module.eval()
    batches = [make_batch(n, 128, tokens, HELD_OUT + 1)[0] for n in range(3)]
    calibrate(module.visual, batches)  # type: ignore[arg-type]
    measured = {name: round(value, 4) for name, value in figures(module, tokens).items()}
    save(module, config, out / "weights")
    module.train()
    return measured


@takes(
    "clip",
    needs={"loop", "embed_dim", "vision", "text"},
    may=LEARNS,
    tables={"vision": {"layers", "width", "head_width", "image_size"}, "text": {"width", "heads", "layers"}},
)
def train(settings: Settings, out: Path, minutes: float | None) -> None:
    """Train the mini CLIP; leaves `weights/` for `radl_bench.mini.judges.clip`."""
    torch.manual_seed(settings.get("init_seed", 0))
    loop_config = LoopConfig.from_dict(settings["loop"])
    write_vocabulary(out / "weights" / "bpe.txt.gz")
    tokens = tokenizer(out / "weights" / "bpe.txt.gz", CONTEXT)
    text = {**settings["text"], "context_length": CONTEXT, "vocab_size": tokens.vocab_size}
    config = {"embed_dim": settings["embed_dim"], "vision_cfg": settings["vision"], "text_cfg": text}
    batch = partial(make_batch, batch_size=loop_config.batch_size, tokens=tokens, seed=settings.get("data_seed", 11))
    report = partial(on_sample, config=config, tokens=tokens, out=out)
    module = build(config).to(memory_format=torch.channels_last)
    loop = Loop(module, batch, loss_fn, loop_config, out, report)
    loop.resume()
    loop.run(minutes)
