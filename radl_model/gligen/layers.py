"""GLIGEN's two modules: the position net, which makes grounding tokens, and the gated layer that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import get_fourier_embeds_from_boundingbox
from torch import Tensor, nn

from radl_model.layers.attention import Attention, KeyValue, attend, split_heads


@dataclass(frozen=True)
class Grounding:
    """What the rows of a UNet call are grounded on.

    Attributes:
        keys: keys and values of the N slots by layer, each [R, heads, N, d]; they do not change over the steps.
        strength: of the layers in each row, [R, 1, 1].
    """

    keys: Mapping[str, KeyValue]
    strength: Tensor

    def last(self, rows: int) -> Grounding:
        """Return the last `rows` rows alone: the conditional ones of a batch that lost its guidance."""
        if rows == len(self.strength):
            return self
        keys = {name: (k[-rows:], v[-rows:]) for name, (k, v) in self.keys.items()}
        return Grounding(keys, self.strength[-rows:])

    def scaled(self, factor: float) -> Grounding:
        """Return it with another strength."""
        return self if factor == 1 else replace(self, strength=self.strength * factor)


def attention_arguments(grounding: Grounding) -> dict[str, object]:
    """Return the `cross_attention_kwargs` with which a UNet that has the layers attached is grounded."""
    return {"gligen": {"grounding": grounding}}


class PositionNet(nn.Module):
    """Grounding tokens, MLP([text; fourier(box)]), with learned features in the place of both in an empty slot.

    Args:
        text_dim: width of texts and tokens.
        n_freqs: Fourier frequencies, of base 100; hidden: width of the MLP.
    """

    def __init__(self, text_dim: int, n_freqs: int, hidden: int) -> None:
        super().__init__()
        self.n_freqs = n_freqs
        self.linears = nn.Sequential(
            nn.Linear(text_dim + 8 * n_freqs, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, text_dim),
        )
        self.null_positive_feature = nn.Parameter(torch.zeros(text_dim))
        self.null_position_feature = nn.Parameter(torch.zeros(8 * n_freqs))

    def forward(self, texts: Tensor, boxes: Tensor, valid: Tensor) -> Tensor:
        """Return the tokens [R, N, D].

        Args:
            texts: [R, N, D] pooled texts; boxes: [R, N, 4] xyxy fractions; valid: [R, N] bool, False for empty slots.
        """
        used = valid[..., None]
        place = get_fourier_embeds_from_boundingbox(self.n_freqs, boxes.float()).to(texts.dtype)
        texts = torch.where(used, texts, self.null_positive_feature.to(texts.dtype))
        place = torch.where(used, place, self.null_position_feature.to(texts.dtype))
        tokens: Tensor = self.linears(torch.cat([texts, place], -1))
        return tokens


class GatedSelfAttention(nn.Module):
    """x += s tanh(a1) SA(LN1([x; Wo]))[:HW], then x += s tanh(a2) FF(LN2(x)); both gates start closed.

    The cells attend to each other and to all slots, empty ones too. Slots have no order.

    Args:
        channels, heads: of the transformer block; text_dim: width of the grounding tokens.
    """

    def __init__(self, channels: int, heads: int, text_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(text_dim, channels)
        self.attn = Attention(channels, heads, channels, zero_out=False)
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.alpha_attn, self.alpha_dense = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))

    def slots(self, tokens: Tensor) -> KeyValue:
        """[R, N, D] grounding tokens -> keys and values, each [R, heads, N, d]."""
        return self.attn.keys(self.norm1(self.linear(tokens)))

    def forward(self, x: Tensor, slots: KeyValue, strength: Tensor) -> Tensor:
        """[R, HW, C] -> the same shape; `strength`: [R, 1, 1]."""
        seen, own = self.norm1(x), self.attn
        keys, values = (
            torch.cat([split_heads(project(seen), own.heads), of_slots], 2)
            for project, of_slots in zip((own.to_k, own.to_v), slots, strict=True)
        )
        read = own.to_out(attend(own.to_q(seen), (keys, values)))
        x = x + strength * self.alpha_attn.tanh() * read
        return x + strength * self.alpha_dense.tanh() * self.ff(self.norm2(x))
