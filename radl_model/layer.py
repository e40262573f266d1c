"""One instance fusion layer: equations (1)-(7) in the place of a frozen cross-attention's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from radl_model.attention import Attention, KeyValue, at_rows, attend, split_heads
from radl_model.config import FusionConfig
from radl_model.context import LayoutContext
from radl_model.enhancement import AttributeEnhancement, InstanceAttention
from radl_model.fusion import PhaseFusion


class InstanceFusionLayer(nn.Module):
    """Learned part of one layer. Shapes: B images with instances, P pairs, HW cells, C channels, D text width.

    Args:
        channels, heads, text_dim: C, heads and D of the frozen cross-attention that this layer sits on.
        config: which of the branches exist and how they read the paper.
    """

    def __init__(self, channels: int, heads: int, text_dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(channels)
        self.instance = InstanceAttention(
            channels, heads, text_dim, config.context, config.n_freqs, config.position_hidden
        )
        grid = config.enhancement == "grid"
        self.enhancement = AttributeEnhancement(channels, heads, config.enhancement_grid) if grid else None
        self.layout = Attention(channels, heads, channels) if config.layout_attention else None
        self.relation = Attention(channels, heads, text_dim) if config.relation else None
        self.fusion = PhaseFusion(channels, config)

    def init_from(self, cross: nn.Module, self_attention: nn.Module) -> None:
        """Start the new branches' q, k, v from the frozen attentions they stand beside."""
        self.instance.attention.copy_from(cross)
        if self.relation is not None:
            self.relation.copy_from(cross)
        if self.layout is not None:
            self.layout.copy_from(self_attention)

    def forward(self, attn: Any, x: Tensor, plain: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """Return the fused output [B, HW, C].

        Args:
            attn: the frozen cross-attention (diffusers `Attention`).
            x: [B, HW, C] its input; plain: [B, HW, C] its output for the global prompt.
            ctx: the batch; name: unique name of this layer, the key of its caches.
        """
        masks = ctx.masks(x.shape[1])
        frozen = self._frozen(attn, x, ctx, name)
        enhanced = frozen if self.enhancement is None else self.enhancement(frozen, ctx, name)
        read = self.instance(enhanced, self.norm, ctx, name) * masks.instance[..., None].to(x.dtype)
        phases = [plain * masks.background[..., None].to(x.dtype), frozen + read]
        covers = [masks.background_cover, masks.instance_cover]
        if self.layout is not None:
            phases.append(self._layout(x, ctx))
            covers.append(torch.ones_like(masks.union))
        if self.relation is not None:
            phases.append(self._relation(x, ctx, name))
            union = masks.union[ctx.verb_owner]
            covers.append(union if self.config.relation_mask == "union" else torch.ones_like(union))
        return self.fusion(torch.cat([p.to(plain.dtype) for p in phases]), torch.cat(covers), ctx)

    @staticmethod
    def _frozen(attn: Any, x: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """(1): the frozen cross-attention of every pair on its own phrase, masked, [P, HW, C]."""

        def keys() -> KeyValue:
            return (
                split_heads(attn.to_k(ctx.phrases), attn.heads),
                split_heads(attn.to_v(ctx.phrases), attn.heads),
            )

        shaded = attend(attn.to_q(x)[ctx.owner], ctx.once((name, "phrase keys"), keys))
        shaded = at_rows(attn.to_out[0], shaded, ctx.inside(x.shape[1]))
        return shaded * ctx.masks(x.shape[1]).instance[..., None].to(shaded.dtype)

    def _layout(self, x: Tensor, ctx: LayoutContext) -> Tensor:
        """Self-attention in which a pair of cells meets only inside a common phase, [B, HW, C]."""
        assert self.layout is not None
        allowed = ctx.once(("meet", x.shape[1]), lambda: _meeting(ctx, x.shape[1]))
        return self.layout.to_out(attend(self.layout.to_q(x), self.layout.keys(x), allowed))

    def _relation(self, x: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """(6): attention to the verb text of the images that have one, times the union mask, [V, HW, C]."""
        relation = self.relation
        assert relation is not None
        keys = ctx.once((name, "verb keys"), lambda: relation.keys(ctx.verbs))
        union = ctx.masks(x.shape[1]).union[ctx.verb_owner, :, None].to(x.dtype)
        return relation.to_out(attend(relation.to_q(self.norm(x[ctx.verb_owner])), keys)) * union


def _meeting(ctx: LayoutContext, cells: int) -> Tensor:
    """[B, 1, HW, HW] bool: cells u and v have a phase (an instance or the background) in which both masks are > 0."""
    masks = ctx.masks(cells)
    together = masks.background.new_zeros(ctx.images, ctx.width + 1, cells)
    together[:, 0] = (masks.background > 0).float()
    together[ctx.owner, 1 + ctx.place] = (masks.instance > 0).float()
    return (torch.einsum("bnu,bnv->buv", together, together) > 0)[:, None]
