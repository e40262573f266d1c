"""Training an adapter on a frozen base from a set of layouts, as a `Program` says.

    accelerate launch -m radl_model.train radl-sd14.toml --out OUT

on one process or several.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from diffusers import ModelMixin, StableDiffusionPipeline
from torch import nn

from radl_model.checkpoints.adapters import load_folder, save_adapter
from radl_model.checkpoints.places import resolve_base
from radl_model.errors import BadInput, UsageError
from radl_model.files import replace_file
from radl_model.pipelines.bases import load_pipeline
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.batch import AdapterBatch
from radl_model.train.cache import Cache
from radl_model.train.card import model_card
from radl_model.train.draws import Draws
from radl_model.train.layouts import LayoutBatches
from radl_model.train.loop import SplitLoop
from radl_model.train.program import Program
from radl_model.train.validation import Validator
from radl_model.train.ways import way_named

SETTINGS = "settings.json"
FREE = {"cache", "validation", "gradient_checkpointing", "compile"}
"""Keys of a program that may change between two calls of one training."""
FREE_OF_LOOP = {
    "steps", "checkpoint_every", "sample_every", "log_every", "accumulate", "precision", "decay", "trackers",
}  # fmt: skip


class Training:
    """A program made ready: base, adapter, data and loop.

    Args:
        out: folder of checkpoint, log, settings and of the adapter.

    Raises:
        MissingWeights, MissingData: base or data are not there.
        UsageError: the base has another shape, or `out` holds a training with other settings.
    """

    def __init__(self, program: Program, out: Path) -> None:
        self.program, self.out = program, out
        torch.manual_seed(program.init_seed)
        base = resolve_base(program.base)
        pipe = load_pipeline(StableDiffusionPipeline.from_pretrained, StableDiffusionPipeline.from_single_file, base)
        way = way_named(program.method)
        adapter = way.make(pipe.unet, program.settings)
        if program.init_from is not None:
            go_on_from(program.init_from, adapter)
        self.pipe, self.scheduler = pipe, pipe.scheduler
        self.module = AdaptedUNet(pipe.unet, adapter)
        if program.gradient_checkpointing:
            self.module.checkpoint_activations()
        if program.compile:
            pipe.unet.compile()
        self.batches = LayoutBatches(program.data, pipe, program.rules, program.loop.batch_size, program.data_seed)
        self.loop = SplitLoop(self.module, self.batches.make_batch, self._loss, program.loop, out, self._export)
        self._same_settings()
        device = self.loop.accelerator.device
        pipe.vae.to(device)
        pipe.text_encoder.to(device)
        if program.cache is not None:
            self._fill_cache(program.cache)
        self.validator = None if program.validation is None else Validator(program, pipe, adapter, self._autocast)
        self.loop.resume()

    def _fill_cache(self, folder: Path) -> None:
        """Encode what the cache lacks, the shards shared among the processes, and use it."""
        run, batches = self.loop.accelerator, self.batches
        side = self.program.rules.side
        settings = {"set": batches.fingerprint(), "side": side, "weights": weights_digest(self.pipe)}
        cache = Cache(folder, batches.files, settings)
        share = (run.process_index, run.num_processes)
        for shard in cache.fill(self.pipe.vae, side, self.pipe.text_encoder, batches.ids, share):
            print(f"cache: shard {shard + 1} of {len(batches.files)} is there", flush=True)
        run.wait_for_everyone()
        batches.use_cache(cache)

    def _autocast(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self.loop.accelerator.autocast()
        return context

    def _loss(self, module: AdaptedUNet, batch: AdapterBatch, draws: Draws) -> torch.Tensor:
        with self._autocast():
            return adapter_loss(
                module.unet,
                module.adapter,
                batch,
                self.scheduler,
                draws,
                texts=self.batches.texts,
                **self.program.loss,
            )

    def _export(self, module: nn.Module, step: int) -> dict[str, float]:
        """Write the averaged adapter with its card, and validate it."""
        folder = self.out / "adapter"
        measured = {} if self.validator is None else self.validator.measure(self.out, step)
        save_adapter(self.module.adapter, folder)
        card = model_card(self.program, self.loop.step, self.loop.loss, measured)
        replace_file(folder / "README.md", card.encode())
        return measured

    def _same_settings(self) -> None:
        """Refuse to go on with settings that make another training; how long it is may change."""
        content = {key: value for key, value in dataclasses.asdict(self.program).items() if key not in FREE}
        content["loop"] = {key: value for key, value in content["loop"].items() if key not in FREE_OF_LOOP}
        content["images of the training set"] = self.batches.fingerprint()
        now = json.loads(json.dumps(content, default=str))
        file = self.out / SETTINGS
        if file.is_file():
            old = _settings(file)
            differ = sorted(key for key in now if old.get(key) != now[key])
            if differ:
                raise UsageError(
                    f"{self.out} holds a training with other settings ({', '.join(differ)}). Use another --out."
                )
        elif self.loop.first:
            replace_file(file, json.dumps(now, indent=2).encode())

    def run(self, minutes: float | None = None) -> bool:
        """Train; returns whether all steps are done. The averaged adapter lies in `out/adapter` afterwards."""
        return self.loop.run(minutes)


def go_on_from(folder: Path, adapter: ModelMixin) -> None:
    """Copy the weights of a stored adapter into a fresh one; raises `UsageError` where they do not fit."""
    old, new = load_folder(folder, type(adapter)).state_dict(), adapter.state_dict()
    differ = [key for key in new if key not in old or old[key].shape != new[key].shape] or [*(old.keys() - new.keys())]
    if differ:
        raise UsageError(
            f"The adapter at {folder} does not fit this base and these settings: {differ[0]} differs "
            f"({len(differ)} weights in all)."
        )
    adapter.load_state_dict(old)


def weights_digest(pipe: StableDiffusionPipeline) -> str:
    """Digest of the weights of autoencoder and text encoder: a cache is theirs."""
    total = hashlib.sha256()
    for part in (pipe.vae, pipe.text_encoder):
        for name, value in part.state_dict().items():
            total.update(f"{name} {tuple(value.shape)} {value.double().sum().item():.17g}".encode())
    return total.hexdigest()[:16]


def train(settings: Mapping[str, object], out: Path, minutes: float | None) -> None:
    """Train by a configuration as read from TOML: what `radl-train layouts` does."""
    Training(Program.from_dict(settings), out).run(minutes)


def _settings(file: Path) -> dict[str, object]:
    """Return the settings of the training in a folder; raises `BadInput`."""
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read ({error}). Use another --out, or train again from the start.") from None
