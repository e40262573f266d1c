"""A phrase for every box: the caption's own words for it where they are unmistakable, else the name of its class."""

from __future__ import annotations

import configparser
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from radl_bench.judges.templates import with_articles
from radl_model.coco_classes import COCO_CLASSES
from radl_model.plurals import singular

CAPTION, CLASS, LOCATED = "caption", "class", "located"

_WORDS = configparser.ConfigParser(delimiters=("=",))
_WORDS.read_string((Path(__file__).parent / "words.ini").read_text())
_SAID = {name: tuple(word.strip() for word in words.split(",")) for name, words in _WORDS["classes"].items()}
_DESCRIBING = frozenset(_WORDS["phrases"]["describing"].split())
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|[.,;:!?]")


class Phrase(NamedTuple):
    """Text of an instance and where it comes from: `CAPTION`, `CLASS`, or `LOCATED` by a detector."""

    text: str
    source: str


def instance_phrases(caption: str, categories: Sequence[str]) -> list[Phrase]:
    """Return a phrase for each instance of an image, in order.

    The caption's noun phrase ("a small red car") is taken for a class that the image has once and that the caption
    names once, in the singular: then there is no doubt which box it speaks of. All others get their class name.
    """
    counts = Counter(categories)
    found = {name: _mention(caption, name) if counts[name] == 1 else None for name in counts}
    return [
        Phrase(text, CAPTION) if (text := found[name]) is not None else Phrase(with_articles(f"a {name}"), CLASS)
        for name in categories
    ]


def named(caption: str, categories: Sequence[str]) -> int:
    """Number of classes that the caption names, once or several times."""
    words = [singular(word) for word in _WORD.findall(caption.lower())]
    return sum(bool(_places(words, name)) for name in set(categories))


def _mention(caption: str, category: str) -> str | None:
    """The one noun phrase in which the caption names the class, in the singular; None for none or several."""
    words = _WORD.findall(caption.lower())
    places = _places([singular(word) for word in words], category)
    if len(places) != 1:
        return None
    first, last = places[0]
    if words[last - 1] != singular(words[last - 1]):
        return None
    while step := _describing(words[:first]):
        first -= step
    return with_articles(f"a {' '.join(words[first:last])}")


def _describing(words: Sequence[str]) -> int:
    """How many words at the end describe what follows: one, or two in "black and" before "white", none if none do."""
    if words and words[-1] in _DESCRIBING:
        return 1
    return 2 if len(words) > 1 and words[-1] in ("and", ",") and words[-2] in _DESCRIBING else 0


def _places(words: Sequence[str], category: str) -> list[tuple[int, int]]:
    """Where the class is named, as (first word, one past the last)."""
    names = _SAID.get(category, (category,))
    found = []
    for name in names:
        wanted = [singular(word) for word in name.split()]
        starts = range(len(words) - len(wanted) + 1)
        found += [(i, i + len(wanted)) for i in starts if list(words[i : i + len(wanted)]) == wanted]
    return sorted(found)


def noun_phrases(caption: str, extractor: str = "rules") -> list[str]:
    """Return the noun phrases of a caption in lower case, each once, in the order of the words.

    Args:
        extractor: "spacy" reads all; "rules" those about a class of COCO ("a small red car", "dogs").

    Raises:
        MissingExtra: spaCy or its model is not installed.
    """
    if extractor == "spacy":
        from radl_model.verbs.spacy_reader import noun_chunks

        return list(dict.fromkeys(noun_chunks(caption)))
    words = _WORD.findall(caption.lower())
    singulars = [singular(word) for word in words]
    spans = []
    for first, last in (place for name in COCO_CLASSES.values() for place in _places(singulars, name)):
        while step := _describing(words[:first]):
            first -= step
        spans.append((first, last))
    found: list[str] = []
    end = 0
    for first, last in sorted(spans, key=lambda span: (span[0], -span[1])):
        if first >= end:  # the "dog" of "hot dog" is none
            found.append(" ".join(words[first:last]))
            end = last
    return list(dict.fromkeys(found))
