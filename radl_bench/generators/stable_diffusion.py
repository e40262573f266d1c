"""The text-only baseline: a Stable Diffusion v1 shaped base on the global prompt, boxes unseen."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import BadInput, UsageError, did_you_mean
from radl_bench.types import SCALES, Sample

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Names for `--set scheduler=`; "base" keeps the one that comes with the model."""

MINI = {"num_inference_steps": 30, "guidance_scale": 4.0, "scheduler": "base", "negative_prompt": "", "max_batch": 8}
PAPER = {
    "num_inference_steps": 60,
    "guidance_scale": 7.5,
    "scheduler": "euler",
    "negative_prompt": "worst quality, low quality, bad anatomy",
    "max_batch": 4,
}
"""RaDL's 60 steps; scheduler, guidance and negative prompt as MIGC's public benchmark script has them."""


class StableDiffusionGenerator:
    """Text to image with diffusers.

    Args:
        model: "mini", "sd14", a pipeline folder or a single safetensors file.
        device: "cpu", "cuda", "mps"; the best there is when None.
        num_inference_steps, guidance_scale, scheduler, negative_prompt, max_batch: see `MINI` and `PAPER`, whose values
            stand for what is None. Text from the command line is converted.
        dtype: "float32", "bfloat16" or "float16".
        exact: make each image by itself, so that its bytes depend on sample and seed alone, however the work is cut
            into batches and shards. Other batch sizes take other matrix kernels, which moves a byte now and then.
            Costs about a quarter of the speed on a CPU; on by default there, off on a GPU. The mini model then computes
            with one thread, since the number of threads moves bytes too; RaDL took 1.4 times as long so as with two on
            two idle cores, which two shards use just as well.

    Raises:
        MissingWeights: the model is not on this machine.
        UsageError: a setting that makes no sense.
    """

    name = "stable-diffusion"
    models = ("mini", "sd14")
    """Names that `model` may have beside a place; a method that lists "mini" gets it where no model is asked for."""
    defaults: tuple[dict[str, Any], dict[str, Any]] = (MINI, PAPER)

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        negative_prompt: str | None = None,
        max_batch: int | None = None,
        dtype: str = "float32",
        exact: bool | str | None = None,
    ) -> None:
        from radl_model.checkpoints.places import resolve_base, weights_sha256

        given = {
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "scheduler": scheduler,
            "negative_prompt": negative_prompt,
            "max_batch": max_batch,
        }
        self.base, self.small = resolve_base(model), model == "mini"
        self.scale = base_scale(self.base)
        self.params = _settings(self.defaults[model != "mini"], given)
        self.max_batch = int(self.params.pop("max_batch"))
        self.params["dtype"] = dtype
        self.device = device or _best_device()
        self.params["exact"] = self.device == "cpu" if exact is None else str(exact).lower() in {"true", "1", "yes"}
        with _quiet():
            self.pipe = self._load(model)
            self._prepare()
        self.weights_sha256 = weights_sha256(*self._weight_places())
        self.revision = self.weights_sha256[:12]

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one image a (sample, seed). Noise is drawn on the CPU by one generator an image."""
        if not self.params["exact"]:
            return self._batch(samples, seeds)
        with _one_thread() if self.small else contextlib.nullcontext():
            return [self._batch([sample], [seed])[0] for sample, seed in zip(samples, seeds, strict=True)]

    def _batch(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        import torch

        prompts, layouts = self._prompts(samples), self._layouts(samples)
        images = self.pipe(
            prompts,
            num_inference_steps=self.params["num_inference_steps"],
            guidance_scale=self.params["guidance_scale"],
            negative_prompt=[self.params["negative_prompt"]] * len(samples),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            **layouts,
        ).images
        phrases = layouts.get("phrases") or [[]] * len(samples)
        for image, prompt, texts in zip(images, prompts, phrases, strict=True):
            note = self.pipe.note_of_cuts([prompt, *texts])
            if note:
                image.info["note"] = note
        return images

    def _prompts(self, samples: Sequence[Sample]) -> list[str]:
        """Global prompts."""
        return [sample.prompt for sample in samples]

    def _layouts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """More arguments of the pipeline; a text-only method has none."""
        return {}

    def _load(self, model: str) -> Any:
        from radl_model.pipelines.pipeline import RaDLPipeline

        return RaDLPipeline.from_pretrained(self.base)

    def _weight_places(self) -> list[Path]:
        return [self.base]

    def _prepare(self) -> None:
        """Scheduler, precision, device; quiet."""
        import diffusers
        import torch

        name = self.params["scheduler"]
        if name != "base":
            if name not in SCHEDULERS:
                raise UsageError(did_you_mean(name, [*SCHEDULERS, "base"], "scheduler"))
            # What Euler makes of the hub's configuration; a copy that was saved again may state another spacing.
            fixed = {"timestep_spacing": "linspace"} if name == "euler" else {}
            made = getattr(diffusers, SCHEDULERS[name]).from_config(self.pipe.scheduler.config, **fixed)
            self.pipe.scheduler = made
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(self.device, _dtype(self.params["dtype"]))
        for part in (self.pipe.unet, self.pipe.vae):
            part.to(memory_format=torch.channels_last)


def base_scale(base: Path) -> str:
    """Return the scale that a base declares: `scale` in its `scale.json`; "paper" where it has no such file.

    Raises:
        BadInput: the file says something else.
    """
    file = base / "scale.json"
    if not file.is_file():
        return "paper"
    try:
        scale = json.loads(file.read_text("utf-8"))["scale"]
    except (OSError, ValueError, KeyError, TypeError):
        scale = None
    if scale not in SCALES:
        raise BadInput(f'{file} does not say the scale of the model: {{"scale": "mini"}} or {{"scale": "paper"}}.')
    return str(scale)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with a single thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loaders' bars and remarks off the terminal; errors still show."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    before = [(log, log.get_verbosity()) for log in (diffusers_log, transformers_log)]
    for log, _ in before:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level in before:
            log.set_verbosity(level)
            log.enable_progress_bar()


def _settings(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Defaults, overridden by what is given, each converted to the type of its default."""
    resolved = dict(defaults)
    for key, value in given.items():
        if value is None:
            continue
        try:
            resolved[key] = type(defaults[key])(value)
        except ValueError:
            raise UsageError(f"{key}={value!r} is not a {type(defaults[key]).__name__}.") from None
    for key in ("num_inference_steps", "max_batch"):
        if resolved[key] < 1:
            raise UsageError(f"{key} must be at least 1, not {resolved[key]}.")
    return resolved


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise UsageError(did_you_mean(name, known, "dtype"))
    return known[name]


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
