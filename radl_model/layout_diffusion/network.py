"""The LayoutDiffusion network: noisy pixels, a time and a layout in, noise (and variance) out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from radl_model.layout_diffusion.blocks import GroupNorm32, ObjectAwareCrossAttention, ResBlock, zeroed
from radl_model.layout_diffusion.config import LayoutDiffusionConfig
from radl_model.layout_diffusion.encoder import EncodedLayout, LayoutEncoder
from radl_model.layout_diffusion.solver import log_alpha, sigma


def noise_of(velocity: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
    """Return the noise alpha v + sigma x of a velocity [N, 3, S, S], in single precision; times 0..1000 [N]."""
    at = [(time + 1) / 1000 for time in times.tolist()]
    alpha = torch.tensor([log_alpha(t) for t in at], device=noisy.device).exp().view(-1, 1, 1, 1)
    spread = torch.tensor([sigma(t) for t in at], device=noisy.device).view(-1, 1, 1, 1)
    return alpha * velocity.float() + spread * noisy.float()


class Stage(nn.ModuleList):
    """Layers that run one after the other, each with what it reads."""

    def run(self, x: Tensor, embedding: Tensor, layout: EncodedLayout, embed_box: nn.Module) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, embedding)
            elif isinstance(layer, ObjectAwareCrossAttention):
                x = layer(x, layout, embed_box)
            else:
                x = layer(x)
        return x


class LayoutDiffusionUNet(nn.Module):
    """The network of LayoutDiffusion (Zheng et al., CVPR 2023), its state dict keyed as published.

    Args:
        config: sizes; see `config.PUBLISHED`.
    """

    def __init__(self, config: LayoutDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.time_embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.layout_encoder = LayoutEncoder(config)
        self.input_blocks, skips = self._inputs()
        self.middle_block = self._middle(skips[-1])
        self.output_blocks, last = self._outputs(skips)
        out = 6 if config.learned_variance else 3
        self.out = nn.Sequential(GroupNorm32(last), nn.SiLU(), zeroed(nn.Conv2d(last, out, 3, padding=1)))

    def forward(self, x: Tensor, times: Tensor, classes: Tensor, boxes: Tensor) -> Tensor:
        """Return noise, and variance where it is learned: [N, 6 or 3, S, S].

        Args:
            x: [N, 3, S, S], noisy images in -1..1 and noise.
            times: [N], 0..1000; fractions are fine.
            classes: int64 [N, L]; boxes: [N, L, 4], see `labels.encode`. L must be `config.slots`.
        """
        dtype = self.layout_encoder.obj_bbox_embedding.weight.dtype
        layout = self.layout_encoder(classes, boxes.to(dtype))
        embedding = self.time_embed(sinusoid(times, self.config.channels).to(dtype)) + layout.image
        box, noisy, x, kept = self.layout_encoder.obj_bbox_embedding, x, x.to(dtype), []
        for stage in self.input_blocks:
            x = stage.run(x, embedding, layout, box)  # type: ignore[operator]
            kept.append(x)
        x = self.middle_block.run(x, embedding, layout, box)
        for stage in self.output_blocks:
            x = stage.run(torch.cat([x, kept.pop()], dim=1), embedding, layout, box)  # type: ignore[operator]
        out = self.out(x)
        return noise_of(out, noisy, times) if self.config.velocity else out

    def _res(self, channels: int, out: int, resample: str | None = None) -> ResBlock:
        return ResBlock(channels, 4 * self.config.channels, out, self.config.dropout, resample)

    def _attention(self, channels: int, factor: int) -> ObjectAwareCrossAttention:
        c = self.config
        return ObjectAwareCrossAttention(channels, c.head_channels, c.encoder_width, c.image_size // factor)

    def _inputs(self) -> tuple[nn.ModuleList, list[int]]:
        """The way down, and the width after each stage."""
        c = self.config
        width, factor = c.channels * c.multipliers[0], 1
        stages, widths = [Stage([nn.Conv2d(3, width, 3, padding=1)])], [width]
        for level, multiplier in enumerate(c.multipliers):
            for _ in range(c.res_blocks):
                stage = Stage([self._res(width, c.channels * multiplier)])
                width = c.channels * multiplier
                if factor in c.attention:
                    stage.append(self._attention(width, factor))
                stages.append(stage)
                widths.append(width)
            if level + 1 < len(c.multipliers):
                stages.append(Stage([self._res(width, width, "down")]))
                widths.append(width)
                factor *= 2
        return nn.ModuleList(stages), widths

    def _middle(self, width: int) -> Stage:
        factor = 2 ** (len(self.config.multipliers) - 1)
        return Stage([self._res(width, width), self._attention(width, factor), self._res(width, width)])

    def _outputs(self, skips: list[int]) -> tuple[nn.ModuleList, int]:
        """The way up, and the width at its end."""
        c = self.config
        skips, width, factor = list(skips), skips[-1], 2 ** (len(c.multipliers) - 1)
        stages = []
        for level, multiplier in reversed(list(enumerate(c.multipliers))):
            for block in range(c.res_blocks + 1):
                stage = Stage([self._res(width + skips.pop(), c.channels * multiplier)])
                width = c.channels * multiplier
                if factor in c.attention:
                    stage.append(self._attention(width, factor))
                if level and block == c.res_blocks:
                    stage.append(self._res(width, width, "up"))
                    factor //= 2
                stages.append(stage)
        return nn.ModuleList(stages), width


def sinusoid(times: Tensor, width: int) -> Tensor:
    """Return the embedding of times [N] as float32 [N, width]: cosines first, then sines."""
    half = width // 2
    speeds = torch.exp(-math.log(1e4) * torch.arange(half, dtype=torch.float32, device=times.device) / half)
    angles = times.float()[:, None] * speeds[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)
