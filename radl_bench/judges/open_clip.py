"""CLIP by open_clip: the encoder of the papers' CLIP and Local CLIP, or any other model it knows.

`open-clip` alone is what `radl-bench fetch open-clip` brings, OpenAI's ViT-L/14. Another one is given as
`open-clip:FOLDER` (with open_clip_config.json), `open-clip:MODEL:FILE` or `open-clip:MODEL:TAG`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radl_bench.errors import BadInput, MissingWeights, UsageError, did_you_mean
from radl_bench.files import file_sha256
from radl_bench.judges.contexts import notes_of_texts
from radl_bench.runs.images import Picture
from radl_model.home import data_home

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG = "open_clip_config.json"
_BATCH = 32
_HOWTO = (
    "Run `radl-bench fetch open-clip`, give another encoder as open-clip:FOLDER, open-clip:MODEL:FILE or "
    "open-clip:MODEL:TAG, or leave the CLIP scores out with --encoder none."
)


def _fetched() -> Path:
    return data_home() / "weights" / "open-clip"


def _absent(folder: Path) -> MissingWeights:
    return MissingWeights(f"The open_clip model is not at {folder} (no {CONFIG}). {_HOWTO}")


class OpenClip:
    """CLIP by open_clip, OpenAI's ViT-L/14 or another; cosines are neither clamped nor scaled.

    Args:
        spec: which model, as above; None for the fetched one.
        device: where it runs.

    Raises:
        MissingWeights: nothing lies there.
        UsageError: open_clip knows no such model, or OpenAI's weights are put into a network with another activation.
    """

    takes = ("device", "spec")
    scale = "paper"
    packages = ("torch", "open_clip")
    ensembles = True
    """Phrases are looked at through the 80 templates of ImageNet, as the public scorer does."""

    @classmethod
    def check_weights(cls) -> None:
        """Raise `MissingWeights` where the model was not fetched."""
        if not (_fetched() / CONFIG).is_file():
            raise _absent(_fetched())

    def __init__(self, spec: str | None = None, device: str = "cpu") -> None:
        self.device = device
        folder = Path(spec).expanduser() if spec else _fetched()
        if (folder / CONFIG).is_file():
            self._load = {"model_name": f"local-dir:{folder}"}
            self.signature = f"open-clip:{folder.name}@{_sum_of_folder(folder)}"
        elif spec is None or ":" not in spec:
            raise _absent(folder)
        else:
            self._take(*spec.split(":", 1))

    def _take(self, model: str, weights: str) -> None:
        from open_clip import get_pretrained_cfg, list_models

        if model not in list_models():
            raise UsageError(did_you_mean(model, list_models(), "model of open_clip"))
        file = Path(weights).expanduser()
        if file.is_file():
            if _is_openai(file) and not model.endswith("quickgelu"):
                raise UsageError(f"{file} are OpenAI's weights, made for {model}-quickgelu; name that model.")
            self.signature = f"open-clip:{model}@{file_sha256(file)[:8]}"
        elif get_pretrained_cfg(model, weights):
            self.signature = f"open-clip:{model}@{weights}"
        else:
            raise MissingWeights(f"{weights} is neither a file nor a tag of open_clip's {model}. {_HOWTO}")
        self._load = {"model_name": model, "pretrained": weights}

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        import open_clip

        try:
            model, _, preprocess = open_clip.create_model_and_transforms(**self._load, device=self.device)
        except Exception as error:  # open_clip raises whatever its parts raise
            raise BadInput(f"open_clip cannot load {self.signature} ({error}). {_HOWTO}") from error
        return model.eval(), preprocess

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        try:
            return open_clip.get_tokenizer(self._load["model_name"])
        except Exception as error:  # open_clip raises whatever its parts raise
            raise BadInput(f"open_clip cannot load {self.signature} ({error}). {_HOWTO}") from error

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return sentences about prompts and phrases that are longer than the context."""
        length = getattr(self._tokenizer, "context_length", None)
        return notes_of_texts(self._tokenizer, length, pictures) if length else []

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """Return float32 [N, D], rows of length 1, after the model's own preprocessing."""
        import torch

        model, preprocess = self._parts
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = torch.stack([preprocess(image.convert("RGB")) for image in images[start : start + _BATCH]])
            with torch.inference_mode():
                parts.append(model.encode_image(batch.to(self.device), normalize=True).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 [N, D], rows of length 1; a text longer than the context keeps its end-of-text token."""
        import torch

        model, tokenizer = self._parts[0], self._tokenizer
        parts = []
        for start in range(0, len(texts), _BATCH):
            tokens = tokenizer(list(texts[start : start + _BATCH])).to(self.device)
            with torch.inference_mode():
                parts.append(model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _sum_of_folder(folder: Path) -> str:
    """Return 8 digits for the config and weights of a folder; recorded sums of `fetch` save reading gigabytes."""
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".pth") or f.name == CONFIG)
    if len(files) < 2:
        raise MissingWeights(f"{folder} holds {CONFIG} and no weights. {_HOWTO}")
    try:
        recorded = json.loads((folder / "SOURCE.json").read_text("utf-8"))["files"]
        entries = [recorded[f.name] for f in files]
        sound = all(e["size"] == f.stat().st_size for e, f in zip(entries, files, strict=True))
        sums = [e["sha256"] for e in entries] if sound else [file_sha256(f) for f in files]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        sums = [file_sha256(f) for f in files]
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:8]


def _is_openai(file: Path) -> bool:
    """Say whether a file is a TorchScript archive: the form of OpenAI's own weights, and of nobody else's here."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())
