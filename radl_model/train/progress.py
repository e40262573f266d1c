"""How far a training has come, read off its checkpoint."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from radl_model.checkpoints.tensors import first_line
from radl_model.errors import BadInput

CHECKPOINT = "checkpoint.pt"
UNREADABLE = (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError)
"""What reading a damaged checkpoint raises."""


def unreadable(checkpoint: Path, error: Exception) -> BadInput:
    """Return the error for a damaged checkpoint."""
    return BadInput(f"{checkpoint} cannot be read ({first_line(error)}). Put back a copy, or delete it to begin again.")


def progress(out: Path) -> tuple[int, int] | None:
    """Return the step that the training in `out` has reached and how many it is to take; None without a checkpoint.

    Raises:
        BadInput: the checkpoint cannot be read.
    """
    file = out / CHECKPOINT
    if not file.is_file():
        return None
    try:
        state = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
        return int(state["step"]), int(state["config"]["steps"])
    except UNREADABLE as error:
        raise unreadable(file, error) from None
