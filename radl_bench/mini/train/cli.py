"""`radl-train STAGE`: run one training stage of the mini model from its TOML file, or all of a plan."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import radl_model
from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.mini.train.all_stages import run_all
from radl_bench.mini.train.config import CONFIGS, Run, load_config
from radl_bench.streams import finish, prepare

STAGES = {
    "autoencoder": "radl_bench.mini.train.stages:autoencoder",
    "bench": "radl_bench.mini.train.bench:train",
    "cache": "radl_bench.mini.train.stages:cache",
    "base": "radl_bench.mini.train.stages:base",
    "adapter": "radl_bench.mini.train.stages:adapter",
    "text": "radl_bench.mini.train.text_tower:train",
    "recipe": "radl_bench.mini.train.recipe:train",
    "encoder": "radl_bench.mini.train.encoder:train",
    "classifier": "radl_bench.mini.train.classifier:train",
    "layouts": "radl_model.train.training:train",
    "detector": "radl_bench.mini.train.detector:train",
    "clip": "radl_bench.mini.train.clip:train",
    "layout-diffusion": "radl_bench.mini.train.layout_diffusion:train",
}

DEFAULTS = {"layouts": Path(radl_model.__file__).parent / "train" / "configs" / "radl-sd14.toml"}
"""Shipped configurations that have another name than their stage."""


def stage_of(name: str) -> Run:
    """Return the function of a stage. Raises `UsageError` for a name that is none."""
    if name not in STAGES:
        raise UsageError(did_you_mean(name, ("all", *STAGES), "stage"))
    module, function = STAGES[name].split(":")
    made: Run = getattr(importlib.import_module(module), function)
    return made


def train(
    stage: Annotated[str, typer.Argument(help=f"'all', or one of: {', '.join(STAGES)}.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of checkpoint, log, sample sheets and weights; not with 'all'.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file, or with 'all' a folder with all.toml in it; default: the shipped one."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; the next call continues.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="With 'layouts': print what the training will take, and start nothing.")
    ] = False,
    card: Annotated[str, typer.Option(help="With --plan: kind of GPU.")] = "a100-80gb",
    gpus: Annotated[int, typer.Option(min=1, help="With --plan: how many.")] = 1,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --plan: time one image at full size on this machine too.")
    ] = False,
) -> None:
    """Train one stage, or 'all' of a plan in order; an existing checkpoint is resumed."""
    if stage == "all":
        if out is not None:
            raise UsageError("'all' takes no --out: all.toml names the folder of each stage.")
        run_all(config or CONFIGS, minutes, stage_of)
        return None
    function = stage_of(stage)
    if plan:
        return _print_plan(stage, config, card, gpus, measure)
    if out is None:
        raise UsageError(f"Say where the training of '{stage}' lies: --out FOLDER.")
    function(_settings(stage, config), out, minutes)
    return None


def _settings(stage: str, config: Path | None) -> dict[str, Any]:
    return load_config(config or DEFAULTS.get(stage, CONFIGS / f"{stage}.toml"))


def _print_plan(stage: str, config: Path | None, card: str, gpus: int, measure: bool) -> None:
    from radl_model.train.dry_run import DryRun

    if stage != "layouts":
        raise UsageError(f"--plan is for the stage 'layouts', not for '{stage}'.")
    for line in DryRun(card, gpus, measure).lines(_settings(stage, config)):
        typer.echo(line)


def main() -> None:
    """Entry point; errors are one sentence on stderr."""
    prepare()
    try:
        typer.run(train)
    except RadlBenchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    finally:
        finish()
