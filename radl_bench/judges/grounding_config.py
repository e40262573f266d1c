"""The config of a GroundingDINO: the one beside a checkpoint, or SwinT-OGC's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import BadInput

if TYPE_CHECKING:
    from transformers import GroundingDinoConfig


def default_config() -> GroundingDinoConfig:
    """Return the `GroundingDinoConfig` of SwinT-OGC (the public `GroundingDINO_SwinT_OGC.py`)."""
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

    swin = SwinConfig(window_size=7, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_indices=[2, 3, 4])
    return GroundingDinoConfig(backbone_config=swin, text_config=BertConfig())


def config_beside(checkpoint: Path) -> GroundingDinoConfig:
    """Return the config in `config.json` beside a checkpoint, SwinT-OGC's without one. Raises `BadInput`."""
    from transformers import GroundingDinoConfig

    file = checkpoint.parent / "config.json"
    if not file.is_file():
        return default_config()
    try:
        return GroundingDinoConfig.from_json_file(str(file))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{file} cannot be read as the config of a GroundingDINO ({error}).") from error
