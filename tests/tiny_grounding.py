"""A GroundingDINO with random weights: the real Swin-T (both libraries fix it), everything after it small."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SHARED = Path(os.environ.get("RADL_BENCH_SHARED") or Path(__file__).parents[2] / "shared") / "data"
VOCABULARY = SHARED / "bert_base_uncased_vocab.txt"
SIDE = 128


def vocabulary() -> Path:
    """BERT's vocabulary, or skip: it is not ours to commit."""
    if not VOCABULARY.is_file():
        pytest.skip("BERT's vocabulary is not at $RADL_BENCH_SHARED/data or ../shared/data")
    return VOCABULARY


def tiny_config(**changes):
    from transformers import BertConfig, GroundingDinoConfig, SwinConfig

    settings = {
        "backbone_config": SwinConfig(
            window_size=7, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_indices=[2, 3, 4]
        ),
        "text_config": BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64),
        "encoder_layers": 2,
        "decoder_layers": 2,
        "num_queries": 50,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    }
    return GroundingDinoConfig(**settings | changes)


def random_model(config, seed: int = 0, scale: float = 0.05):
    """A model with random weights where no parameter sits at a constant start (zeros, ones, layer scales).

    Matrices keep the spread of their initialisation: with more, float32 errors grow from layer to layer until not even
    one library agrees with itself in another order of summation.
    """
    from transformers import GroundingDinoForObjectDetection

    torch.manual_seed(seed)
    model = GroundingDinoForObjectDetection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2 or parameter.std() == 0:
                parameter.add_(torch.randn_like(parameter) * scale)
    return model


def noise(seed: int, width: int = 150, height: int = 100) -> Image.Image:
    """A picture of noise: no two places look alike, so no near-ties decide which queries are kept."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def agreement(a, b, tokens: int, tolerance: float = 1e-4) -> float:
    """Fraction of rows whose logits (of real tokens) and boxes agree within `tolerance`."""
    (logits_a, boxes_a), (logits_b, boxes_b) = a, b
    far = (logits_a - logits_b)[..., :tokens].abs().amax(-1).maximum((boxes_a - boxes_b).abs().amax(-1))
    return float((far < tolerance).float().mean())
