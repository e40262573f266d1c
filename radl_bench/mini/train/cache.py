"""Scenes of the mini world, encoded once: shards of latents with the samples they show."""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.samples import parse_samples
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import replacing
from radl_bench.mini.crowds import CrowdedSampler, Habits
from radl_bench.mini.layouts import LayoutSettings
from radl_bench.mini.scenes import SIZE, render
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.mini.train.encoder import load as load_encoder
from radl_bench.types import Sample
from radl_model.train.precision import autocast

if TYPE_CHECKING:
    from typing_extensions import Unpack

BATCH = 32
NEEDED = {"vae_folder", "shards", "size", "seed", "workers"}


def _encode(vae: AutoencoderTiny, scenes: list[np.ndarray]) -> torch.Tensor:
    with torch.no_grad(), autocast():
        return vae.encoder(to_tensor(np.stack(scenes))).half()


class Drawn(LayoutSettings, Habits, total=False):
    """What is in the scenes: arguments of `CrowdedSampler` beside the seed."""


SETTINGS = NEEDED | {"pixels", "encoder_folder"} | Drawn.__optional_keys__
"""What a config of the stage may say; `NEEDED` it must."""


def write_shard(
    index: int,
    folder: Path,
    vae_folder: Path,
    size: int,
    seed: int,
    pixels: int = SIZE,
    encoder_folder: Path | None = None,
    **drawn: Unpack[Drawn],
) -> None:
    """Write shard `index` unless it is there: `size` scenes as float16 latents and JSON lines.

    A scene of `pixels` pixels a side is [16, pixels / 8, pixels / 8]. With `encoder_folder` its features, to align a
    base with, lie beside: [C, pixels / 16, pixels / 16].
    """
    target = folder / f"latents-{index:03d}.safetensors"
    if target.exists():
        return
    torch.set_num_threads(1)
    vae = AutoencoderTiny.from_pretrained(vae_folder).to(memory_format=torch.channels_last).eval()
    layouts = CrowdedSampler(seed * 10_000 + index, **drawn)
    samples = [layouts.sample() for _ in range(size)]
    encoder = load_encoder(encoder_folder) if encoder_folder else None
    parts: dict[str, list[torch.Tensor]] = {"latents": [], **({"features": []} if encoder else {})}
    for start in range(0, size, BATCH):
        chunk = samples[start : start + BATCH]
        scenes = [render(s, seed * 10_000_000 + index * size + start + i, pixels) for i, s in enumerate(chunk)]
        parts["latents"].append(_encode(vae, scenes))
        if encoder is not None:
            with torch.no_grad():
                parts["features"].append(encoder.goal(to_tensor(np.stack(scenes))).half())
    (folder / f"latents-{index:03d}.jsonl").write_bytes(samples_bytes(samples))
    with replacing(target) as part:
        save_file({name: torch.cat(rows).contiguous() for name, rows in parts.items()}, part)


RECORD = "pool.json"


def _read(file: Path) -> tuple[int, dict[str, object]]:
    """Return shards and settings of a record; raises `BadInput` for one that is damaged."""
    try:
        record = json.loads(file.read_text("utf-8"))
        return int(record["shards"]), dict(record["settings"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{file} is no record of a pool. Remove it; a pool without one counts as whole.") from None


def _record(folder: Path, shards: int, settings: dict[str, object]) -> None:
    """Note how many shards the folder is to hold, and of what; raises `UsageError` if it holds those of others."""
    file, made = folder / RECORD, json.loads(json.dumps(settings))
    held = _read(file)[1] if file.exists() else made
    changed = sorted(key for key in held.keys() | made.keys() if held.get(key) != made.get(key))
    if changed:
        named = ", ".join(f"{key} was {held.get(key)}, is {made.get(key)}" for key in changed)
        raise UsageError(f"{folder} holds scenes of other settings: {named}. Give another --out.")
    with replacing(file) as part:
        Path(part).write_text(json.dumps({"shards": shards, "settings": made}) + "\n", "utf-8")


def _whole(folder: Path, found: int) -> None:
    """Raise `MissingData` if the folder is to hold more shards than were found; one without a record is whole."""
    file = folder / RECORD
    wanted = _read(file)[0] if file.exists() else found
    if found < wanted:
        raise MissingData(
            f"The latent shards in {folder} are not finished: {found} of {wanted}. Run radl-train cache --out {folder} "
            f"again with its config (re-running resumes), with shards = {found} to end it here."
        )


def write_shards(
    folder: Path,
    vae_folder: Path,
    shards: int,
    size: int,
    seed: int,
    workers: int,
    pixels: int = SIZE,
    encoder_folder: Path | None = None,
    minutes: float | None = None,
    **drawn: Unpack[Drawn],
) -> None:
    """Write the shards that are missing, one process a worker; the arguments are those of `write_shard`.

    No further shard is begun once `minutes` are over; the next call goes on.
    """
    begin = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _record(folder, shards, {"size": size, "seed": seed, "pixels": pixels, **drawn})
    work = partial(
        write_shard,
        folder=folder,
        vae_folder=vae_folder,
        size=size,
        seed=seed,
        pixels=pixels,
        encoder_folder=encoder_folder,
        **drawn,
    )
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for start in range(0, shards, workers):
            for index, _ in enumerate(pool.map(work, range(start, min(start + workers, shards))), start):
                print(f"shard {index + 1} of {shards}", flush=True)
            if minutes is not None and time.monotonic() - begin >= 60 * minutes:
                return


class LatentPool:
    """All shards of some folders in memory: `latents` float16 [N, C, 16, 16], `samples`; `features` if all have them.

    Raises:
        MissingData: a folder holds no shard, or fewer than its config asked for.
    """

    def __init__(self, *folders: Path) -> None:
        files: list[Path] = []
        for folder in folders:
            found = sorted(folder.glob("latents-*.safetensors"))
            if not found:
                raise MissingData(f"No latent shards in {folder}. Run: radl-train cache --out {folder}.")
            _whole(folder, len(found))
            files += found
        shards = [load_file(file) for file in files]
        self.latents = torch.cat([shard["latents"] for shard in shards])
        self.features = torch.cat([s["features"] for s in shards]) if all("features" in s for s in shards) else None
        self.samples: list[Sample] = []
        for file in files:
            text = file.with_suffix(".jsonl")
            self.samples += parse_samples(text.read_bytes(), text.name)

    def draw(self, step: int, count: int, seed: int) -> np.ndarray:
        """Indices of the batch of a step: `count` without repetition, the same for the same (seed, step)."""
        return np.random.default_rng((seed, step)).choice(len(self.samples), count, replace=False)
