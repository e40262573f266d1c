"""The architecture of Stable Diffusion v1 as data, so that a single-file checkpoint loads without asking any hub.

The values are those of the configuration files of CompVis/stable-diffusion-v1-4; v1.5 and all fine-tunes share them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNET = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}
"""Where it differs from diffusers' defaults, as in the next."""
VAE = {
    "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "steps_offset": 1,
}
TOKENS = 77

Changes = Mapping[str, object] | None


def write_config(folder: Path, unet: Changes = None, vae: Changes = None, text: Changes = None) -> None:
    """Write the configuration folder that `from_single_file(file, config=folder)` reads.

    Args:
        unet, vae, text: what differs from v1.4, for smaller models of the same shape.
    """
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig

    # Made without weights, so that the files state every default; the loader looks values up.
    with torch.device("meta"):
        UNet2DConditionModel(**{**UNET, **(unet or {})}).save_config(str(folder / "unet"))
        AutoencoderKL(**{**VAE, **(vae or {})}).save_config(str(folder / "vae"))
    PNDMScheduler(**SCHEDULER).save_pretrained(str(folder / "scheduler"))
    CLIPTextConfig(**{**TEXT, **(text or {})}, architectures=["CLIPTextModel"]).save_pretrained(folder / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    parts = {
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    index = {"_class_name": "StableDiffusionPipeline", **parts}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def clip_tokenizer() -> PreTrainedTokenizerBase:
    """Return CLIP's tokenizer, built from the vocabulary that open_clip ships (MIT); 77 tokens."""
    import open_clip
    from open_clip.tokenizer import bytes_to_unicode
    from transformers import CLIPTokenizer

    packed = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(c + "</w>" for c in letters), *("".join(m.split()) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    pairs = [tuple(merge.split()) for merge in merges]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=TOKENS)
    assert len(tokenizer) == len(vocabulary) == 49408, "transformers built a tokenizer of another size"
    return tokenizer
