"""Names and shapes of the public modules: the layer of a key, its name here, and the settings that follow."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import Tensor

from radl_model.errors import BadInput, UsageError
from radl_model.layers.config import FusionConfig
from radl_model.layers.variants import MIGC, MIGC_PLUS, RELEASE

HEADS = 8
"""Heads of every public module, whatever its width."""
IGNORED = re.compile(r"(^|\.)(text_encoder|tokenizer)\.|^sac\.verb_embedding_mlp\.")
"""What RaDL's modules carry and never read: copies of the text encoder, and a map of the verbs."""

_LDM = re.compile(r"(?:^|\.)(input_blocks|middle_block|output_blocks)\.(\d+)\.(?:.*\.)?(?:migc|radl)\.(.+)$")
_DIFFUSERS = re.compile(
    r"(?:^|\.)((?:mid_block|up_blocks\.\d+|down_blocks\.\d+)\.attentions\.\d+)(?:\.transformer_blocks\.0)?"
    r"\.attn2\.processor\.(?:migc|radl)\.(.+)$"
)
_RENAMED = (
    (r"ea\.", "instance.attention."),
    (r"la\.", "layout."),
    (r"vca\.vca\.", "relation."),
    (r"norm\.", "norm."),
    (r"gamma$", "fusion.gamma"),
    (r"pos_net\.linears_position\.", "instance.position.mlp."),
    (r"sac\.(cbam[12])\.ChannelGate\.mlp\.1\.", r"fusion.\1.channel.0."),
    (r"sac\.(cbam[12])\.ChannelGate\.mlp\.3\.", r"fusion.\1.channel.2."),
    (r"sac\.(cbam[12])\.SpatialGate\.spatial\.conv\.", r"fusion.\1.spatial."),
    (r"sac\.(conv[12])\.", r"fusion.\1."),
)

_PUBLISHED = (
    (r"instance\.attention\.", "ea."),
    (r"layout\.", "la."),
    (r"relation\.", "vca.vca."),
    (r"norm\.", "norm."),
    (r"fusion\.gamma$", "gamma"),
    (r"instance\.position\.mlp\.", "pos_net.linears_position."),
    (r"fusion\.(cbam[12])\.channel\.0\.", r"sac.\1.ChannelGate.mlp.1."),
    (r"fusion\.(cbam[12])\.channel\.2\.", r"sac.\1.ChannelGate.mlp.3."),
    (r"fusion\.(cbam[12])\.spatial\.", r"sac.\1.SpatialGate.spatial.conv."),
    (r"fusion\.(conv[12])\.", r"sac.\1."),
)
"""The way back from `_RENAMED`."""


@dataclass(frozen=True)
class PublicModule:
    """What the shapes of one module say: kind, settings, sizes of the attention it sits on, and remarks."""

    kind: str
    config: FusionConfig
    size: dict[str, int]
    notes: tuple[str, ...]


def split_key(key: str) -> tuple[str, str] | None:
    """Return (name of the attention in diffusers' UNet, name within the module) of a public key, None for others.

    Both public forms are known: LDM block numbers (three layers a level), and diffusers' own names.
    """
    if match := _DIFFUSERS.search(key):
        return f"{match[1]}.transformer_blocks.0.attn2", match[2]
    match = _LDM.search(key)
    if match is None:
        return None
    return f"{attention_name(match[1], int(match[2]))}.transformer_blocks.0.attn2", match[3]


def attention_name(block: str, index: int) -> str:
    """Return the name in diffusers' UNet of the attention in an LDM block: `output_blocks`, 3 -> up_blocks.1..."""
    if block == "middle_block":
        return "mid_block.attentions.0"
    if block == "output_blocks":
        return f"up_blocks.{index // 3}.attentions.{index % 3}"
    return f"down_blocks.{index // 3}.attentions.{index % 3 - 1}"


