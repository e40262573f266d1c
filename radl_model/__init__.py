"""RaDL: layout to image on Stable Diffusion v1, usable without `radl_bench`.

`RaDLPipeline`, `FusionAdapter`, `resolve_base` and `resolve_adapter` are imported when asked for, so that importing the
package needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radl_model.adapters.adapter import FusionAdapter
    from radl_model.checkpoints.places import resolve_adapter, resolve_base
    from radl_model.pipelines.pipeline import RaDLPipeline

__all__ = ["FusionAdapter", "RaDLPipeline", "resolve_adapter", "resolve_base"]

_HOMES = {
    "FusionAdapter": "radl_model.adapters.adapter",
    "RaDLPipeline": "radl_model.pipelines.pipeline",
    "resolve_adapter": "radl_model.checkpoints.places",
    "resolve_base": "radl_model.checkpoints.places",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'radl_model' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
