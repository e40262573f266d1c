"""Where GroundingDINO's weights and BERT's vocabulary are on this machine.

Both backends read either layout: the original checkpoint (`groundingdino_swint_ogc.pth`) or the hub's folder
(`config.json`, `model.safetensors`).
"""

from __future__ import annotations

from pathlib import Path

from radl_bench.errors import MissingWeights
from radl_bench.judges.local_weights import cached_file, find_weights, weights_folder

HUB = "IDEA-Research/grounding-dino-tiny"
"""SwinT-OGC in the hub's layout."""

BERTS = ("google-bert/bert-base-uncased", "bert-base-uncased")
FOLDERS = ("grounding-dino", "groundingdino-py")
"""What `radl-bench fetch` calls the checkpoint in the hub's and in the original layout."""

ABSENT = "GroundingDINO weights not found. Run: radl-bench fetch grounding-dino, or pass --detector mini."


def find_checkpoint(weights: str | Path | None = None, backend: str = "grounding-dino") -> Path:
    """Return the checkpoint file; see `local_weights.find_weights`. The backend's own layout is looked for first."""
    folders = sorted(FOLDERS, key=lambda name: name != backend)
    return find_weights(weights, folders, HUB, ABSENT)


def find_vocabulary(checkpoint: Path, vocabulary: str | Path | None = None) -> Path:
    """Return BERT's `vocab.txt`: the one given, else the one beside the checkpoint, fetched, or in the hub's cache.

    Raises:
        MissingWeights: it is in none of these places.
    """
    if vocabulary is not None:
        places = [Path(vocabulary).expanduser()]
    else:
        places = [checkpoint.parent / "vocab.txt", *(weights_folder(name) / "vocab.txt" for name in FOLDERS)]
    for place in places:
        if place.is_file():
            return place
    cached = None if vocabulary else next(filter(None, (cached_file(r, "vocab.txt") for r in (HUB, *BERTS))), None)
    if cached is not None:
        return cached
    raise MissingWeights(
        f"BERT's vocabulary (vocab.txt of bert-base-uncased) not found at {places[0]}. "
        "Run: radl-bench fetch grounding-dino, or pass --detector mini."
    )
