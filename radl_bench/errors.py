"""Errors as sentences: what happened, where, and what to run. The CLI prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RadlBenchError(Exception):
    """Base of every error a user can meet; `exit_code` is what the command returns."""

    exit_code = 2


class UsageError(RadlBenchError):
    """The call asks for something that cannot be done as written."""


class BadInput(RadlBenchError):
    """A file of the user's is not what it should be; the sentence names file and line."""


class MissingWeights(RadlBenchError):
    """Model weights are not on this machine."""

    exit_code = 3


class MissingExtra(RadlBenchError):
    """An optional package is not installed."""

    exit_code = 3


class MissingData(RadlBenchError):
    """A data set, a run or an image is not where it should be."""

    exit_code = 3


class GenerationFailed(RadlBenchError):
    """Some images failed; their rows say why."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str], what: str) -> str:
    """Return a sentence for an unknown name: `Unknown method 'radel'. Did you mean 'radl'? Known: ...`."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {what} '{word}'.{hint} Known: {', '.join(names)}."
