"""Where GroundingDINO's weights and BERT's vocabulary are on this machine. Nothing is downloaded here.

They may lie in either layout: the original checkpoint (`groundingdino_swint_ogc.pth`) or the folder of the hub
(`config.json`, `model.safetensors`). Looked for, in this order: what the caller gives, `weights/grounding-dino` in the
user's data folder (where `radl-bench fetch grounding-dino` puts them), the hub's cache.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from radl_bench.errors import MissingWeights

HUB = "IDEA-Research/grounding-dino-tiny"
"""SwinT-OGC in the hub's layout."""

BERT = "bert-base-uncased"
NAMES = ("model.safetensors", "groundingdino_swint_ogc.pth", "*.pth", "*.safetensors")
ABSENT = "GroundingDINO weights not found. Run: radl-bench fetch grounding-dino, or pass --detector mini."


def weights_folder(name: str) -> Path:
    """Return the folder of fetched weights of a judge: `weights/<name>` in the user's data folder."""
    from radl_bench.importers import data_home

    return data_home() / "weights" / name


def find_checkpoint(weights: str | Path | None = None) -> Path:
    """Return the checkpoint file.

    Args:
        weights: a file, a folder, or a hub id whose files are in the cache; None for the usual places.

    Raises:
        MissingWeights: there is none.
    """
    places = [weights_folder("grounding-dino")] if weights is None else [Path(weights).expanduser()]
    for place in places:
        if place.is_file():
            return place
        for name in NAMES:
            for file in sorted(place.glob(name)) if place.is_dir() else ():
                return file
    cached = cached_file(HUB if weights is None else str(weights), "model.safetensors")
    if cached is not None:
        return cached
    where = "" if weights is None else f" There are none at {weights}."
    raise MissingWeights(ABSENT + where)


def find_vocabulary(checkpoint: Path, vocabulary: str | Path | None = None) -> Path:
    """Return BERT's `vocab.txt`: the one given, beside the checkpoint, fetched, or in the hub's cache.

    Raises:
        MissingWeights: it is in none of these places.
    """
    given = [Path(vocabulary).expanduser()] if vocabulary is not None else []
    beside = [checkpoint.parent / "vocab.txt", weights_folder("grounding-dino") / "vocab.txt"]
    for place in given or beside:
        if place.is_file():
            return place
    cached = None if given else cached_file(HUB, "vocab.txt") or cached_file(BERT, "vocab.txt")
    if cached is not None:
        return cached
    raise MissingWeights(
        f"BERT's vocabulary (vocab.txt of {BERT}) not found at {(given or beside)[0]}. "
        "Run: radl-bench fetch grounding-dino, or pass --detector mini."
    )


def cached_file(repo: str, name: str) -> Path | None:
    """Return a file of a hub repository from the cache on this machine, None where it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo, name)
    except HFValidationError:  # a path, not the name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


@functools.lru_cache(maxsize=16)
def file_sha8(file: Path) -> str:
    """Return the first 8 hex digits of the file's sha256; a large file of the hub's cache is named by it already."""
    blob = file.resolve()
    if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name[:8]
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()[:8]
