"""Whether a phrase speaks of the class and the colour that stand beside it."""

from __future__ import annotations

import re

from radl_model.plurals import singular

_WORD = re.compile(r"\w+(?:['-]\w+)*")


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
    return color in re.findall(r"[^\W_]+", phrase.casefold())  # "red-colored" names red


def _singular_words(text: str) -> list[str]:
    return [singular(word) for word in _WORD.findall(text.casefold())]
