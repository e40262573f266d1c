"""Where the shipped configurations of the stages are, and what a stage needs of an earlier one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from radl_bench.errors import MissingData, UsageError, did_you_mean
from radl_model.train import config

CONFIGS = Path(__file__).parent / "configs"

VAE = ("config.json", "autoencoder", "autoencoder")
BASE = ("model_index.json", "base model", "base")
ADAPTER = ("config.json", "adapter", "adapter")
TEXT = ("config.json", "text tower", "text")
ENCODER = ("config.json", "scene encoder", "encoder")
CLASSIFIER = ("config.json", "classifier", "classifier")
DETECTOR = ("model.safetensors", "detector", "detector")
LAYOUT_DIFFUSION = ("config.json", "LayoutDiffusion", "layout-diffusion")


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file as `radl_model.train.config.load_config` does; its errors name the shipped ones."""
    return config.load_config(path, CONFIGS)


def only(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise `UsageError` for the first of the given names that is not among the known ones; `what` a name is of."""
    for name in given:
        if name not in known:
            raise UsageError(did_you_mean(name, sorted(known), what))


def trained(folder: str | Path, file: str, what: str, stage: str) -> Path:
    """Return the folder of an earlier stage's result, `file` in it; raises `MissingData` with the command for it."""
    folder = Path(folder)
    if not (folder / file).is_file():
        raise MissingData(
            f"There is no {what} at {folder} (no {file}). Train it first, radl-train {stage} --out {folder.parent}, or "
            "name another folder in the config."
        )
    return folder
