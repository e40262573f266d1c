"""Training an adapter (RaDL, MIGC, GLIGEN) on a frozen base of Stable Diffusion v1's shape, from a set of layouts.

    accelerate launch -m radl_model.train radl-sd14.toml --out OUT

on one process or several; every part of the configuration is checked before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from radl_model.checkpoints.adapters import load_folder, save_adapter
from radl_model.checkpoints.places import resolve_base
from radl_model.errors import BadInput, UsageError, did_you_mean
from radl_model.files import replace_file
from radl_model.pipelines.bases import load_pipeline
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.batch import AdapterBatch
from radl_model.train.config import read_table
from radl_model.train.draws import Draws
from radl_model.train.layouts import LayoutBatches, Rules
from radl_model.train.loop import SplitLoop
from radl_model.train.optimizer import LoopConfig
from radl_model.train.ways import WAYS, check_options, way_named

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Program:
    """What a training is made of: the keys of its TOML file.

    Attributes:
        base: "sd14", a folder or a safetensors file; its weights stay as they are.
        data: folder of the training set.
        loop: see `LoopConfig`. Defaults are the paper's: AdamW, linear warm-up, then constant.
        method: kind of adapter, "fusion" (RaDL and MIGC) or "gligen"; `settings` is the table of that name.
        loss: `first_timestep`, and the options of the way (`ways.py`): `phrase_dropout`, `inhibition`, ...
        rules: table `samples`, see `layouts.Rules`.
        init_from: folder of an adapter to go on from.
    """

    base: str
    data: Path
    loop: LoopConfig
    method: str = "fusion"
    settings: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    init_from: Path | None = None
    init_seed: int = 0
    data_seed: int = 0

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> Program:
        """Read the table of a TOML file.

        Raises:
            UsageError: a key is unknown, missing or of the wrong kind.
        """
        method = str(table.get("method", "fusion"))
        check_options(way_named(method), _table(table, "loss"))
        known = {"base", "data", "loop", "method", "loss", "samples", "init_from", "init_seed", "data_seed", *WAYS}
        for key in table:
            if key not in known:
                raise UsageError(did_you_mean(key, known, "key of a training config"))
        for key in ("base", "data", "loop"):
            if key not in table:
                raise UsageError(f"A training config needs '{key}'.")
        return cls(
            base=str(table["base"]),
            data=Path(str(table["data"])),
            loop=LoopConfig.from_dict(_table(table, "loop")),
            method=method,
            settings=_table(table, method),
            loss=_table(table, "loss"),
            rules=read_table(Rules, _table(table, "samples"), "samples"),
            init_from=Path(str(table["init_from"])) if "init_from" in table else None,
            init_seed=_whole(table, "init_seed"),
            data_seed=_whole(table, "data_seed"),
        )


def _table(table: Mapping[str, object], name: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"'{name}' of the training config should be a table, [{name}], not {value!r:.60}.")
    return dict(value)


def _whole(table: Mapping[str, object], name: str) -> int:
    value = table.get(name, 0)
    if type(value) is not int:
        raise UsageError(f"'{name}' of the training config should be a whole number, not {value!r:.60}.")
    return value


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
            adapter.load_state_dict(load_folder(program.init_from, type(adapter)).state_dict())
        self.scheduler = pipe.scheduler
        self.module = AdaptedUNet(pipe.unet, adapter)
        self.batches = LayoutBatches(program.data, pipe, program.rules, program.loop.batch_size, program.data_seed)
        self.loop = SplitLoop(self.module, self.batches.make_batch, self._loss, program.loop, out, self._export)
        self._same_settings()
        device = self.loop.accelerator.device
        pipe.vae.to(device)
        pipe.text_encoder.to(device)
        self.loop.resume()

    def _loss(self, module: AdaptedUNet, batch: AdapterBatch, draws: Draws) -> torch.Tensor:
        with self.loop.accelerator.autocast():
            return adapter_loss(
                module.unet,
                module.adapter,
                batch,
                self.scheduler,
                draws,
                texts=self.batches.texts,
                **self.program.loss,
            )

    def _export(self, module: nn.Module, step: int) -> None:
        save_adapter(self.module.adapter, self.out / "adapter")

    def _same_settings(self) -> None:
        """Refuse to go on with settings that make another training; how long it is may change."""
        free = {"steps", "checkpoint_every", "sample_every", "log_every", "accumulate", "precision", "decay"}
        content = dataclasses.asdict(self.program)
        content["loop"] = {key: value for key, value in content["loop"].items() if key not in free}
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


def train(settings: Mapping[str, object], out: Path, minutes: float | None) -> None:
    """Train by a configuration as read from TOML: what `radl-train layouts` does."""
    Training(Program.from_dict(settings), out).run(minutes)


def _settings(file: Path) -> dict[str, Any]:
    """Return the settings of the training in a folder; raises `BadInput`."""
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read ({error}). Use another --out, or train again from the start.") from None
