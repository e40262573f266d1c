"""The check of an adapter's `config.json`, before anything is built from it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from radl_model.errors import BadInput, UsageError
from radl_model.layers.config import FusionConfig

SIZES = ("channels", "heads", "text_dim")
_LARGEST = {"channels": 16_384, "heads": 1024, "text_dim": 16_384}
_MOST_LAYERS = 256
_MOST = 65_536
"""Most that a number of the layer's settings can be."""


def check_adapter_config(folder: Path) -> None:
    """Raise `BadInput`, naming the key, for a `config.json` that no adapter can have been saved with."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes())
        problem = _problem(config)
    except (OSError, ValueError, RecursionError, UsageError) as error:
        problem = (str(error).strip() or type(error).__name__).split("\n")[0][:300]
    if problem:
        raise BadInput(f"The adapter at {folder} cannot be read, its config.json is wrong: {problem}")


def _problem(config: Any) -> str | None:
    if not isinstance(config, dict) or any(not isinstance(config.get(key), dict) for key in ("sizes", "fusion")):
        return "it needs the tables 'sizes' and 'fusion'."
    unknown = [key for key in config if key not in ("sizes", "fusion") and not key.startswith("_")]
    if unknown:
        return f"it has the unknown key {unknown[0]!r:.80}."
    sizes = config["sizes"]
    if not 1 <= len(sizes) <= _MOST_LAYERS:
        return f"'sizes' names {len(sizes)} layers."
    problems = (_of_size(name, size) for name, size in sizes.items())
    return next(filter(None, problems), None) or _of_fusion(config["fusion"])


def _of_size(name: str, size: Any) -> str | None:
    if not isinstance(size, dict) or sorted(size) != sorted(SIZES):
        return f"the layer {name!r:.80} needs {', '.join(SIZES)}."
    for key, value in size.items():
        if type(value) is not int or not 1 <= value <= _LARGEST[key]:
            return f"{key} of the layer {name!r:.80} must be 1 to {_LARGEST[key]}."
    if size["channels"] % size["heads"]:
        return f"the {size['channels']} channels of the layer {name!r:.80} cannot be split over {size['heads']} heads."
    return None


def _of_fusion(fusion: dict[str, Any]) -> str | None:
    """Values of the kinds of `FusionConfig`, whose own checks come after."""
    defaults = {item.name: item.default for item in fields(FusionConfig)}
    for key, value in fusion.items():
        kind = type(defaults.get(key))
        if key in defaults and type(value) is not kind and not (kind is float and type(value) is int):
            return f"'fusion.{key}' must be given as {kind.__name__}."
        if type(value) in (int, float) and not 0 <= value <= _MOST:
            return f"'fusion.{key}' must be 0 to {_MOST}."
    FusionConfig.from_dict(fusion)
    return None
