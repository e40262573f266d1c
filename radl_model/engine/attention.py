"""Cross-attention maps of chosen layers, kept with their gradients; every other layer stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention as FrozenAttention
from torch import Tensor, nn

from radl_model.engine.roles import bare, text_attentions


class _Reached(Exception):
    """The last wanted layer has been read; nothing after it is needed."""


class AttentionStore:
    """Reads the softmax maps of some cross-attentions of a UNet.

    Outside `record` a UNet with an attached store computes just what it computed before, operation by operation.

    Args:
        layers: names of the cross-attentions, see `roles.py`.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self._maps: dict[str, Tensor] | None = None
        self._stop = False

    def attach(self, unet: nn.Module) -> None:
        """Wrap the processors of the wanted layers; a second call changes nothing."""
        for name in self.layers:
            attn: Any = bare(unet).get_submodule(name)
            if not (isinstance(attn.processor, MapProcessor) and attn.processor.store is self):
                attn.set_processor(MapProcessor(attn.processor, self, name))

    def detach(self, unet: nn.Module) -> None:
        """Give the wrapped layers their own processors back."""
        for name in text_attentions(unet):
            attn: Any = bare(unet).get_submodule(name)
            if isinstance(attn.processor, MapProcessor) and attn.processor.store is self:
                attn.set_processor(attn.processor.base)

    def record(
        self, unet: nn.Module, forward: Callable[[nn.Module], object], *, stop: bool = True
    ) -> dict[str, Tensor]:
        """Run `forward(unet)` and return the maps by layer, [R, heads, cells, T]; a cell's shares over T sum to 1.

        Args:
            stop: end the forward at the last wanted layer.
        """
        self._maps, self._stop = {}, stop
        try:
            with frozen(unet):
                forward(unet)
        except _Reached:
            pass
        finally:
            maps, self._maps = self._maps, None
        return maps

    @property
    def recording(self) -> bool:
        """Whether maps are being kept."""
        return self._maps is not None

    def keep(self, name: str, shares: Tensor) -> None:
        """Take the map of a layer; ends the forward when it was the last one."""
        assert self._maps is not None
        self._maps[name] = shares
        if self._stop and len(self._maps) == len(self.layers):
            raise _Reached


class MapProcessor:
    """Attention processor that hands the map of its layer to a store while that records, and is `base` otherwise."""

    def __init__(self, base: Callable[..., Tensor], store: AttentionStore, name: str) -> None:
        self.base, self.store, self.name = base, store, name

    def __call__(
        self,
        attn: FrozenAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if self.store.recording and encoder_hidden_states is not None:
            self.store.keep(self.name, attention_map(attn, hidden_states, encoder_hidden_states, attention_mask))
        extra = {} if temb is None else {"temb": temb}
        out: Tensor = self.base(attn, hidden_states, encoder_hidden_states, attention_mask, **extra)
        return out


def attention_map(attn: FrozenAttention, cells: Tensor, texts: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt d) of a cross-attention, [R, heads, cells, T], in float32 at least.

    Args:
        attn: diffusers' `Attention`; cells: [R, cells, C] its input; texts: [R, T, D].
        mask: added to the scores, as the UNet hands it to a processor.
    """
    query, key = attn.to_q(cells), attn.to_k(attn.norm_encoder_hidden_states(texts) if attn.norm_cross else texts)
    query, key = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key))
    query, key = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (query, key))
    scores = (query * attn.scale) @ key.transpose(-1, -2)
    if mask is not None:
        mask = attn.prepare_attention_mask(mask, key.shape[-2], len(cells))
        scores = scores + mask.view(len(cells), attn.heads, -1, mask.shape[-1])
    return scores.softmax(-1)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no parameter of a module ask for a gradient meanwhile, so that the graph holds nothing for them."""
    asking = [p for p in module.parameters() if p.requires_grad]
    for p in asking:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in asking:
            p.requires_grad_(True)
