"""Stage "bench": recipes against each other at equal processor time, one change at a time, several seeds.

Every variant trains a base of its own for the same CPU-seconds and is judged by top-1 of single things
(`top1.py`). A line a run is appended to `results.jsonl`; runs that are there are not repeated. `table` is what
`reports/recipes.md` prints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import nn

from radl_bench.mini.train import base as stage
from radl_bench.mini.train import recipe, top1
from radl_bench.mini.train.cache import LatentPool
from radl_bench.mini.train.classifier import load as load_classifier
from radl_bench.mini.train.config import CLASSIFIER, VAE, as_table, only, present, sized, takes, trained
from radl_model.train.loop import Loop, LoopConfig

WARM_STEPS, TIMED_STEPS = 3, 6
Built = tuple[nn.Module, Any, Any]


@dataclass(frozen=True)
class Result:
    """One run: variant, seed, processor seconds, optimiser steps, images seen, loss; top-1 and so on in per cent."""

    variant: str
    seed: int
    cpu: float
    steps: int
    images: int
    loss: float
    top1: float
    top5: float
    colour: float
    n: int


RUN = {"steps": 10**6, "sample_every": 10**9, "checkpoint_every": 1e9}
"""Of a loop that the budget ends, and nothing else."""


def build_today(settings: dict[str, Any], config: LoopConfig) -> Built:
    """The stage "base": text tower and UNet from scratch, no alignment."""
    module, tokenizer = stage.build(settings["model"])
    lessons = [
        stage.Lesson(LatentPool(*map(Path, table["latents"])), tokenizer, config.batch_size, tokens=table.get("tokens"))
        for table in settings["lessons"]
    ]
    options = {k: v for k, v in settings.get("recipe", {}).items() if k == "noisy"}
    training = stage.BaseTraining(lessons, tokenizer, settings["data_seed"], **options)
    return stage.attend_explicitly(module), tokenizer, training


VARIANT = frozenset({"stage", "vae_folder", "text", "lessons", "model", "recipe", "loop", "data_seed"})
"""Settings of a variant and of `shared`."""

BUILDERS: dict[str, Callable[[dict[str, Any], LoopConfig], Built]] = {"base": build_today, "recipe": recipe.build}


def seconds_a_step(loop: Loop) -> float:
    """Processor seconds of a step; the loop has moved by as many as it takes to tell."""
    begin = 0.0
    for step in range(WARM_STEPS + TIMED_STEPS):
        if step == WARM_STEPS:
            begin = time.process_time()
        loop._train_step()
        loop.step += 1
    return (time.process_time() - begin) / TIMED_STEPS


def fit(build: Callable[[LoopConfig], Built], config: LoopConfig, budget: float, out: Path) -> tuple[Built, Loop]:
    """Train for `budget` CPU-seconds: a throwaway start tells how many steps that is, so that the schedule fits."""
    built = build(config)
    probe = Loop(built[0], built[2].make_batch, built[2].loss, config, out / "probe")
    steps = max(20, round(budget / seconds_a_step(probe)))
    torch.manual_seed(config.seed)
    planned = replace(config, steps=steps, decay=round(0.4 * steps), warmup=min(20, steps // 4))
    built = build(planned)
    loop = Loop(built[0], built[2].make_batch, built[2].loss, planned, out / "run")
    loop.run()
    return built, loop


def run(variant: str, seed: int, settings: dict[str, Any], budget: float, judge: Path, count: int) -> Result:
    """One variant under one seed, trained and judged."""
    torch.manual_seed(seed)
    settings = {**settings, "data_seed": settings.get("data_seed", 60) + seed}
    config = LoopConfig.from_dict({**settings["loop"], **RUN, "seed": seed})
    with TemporaryDirectory() as folder:
        built, loop = fit(lambda c: BUILDERS[settings["stage"]](settings, c), config, budget, Path(folder))
    module, tokenizer, _ = built
    vae = AutoencoderTiny.from_pretrained(trained(settings["vae_folder"], *VAE))
    asked = top1.wanted(count, seed)
    with loop.averaged():
        module.eval()
        pipe = stage.pipeline(stage.TextToLatent(module.unet, module.text_encoder), tokenizer, vae)  # type: ignore[arg-type]
        told = top1.judge(load_classifier(judge), top1.draw(pipe, asked, side=64, steps=20, guidance=3.5), asked)
    kept = {name: told[name] for name in ("top1", "top5", "colour")}
    images = loop.step * config.batch_size
    return Result(variant, seed, round(loop.cpu, 1), loop.step, images, round(loop._average, 4), n=count, **kept)


def table(results: list[Result]) -> str:
    """Markdown: mean over the seeds and each seed's top-1."""
    lines = ["| recipe | images | top-1, mean | by seed | top-5 | n |", "|---|---|---|---|---|---|"]
    for name in dict.fromkeys(r.variant for r in results):
        rows = sorted((r for r in results if r.variant == name), key=lambda r: r.seed)
        by_seed = ", ".join(f"{r.top1:.1f}" for r in rows)
        images, mean, five = (np.mean([getattr(r, key) for r in rows]) for key in ("images", "top1", "top5"))
        lines.append(f"| {name} | {images:,.0f} | {mean:.1f} | {by_seed} | {five:.1f} | {len(rows)} x {rows[0].n} |")
    return "\n".join(lines)


def check_variants(settings: Mapping[str, object]) -> None:
    """Raise `UsageError` for a variant that names a stage or a setting that there is not, or lacks one."""
    shared = as_table(settings["shared"], "[shared]")
    for name, own in as_table(settings["variants"], "[variants]").items():
        both = mixed(shared, as_table(own, f"Variant '{name}'"))
        present(both, ("stage", "lessons", "loop", "model", "vae_folder"), f"Variant '{name}'")
        only([str(both["stage"])], BUILDERS, f"stage of variant '{name}'")
        only(both, VARIANT, f"setting of variant '{name}'")
        only(as_table(both.get("recipe", {}), "[recipe]"), recipe.Recipe.__dataclass_fields__, "setting of [recipe]")
        only(as_table(both["model"], "[model]"), {"channels"}, "setting of [model]")
        sized(both)
        if both["stage"] == "recipe":
            present(both, ("text",), f"Variant '{name}'")
        LoopConfig.from_dict({**loop_of(both), **RUN})


def loop_of(settings: Mapping[str, object]) -> Mapping[str, object]:
    """Return [loop] of a table, empty where there is none."""
    return as_table(settings.get("loop", {}), "[loop]")


def mixed(shared: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a variant: the shared ones under its own, the table of the loop entry by entry."""
    return {**shared, **own, "loop": {**loop_of(shared), **loop_of(own)}}


@takes("bench", needs={"seeds", "budget", "count", "judge", "shared", "variants"}, also=check_variants)
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Run what is missing, seed by seed; leaves `results.jsonl`. `minutes` ends it between two runs."""
    judge = trained(settings["judge"], *CLASSIFIER)
    out.mkdir(parents=True, exist_ok=True)
    file, begin = out / "results.jsonl", time.monotonic()
    lines = file.read_text().splitlines() if file.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    for seed in range(settings["seeds"]):
        for name, own in settings["variants"].items():
            if any((r.variant, r.seed) == (name, seed) for r in results):
                continue
            if minutes is not None and time.monotonic() - begin > 60 * minutes:
                return
            both = mixed(settings["shared"], own)
            results.append(run(name, seed, both, settings["budget"], judge, settings["count"]))
            with file.open("a") as lines_out:
                lines_out.write(json.dumps(asdict(results[-1])) + "\n")
    print(table(results))
