"""The configuration of a training of an adapter (RaDL, MIGC, GLIGEN) on a frozen base of Stable Diffusion v1's shape.

Every part of it is checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from radl_model.errors import UsageError, did_you_mean
from radl_model.train.config import read_table
from radl_model.train.layouts import Rules
from radl_model.train.optimizer import LoopConfig
from radl_model.train.validation import Validation
from radl_model.train.ways import WAYS, check_options, way_named

KEYS = (
    "base", "data", "loop", "method", "loss", "samples", "init_from", "init_seed", "data_seed", "cache", "validation",
    "gradient_checkpointing", "compile",
)  # fmt: skip
"""Keys of a TOML file, beside the tables of the ways."""


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
        cache: folder in which latents and text states of the set are kept, made before the first step.
        validation: table `validation`, see `Validation`.
        gradient_checkpointing: compute the activations of the base again instead of keeping them.
        compile: compile the UNet; the first steps take minutes.
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
    cache: Path | None = None
    validation: Validation | None = None
    gradient_checkpointing: bool = False
    compile: bool = False

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> Program:
        """Read the table of a TOML file.

        Raises:
            UsageError: a key is unknown, missing or of the wrong kind.
        """
        method = str(table.get("method", "fusion"))
        check_options(way_named(method), _table(table, "loss"))
        for key in table:
            if key not in (known := {*KEYS, *WAYS}):
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
            init_seed=_value(table, "init_seed", 0),
            data_seed=_value(table, "data_seed", 0),
            cache=Path(str(table["cache"])) if "cache" in table else None,
            validation=Validation.from_dict(_table(table, "validation")) if "validation" in table else None,
            gradient_checkpointing=_value(table, "gradient_checkpointing", False),
            compile=_value(table, "compile", False),
        )


def _table(table: Mapping[str, object], name: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"'{name}' of the training config should be a table, [{name}], not {value!r:.60}.")
    return dict(value)


Value = TypeVar("Value", int, bool)


def _value(table: Mapping[str, object], name: str, default: Value) -> Value:
    value = table.get(name, default)
    if type(value) is not type(default):
        kind = "a whole number" if type(default) is int else "true or false"
        raise UsageError(f"'{name}' of the training config should be {kind}, not {value!r:.60}.")
    return value
