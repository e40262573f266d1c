"""What every method on the engine is in the suite: a base, settings, and the `LayoutAdapter` that makes the method."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.generators.numbers import real, steps, whole
from radl_bench.runs.scale import base_scale
from radl_bench.types import Sample

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from PIL.Image import Image

    from radl_model.engine import Layout, LayoutAdapter, Settings

Numbers = Mapping[str, Any]
"""num_inference_steps, guidance_scale, scheduler, negative_prompt, max_batch."""

MINI = {"num_inference_steps": 15, "guidance_scale": 4.0, "scheduler": "base", "negative_prompt": "", "max_batch": 8}
"""RaDL scores the same with thirty steps (`reports/limits.md`); all tables are made with fifteen."""
PAPER = {
    "num_inference_steps": 60,
    "guidance_scale": 7.5,
    "scheduler": "euler",
    "negative_prompt": "worst quality, low quality, bad anatomy",
    "max_batch": 4,
}
"""RaDL's 60 steps; scheduler, guidance and negative prompt as MIGC's public benchmark script has them."""
RECIPES = ("unified", "official")


class BaseSettings(TypedDict, total=False):
    """The settings of `EngineGenerator` that a method passes on, by keyword."""

    num_inference_steps: int | None
    guidance_scale: float | None
    scheduler: str | None
    negative_prompt: str | None
    max_batch: int | None
    dtype: str
    exact: bool | str | None
    recipe: str


class EngineGenerator:
    """Text, or text and layout, to image on the engine. A method names itself and overrides `_adapter`.

    Args:
        model: "mini", "sd14", a pipeline folder or a single safetensors file.
        device: "cpu", "cuda", "mps"; the best there is when None.
        num_inference_steps: steps of the denoising.
        guidance_scale: weight of classifier-free guidance; 1 is none.
        scheduler: "base" (the model's own), "ddim", "dpm", "euler", "lms", "pndm" or "unipc".
        negative_prompt: what the images should not show.
        max_batch: images made at once, at most; one where `exact`. Where one of these five is None, the value of `MINI`
            or `PAPER` stands for it; text from the command line is converted.
        dtype: precision of the computation: "float32", "bfloat16" or "float16".
        exact: make each image by itself, so that its bytes depend on sample and seed alone; when None, on a CPU only.
            Other batch sizes take other matrix kernels, which moves a byte now and then; it costs a quarter of the
            speed on a CPU. The mini model then computes with one thread, as the number of threads moves bytes too; RaDL
            took 1.4 times as long so as with two on two idle cores, which two shards use just as well.
        recipe: "official" runs the numbers that the method was published with (`official`); "unified" the same for all
            methods, so that they differ by method alone.

    Raises:
        MissingWeights: the model is not on this machine.
        UsageError: a setting that makes no sense.
    """

    name: str
    models = ("mini", "sd14")
    """Names that `model` may have beside a place; a method that lists "mini" gets it where no model is asked for."""
    packages = ("torch", "diffusers", "transformers", "safetensors")
    """What it imports, for `radl-bench ls methods`."""
    defaults: tuple[Numbers, Numbers] = (MINI, PAPER)
    """On the mini model, and on others."""
    official: Numbers | None = None
    """What the method was published with, of the names in `MINI`; None where that is its default or is unknown."""

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
        recipe: str = "unified",
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
        self.params = _settings(self._numbers(recipe), given)
        self.max_batch = int(self.params.pop("max_batch"))
        self.params["dtype"] = dtype
        if self.official is not None:
            self.params["recipe"] = recipe
        self.device = device or _best_device()
        self.params["exact"] = self.device == "cpu" if exact is None else flag(exact)
        if self.params["exact"]:
            self.max_batch = 1  # each is finished by itself: it shows at once, and Ctrl-C keeps it
        with _quiet():
            self.pipe = self._load(model)
            self.adapter = self._adapter()
            self._prepare()
        self.engine = self._engine()
        self.weights_sha256 = weights_sha256(*self._weight_places())
        self.revision = self.weights_sha256[:12]

    @classmethod
    def check_weights(cls, model: str) -> None:
        """Raise `MissingWeights` where the model, or what the method adds to it, is not on this machine."""
        from radl_model.checkpoints.places import resolve_base

        resolve_base(model)

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one image a (sample, seed). Noise is drawn on the CPU by one generator an image."""
        exact = self.params["exact"]
        layouts, settings, alone = self._layouts(samples), self._run_settings(), self.small and exact
        made: list[Image] = self.engine.generate(layouts, seeds, settings, self.adapter, exact=exact, one_thread=alone)
        return made

    def _load(self, model: str) -> DiffusionPipeline:
        """The base, which may be any diffusers pipeline; methods with an adapter need one shaped like v1."""
        from radl_model.pipelines.pipeline import RaDLPipeline

        return RaDLPipeline.from_pretrained(self.base)

    def _adapter(self) -> LayoutAdapter | None:
        """What makes the method; a text-only one has none. `self.pipe` is loaded by now."""
        return None

    def _weight_places(self) -> list[Path]:
        """Files and folders whose weights make the method's revision."""
        return [self.base]

    def _layouts(self, samples: Sequence[Sample]) -> list[Layout]:
        """What each image should show, in the method's own wording."""
        from radl_model.engine import as_layouts

        layouts = as_layouts(
            [self._prompt(sample) for sample in samples],
            [self._phrases(sample) for sample in samples],
            [[instance.box for instance in sample.instances] for sample in samples],
            [self._verbs(sample) for sample in samples],
            [sorted({i for r in s.relations for i in (r.subject, r.object)}) for s in samples],
        )
        names = [tuple(instance.category for instance in sample.instances) for sample in samples]
        return [replace(layout, categories=own) for layout, own in zip(layouts, names, strict=True)]

    def _prompt(self, sample: Sample) -> str:
        return sample.prompt

    def _phrases(self, sample: Sample) -> list[str]:
        return [instance.phrase for instance in sample.instances]

    def _verbs(self, sample: Sample) -> str:
        return sample.verbs

    def _numbers(self, recipe: str) -> Numbers:
        if recipe not in RECIPES:
            raise UsageError(did_you_mean(recipe, RECIPES, "recipe"))
        own = self.defaults[not self.small]
        if recipe == "unified":
            return own
        if self.official is None:
            raise UsageError(
                f"The method {self.name} has no official recipe apart from its defaults; leave recipe out."
            )
        return {**own, **self.official}

    def _run_settings(self) -> Settings:
        from radl_model.engine import Settings

        return Settings(
            steps=self.params["num_inference_steps"],
            guidance_scale=self.params["guidance_scale"],
            negative_prompt=self.params["negative_prompt"],
            active_fraction=self.params.get("active_fraction"),
        )

    def _engine(self) -> Any:
        """The engine; for a pipeline of another shape, what calls it in the engine's place."""
        from diffusers import StableDiffusionPipeline

        from radl_bench.generators.foreign import PipelineCaller
        from radl_model.engine import Engine

        if isinstance(self.pipe, StableDiffusionPipeline):
            return Engine(self.pipe)
        if self.adapter is not None:
            raise UsageError(
                f"The method {self.name} needs a base shaped like Stable Diffusion v1, "
                f"not a {type(self.pipe).__name__}."
            )
        return PipelineCaller(self.pipe)

    def _prepare(self) -> None:
        """Scheduler, precision, device; quiet."""
        import torch

        from radl_model.engine import make_scheduler

        self.pipe.scheduler = make_scheduler(self.params["scheduler"], self.pipe.scheduler)
        self.pipe.set_progress_bar_config(disable=True)
        dtype = _dtype(self.params["dtype"])
        self.pipe.to(self.device, dtype)
        if isinstance(self.adapter, torch.nn.Module):
            self.adapter.to(self.device, dtype)
        for part in (getattr(self.pipe, name, None) for name in ("unet", "vae")):
            if part is not None:
                part.to(memory_format=torch.channels_last)


def flag(value: bool | str) -> bool:
    """Return the truth value of a setting that may come as text from the command line."""
    return str(value).lower() in {"true", "1", "yes"}


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


def _settings(defaults: Numbers, given: Mapping[str, object]) -> dict[str, Any]:
    """Defaults, overridden by what is given, each held to its range."""
    checks: dict[str, Callable[[str, object], float]] = {
        "num_inference_steps": steps,
        "guidance_scale": real,
        "max_batch": whole,
    }
    own = {key: value for key, value in given.items() if value is not None}
    return {**defaults, **{key: checks[key](key, value) if key in checks else str(value) for key, value in own.items()}}


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
