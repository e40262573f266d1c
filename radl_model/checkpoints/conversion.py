"""Public checkpoints, read and checked once: the adapter folder of each lies in the user's cache from then on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import ModelMixin

from radl_model.errors import BadInput, MissingWeights, UsageError
from radl_model.files import file_sha256

logger = logging.getLogger(__name__)

SHOWN = 12


@dataclass(frozen=True)
class Conversion:
    """A checked checkpoint.

    Attributes:
        kind: "MIGC", "MIGC++", "RaDL" or "GLIGEN".
        adapter: holds the weights, in the file's precision.
        notes: one sentence for each choice made and each group of keys left out.
    """

    kind: str
    adapter: Any
    notes: tuple[str, ...]


def converted(file: Path, options: Mapping[str, object], read: Callable[[Path], Conversion]) -> Path:
    """Return the adapter folder of a checkpoint in the user's cache, made by `read` on the first call.

    The cache is `adapters/` under `$RADL_BENCH_HOME` (by default the platform's cache folder); a folder is named by the
    file's sha256 and the options, and holds `config.json`, safetensors and `source.json` with the notes.

    Args:
        options: everything that the result depends on, besides the file; of JSON values.

    Raises:
        MissingWeights: no such file; UsageError: the cache cannot be written; and what `read` raises.
    """
    from radl_model.home import data_home

    if not file.is_file():
        raise MissingWeights(f"There is no checkpoint at {file}.")
    source = {"file": file.name, "sha256": file_sha256(file), **options}
    key = hashlib.sha256(json.dumps({**source, "file": ""}, sort_keys=True).encode()).hexdigest()[:16]
    folder = data_home() / "adapters" / f"{file.stem}-{key}"
    if (folder / "source.json").is_file():
        return folder
    made = read(file)
    for note in made.notes:
        logger.warning("%s: %s", file.name, note)
    try:
        _write(folder, made.adapter, {**source, "kind": made.kind, "notes": list(made.notes)})
    except OSError as error:
        raise UsageError(
            f"The converted checkpoint cannot be written to {folder} ({error.strerror}). Set RADL_BENCH_HOME to a "
            "folder that can."
        ) from error
    return folder


def refuse(file: Path, problems: Sequence[str]) -> None:
    """Raise `BadInput` with the first of the problems, where there are any."""
    if problems:
        more = f" And {len(problems) - SHOWN} more." if len(problems) > SHOWN else ""
        raise BadInput(f"The checkpoint {file} does not fit. {' '.join(problems[:SHOWN])}{more}")


def _write(folder: Path, adapter: ModelMixin, source: dict[str, Any]) -> None:
    """Write under a temporary name, then rename, so that a kill leaves no half folder under the final one."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        adapter.save_pretrained(str(part))
        (part / "source.json").write_text(json.dumps(source, indent=2), "utf-8")
        if folder.is_dir() and not (folder / "source.json").is_file():
            shutil.rmtree(folder)
        if not folder.is_dir():
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
