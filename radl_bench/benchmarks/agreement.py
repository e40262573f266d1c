"""Whether a phrase speaks of the class and the colour that stand beside it."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_IRREGULAR = {
    "people": "person",
    "persons": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "mice": "mouse",
    "geese": "goose",
    "teeth": "tooth",
    "feet": "foot",
    "knives": "knife",
    "wolves": "wolf",
    "leaves": "leaf",
    "scarves": "scarf",
}


def names_category(phrase: str, category: str) -> bool:
    """Say whether all words of the class stand together in the phrase, in singular or plural, whatever the case.

    "two red cars" names "car", "Black Banana" names "banana"; "a man" does not name "person".
    """
    if category.casefold() in phrase.casefold():
        return True
    wanted, words = _singular_words(category), _singular_words(phrase)
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1)) and bool(wanted)


def names_color(phrase: str, color: str) -> bool:
    """Say whether the colour stands in the phrase as a word of its own."""
    return color in _WORD.findall(phrase.casefold())


def _singular_words(text: str) -> list[str]:
    return [_singular(word) for word in _WORD.findall(text.casefold())]


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "toes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
