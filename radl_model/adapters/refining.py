"""MIGC's parameter-free fuser in the cross-attentions that have no active layer ("refined shading" in MIGC++)."""

from __future__ import annotations

from diffusers.models.attention_processor import Attention as FrozenAttention
from torch import Tensor

from radl_model.adapters.processor import LayoutProcessor, Processor
from radl_model.layers.attention import split_heads
from radl_model.layers.context import ContextHolder, LayoutContext
from radl_model.layers.fusion_variants import naive_fusion


class RefiningProcessor(LayoutProcessor):
    """Average the plain output with the frozen attentions of the phrases in their boxes, ten to one.

    Args:
        layered: a fusion layer sits on the same attention; while that is active, this does nothing.
        base, holder, name: see `LayoutProcessor`.
    """

    def __init__(self, base: Processor, holder: ContextHolder, name: str, layered: bool) -> None:
        super().__init__(base, holder, name)
        self.layered = layered

    def _acts(self, ctx: LayoutContext) -> bool:
        return ctx.refining and not (self.layered and ctx.active)

    def _changed(self, attn: FrozenAttention, hidden_states: Tensor, plain: Tensor, ctx: LayoutContext) -> Tensor:
        refined = naive_fusion(plain[ctx.rows], self._frozen(attn, hidden_states[ctx.rows], ctx), ctx)
        return plain.index_copy(0, ctx.rows, refined.to(plain.dtype))

    def _frozen(self, attn: FrozenAttention, x: Tensor, ctx: LayoutContext) -> Tensor:
        """Frozen attention of every pair on its own phrase, masked, [R, C] in the cells of the boxes."""

        def keys() -> tuple[Tensor, Tensor]:
            return split_heads(attn.to_k(ctx.phrases), attn.heads), split_heads(attn.to_v(ctx.phrases), attn.heads)

        rows, states = ctx.packed(x.shape[1]), ctx.once((self.name, "phrase keys"), keys)
        query = attn.to_q(x).flatten(0, 1).index_select(0, rows.source)
        shaded = attn.to_out[0](rows.attend(query, states))
        return shaded * rows.mask.to(shaded.dtype)
