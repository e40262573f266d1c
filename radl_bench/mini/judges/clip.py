"""The mini CLIP: a small open_clip model trained on scenes of the mini world and their captions.

Used for CLIP and Local CLIP, and for the Frechet features of mini runs. Its figures are in
`weights/clip/README.md`. It knows the mini world alone, and its cosines cannot be compared with those of any other
CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from radl_bench.errors import MissingWeights
from radl_bench.judges.contexts import notes_of_texts
from radl_bench.mini.judges.common import MiniJudge, square
from radl_bench.runs.images import Picture

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer
    from PIL.Image import Image

WEIGHTS = Path(__file__).parent / "weights" / "clip"
_BATCH = 64


def build(config: Mapping[str, object]) -> CLIP:
    """Return an untrained `open_clip.CLIP` of a config with `embed_dim`, `vision_cfg` and `text_cfg`."""
    from open_clip.model import CLIP

    return CLIP(**config)


def tokenizer(bpe: Path, context_length: int) -> SimpleTokenizer:
    """Return open_clip's tokenizer on a shortened list of CLIP's merges. Raises `MissingWeights`."""
    from open_clip.tokenizer import SimpleTokenizer

    if not bpe.is_file():
        raise MissingWeights(f"The vocabulary of the mini CLIP is not at {bpe}. Reinstall radl-bench.")
    return SimpleTokenizer(bpe_path=str(bpe), context_length=context_length)


FEATURE_UNIT = 3.66
"""Root mean square of the embeddings of 256 random scenes under the weights that ship."""


class MiniClip(MiniJudge["CLIP"]):
    """CLIP of the sprite world (`weights/clip`).

    Args:
        weights: folder with `config.json`, `model.safetensors` and `bpe.txt.gz`.

    Raises:
        MissingWeights: the folder has no weights.
    """

    title = "mini CLIP"
    packages = ("torch", "open_clip", "safetensors")
    companions: ClassVar = {"features": "mini"}

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__(weights)
        self.signature = f"mini-clip@{self.sha8}"

    def _build(self) -> CLIP:
        return build(self.config)

    @cached_property
    def tokenizer(self) -> SimpleTokenizer:
        """Texts -> token ids [N, context_length]; longer texts are cut."""
        return tokenizer(self.folder / "bpe.txt.gz", self.config["text_cfg"]["context_length"])

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return sentences about prompts and phrases that are longer than the context."""
        return notes_of_texts(self.tokenizer, self.config["text_cfg"]["context_length"], pictures)

    def features(self, images: Sequence[Image]) -> np.ndarray:
        """Return the projected image embeddings before normalisation, float32 [N, D]: those of FID and KID.

        In units of `FEATURE_UNIT`, so that scenes have a mean square of 1 and KID's cubic kernel stays of order 10.
        """
        import torch

        parts = [np.zeros((0, self.config["embed_dim"]), np.float32)]
        for start in range(0, len(images), _BATCH):
            pixels = np.stack([square(image) for image in images[start : start + _BATCH]])
            with torch.inference_mode():
                tensor = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
                parts.append(self.model.encode_image(tensor).numpy())
        return np.concatenate(parts) / np.float32(FEATURE_UNIT)

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """Return float32 [N, D], rows of length 1; images are brought to 128x128 first."""
        return _unit(self.features(images))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 [N, D], rows of length 1."""
        import torch

        parts = [np.zeros((0, self.config["embed_dim"]), np.float32)]
        for start in range(0, len(texts), _BATCH):
            with torch.inference_mode():
                parts.append(self.model.encode_text(self.tokenizer(list(texts[start : start + _BATCH]))).numpy())
        return _unit(np.concatenate(parts))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
