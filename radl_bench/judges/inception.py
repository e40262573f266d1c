"""Inception features for FID and KID: the network and the preprocessing of clean-fid (Parmar et al., CVPR 2022).

Images are brought to 299x299 with Pillow's antialiased bicubic filter in floating point, without rounding, and the
2048 numbers before the classifier are kept. The weights are the TorchScript file that clean-fid and StyleGAN use; they
are checked against their sha256 before they are loaded, since such a file is code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.errors import BadInput, MissingWeights
from radl_bench.files import file_sha256
from radl_model.home import data_home

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

FILE = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
_BATCH = 32


def default_weights() -> Path:
    """Return where `radl-bench fetch inception` puts the file: `weights/inception/` under the user's data folder."""
    return data_home() / "weights" / "inception" / FILE


class InceptionFeatures:
    """Inception v3 as clean-fid uses it: features of FID and KID.

    Args:
        weights: the file; `default_weights()` when not given.
        sha256: what the file must have; another network of the same interface has another sum.
        device: where it runs.

    Raises:
        MissingWeights: the file is not there.
        BadInput: the file is another one.
    """

    takes = ("device",)
    scale = "paper"
    packages = ("torch", "cleanfid")

    @classmethod
    def check_weights(cls, weights: Path | None = None) -> None:
        """Raise `MissingWeights` where the file is not there."""
        file = Path(weights or default_weights())
        if not file.is_file():
            raise MissingWeights(
                f"The Inception weights of FID are not at {file}. Run `radl-bench fetch inception`, put "
                f"{FILE} there yourself, or leave FID and KID out with --features none."
            )

    def __init__(self, weights: Path | None = None, sha256: str = SHA256, device: str = "cpu") -> None:
        self.weights, self.device = Path(weights or default_weights()), device
        self.check_weights(self.weights)
        found = file_sha256(self.weights)
        if found != sha256:
            raise BadInput(f"{self.weights} has sha256 {found}, not {sha256}. Delete it and fetch it again.")
        self.signature = f"inception-2015-12-05@{found[:8]}+clean"

    @cached_property
    def model(self) -> torch.jit.ScriptModule:
        """The network, ready for inference; loaded at the first use."""
        import torch

        return torch.jit.load(str(self.weights), map_location=self.device).eval()

    @cached_property
    def resize(self) -> Callable[[np.ndarray], np.ndarray]:
        """Clean-fid's resizer: uint8 [H, W, 3] -> float32 [299, 299, 3] in 0..255."""
        from cleanfid.resize import build_resizer

        return build_resizer("clean")

    def features(self, images: Sequence[Image]) -> np.ndarray:
        """Return float32 [N, 2048]."""
        import torch

        parts = [np.zeros((0, 2048), np.float32)]
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            pixels = np.stack([self.resize(np.asarray(image.convert("RGB"))) for image in batch])
            with torch.inference_mode():
                tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(self.device)
                found = self.model.layers.forward((tensor - 128) / 128)
            parts.append(found.reshape(len(batch), -1).float().cpu().numpy())
        return np.concatenate(parts)
