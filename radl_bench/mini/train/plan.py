"""The plan of `radl-train all`: which stages, from which configs, in which folders, and whether their inputs fit.

`all.toml` in the folder of configs lists the stages in order:

    [[stages]]
    stage = "cache"
    config = "pool-whole.toml"   # left out: the stage's name and .toml
    out = "work/pool-whole"
    set = {seed = 3}             # values over those of the config, table by table
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.mini.train.config import load_config
from radl_model.train.config import merged

PRODUCTS = {
    "autoencoder": "vae",
    "text": "text_encoder",
    "encoder": "encoder",
    "cache": "",
    "base": "base",
    "recipe": "base",
    "adapter": "adapter",
    "layout-diffusion": "layout-diffusion",
    "classifier": "classifier",
}
"""The stages that a plan may hold, and the folder that each leaves in its own; a cache is its folder itself."""

Kinds = tuple[str, ...]
BASES: Kinds = ("base", "recipe")
MARKS = {"base": "model_index.json", "recipe": "model_index.json", "cache": "latents-*.safetensors"}
INPUTS: Mapping[str, Kinds] = {
    "vae_folder": ("autoencoder",),
    "encoder_folder": ("encoder",),
    "text": ("text",),
    "base": BASES,
    "latents": ("cache",),
}


@dataclass(frozen=True)
class Entry:
    """A stage of a plan, with the whole of its settings."""

    stage: str
    settings: dict[str, Any]
    out: Path
    source: str

    @property
    def product(self) -> Path:
        """The folder that later stages name."""
        return (self.out / PRODUCTS[self.stage]).absolute()

    def inputs(self) -> Iterator[tuple[str, Path, Kinds]]:
        """Each folder that the settings name: key, folder, the stages that may have made it."""
        for table in (self.settings, *self.settings.get("lessons", ())):
            for key, kinds in INPUTS.items():
                value = table.get(key, ())
                for folder in [value] if isinstance(value, str) else value:
                    yield key, Path(folder).absolute(), kinds
        if "init_from" in self.settings:
            kinds = BASES if self.stage in BASES else (self.stage,)
            yield "init_from", Path(self.settings["init_from"]).absolute(), kinds


def read_plan(folder: Path) -> list[Entry]:
    """Return the stages of `FOLDER/all.toml`. Raises `UsageError` naming every fault of the plan and its configs."""
    plan = load_config(folder / "all.toml")
    entries, faults = [], []
    for number, row in enumerate(plan.get("stages", ()), start=1):
        try:
            entries.append(_entry(folder, row, number))
        except RadlBenchError as error:
            faults.append(str(error))
    outs = [entry.out.absolute() for entry in entries]
    faults += [f"Two stages have the folder {out}." for out in sorted({o for o in outs if outs.count(o) > 1})]
    if not entries and not faults:
        faults.append(f"{folder / 'all.toml'} lists no stages.")
    refuse(faults)
    return entries


def _entry(folder: Path, row: Mapping[str, Any], number: int) -> Entry:
    unknown = sorted(row.keys() - {"stage", "config", "out", "set"})
    if unknown or not {"stage", "out"} <= row.keys():
        what = f"has no '{unknown[0]}'" if unknown else "needs a 'stage' and an 'out'"
        raise UsageError(f"Stage {number} of {folder / 'all.toml'}: an entry {what}.")
    stage = row["stage"]
    if stage not in PRODUCTS:
        raise UsageError(did_you_mean(stage, PRODUCTS, "stage of a plan"))
    file = folder / row.get("config", f"{stage}.toml")
    settings = merged(load_config(file), row.get("set", {}))
    _check_loop(stage, settings, file)
    return Entry(stage, settings, Path(row["out"]), file.name)


def _check_loop(stage: str, settings: Mapping[str, Any], file: Path) -> None:
    from radl_model.train.loop import LoopConfig

    if stage == "cache":
        return
    try:
        LoopConfig.from_dict(settings.get("loop", {}))
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def check_inputs(entries: Sequence[Entry]) -> None:
    """Raise `UsageError` listing every input that is missing, made later, or of another kind than the stage reads."""
    makers = {entry.product: (n, entry) for n, entry in enumerate(entries)}
    faults = []
    for n, entry in enumerate(entries):
        for key, folder, kinds in entry.inputs():
            fault = _fault(n, folder, kinds, makers)
            faults += [f"{entry.source} ({entry.out}): {key} = {folder} {fault}"] if fault else []
        faults += [f"{entry.source} ({entry.out}): {fault}" for fault in _mismatches(entry, makers)]
    refuse(faults)


def _fault(n: int, folder: Path, kinds: Kinds, makers: Mapping[Path, tuple[int, Entry]]) -> str:
    at, maker = makers.get(folder, (-1, None))
    if maker is not None and maker.stage not in kinds:
        return f"is made by the stage {maker.stage}, and has to come from {' or '.join(kinds)}."
    if maker is not None:
        return "" if at < n else f"is made later, by {maker.source}."
    mark = MARKS.get(kinds[0], "config.json")
    if next(folder.glob(mark), None) is None:
        return f"is not there (no {mark}), and no stage of the plan makes it. It comes from radl-train {kinds[0]}."
    return ""


def _mismatches(entry: Entry, makers: Mapping[Path, tuple[int, Entry]]) -> Iterator[str]:
    """What does not fit between a stage and the latents it learns on."""
    own = entry.settings.get("vae_folder")
    for key, folder, _ in entry.inputs():
        maker = makers.get(folder, (-1, None))[1]
        if key != "latents" or maker is None or maker.stage != "cache":
            continue
        if entry.stage == "recipe" and "encoder_folder" not in maker.settings:
            yield f"the latents of {maker.source} have no features; it needs an encoder_folder."
        theirs = maker.settings.get("vae_folder")
        if own and theirs and Path(own).absolute() != Path(theirs).absolute():
            yield f"vae_folder is {own}, and the latents of {maker.source} are of {theirs}."


def digests(entries: Sequence[Entry]) -> list[str]:
    """Return a sha256 a stage, of its settings and of those of every stage before it that it reads."""
    known: dict[Path, str] = {}
    for entry in entries:
        above = sorted({known[folder] for _, folder, _ in entry.inputs() if folder in known})
        text = json.dumps([entry.stage, entry.settings, above], sort_keys=True)
        known[entry.product] = hashlib.sha256(text.encode()).hexdigest()
    return [known[entry.product] for entry in entries]


def refuse(faults: Sequence[str]) -> None:
    """Raise `UsageError` that lists the faults, if there are any."""
    if faults:
        lines = "".join(f"\n- {fault}" for fault in faults)
        raise UsageError(f"Nothing was started; {len(faults)} fault(s) in the plan:{lines}")
