"""The adapter: all fusion layers of one UNet as one model that saves, loads, attaches and detaches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention as FrozenAttention
from torch import nn

from radl_model.adapters.processor import FusionProcessor, LayoutProcessor
from radl_model.adapters.refining import RefiningProcessor
from radl_model.adapters.session import FusionSession, layout_context
from radl_model.engine.roles import bare, low_attentions, mid_attentions, text_attentions
from radl_model.engine.run import Run
from radl_model.errors import UsageError
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import ContextHolder
from radl_model.layers.layer import InstanceFusionLayer


def layer_names(unet: nn.Module, placement: str = "mid_up") -> list[str]:
    """Names of the cross-attentions that get a layer: mid block, and the first up block that has attentions.

    At Stable Diffusion v1's size these are the 8 x 8 bottleneck and the 16 x 16 up path (4 layers).

    Args:
        placement: `mid_up`; `mid` for the mid block alone; `all` for every cross-attention.

    Raises:
        UsageError: the UNet has no cross-attention in one of the two places.
    """
    low, mid = low_attentions(unet), mid_attentions(unet)
    return {"mid_up": low, "mid": mid, "all": text_attentions(unet)}[placement]


SIZES = {"channels", "heads", "text_dim"}
"""What is known about the attention that a layer sits on."""


class FusionAdapter(ModelMixin, ConfigMixin):
    """Layers by the name of the cross-attention they sit on; `save_pretrained` and `from_pretrained` as in diffusers.

    Args:
        sizes: name -> {"channels", "heads", "text_dim"}.
        fusion: the fields of `FusionConfig`.
    """

    @register_to_config
    def __init__(self, sizes: dict[str, dict[str, int]], fusion: Mapping[str, object]) -> None:
        super().__init__()
        _check_config(sizes, fusion)
        self.fusion_config = FusionConfig.from_dict(dict(fusion))
        self.layers = nn.ModuleDict(
            {
                name.replace(".", "-"): InstanceFusionLayer(**size, config=self.fusion_config)
                for name, size in sizes.items()
            }
        )
        self.holder = ContextHolder()

    @classmethod
    def from_unet(cls, unet: nn.Module, config: FusionConfig | None = None) -> FusionAdapter:
        """Make a fresh adapter for `unet`, its branches started from the UNet's own attentions."""
        config = config or FusionConfig()
        names = layer_names(unet, config.placement)
        adapter = cls({name: _sizes(unet.get_submodule(name)) for name in names}, config.to_dict())
        for name, layer in adapter.named_layers():
            layer.init_from(unet.get_submodule(name), unet.get_submodule(name.removesuffix("attn2") + "attn1"))
        return adapter

    def named_layers(self) -> list[tuple[str, InstanceFusionLayer]]:
        """Pairs of (name in the UNet, layer)."""
        return [(key.replace("-", "."), layer) for key, layer in self.layers.items()]  # type: ignore[misc]

    @property
    def max_instances(self) -> int:
        """Most instances of an image."""
        return self.fusion_config.max_instances

    def start(self, run: Run) -> FusionSession | None:
        """Bind the layouts of a batch to the layers; None when there are none."""
        context = layout_context(run, self.fusion_config)
        return None if context is None else FusionSession(self.holder, context, self.fusion_config, run)

    def attach(self, unet: nn.Module) -> None:
        """Wrap the processors of the UNet's layers; calling it again, or after they were replaced, is fine.

        Raises:
            UsageError: the UNet's layers differ in name or size from those that the adapter was made for.
        """
        net = bare(unet)
        if self.attached(net):
            return  # the same processors again, so that a compiled UNet need not be compiled again
        self.detach(net)
        if self.fusion_config.refine_fraction:
            layered = {name for name, _ in self.named_layers()}
            for name in text_attentions(net):
                attn = net.get_submodule(name)
                attn.set_processor(RefiningProcessor(attn.processor, self.holder, name, name in layered))
        for name, layer in self.named_layers():
            try:
                attn = net.get_submodule(name)
            except AttributeError:
                raise UsageError(f"The adapter has a layer on {name}, which this base model does not have.") from None
            want, have = self.config["sizes"][name], _sizes(attn)
            if dict(want) != have:
                raise UsageError(f"The adapter's layer {name} was made for {dict(want)}, but this base has {have}.")
            base = attn.processor
            if isinstance(base, FusionProcessor):
                base = base.base
            attn.set_processor(FusionProcessor(base, layer, self.holder, name))

    def attached(self, unet: nn.Module) -> bool:
        """Whether every layer of this adapter is in its place in `unet`."""
        net = bare(unet)
        names = dict(self.named_layers()) | (
            dict.fromkeys(text_attentions(net)) if self.fusion_config.refine_fraction else {}
        )
        found = {n: getattr(m, "processor", None) for n, m in net.named_modules() if n in names}
        return len(found) == len(names) and all(
            isinstance(p, LayoutProcessor) and p.holder is self.holder for p in found.values()
        )

    @staticmethod
    def detach(unet: nn.Module) -> None:
        """Give the UNet its own processors back."""
        for module in unet.modules():
            processor = getattr(module, "processor", None)
            while isinstance(processor, LayoutProcessor):
                processor = processor.base
                module.set_processor(processor)  # type: ignore[operator]

    @torch.no_grad()
    def parameter_count(self) -> int:
        """Number of learned scalars."""
        return sum(p.numel() for p in self.parameters())


def _check_config(sizes: object, fusion: object) -> None:
    """Raise `UsageError` unless both are the tables that `FusionAdapter` describes; they may come from a file."""
    if not isinstance(fusion, Mapping):
        raise UsageError(f"The adapter's fusion must be a table of layer settings, not {fusion!r:.80}.")
    if not isinstance(sizes, Mapping) or not sizes:
        raise UsageError(f"The adapter's sizes must be a table of layers, not {sizes!r:.80}.")
    for name, size in sizes.items():
        good = isinstance(size, Mapping) and set(size) == SIZES and all(type(v) is int and v > 0 for v in size.values())
        if not good or size["channels"] % size["heads"]:
            raise UsageError(
                f"The adapter's size of {name} is {size!r:.80}; it must state channels (a multiple of heads), heads "
                "and text_dim as whole numbers."
            )


def _sizes(attn: FrozenAttention) -> dict[str, int]:
    return {"channels": attn.query_dim, "heads": attn.heads, "text_dim": attn.cross_attention_dim}
