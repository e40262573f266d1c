"""Where the shipped configurations of the stages are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radl_model.train import config

CONFIGS = Path(__file__).parent / "configs"


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file as `radl_model.train.config.load_config` does; its errors name the shipped ones."""
    return config.load_config(path, CONFIGS)
