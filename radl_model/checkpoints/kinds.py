"""Whose weights a folder holds, as its configuration says."""

from __future__ import annotations

import json
from pathlib import Path

from radl_model.errors import BadInput

KINDS = {
    "FusionAdapter": "layers of RaDL or MIGC",
    "GligenAdapter": "layers of GLIGEN",
    "LayoutDiffusionUNet": "the network of LayoutDiffusion",
}
_NAMELESS = {"image_size", "multipliers"}
"""A configuration of LayoutDiffusion's network has these keys and no name of a class."""


def kind_of(folder: Path) -> str:
    """Return the class that the configuration in a folder is of, "" where there is none to read."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(config, dict):
        return ""
    return "LayoutDiffusionUNet" if config.keys() >= _NAMELESS else str(config.get("_class_name", ""))


def check_kind(folder: Path, wanted: str) -> None:
    """Raise `BadInput` for a folder that holds another of `KINDS`."""
    found = kind_of(folder)
    if found in KINDS and found != wanted:
        raise BadInput(f"The folder {folder} holds {KINDS[found]}; wanted here: {KINDS[wanted]}.")
