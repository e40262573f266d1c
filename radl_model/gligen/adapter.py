"""GLIGEN as an adapter: its 209 M parameters on any Stable Diffusion v1 base, without a copy of the base."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from radl_model.engine.roles import bare, text_attentions
from radl_model.engine.run import Run
from radl_model.errors import UsageError
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.layers import GatedSelfAttention, Grounding, PositionNet
from radl_model.gligen.session import GligenSession

SIZES = {"channels", "heads"}


class Gate:
    """A gated layer in its transformer block, where diffusers' UNet calls it between the two attentions."""

    def __init__(self, layer: GatedSelfAttention, name: str) -> None:
        self.layer, self.name = layer, name

    def __call__(self, x: Tensor, grounding: Grounding) -> Tensor:
        out: Tensor = self.layer(x, grounding.keys[self.name], grounding.strength)
        return out


def given(grounding: Grounding) -> Grounding:
    """Stand where diffusers' UNet would compute the position net in every step."""
    return grounding


class GligenAdapter(ModelMixin, ConfigMixin):
    """Position net and a gated layer in every transformer block; saved and loaded as diffusers' models are.

    More instances than slots are no error: the largest boxes are kept, and the image's note says so.

    Args:
        sizes: name of the transformer block -> {"channels", "heads"}.
        text_dim: width of the texts.
        gligen: the fields of `GligenConfig`.

    Raises:
        UsageError: they are no such tables.
    """

    max_instances = None

    @register_to_config
    def __init__(self, sizes: dict[str, dict[str, int]], text_dim: int, gligen: Mapping[str, object]) -> None:
        super().__init__()
        _check_config(sizes, text_dim, gligen)
        self.settings = GligenConfig.from_dict(gligen)
        self.position_net = PositionNet(text_dim, self.settings.n_freqs, self.settings.position_hidden)
        self.fusers = nn.ModuleDict(
            {name.replace(".", "-"): GatedSelfAttention(**size, text_dim=text_dim) for name, size in sizes.items()}
        )

    @classmethod
    def from_unet(cls, unet: nn.Module, config: GligenConfig | None = None) -> GligenAdapter:
        """Make a fresh adapter for `unet`; its gates are closed, so it changes nothing yet."""
        settings = (config or GligenConfig()).to_dict()
        return cls(block_sizes(unet), int(bare(unet).config.cross_attention_dim), settings)

    def named_layers(self) -> list[tuple[str, GatedSelfAttention]]:
        """Pairs of (name of the block in the UNet, layer)."""
        return [(key.replace("-", "."), layer) for key, layer in self.fusers.items()]  # type: ignore[misc]

    def ground(self, texts: Tensor, boxes: Tensor, valid: Tensor, strength: Tensor | None = None) -> Grounding:
        """Return what the layers read: tokens, and each layer's keys and values of them.

        Args:
            texts: [R, N, D] pooled texts; boxes: [R, N, 4] xyxy fractions; valid: [R, N] bool, False for empty slots.
            strength: [R] of the layers, 1 when None.
        """
        tokens = self.position_net(texts, boxes, valid)
        strength = tokens.new_ones(len(tokens)) if strength is None else strength.to(tokens)
        keys = {name: layer.slots(tokens) for name, layer in self.named_layers()}
        return Grounding(keys, strength[:, None, None])

    def start(self, run: Run) -> GligenSession | None:
        """Ground a batch; None when no image has an instance."""
        if not any(layout.phrases for layout in run.layouts):
            return None
        own = next(self.parameters())
        if (own.device, own.dtype) != (run.device, run.texts.dtype):
            nn.Module.to(self, run.device, run.texts.dtype)  # without the parent's remark on precision
        return GligenSession(self, run)

    def attach(self, unet: nn.Module) -> None:
        """Put the layers into the UNet's blocks; calling it again is fine.

        They are no submodules there: the UNet's weights, and what it saves, stay its own.

        Raises:
            UsageError: the UNet's blocks differ in name or size from those that the adapter was made for.
        """
        net = bare(unet)
        self._check(net)
        for name, layer in self.named_layers():
            block = net.get_submodule(name)
            held = vars(block).get("fuser")
            if not (isinstance(held, Gate) and held.layer is layer):
                vars(block)["fuser"] = Gate(layer, name)
        vars(net)["position_net"] = given

    @staticmethod
    def detach(unet: nn.Module) -> None:
        """Take the layers out."""
        net = bare(unet)
        if vars(net).get("position_net") is given:
            del vars(net)["position_net"]
        for block in net.modules():
            if isinstance(vars(block).get("fuser"), Gate):
                del vars(block)["fuser"]

    @torch.no_grad()
    def parameter_count(self) -> int:
        """Number of learned scalars."""
        return sum(p.numel() for p in self.parameters())

    def _check(self, net: nn.Module) -> None:
        have, want = block_sizes(net), {name: dict(size) for name, size in self.config["sizes"].items()}
        for name in want:
            if name not in have:
                raise UsageError(f"The adapter has a layer on {name}, which this base model does not have.")
            if want[name] != have[name]:
                raise UsageError(
                    f"The adapter's layer {name} was made for {want[name]}, but this base has {have[name]}."
                )
        missing = [name for name in have if name not in want]
        if missing:
            raise UsageError(f"The adapter has no layer for {missing[0]} of this base ({len(missing)} in all).")
        width = bare(net).config.cross_attention_dim
        if width != self.config["text_dim"]:
            raise UsageError(
                f"The adapter was made for texts of width {self.config['text_dim']}, but this base has {width}."
            )


def block_sizes(unet: nn.Module) -> dict[str, dict[str, int]]:
    """Return channels and heads of every transformer block that reads text, in the order they run."""
    net = bare(unet)
    names = [name.removesuffix(".attn2") for name in text_attentions(net)]
    attentions = {name: net.get_submodule(f"{name}.attn1") for name in names}
    return {name: {"channels": int(a.query_dim), "heads": int(a.heads)} for name, a in attentions.items()}  # type: ignore[arg-type]


def _check_config(sizes: object, text_dim: object, gligen: object) -> None:
    """Raise `UsageError` unless the three are what `GligenAdapter` describes; they may come from a file."""
    if not isinstance(gligen, Mapping):
        raise UsageError(f"The adapter's gligen must be a table of settings, not {gligen!r:.80}.")
    if type(text_dim) is not int or text_dim < 1:
        raise UsageError(f"The adapter's text_dim must be a whole number and at least 1, not {text_dim!r:.80}.")
    if not isinstance(sizes, Mapping) or not sizes:
        raise UsageError(f"The adapter's sizes must be a table of layers, not {sizes!r:.80}.")
    for name, size in sizes.items():
        good = isinstance(size, Mapping) and set(size) == SIZES and all(type(v) is int and v > 0 for v in size.values())
        if not good or size["channels"] % size["heads"]:
            raise UsageError(
                f"The adapter's size of {name} is {size!r:.80}; it must state channels (a multiple of heads) and heads "
                "as whole numbers."
            )
