"""Names of GLIGEN's weights: in the published file (LDM's block numbers), in diffusers' UNet, and here."""

from __future__ import annotations

import re

from radl_model.checkpoints.public_keys import attention_name, original_block

_ORIGINAL = re.compile(r"(?:model\.diffusion_model\.)?(input_blocks|middle_block|output_blocks)\.(\d+)\.(?:1\.)?(.+)")
_BLOCK = re.compile(r"(.+)\.(transformer_blocks\.\d+)\.fuser\.(.+)")
_BASE = re.compile(
    r"(model\.diffusion_model\.)?("
    r"time_embed\.\d|out\.\d|(input|output)_blocks\.\d+\.\d|middle_block\.\d|"
    r"conv_in|conv_out|conv_norm_out|time_embedding\.linear_\d|"
    r"((down|up)_blocks\.\d|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.\d"
    r")"
    r"(\.(in_layers\.\d|out_layers\.\d|emb_layers\.\d|skip_connection|op|conv|conv\d|conv_shortcut|norm|norm\d|proj_in|"
    r"proj_out|time_emb_proj))?"
    r"(\.transformer_blocks\.\d\.(attn\d\.to_[qkv]|attn\d\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2|norm\d))?"
    r"\.(weight|bias)"
)
"""A weight of Stable Diffusion v1's own UNet, in either naming."""


def our_key(public: str) -> str | None:
    """Return the name in `GligenAdapter` of a weight by its published or diffusers' name; None where it has none."""
    if public.startswith("position_net."):
        return public
    name = public
    if match := _ORIGINAL.fullmatch(public):
        name = f"{attention_name(match[1], int(match[2]))}.{match[3]}"
    match = _BLOCK.fullmatch(name)
    if match is None:
        return None
    block = f"{match[1]}.{match[2]}".replace(".", "-")
    return f"fusers.{block}.{match[3]}"


def public_key(ours: str, original: bool = False) -> str:
    """Return the name in diffusers' UNet of a weight by its name here; with `original`, that in the published file.

    The published names number the blocks of a UNet with three attentions a level, as Stable Diffusion v1 has it.
    """
    if ours.startswith("position_net."):
        return ours
    block, _, inner = ours.removeprefix("fusers.").partition(".")
    name = block.replace("-", ".")
    return f"{original_block(name) if original else name}.fuser.{inner}"


def is_base_key(public: str) -> bool:
    """Say whether a name is one of Stable Diffusion v1's own UNet, which GLIGEN leaves as it is."""
    return _BASE.fullmatch(public) is not None
