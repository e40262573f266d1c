"""What an encoder has to say of the texts of a run, kept beside the evidence: asking again would load a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from radl_bench.files import replace_file
from radl_bench.judges.contracts import Judge, Remarking
from radl_bench.parsing import read_json
from radl_bench.runs.images import Picture

NAME = "text-notes.json"


def notes_of_encoder(encoder: Judge | None, pictures: Sequence[Picture], folder: Path) -> list[str]:
    """Return the encoder's sentences about prompts and phrases; the same texts are asked for once.

    Args:
        folder: the run's evidence folder.
    """
    if not isinstance(encoder, Remarking):
        return []
    samples = {p.sample.id: p.sample for p in pictures}.values()
    texts = [[s.prompt, *(i.phrase for i in s.instances)] for s in samples]
    key = hashlib.sha256(json.dumps([encoder.signature, texts]).encode()).hexdigest()
    kept = _kept(folder / NAME)
    if key not in kept:
        kept[key] = list(encoder.notes(pictures))
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / NAME, json.dumps(kept, ensure_ascii=False, indent=1).encode())
    return kept[key]


def _kept(file: Path) -> dict[str, list[str]]:
    """What is kept; a file that cannot be read, or is none of ours, holds nothing."""
    try:
        found = read_json(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    lists = [v for v in found.values() if isinstance(v, list)]
    right = len(lists) == len(found) and all(isinstance(sentence, str) for v in lists for sentence in v)
    return found if right else {}
