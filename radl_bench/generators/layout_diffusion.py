"""LayoutDiffusion: boxes and classes to pixels, by a network of its own; it reads no text and no colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import MissingWeights, UsageError
from radl_bench.generators.numbers import real, whole
from radl_bench.generators.numbers import steps as checked_steps
from radl_bench.runs.scale import base_scale
from radl_bench.types import MAX_SIDE, Sample
from radl_model.checkpoints.places import PACKAGED
from radl_model.home import data_home

if TYPE_CHECKING:
    from PIL.Image import Image

PUBLISHED = {"sd14": "coco-256", "coco-256": "coco-256", "coco-128": "coco-128"}
"""`--model sd14` means the scale of the papers, where the published model draws 256 pixels."""

SOURCE = "the links of github.com/ZGCTroy/LayoutDiffusion (MIT)"


class LayoutDiffusionGenerator:
    """Layout to image with LayoutDiffusion (Zheng et al., CVPR 2023).

    A category that the model has no class for (it knows COCO's and COCO-Stuff's, the mini one the sprites'), and
    instances beyond the eight largest, are left out of the layout; the image's row says so. Prompt, phrases and
    colours are not read.

    Args:
        model: "mini", "coco-256" (also "sd14"), "coco-128", or a folder or state dict of your own.
        device: "cpu", "cuda", ...; the CPU when None.
        steps: calls of DPM-Solver-fast; each runs the network twice.
        guidance: weight of the layout, s in e_c + s (e_c - e_u) as published; 1 is 2 in the usual notation.
        size: side of the images in pixels, resized bicubically; twice the network's own when None.
        max_batch: images made at once, at most; one on a CPU.

    Raises:
        MissingWeights, BadInput: see `radl_model.layout_diffusion.pipeline.load`.
        UsageError: a setting that makes no sense.
    """

    name = "layout-diffusion"
    models = ("mini", *PUBLISHED)
    packages = ("torch", "safetensors")

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        steps: int = 25,
        guidance: float = 1.0,
        size: int | None = None,
        max_batch: int = 4,
    ) -> None:
        from radl_model.checkpoints.places import weights_sha256
        from radl_model.layout_diffusion.pipeline import load

        numbers: dict[str, int | float] = {
            "steps": checked_steps("steps", steps),
            "guidance": real("guidance", guidance),
        }
        if not 0 <= numbers["guidance"] < 100:
            raise UsageError(f"guidance={guidance} must be at least 0 and under 100.")
        most = whole("max_batch", max_batch)
        side = None if size is None else whole("size", size, 1, MAX_SIDE)
        place = find(model)
        self.scale = base_scale(place)
        self.network = load(place).to(device or "cpu")
        self.device = device or "cpu"
        self.max_batch = 1 if self.device == "cpu" else most  # each is finished by itself there
        native = self.network.config.image_size
        self.params = {**numbers, "native": native, "size": side or 2 * native}
        self.weights_sha256 = weights_sha256(place)
        self.revision = self.weights_sha256[:12]

    @classmethod
    def check_weights(cls, model: str) -> None:
        """Raise `MissingWeights` where the model is not on this machine."""
        find(model)

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one image a (sample, seed). On a CPU each is made by itself, so no byte depends on the batch."""
        if self.device != "cpu":
            return self._batch(samples, seeds)
        return [self._batch([sample], [seed])[0] for sample, seed in zip(samples, seeds, strict=True)]

    def _batch(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        import torch

        from radl_model.layout_diffusion.labels import encode
        from radl_model.layout_diffusion.pipeline import sample as draw

        config, p = self.network.config, self.params
        layouts = [encode([i.category for i in s.instances], [i.box for i in s.instances], config) for s in samples]
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        made = draw(self.network, layouts, generators, int(p["steps"]), p["guidance"])
        images = [_image(pixels, int(p["size"])) for pixels in ((made + 1) * 127.5).round().byte().cpu()]
        for image, layout in zip(images, layouts, strict=True):
            if layout.note:
                image.info["note"] = layout.note
        return images


def find(model: str) -> Path:
    """Return the folder or file of a model. Raises `MissingWeights`."""
    if model == "mini":
        return _packaged()
    if model not in PUBLISHED:
        return Path(model).expanduser()
    folder, side = data_home() / "weights" / "layout-diffusion", PUBLISHED[model].partition("-")[2]
    found = sorted(f for f in folder.glob("*") if side in f.name) if folder.is_dir() else []
    if not found:
        raise MissingWeights(
            f"No LayoutDiffusion weights for {side} pixels in {folder}. Get COCO-stuff_{side}x{side}_LayoutDiffusion_"
            f"large_ema_*.pt by {SOURCE} and put it there, or give its path with --model PATH."
        )
    return found[0]


def _packaged() -> Path:
    folder = PACKAGED / "mini" / "layout-diffusion"
    if not (folder / "config.json").is_file():
        raise MissingWeights(
            f"This installation has no mini weights of LayoutDiffusion ({folder}). Train them with `radl-train "
            "layout-diffusion --out OUT` and give --model OUT/layout-diffusion."
        )
    return folder


def _image(pixels: object, size: int) -> Image:
    """Turn uint8 [3, S, S] into an image with this side."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(np.asarray(pixels).transpose(1, 2, 0))
    return image if image.width == size else image.resize((size, size), Image.Resampling.BICUBIC)
