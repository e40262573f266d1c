"""`radl-train all`: run and resume every stage of a plan, in slices of time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, UsageError
from radl_bench.files import replacing
from radl_bench.mini.train.config import Run, Stage
from radl_bench.mini.train.plan import Entry, check_inputs, digests, read_plan, refuse

RECORD = "stage.json"


def run_all(folder: Path, minutes: float | None, stage_of: Callable[[str], Run]) -> bool:
    """Run the stages of `FOLDER/all.toml` in order, skipping those that are done; return whether all are done.

    Args:
        minutes: no step is begun after this long (a shard or a sample sheet that is begun is finished); the next call
            goes on.
        stage_of: the function of a stage's name: (settings, out, minutes).

    Raises:
        UsageError: a fault of the plan, or a stage whose config changed since it began; nothing was started.
    """
    entries = read_plan(folder)
    check_inputs(entries)
    _check_settings(entries, stage_of)
    marks = digests(entries)
    _check_records(entries, marks)
    begin = time.monotonic()
    for entry, digest in zip(entries, marks, strict=True):
        if (_record(entry) or {}).get("done"):
            print(f"{entry.out}: done before", flush=True)
            continue
        left = None if minutes is None else minutes - (time.monotonic() - begin) / 60
        if left is not None and left <= 0:
            return _stopped(entry)
        print(f"{entry.out}: {entry.stage}, {entry.source}", flush=True)
        _write(entry, digest, done=False)
        stage_of(entry.stage)(json.loads(json.dumps(entry.settings)), entry.out, left)
        if not finished(entry):
            return _stopped(entry)
        _write(entry, digest, done=True)
    print(f"All {len(entries)} stages are done.", flush=True)
    return True


def finished(entry: Entry) -> bool:
    """Whether a stage has nothing left to do: all its shards, or all its steps."""
    if entry.stage == "cache":
        return len(list(entry.out.glob("latents-*.safetensors"))) >= entry.settings["shards"]
    from radl_model.train.progress import progress  # loads torch

    reached = progress(entry.out)
    return reached is not None and reached[0] >= entry.settings["loop"]["steps"]


def _stopped(entry: Entry) -> bool:
    print(f"Out of time at {entry.out}. Re-running resumes.", flush=True)
    return False


def _check_settings(entries: Sequence[Entry], stage_of: Callable[[str], Run]) -> None:
    faults = []
    for entry in entries:
        stage = stage_of(entry.stage)
        try:
            if isinstance(stage, Stage):
                stage.check(entry.settings)
        except UsageError as error:
            faults.append(f"{entry.source}: {error}")
    refuse(faults)


def _check_records(entries: Sequence[Entry], marks: Sequence[str]) -> None:
    faults = []
    for entry, digest in zip(entries, marks, strict=True):
        record = _record(entry)
        begun = any(entry.out.glob("checkpoint.pt")) or any(entry.out.glob("latents-*.safetensors"))
        if record is None and begun:
            faults.append(f"{entry.out} holds a training that this plan did not start.")
        elif record is not None and record.get("digest") != digest:
            faults.append(f"{entry.out} was begun with another config: {_difference(record, entry)}.")
    if faults:
        lines = "".join(f"\n- {fault}" for fault in faults)
        raise UsageError(
            f"Nothing was started; {len(faults)} folder(s) do not belong to the plan:{lines}\nGive each another out, "
            "or remove it to train it again."
        )


def _difference(record: Mapping[str, Any], entry: Entry) -> str:
    if record.get("stage") != entry.stage:
        return f"its stage was {record.get('stage')}"
    old, new = _flat(record.get("settings", {})), _flat(json.loads(json.dumps(entry.settings)))
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return ", ".join(f"{k} was {old.get(k)}, is {new.get(k)}" for k in keys) or "that of a stage it reads has changed"


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value})
    return flat


def _record(entry: Entry) -> dict[str, Any] | None:
    file = entry.out / RECORD
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BadInput(f"{file} is no record of a stage. Remove it and the folder it lies in, then run again.")
    return record


def _write(entry: Entry, digest: str, done: bool) -> None:
    entry.out.mkdir(parents=True, exist_ok=True)
    content = {"stage": entry.stage, "settings": entry.settings, "digest": digest, "done": done}
    with replacing(entry.out / RECORD) as part:
        Path(part).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
