"""Errors a user can meet; those that a model can raise too are the model's own classes."""

from __future__ import annotations

from radl_model.errors import BadInput, DiskFull, MissingData, MissingExtra, MissingWeights, UsageError, did_you_mean
from radl_model.errors import RadlError as RadlBenchError

__all__ = [
    "BadInput",
    "DiskFull",
    "GenerationFailed",
    "Interrupted",
    "MissingData",
    "MissingExtra",
    "MissingWeights",
    "RadlBenchError",
    "UsageError",
    "did_you_mean",
]


class Interrupted(RadlBenchError):
    """The command was stopped by hand; what is written stays."""

    exit_code = 130


class GenerationFailed(RadlBenchError):
    """Some images failed; their rows say why."""

    exit_code = 1