def original_block(name: str) -> str:
    """Return the LDM name of what lies in an attention of diffusers' UNet.

    It is output_blocks.3.1.X for up_blocks.1.attentions.0.X; the numbers are those of a UNet with three
    attentions a level, as Stable Diffusion v1 has it.
    """
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.attentions\.(\d+)\.(.+)", name)
    if match is None:
        raise ValueError(f"{name} is no transformer block of a v1-shaped UNet.")
    side, level, index = match[1], int(match[2] or 0), int(match[3])
    if side is None:
        return f"middle_block.1.{match[4]}"
    number = 3 * level + index
    return f"input_blocks.{number + 1}.1.{match[4]}" if side == "down" else f"output_blocks.{number}.1.{match[4]}"


def public_key(ours: str) -> str | None:
    """Return the public name of a weight of `InstanceFusionLayer`, None for one that no public module has."""
    for pattern, name in _PUBLISHED:
        if match := re.match(pattern, ours):
            return match.expand(name) + ours[match.end() :]
    return None


def our_key(public: str) -> str | None:
    """Return the name in `InstanceFusionLayer` of a module's weight, None for an unknown one."""
    for pattern, name in _RENAMED:
        if match := re.match(pattern, public):
            return match.expand(name) + public[match.end() :]
    return None


def infer(module: dict[str, Tensor], where: str, context: str | None) -> PublicModule:
    """Return what a module's weights say about the layer.

    Args:
        module: weights by their name within the module; where: file and layer, for messages.
        context: the user's word where shapes fit two readings of (3).

    Raises:
        BadInput: a weight that decides is missing, or shapes fit no reading; UsageError: `context` does not fit.
    """
    keys, last = _shape(module, "ea.to_k.weight", where), _shape(module, "pos_net.linears_position.4.weight", where)
    first = _shape(module, "pos_net.linears_position.0.weight", where)
    slots = _shape(module, "sac.cbam2.ChannelGate.mlp.1.weight", where)[1]
    width, channels = last[0], keys[0]
    if first[1] % 8 or channels % HEADS:
        raise BadInput(f"{where}: a box embedding of {first[1]} numbers or {channels} channels fit no public module.")
    joined, notes = _context(keys[1], width, context, where)
    kind, config = "MIGC", MIGC
    if any(key.startswith("vca.vca.") for key in module):
        kind, config = "RaDL", RELEASE
        notes.append(
            "It has a verb attention, so it is RaDL's released module: the layout phase is among the permuted."
        )
    elif "gamma" in module and not any(key.startswith("sac.conv1.") for key in module):
        kind, config = "MIGC++", MIGC_PLUS
        notes.append("It has a gamma and no sac.conv1, so it is MIGC++'s module.")
    config = replace(config, context=joined, n_freqs=first[1] // 8, position_hidden=first[0], slots=slots)
    return PublicModule(kind, config, {"channels": channels, "heads": HEADS, "text_dim": width}, tuple(notes))


def _context(key_width: int, width: int, asked: str | None, where: str) -> tuple[str, list[str]]:
    """Reading of (3) from the width of the keys, against that of the text."""
    fitting = {width: ("token",), 2 * width: ("channel_pooled", "channel_tokens")}.get(key_width)
    if fitting is None:
        raise BadInput(f"{where}: ea.to_k reads {key_width} numbers, neither the text's {width} nor twice as many.")
    if asked is not None:
        if asked not in fitting:
            raise UsageError(f"{where}: context={asked} does not fit keys of {key_width}; they are {fitting[0]}.")
        return asked, [f"Keys of {key_width} are read as {asked}, as asked."]
    if len(fitting) == 1:
        return fitting[0], []
    return fitting[0], [
        f"Keys of {key_width} are read as {fitting[0]}, as in RaDL's released code; they would fit {fitting[1]} too, "
        f"which context={fitting[1]} asks for."
    ]


def _shape(module: dict[str, Tensor], key: str, where: str) -> tuple[int, ...]:
    if key not in module or module[key].dim() != 2:
        raise BadInput(f"{where}: the weight {key} is missing or no matrix, so the kind of module cannot be told.")
    return tuple(module[key].shape)
