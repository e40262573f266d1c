"""One instance fusion layer: equations (1)-(7) in the place of a frozen cross-attention's output."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention as FrozenAttention
from torch import Tensor, nn

from radl_model.layers.attention import Attention, KeyValue, additive, attend, split_heads
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext
from radl_model.layers.enhancement import InstanceAttention, make_enhancement
from radl_model.layers.fusion import Fusion
from radl_model.layers.fusion_variants import RefinedFusion, make_fusion
from radl_model.layers.ragged import Rows


class InstanceFusionLayer(nn.Module):
    """Learned part of one layer. Shapes: B images with instances, P pairs, HW cells, C channels, D text width.

    Args:
        channels, heads, text_dim: C, heads and D of the frozen cross-attention that this layer sits on.
        config: which of the branches exist and how they read the paper.
    """

    def __init__(self, channels: int, heads: int, text_dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.norm: nn.Module = nn.Identity() if config.query_norm == "none" else nn.LayerNorm(channels)
        trained = config.shading == "trained"
        self.shading = Attention(channels, heads, text_dim, zero_out=False) if trained else None
        self.instance = InstanceAttention(channels, heads, text_dim, config)
        self.enhancement = make_enhancement(channels, heads, config)
        self.layout = Attention(channels, heads, channels) if config.layout_attention else None
        self.relation = Attention(channels, heads, text_dim) if config.relation else None
        separate = config.relation and config.query_norm == "separate"
        self.relation_norm = nn.LayerNorm(channels) if separate else None
        self.fusion: Fusion = make_fusion(channels, config)

    def init_from(self, cross: nn.Module, self_attention: nn.Module) -> None:
        """Start the new branches' q, k, v from the frozen attentions they stand beside."""
        self.instance.attention.copy_from(cross)
        if self.shading is not None:
            self.shading.copy_from(cross, output=True)
        if self.relation is not None:
            self.relation.copy_from(cross)
        if self.layout is not None:
            self.layout.copy_from(self_attention)

    def forward(self, attn: FrozenAttention, x: Tensor, plain: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """Return the fused output [B, HW, C].

        Args:
            attn: the frozen cross-attention (diffusers `Attention`).
            x: [B, HW, C] its input; plain: [B, HW, C] its output for the global prompt.
            ctx: the batch; name: unique name of this layer, the key of its caches.
        """
        rows = ctx.packed(x.shape[1])
        frozen = self._frozen(attn if self.shading is None else self.shading, x, rows, ctx, name)
        read = self._read(frozen, x, rows, ctx, name)
        if isinstance(self.fusion, RefinedFusion):
            fused = self._fused([read], x, plain, ctx, name)
            return self.fusion.refine(plain, frozen, fused, ctx)
        ground = plain * ctx.masks(x.shape[1]).background[..., None].to(x.dtype)
        return self._fused([ground.flatten(0, 1), frozen + read], x, plain, ctx, name)

    def _fused(self, phases: list[Tensor], x: Tensor, plain: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """(7) over the packed `phases`, each [*, C], and those of the whole image."""
        if self.layout is not None:
            phases.append(self._layout(x, ctx).flatten(0, 1))
        if self.relation is not None:
            phases.append(self._relation(x, ctx, name).flatten(0, 1))
        cover = ctx.once(("cover", x.shape[1], self.config), lambda: self._cover(ctx, x.shape[1]))
        return self.fusion(torch.cat([p.to(plain.dtype) for p in phases]), cover, ctx)

    def _cover(self, ctx: LayoutContext, cells: int) -> Tensor:
        """Coverage of the phases, [L, HW]."""
        masks = ctx.masks(cells)
        covers = [masks.background_cover] * self.config.first_slot + [masks.instance_cover]
        if self.layout is not None:
            covers.append(torch.ones_like(masks.union))
        if self.relation is not None:
            union = ctx.relation_mask(cells, self.config)[ctx.speakers]
            covers.append(union if self.config.relation_mask == "union" else torch.ones_like(union))
        return torch.cat(covers)

    def _read(self, frozen: Tensor, x: Tensor, rows: Rows, ctx: LayoutContext, name: str) -> Tensor:
        """(2) and (3): what each instance reads from its label and box, masked, [R, C]."""
        features = frozen
        if self.config.instance_query == "input":
            features = x.flatten(0, 1).index_select(0, rows.source)
        if self.enhancement is not None:
            features = self.enhancement(features, rows, ctx, x.shape[1])
        read = self.instance(features, rows, self.norm, ctx, name)
        return read * rows.mask.to(read.dtype)

    @staticmethod
    def _frozen(attn: FrozenAttention, x: Tensor, rows: Rows, ctx: LayoutContext, name: str) -> Tensor:
        """(1): the frozen cross-attention of every pair on its own phrase, masked, [R, C]."""

        def keys() -> KeyValue:
            return (
                split_heads(attn.to_k(ctx.phrases), attn.heads),
                split_heads(attn.to_v(ctx.phrases), attn.heads),
            )

        query, states = attn.to_q(x), ctx.once((name, "phrase keys"), keys)
        if ctx.watch is not None:
            ctx.watch(name, query, states)
        shaded = attn.to_out[0](rows.attend(query.flatten(0, 1).index_select(0, rows.source), states))
        return shaded * rows.mask.to(shaded.dtype)

    def _layout(self, x: Tensor, ctx: LayoutContext) -> Tensor:
        """Self-attention in which a pair of cells meets only inside a common phase, [B, HW, C]."""
        assert self.layout is not None
        allowed = ctx.once(("meet", x.shape[1]), lambda: _meeting(ctx, x.shape[1]))
        return self.layout.to_out(attend(self.layout.to_q(x), self.layout.keys(x), allowed))

    def _relation(self, x: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """(6): attention to the relation text of the images that have one, times their mask, [S, HW, C]."""
        relation, owner, speakers = self.relation, ctx.verb_owner, ctx.speakers
        assert relation is not None
        states = ctx.verbs if self.config.verb_bos else ctx.verbs[:, 1:]
        keys = ctx.once((name, "verb keys"), lambda: relation.keys(states))
        norm = self.norm if self.relation_norm is None else self.relation_norm
        read = relation.to_out(attend(relation.to_q(norm(x[owner])), keys))
        if len(owner) != len(speakers):  # several texts an image: their mean
            share = (speakers[:, None] == owner).to(read.dtype)
            read = torch.einsum("sv,vlc->slc", share / share.sum(1, keepdim=True), read)
        return read * ctx.relation_mask(x.shape[1], self.config)[speakers, :, None].to(x.dtype)


def _meeting(ctx: LayoutContext, cells: int) -> Tensor:
    """[B, 1, HW, HW], 0 where two cells have a phase (an instance or the background) with both masks > 0, else -inf."""
    masks = ctx.masks(cells)
    together = masks.background.new_zeros(ctx.images, ctx.width + 1, cells)
    together[:, 0] = (masks.background > 0).float()
    together[ctx.owner, 1 + ctx.place] = (masks.instance > 0).float()
    return additive(torch.einsum("bnu,bnv->buv", together, together) > 0)[:, None]
