"""What the trained adapters of the mini model add, and what a layer can know of its place: two Markdown tables.

    python reports/learnt.py [--scenes 192]

1. The loss of the frozen base on held-out scenes with each adapter, in per cent below that without. Layers learn by
   this number: one that lowers it little has learnt little, whatever its method could do.
2. GLIGEN's layers are told the boxes and have to find out by themselves where a cell lies; RaDL's and MIGC's are given
   masks. How much of a cell's x and y a linear map reads out of the features that enter GLIGEN's layers: R^2, fitted on
   two thirds of the scenes and measured on the rest.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from radl_bench.mini.train.adapter_stage import AdapterTraining
from radl_bench.mini.train.cache import LatentPool, write_shard
from radl_bench.mini.train.config import CONFIGS, load_config
from radl_bench.mini.train.text import token_ids
from radl_model.checkpoints.adapters import load_folder
from radl_model.checkpoints.places import resolve_adapter, resolve_base
from radl_model.gligen.adapter import GligenAdapter, block_sizes
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.ways import WAYS

KINDS = {"radl": "fusion", "migc": "fusion", "gligen": "gligen"}
SEED, BATCH = 97, 16
"""Of the scenes, which no training draws; and how many at once."""
LOSS = load_config(CONFIGS / "adapter.toml")["loss"]
TIMES = (999, 900, 600, 300)


def pool_of(count: int, folder: Path) -> LatentPool:
    """Scenes of one to six things, through the autoencoder."""
    write_shard(0, folder, resolve_base("mini") / "vae", count, SEED, level_weights=(1,) * 6)
    return LatentPool(folder)


@torch.no_grad()
def loss_of(pipe: StableDiffusionPipeline, adapter: nn.Module, pool: LatentPool) -> float:
    """Mean loss of the base with the adapter on all scenes; noise and timesteps are the same for each adapter."""
    module = AdaptedUNet(pipe.unet, adapter).eval()
    options = {
        "first_timestep": LOSS["first_timestep"],
        **({"null_share": 0.0} if isinstance(adapter, GligenAdapter) else {}),
    }
    training = AdapterTraining(pipe, pool, BATCH, SEED, options, LOSS["things"])
    steps = range(max(1, len(pool.samples) // BATCH))
    losses = [training.loss(module, training.make_batch(n), torch.Generator().manual_seed(n)) for n in steps]
    adapter.detach(pipe.unet)  # type: ignore[operator]
    return float(torch.stack(losses).mean())


def gains(pool: LatentPool) -> list[str]:
    """Rows of the first table."""
    pipe = StableDiffusionPipeline.from_pretrained(resolve_base("mini"))
    alone = loss_of(pipe, GligenAdapter.from_unet(pipe.unet), pool)  # its gates are closed: the base alone
    rows = ["| adapter | loss | below the base alone |", "|---|---:|---:|", f"| none | {alone:.4f} | |"]
    for name, way in KINDS.items():
        loss = loss_of(pipe, load_folder(resolve_adapter("mini", name), WAYS[way].kind), pool)
        rows.append(f"| {name} | {loss:.4f} | {100 * (1 - loss / alone):.1f} % |")
    return rows


def explained(features: Tensor) -> Tensor:
    """R^2 of x and y, [2], read linearly out of features [N, cells, C] (layer-normed, as the layers do)."""
    count, cells, width = features.shape
    side, fitted = math.isqrt(cells), 2 * count // 3
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    place = torch.stack([x.flatten(), y.flatten()], 1).double()
    rows = torch.cat([F.layer_norm(features.double(), (width,)), torch.ones(count, cells, 1).double()], 2)
    fit, test = rows[:fitted].flatten(0, 1), rows[fitted:].flatten(0, 1)
    weights = torch.linalg.lstsq(fit, place.repeat(fitted, 1)).solution
    target = place.repeat(count - fitted, 1)
    return 1 - (test @ weights - target).square().mean(0) / (target - target.mean(0)).square().mean(0)


@torch.no_grad()
def places(pool: LatentPool) -> list[str]:
    """Rows of the second table."""
    pipe = StableDiffusionPipeline.from_pretrained(resolve_base("mini"))
    seen: dict[str, Tensor] = {}
    names = block_sizes(pipe.unet)
    for name in names:
        pipe.unet.get_submodule(name).register_forward_pre_hook(lambda _, given, own=name: seen.update({own: given[0]}))
    states = pipe.text_encoder(token_ids(pipe.tokenizer, [s.prompt for s in pool.samples])).last_hidden_state
    latents, rows = pool.latents.float(), ["| layer | " + " | ".join(f"t = {t}" for t in TIMES) + " |"]
    table: dict[str, list[str]] = {name: [] for name in names}
    for time in TIMES:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(time))
        times = torch.full((len(latents),), time)
        pipe.unet(pipe.scheduler.add_noise(latents, noise, times), times, states)
        for name in names:
            table[name].append(" and ".join(f"{v:.2f}" for v in explained(seen[name]).tolist()))
    rows.append("|---" + "|---:" * len(TIMES) + "|")
    for name, cells in table.items():
        rows.append(f"| `{name.removesuffix('.transformer_blocks.0')}` | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Print both tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=192)
    with tempfile.TemporaryDirectory() as folder:
        pool = pool_of(options.parse_args().scenes, Path(folder))
        print("\n".join([*gains(pool), "", *places(pool)]))


if __name__ == "__main__":
    main()
