"""Where the shipped configurations of the stages are, and what a stage needs of an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.errors import MissingData, UsageError, did_you_mean
from radl_model.train import config

CONFIGS = Path(__file__).parent / "configs"

VAE = ("config.json", "autoencoder", "autoencoder")
BASE = ("model_index.json", "base model", "base")
ADAPTER = ("config.json", "adapter", "adapter")
TEXT = ("config.json", "text tower", "text")
ENCODER = ("config.json", "scene encoder", "encoder")
CLASSIFIER = ("config.json", "classifier", "classifier")
DETECTOR = ("model.safetensors", "detector", "detector")
LAYOUT_DIFFUSION = ("config.json", "LayoutDiffusion", "layout-diffusion")


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file as `radl_model.train.config.load_config` does; its errors name the shipped ones."""
    return config.load_config(path, CONFIGS)


def only(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise `UsageError` for the first of the given names that is not among the known ones; `what` a name is of."""
    for name in given:
        if name not in known:
            raise UsageError(did_you_mean(name, sorted(known), what))


def present(given: Collection[str], needed: Iterable[str], what: str) -> None:
    """Raise `UsageError` for the first of the needed names that is not among the given ones; `what` lacks it."""
    for name in needed:
        if name not in given:
            raise UsageError(f"{what} lacks '{name}'.")


def as_table(given: object, what: str) -> Mapping[str, object]:
    """Return a table of a TOML file; raises `UsageError` where there is anything else."""
    if not isinstance(given, Mapping):
        raise UsageError(f"{what} of the training config is {given!r}, and must be a table.")
    return given


Run = Callable[[Any, Path, "float | None"], None]
"""Settings (a TOML table), output folder, minutes -> trained weights in the folder."""

Check = Callable[[Mapping[str, object]], None]
"""Raises `UsageError` for settings that a stage cannot run with."""

LEARNS = frozenset({"init_seed", "data_seed"})
"""Settings of every stage that trains a network: the seeds of its first weights and of its data."""


@dataclass(frozen=True)
class Stage:
    """A training stage, and what its config may say.

    Attributes:
        name: as in `radl-train NAME`.
        needs: settings that have to be there.
        may: further ones.
        tables: the names that a table of the settings may hold, for tables that no part of their own checks.
        also: what else has to hold.
    """

    name: str
    run: Run
    needs: frozenset[str]
    may: frozenset[str]
    tables: Mapping[str, Collection[str]]
    also: Check | None = None

    def __call__(self, settings: dict[str, Any], out: Path, minutes: float | None) -> None:
        """Check the settings, then run."""
        self.check(settings)
        self.run(settings, out, minutes)

    def check(self, settings: Mapping[str, object]) -> None:
        """Raise `UsageError` for a setting that this stage does not know, or lacks."""
        only(settings, self.needs | self.may, f"setting of the {self.name} stage")
        present(settings, sorted(self.needs), f"The config of the {self.name} stage")
        as_table(settings.get("loop", {}), "[loop]")
        for table, known in self.tables.items():
            only(as_table(settings.get(table, {}), f"[{table}]"), known, f"setting of [{table}]")
        if self.also is not None:
            self.also(settings)


def takes(
    name: str,
    needs: Collection[str],
    may: Collection[str] = (),
    tables: Mapping[str, Collection[str]] | None = None,
    also: Check | None = None,
) -> Callable[[Run], Stage]:
    """Make a stage of the function below; see `Stage`."""
    return lambda run: Stage(name, run, frozenset(needs), frozenset(may), tables or {}, also)


def sized(settings: Mapping[str, object]) -> None:
    """Raise `UsageError` for a [model] of a base that does not say its channels."""
    if "model" in settings:
        present(as_table(settings["model"], "[model]"), ("channels",), "[model]")


def trained(folder: str | Path, file: str, what: str, stage: str) -> Path:
    """Return the folder of an earlier stage's result, `file` in it.

    Raises:
        MissingData: it is not there, or its training stopped before its last step; with the command for it. A folder
            without a checkpoint beside it, such as a shipped one, counts as trained.
    """
    folder = Path(folder)
    if not (folder / file).is_file():
        raise MissingData(
            f"There is no {what} at {folder} (no {file}). Train it first, radl-train {stage} --out {folder.parent}, or "
            "name another folder in the config."
        )
    from radl_model.train.progress import progress  # loads torch

    reached = progress(folder.parent)
    if reached is not None and reached[0] < reached[1]:
        raise MissingData(
            f"The {what} at {folder} is not finished: step {reached[0]} of {reached[1]}. Repeat the command that "
            f"trains it (re-running resumes), or set steps = {reached[0]} in its config and repeat it, to end it here."
        )
    return folder
