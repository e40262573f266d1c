"""What the mini judges share: a folder with the configuration and weights of a small network, and their images."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from radl_bench.errors import BadInput, MissingWeights
from radl_bench.judges.local_weights import file_sha8

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

SIDE = 128
Network = TypeVar("Network", bound="nn.Module")


class MiniJudge(ABC, Generic[Network]):
    """A network of this project in a folder.

    Args:
        weights: folder with `config.json` and `model.safetensors`.

    Raises:
        MissingWeights: the folder has no weights.
    """

    title: str
    """Its name in sentences."""

    scale = "mini"

    def __init__(self, weights: Path) -> None:
        self.folder = Path(weights)
        self.file = self.folder / "model.safetensors"
        if not self.file.is_file():
            raise MissingWeights(
                f"The weights of the {self.title} are not at {self.file}. Reinstall radl-bench, or train them."
            )
        self.sha8 = file_sha8(self.file)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `_build` needs. Raises `BadInput`."""
        try:
            return dict(json.loads((self.folder / "config.json").read_text()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise BadInput(f"{self.folder / 'config.json'} cannot be read ({error}).") from error

    @cached_property
    def model(self) -> Network:
        """The network in float32, ready for inference; loaded at the first use."""
        from safetensors.torch import load_file

        model = self._build()
        state = load_file(str(self.file))
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return model.eval()

    @abstractmethod
    def _build(self) -> Network:
        """Return the untrained network of `config`."""


def square(image: Image) -> np.ndarray:
    """Return uint8 RGB [128, 128, 3]; images of other sizes are stretched or shrunk with a bicubic filter."""
    from PIL.Image import Resampling

    rgb = image.convert("RGB")
    return np.array(rgb if rgb.size == (SIDE, SIDE) else rgb.resize((SIDE, SIDE), Resampling.BICUBIC))
