"""Multi-head attention pieces shared by all branches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[M, L, C] -> [M, heads, L, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query: Tensor, keys: KeyValue, mask: Tensor | None = None) -> Tensor:
    """Attention of `query` [M, L, C] over `keys`, each [M, heads, T, d].

    Args:
        mask: as `additive` makes it, broadcast to [M, heads, L, T].
    """
    k, v = keys
    run = _explicit if _explicit_is_cheaper(query) else F.scaled_dot_product_attention
    out = run(split_heads(query, k.shape[1]), k, v, None if mask is None else mask.to(query.dtype))
    return out.transpose(1, 2).flatten(2)


def additive(allowed: Tensor) -> Tensor:
    """Turn a bool mask into what is added to the scores: 0, or -inf where it is False.

    The fused kernel would do the same at every call; made once a run, it costs nothing in a step.
    """
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -torch.inf)


def _explicit_is_cheaper(query: Tensor) -> bool:
    """Training in bfloat16 on a CPU: the fused kernel's backward pass takes several times as long there."""
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    return query.dtype == torch.bfloat16


def _explicit(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scores written out; the softmax is in float32."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


class Attention(nn.Module):
    """Projections of one new branch: bias-free q, k, v and an output with bias, as in Stable Diffusion.

    The output projection starts at zero, so that a fresh branch changes nothing.
    """

    def __init__(self, channels: int, heads: int, key_dim: int, *, zero_out: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(key_dim, channels, bias=False)
        self.to_v = nn.Linear(key_dim, channels, bias=False)
        out = nn.Linear(channels, channels)
        if zero_out:
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
        self.to_out = nn.Sequential(out)

    def keys(self, states: Tensor) -> KeyValue:
        """[M, T, key_dim] -> keys and values, each [M, heads, T, d]."""
        return split_heads(self.to_k(states), self.heads), split_heads(self.to_v(states), self.heads)

    @torch.no_grad()
    def copy_from(self, attn: nn.Module, *, output: bool = False) -> None:
        """Start the q, k, v maps (and `output`) from a frozen attention of the base; wider keys keep fresh columns."""
        for name in ("to_q", "to_k", "to_v"):
            source: Tensor = getattr(attn, name).weight
            getattr(self, name).weight[:, : source.shape[1]].copy_(source)
        if output:
            self.to_out[0].load_state_dict(attn.get_submodule("to_out.0").state_dict())
