"""A diffusers pipeline as one state dict in the key layout of the original Stable Diffusion code."""

from __future__ import annotations

import re

import torch

RESNET = [
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
]  # fmt: skip
TOP = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_key(key: str, layers: int = 2) -> str:
    """One key of `UNet2DConditionModel` with four levels."""
    for ours, theirs in TOP.items():
        if key.startswith(ours + "."):
            return theirs + key[len(ours) :]
    mid = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if mid:
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[mid[1], mid[2]]
        return f"middle_block.{place}.{_inner(mid[1], mid[3])}"
    side, level, kind, index, rest = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key).groups()
    level, index = int(level), int(index)
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (level + 1)}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        return f"output_blocks.{(layers + 1) * level + layers}.{1 if level == 0 else 2}.{rest}"
    block = (layers + 1) * level + index + 1 if side == "down" else (layers + 1) * level + index
    return f"{'input' if side == 'down' else 'output'}_blocks.{block}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    for ours, theirs in RESNET:
        rest = re.sub(rf"^{ours}\b", theirs, rest)
    return rest


def vae_key(key: str, levels: int = 4) -> str:
    """One key of `AutoencoderKL`."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    mid = re.match(r"(.*)mid_block\.attentions\.0\.(group_norm|to_q|to_k|to_v|to_out\.0)(\..*)", key)
    if mid:
        return f"{mid[1]}mid.attn_1.{VAE_ATTENTION[mid[2]]}{mid[3]}"
    key = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", key.replace("down_blocks", "down"))
    return re.sub(r"(down|up)samplers\.0", r"\1sample", key).replace(".resnets.", ".block.")


def ldm_state(pipe) -> dict[str, torch.Tensor]:
    """The whole checkpoint of a pipeline with `AutoencoderKL`."""
    out = {f"model.diffusion_model.{unet_key(k)}": v for k, v in pipe.unet.state_dict().items()}
    for key, value in pipe.vae.state_dict().items():
        name = vae_key(key)
        if ".attn_1." in name and value.ndim == 2:
            value = value[:, :, None, None]
        out[f"first_stage_model.{name}"] = value
    for key, value in pipe.text_encoder.state_dict().items():
        out[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    return {k: v.contiguous() for k, v in out.items()}
