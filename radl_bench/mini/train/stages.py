"""The training stages of autoencoder, latents, base and adapters; see `config.Stage`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from radl_bench.mini.layouts import LayoutSettings
from radl_bench.mini.train.cache import NEEDED, SETTINGS
from radl_bench.mini.train.config import ADAPTER, BASE, ENCODER, LEARNS, VAE, present, sized, takes, trained
from radl_model.train.loop import Loop, LoopConfig


@takes(
    "autoencoder",
    needs={"loop"},
    may=LEARNS | {"model", "vae_folder", "encoder_folder", "perceptual", "layout"},
    tables={"model": {"width", "latent_channels"}, "layout": LayoutSettings.__optional_keys__},
)
def autoencoder(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the autoencoder, or (with `vae_folder`) only its decoder; leaves `vae/` in diffusers format.

    With `encoder_folder`, the scene encoder there compares what is decoded, with weight `perceptual`.
    """
    from radl_bench.mini.train import autoencoder as stage
    from radl_bench.mini.train import encoder

    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    vae = (
        stage.resume_decoder(trained(settings["vae_folder"], *VAE))
        if "vae_folder" in settings
        else stage.build(**settings.get("model", {}))
    )
    eye = encoder.load(trained(settings["encoder_folder"], *ENCODER)) if "encoder_folder" in settings else None
    module = stage.AutoencoderLoss(vae, eye=eye, perceptual=settings.get("perceptual", 1.0) if eye else 0.0)
    layout = settings.get("layout", {})
    batch = partial(stage.make_batch, batch_size=config.batch_size, seed=settings.get("data_seed", 1), **layout)
    loop = Loop(module, batch, stage.loss_fn, config, out, partial(stage.on_sample, out))
    loop.resume()
    loop.run(minutes)


@takes("cache", needs=NEEDED, may=SETTINGS)
def cache(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Encode scenes once; leaves `latents-NNN.safetensors` and `.jsonl`. A shard that is begun is finished."""
    from radl_bench.mini.train.cache import write_shards

    kinds = {"vae_folder": VAE, "encoder_folder": ENCODER}
    folders = {key: trained(settings[key], *kind) for key, kind in kinds.items() if key in settings}
    write_shards(out, **{**settings, **folders}, minutes=minutes)


@takes(
    "base",
    needs={"loop", "lessons", "model", "vae_folder"},
    may=LEARNS | {"init_from", "loss"},
    tables={"model": {"channels"}, "loss": {"noisy"}},
    also=sized,
)
def base(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train UNet and text tower on captions alone; leaves `base/`, a Stable Diffusion pipeline folder."""
    from radl_bench.mini.train import base as stage

    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    module, tokenizer = stage.build(settings["model"])
    if "init_from" in settings:
        module = stage.load(trained(settings["init_from"], *BASE))
    lessons = stage.read_lessons(stage.Lesson, settings["lessons"], tokenizer, config.batch_size)
    seed = settings.get("data_seed", 2)
    training = stage.BaseTraining(lessons, tokenizer, seed, **settings.get("loss", {}))
    pool = lessons[-1].pool
    snapshot = partial(stage.on_sample, out, tokenizer, trained(settings["vae_folder"], *VAE), pool)
    loop = Loop(stage.attend_explicitly(module), training.make_batch, training.loss, config, out, snapshot)
    loop.resume()
    loop.run(minutes)


@takes(
    "adapter",
    needs={"loop", "base", "latents", "loss"},
    may=LEARNS | {"method", "fusion", "gligen", "init_from", "empty_share"},
)
def adapter(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train a layout adapter on the frozen base; leaves `adapter/` (config.json and safetensors).

    Its kind is the config's `method` ("fusion" for RaDL and MIGC, "gligen"), its settings the table of that name.
    """
    from diffusers import StableDiffusionPipeline

    from radl_bench.mini.train import adapter_stage as stage
    from radl_bench.mini.train.cache import LatentPool
    from radl_model.checkpoints.adapters import load_folder
    from radl_model.train.ways import check_options, way_named

    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    method = settings.get("method", "fusion")
    way = way_named(method)
    present(settings, (method,), "The config of the adapter stage")
    base_folder = trained(settings["base"], *BASE)
    pipe = StableDiffusionPipeline.from_pretrained(base_folder)
    made = way.make(pipe.unet, settings[method])
    if "init_from" in settings:
        made.load_state_dict(load_folder(trained(settings["init_from"], *ADAPTER), type(made)).state_dict())
    module = stage.AdaptedUNet(pipe.unet, made)
    pool = LatentPool(*map(Path, settings["latents"]))
    seed = settings.get("data_seed", 4)
    options = dict(settings["loss"])
    things, power = options.pop("things", 0.0), options.pop("power", 0.0)
    check_options(way, options)
    empty = settings.get("empty_share", stage.EMPTY_SHARE)
    training = stage.AdapterTraining(pipe, pool, config.batch_size, seed, options, things, empty, power)
    loop = Loop(module, training.make_batch, training.loss, config, out, partial(stage.on_sample, out, base_folder))
    pipe.text_encoder.to(loop.accelerator.device)
    loop.resume()
    loop.run(minutes)
