"""Scenes of the mini world, encoded once: shards of latents with the samples they show."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.samples import parse_samples
from radl_bench.errors import MissingData
from radl_bench.files import replacing
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import SIZE, render
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.types import Sample

BATCH = 32


def _encode(vae: AutoencoderTiny, scenes: list[np.ndarray]) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return vae.encoder(to_tensor(np.stack(scenes))).half()


def write_shard(
    index: int,
    folder: Path,
    vae_folder: Path,
    size: int,
    seed: int,
    level_weights: Sequence[float],
    whole: float = 0.0,
    pixels: int = SIZE,
) -> None:
    """Write shard `index` unless it is there: `size` scenes as float16 latents and JSON lines.

    A scene of `pixels` pixels a side is [16, pixels / 8, pixels / 8].
    """
    target = folder / f"latents-{index:03d}.safetensors"
    if target.exists():
        return
    torch.set_num_threads(1)
    vae = AutoencoderTiny.from_pretrained(vae_folder).to(memory_format=torch.channels_last).eval()
    layouts = LayoutSampler(seed * 10_000 + index, level_weights=tuple(level_weights), whole=whole)
    samples = [layouts.sample() for _ in range(size)]
    parts = []
    for start in range(0, size, BATCH):
        chunk = samples[start : start + BATCH]
        parts.append(
            _encode(vae, [render(s, seed * 10_000_000 + index * size + start + i, pixels) for i, s in enumerate(chunk)])
        )
    (folder / f"latents-{index:03d}.jsonl").write_bytes(samples_bytes(samples))
    with replacing(target) as part:
        save_file({"latents": torch.cat(parts).contiguous()}, part)


def write_shards(
    folder: Path,
    vae_folder: Path,
    shards: int,
    size: int,
    seed: int,
    level_weights: Sequence[float],
    workers: int,
    whole: float = 0.0,
    pixels: int = SIZE,
) -> None:
    """Write the shards that are missing, one process a worker; the arguments are those of `write_shard`."""
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(
        write_shard,
        folder=folder,
        vae_folder=vae_folder,
        size=size,
        seed=seed,
        level_weights=level_weights,
        whole=whole,
        pixels=pixels,
    )
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for index, _ in enumerate(pool.map(work, range(shards))):
            print(f"shard {index + 1} of {shards}", flush=True)


class LatentPool:
    """All shards of some folders in memory: `latents` float16 [N, C, 16, 16] and `samples`.

    Raises:
        MissingData: a folder holds no shard.
    """

    def __init__(self, *folders: Path) -> None:
        files: list[Path] = []
        for folder in folders:
            found = sorted(folder.glob("latents-*.safetensors"))
            if not found:
                raise MissingData(f"No latent shards in {folder}. Run: radl-train cache --out {folder}.")
            files += found
        self.latents = torch.cat([load_file(file)["latents"] for file in files])
        self.samples: list[Sample] = []
        for file in files:
            text = file.with_suffix(".jsonl")
            self.samples += parse_samples(text.read_bytes(), text.name)

    def draw(self, step: int, count: int, seed: int) -> np.ndarray:
        """Indices of the batch of a step: `count` without repetition, the same for the same (seed, step)."""
        return np.random.default_rng((seed, step)).choice(len(self.samples), count, replace=False)
