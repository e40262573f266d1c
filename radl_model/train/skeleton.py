"""The parts of a base without its weights: for counting, and with random ones for timing."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from radl_model.checkpoints.places import HUB, resolve_base
from radl_model.errors import MissingWeights
from radl_model.pipelines.bases import check_index
from radl_model.pipelines.sd14 import write_config


@dataclass(frozen=True)
class Skeleton:
    """Configurations of a base.

    Attributes:
        name: what was read.
        unet, vae, text: arguments of the classes; `vae_class` is diffusers' name of the autoencoder's.
    """

    name: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    vae_class: str
    text: CLIPTextConfig

    def make_unet(self) -> UNet2DConditionModel:
        """A UNet, frozen; random weights, or none in a context of fake tensors."""
        made: UNet2DConditionModel = UNet2DConditionModel.from_config(self.unet).requires_grad_(False).eval()
        return made

    def make_vae(self) -> nn.Module:
        """An autoencoder, frozen."""
        kind = AutoencoderTiny if self.vae_class == "AutoencoderTiny" else AutoencoderKL
        made: nn.Module = kind.from_config(self.vae).requires_grad_(False).eval()
        return made

    def text_parameters(self) -> int:
        """Number of weights of the text encoder."""
        with torch.device("meta"):
            return sum(p.numel() for p in CLIPTextModel(self.text).parameters())


def read_skeleton(base: str) -> Skeleton:
    """Read the configuration of a base; of v1.4's own and of single files it is known without them.

    Raises:
        MissingWeights: no such base.
        UsageError, BadInput: it has another shape, or is incomplete.
    """
    try:
        place = resolve_base(base)
    except MissingWeights:
        if base not in HUB:
            raise
        place = Path()
    if (place / "model_index.json").is_file():
        check_index(place)
        return _read(place, str(base))
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder))
        return _read(Path(folder), "Stable Diffusion v1.4")


def _read(folder: Path, name: str) -> Skeleton:
    vae = json.loads((folder / "vae" / "config.json").read_text())
    unet: dict[str, Any] = UNet2DConditionModel.load_config(str(folder / "unet"))
    text = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    return Skeleton(name, unet, vae, vae.get("_class_name", ""), text)
