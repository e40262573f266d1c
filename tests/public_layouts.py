"""Synthetic checkpoints in the public key layouts of MIGC, MIGC++ and RaDL, random weights, any width."""

from __future__ import annotations

import torch

SD_BLOCKS = ("middle_block.1", "output_blocks.3.1", "output_blocks.4.1", "output_blocks.5.1")
TINY_BLOCKS = ("middle_block.1", "output_blocks.3.1", "output_blocks.4.1")
DIFFUSERS = {
    "middle_block.1": "mid_block.attentions.0",
    "output_blocks.3.1": "up_blocks.1.attentions.0",
    "output_blocks.4.1": "up_blocks.1.attentions.1",
    "output_blocks.5.1": "up_blocks.1.attentions.2",
}


def shapes(kind: str, c: int, d: int, hidden: int = 512) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one module of width `c` on texts of width `d`; kind "migc", "migc++" or "radl"."""
    freqs, key = (32, 2 * d) if kind == "radl" else (8, d)
    r = c // 16
    out: dict[str, tuple[int, ...]] = {}
    for name, width in (("ea", key), ("la", c)) + ((("vca.vca", d),) if kind == "radl" else ()):
        out |= {f"{name}.to_q.weight": (c, c), f"{name}.to_k.weight": (c, width), f"{name}.to_v.weight": (c, width)}
        out |= {f"{name}.to_out.0.weight": (c, c), f"{name}.to_out.0.bias": (c,)}
    out |= {"norm.weight": (c,), "norm.bias": (c,)}
    gates = {"cbam2": (30, 30)} if kind == "migc++" else {"cbam1": (c, r), "cbam2": (30, 30)}
    for gate, (wide, narrow) in gates.items():
        out |= {f"sac.{gate}.ChannelGate.mlp.1.weight": (narrow, wide), f"sac.{gate}.ChannelGate.mlp.1.bias": (narrow,)}
        out |= {f"sac.{gate}.ChannelGate.mlp.3.weight": (wide, narrow), f"sac.{gate}.ChannelGate.mlp.3.bias": (wide,)}
        out[f"sac.{gate}.SpatialGate.spatial.conv.weight"] = (1, 2, 7, 7)
    if kind == "migc++":
        out["gamma"] = (1,)
    else:
        out |= {"sac.conv1.weight": (c, c + 1, 1, 1), "sac.conv1.bias": (c,)}
    out |= {"sac.conv2.weight": (1, c, 1, 1), "sac.conv2.bias": (1,)}
    for index, (rows, columns) in ((0, (hidden, 8 * freqs)), (2, (hidden, hidden)), (4, (d, hidden))):
        out[f"pos_net.linears_position.{index}.weight"] = (rows, columns)
        out[f"pos_net.linears_position.{index}.bias"] = (rows,)
    if kind == "radl":
        out |= {"sac.verb_embedding_mlp.0.weight": (d, d), "sac.text_encoder.embeddings.weight": (4, d)}
        out |= {"vca.text_encoder.embeddings.weight": (4, d)}
    return out


def random_module(kind: str, c: int, d: int, seed: int = 0, hidden: int = 512) -> dict[str, torch.Tensor]:
    """Weights of one module by public name, of a size that makes outputs of 1 to 10."""
    rng = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes(kind, c, d, hidden).items():
        fan_in = max(1, int(torch.tensor(shape[1:]).prod())) if len(shape) > 1 else 1
        made[name] = 1.6 * torch.randn(shape, generator=rng) / fan_in**0.5
    return made


def checkpoint(kind: str, widths: dict[str, int], d: int, hidden: int = 512) -> dict:
    """A whole file: block -> width `c`; MIGC++'s is flat with diffusers names, the others lie under "state_dict"."""
    table = {}
    for number, (block, c) in enumerate(widths.items()):
        for name, value in random_module(kind, c, d, number, hidden).items():
            if kind == "migc++":
                table[f"{DIFFUSERS[block]}.transformer_blocks.0.attn2.processor.migc.{name}"] = value
            else:
                infix = "radl" if kind == "radl" else "migc"
                table[f"model.diffusion_model.{block}.transformer_blocks.0.attn2.{infix}.{name}"] = value
    return table if kind == "migc++" else {"state_dict": table}
