"""The text attentions of a UNet by their role: mid block, first up block, all of one grid, in the order they run."""

from __future__ import annotations

from collections.abc import Iterator

from diffusers import UNet2DConditionModel
from torch import nn

from radl_model.errors import UsageError

Grid = tuple[int, int]
"""Height and width in cells."""

_NO_V1 = "This UNet is not shaped like Stable Diffusion v1: "


def bare(unet: nn.Module) -> UNet2DConditionModel:
    """Return the UNet inside the wrapper that `torch.compile` puts around it."""
    return getattr(unet, "_orig_mod", unet)


def text_attentions(unet: nn.Module) -> list[str]:
    """Return the names of all cross-attentions of a UNet, in the order in which a forward reaches them."""
    return [name for block, _ in _blocks(unet) for name in _in_block(unet, block)]


def mid_attentions(unet: nn.Module) -> list[str]:
    """Return the names of the cross-attentions of the mid block (8 x 8 in Stable Diffusion v1).

    Raises:
        UsageError: it has none.
    """
    if not getattr(bare(unet).mid_block, "attentions", None) or _first_up(unet) is None:
        raise UsageError(_NO_V1 + "no attention in its mid or up blocks.")
    found = _in_block(unet, "mid_block")
    if not found:
        raise UsageError(_NO_V1 + "its attentions do not read text.")
    return found


def low_attentions(unet: nn.Module) -> list[str]:
    """Return the names in the mid block and in the first up block that has attentions (8 x 8 and 16 x 16 in v1).

    Raises:
        UsageError: there is none in one of the two places.
    """
    mid, up = mid_attentions(unet), _in_block(unet, str(_first_up(unet)))
    if not up:
        raise UsageError(_NO_V1 + "its attentions do not read text.")
    return mid + up


def attentions_at(unet: nn.Module, grid: Grid, latent: Grid) -> list[str]:
    """Return the names of the cross-attentions that see a `latent` of (H, W) cells on a grid of `grid` cells.

    Raises:
        UsageError: none does; the message names the grids there are.
    """
    grids = attention_grids(unet, latent)
    found = [name for name, own in grids.items() if own == grid]
    if not found:
        known = ", ".join(f"{h} x {w}" for h, w in sorted(set(grids.values())))
        raise UsageError(f"This UNet has no text attention on {grid[0]} x {grid[1]} cells; it has {known}.")
    return found


def attention_grids(unet: nn.Module, latent: Grid) -> dict[str, Grid]:
    """Return the grid (H, W) of each cross-attention, by its name, for a latent of (H, W) cells."""
    found = {}
    for block, level in _blocks(unet):
        grid = latent
        for _ in range(level):
            grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
        found.update(dict.fromkeys(_in_block(unet, block), grid))
    return found


def _first_up(unet: nn.Module) -> str | None:
    blocks = bare(unet).up_blocks
    return next((f"up_blocks.{i}" for i, block in enumerate(blocks) if getattr(block, "attentions", None)), None)


def _blocks(unet: nn.Module) -> Iterator[tuple[str, int]]:
    """Names of the blocks in the order they run, each with how often the latent was halved before its attentions."""
    net, level = bare(unet), 0
    for i, block in enumerate(net.down_blocks):
        yield f"down_blocks.{i}", level
        level += bool(getattr(block, "downsamplers", None))
    yield "mid_block", level
    for i, block in enumerate(net.up_blocks):
        yield f"up_blocks.{i}", level
        level -= bool(getattr(block, "upsamplers", None))


def _in_block(unet: nn.Module, block: str) -> list[str]:
    module = bare(unet).get_submodule(block)
    return [
        f"{block}.attentions.{i}.transformer_blocks.{j}.attn2"
        for i, attention in enumerate(getattr(module, "attentions", None) or ())
        for j, transformer in enumerate(getattr(attention, "transformer_blocks", ()))
        if getattr(transformer, "attn2", None) is not None
    ]
