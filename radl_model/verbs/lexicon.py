"""The lexicon of the rules, and what every extractor gives: a `Reading`."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path


def _lexicon() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string((Path(__file__).parent / "lexicon.ini").read_text())
    return parser


_LEXICON = _lexicon()
WORDS = {name: set(words.split()) for name, words in _LEXICON["words"].items()}
RELATIONS = dict(_LEXICON["relations"])


def _forms(base: str) -> set[str]:
    """Third person, past and -ing form of a regular verb."""
    stem = base[:-1] if base.endswith("e") and not base.endswith("ee") else base
    short = re.fullmatch(r"[^aeiou]*[aeiou][bdgmnprt]", base)
    doubled = stem + stem[-1] if short else stem
    third = base + "es" if re.search(r"(s|x|z|ch|sh)$", base) else base + "s"
    past = doubled + "ed"
    if re.search(r"[^aeiou]y$", base):
        third, past = base[:-1] + "ies", base[:-1] + "ied"
    ing = base[:-2] + "ying" if base.endswith("ie") else doubled + "ing"
    return {third, past, ing}


INFLECTED = {form for base in WORDS["bases"] for form in _forms(base)} | WORDS["irregular"]


@dataclass(frozen=True)
class Reading:
    """What an extractor found in a prompt, in order of appearance.

    Attributes:
        verbs: surface forms in lower case; phrases: each with its particles and prepositions.
        tagged: every word taken for a verb, those that only describe a noun included, as the released RaDL takes them.
    """

    verbs: list[str]
    phrases: list[str]
    tagged: list[str]


def relation_at(words: list[str]) -> list[str]:
    """The fixed relation that `words` open with ("on top of", "next to"), as words; empty when there is none."""
    rest = " ".join(words) + " "
    return next((surface.split() for surface in RELATIONS if rest.startswith(surface + " ")), [])
