"""Errors a user can meet: what happened, where, and what to run. A command prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RadlError(Exception):
    """Base of every error a user can meet; `exit_code` is what a command returns."""

    exit_code = 2


class UsageError(RadlError):
    """The call asks for something that cannot be done as written."""


class BadInput(RadlError):
    """A file of the user's is not what it should be; the message names file and line."""


class MissingData(RadlError):
    """A data set, a run or an image is not where it should be."""

    exit_code = 3


class MissingWeights(RadlError):
    """Model weights are not on this machine."""

    exit_code = 3


class DiskFull(RadlError):
    """There is no room for a file; what was written before stays."""

    exit_code = 3


class MissingExtra(RadlError):
    """An optional package is not installed."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str], what: str) -> str:
    """Return the message for an unknown name: `Unknown method 'radel'. Did you mean 'radl'? Known: ...`."""
    word = "".join(c if c.isprintable() else "?" for c in word)
    word = word if len(word) <= 80 else word[:77] + "..."
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {what} '{word}'.{hint} Known: {', '.join(names)}."
