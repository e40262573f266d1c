"""`radl-train STAGE`: run one training stage of the mini model from its TOML file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from radl_bench.errors import MissingData, RadlBenchError, UsageError, did_you_mean

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
    "detector": "radl_bench.mini.train.detector:train",
    "clip": "radl_bench.mini.train.clip:train",
    "layout-diffusion": "radl_bench.mini.train.layout_diffusion:train",
}
CONFIGS = Path(__file__).parent / "configs"


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file; with `extends = "other.toml"`, its values replace those of that neighbour, table by table.

    Raises:
        MissingData: no such file; UsageError: it is no valid TOML.
    """
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    if not path.exists():
        raise MissingData(f"No training config at {path}. The shipped ones are in {CONFIGS}.")
    try:
        own = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    other = own.pop("extends", None)
    return own if other is None else _merged(load_config(path.parent / other), own)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Values of `new` over those of `old`, tables merged."""
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **both}


def train(
    stage: Annotated[str, typer.Argument(help=f"One of: {', '.join(STAGES)}.")],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, log, sample sheets and weights.")],
    config: Annotated[Path | None, typer.Option(help="TOML file; default: the shipped one of the stage.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; the next call continues.")] = None,
) -> None:
    """Train one stage; an existing checkpoint in OUT is resumed."""
    if stage not in STAGES:
        raise UsageError(did_you_mean(stage, STAGES, "stage"))
    module, function = STAGES[stage].split(":")
    settings = load_config(config or CONFIGS / f"{stage}.toml")
    getattr(importlib.import_module(module), function)(settings, out, minutes)


def main() -> None:
    """Entry point; errors are one sentence on stderr."""
    try:
        typer.run(train)
    except RadlBenchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
