"""A Stable-Diffusion-v1-shaped pipeline with random weights, small enough for unit tests."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import torch


@functools.cache
def tokenizer():
    """CLIP's own tokenizer, built from the vocabulary that open_clip ships, so nothing is downloaded."""
    import open_clip
    from open_clip.tokenizer import bytes_to_unicode
    from transformers import CLIPTokenizer

    packed = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed.read_bytes()).decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in merges]
    vocab = {w: i for i, w in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    made = CLIPTokenizer(vocab=vocab, merges=[tuple(m.split()) for m in merges])
    made.model_max_length = 77
    return made


def tiny_unet(seed: int = 0, **changes):
    """UNet (32, 64) on 16 x 16 latents of 4 channels, text width 32: one 8 x 8 and two 16 x 16 layers."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    settings = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def tiny_text_encoder(seed: int = 0):
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    config = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    return CLIPTextModel(config).eval()


def tiny_parts(seed: int = 0) -> dict:
    """Components of a pipeline, by the names diffusers uses."""
    from diffusers import AutoencoderTiny, DDIMScheduler

    torch.manual_seed(seed)
    widths = (8, 8, 8, 8)
    vae = AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    return {
        "vae": vae.eval(),
        "text_encoder": tiny_text_encoder(seed),
        "tokenizer": tokenizer(),
        "unet": tiny_unet(seed),
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }


def tiny_pipeline(seed: int = 0, cls=None, **extra):
    """A `StableDiffusionPipeline` (or `cls`) of 128 x 128 pixels with random weights."""
    from diffusers import StableDiffusionPipeline

    pipe = (cls or StableDiffusionPipeline)(**tiny_parts(seed), requires_safety_checker=False, **extra)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def wake(adapter, scale: float = 0.3, seed: int = 0) -> None:
    """Move every parameter away from its zero start, so that a test sees all branches at work."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in adapter.parameters():
            width = p.shape[-1] if p.ndim else 1
            p.add_(torch.randn(p.shape, generator=rng) * scale / max(1, width) ** 0.5)
