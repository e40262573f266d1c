"""The words of a prompt that stand for an instance, and what is said of instances that have none."""

from __future__ import annotations

from collections.abc import Sequence

from radl_model.engine import Layout, Span
from radl_model.engine.spans import ARTICLES, mentions


def with_labels(prompt: str, phrases: Sequence[str], categories: Sequence[str] = ()) -> str:
    """Return the prompt with those phrases at its end that are not in it, neither themselves nor by category."""
    found = mentions(prompt, phrases, categories)
    missing = [phrase for phrase, place in zip(phrases, found, strict=True) if place is None]
    return ", ".join([prompt.rstrip(" .,"), *missing]) if missing else prompt


def without_article(span: Span, layout: Layout, index: int) -> Span:
    """Return the span of an instance without the article that its text begins with."""
    if span.by == "plural":  # found without one
        return span
    words = (layout.phrases if span.by == "phrase" else layout.categories)[index].split()
    leads = len(words) > 1 and words[0].lower() in ARTICLES
    return Span(span.start + 1, span.stop, span.by) if leads else span


def note_of_unguided(layout: Layout, guided: Sequence[bool]) -> str:
    """Return a sentence that names the instances a method could not guide, "" when it guides all."""
    lost = [phrase for phrase, there in zip(layout.phrases, guided, strict=True) if not there]
    if not lost:
        return ""
    names = ", ".join(f"'{phrase}'" for phrase in lost)
    return f"No guidance for {len(lost)} of {len(guided)} instances, whose words the prompt lacks: {names}."


def word_positions(prompt: str, phrase: str) -> tuple[int, ...]:
    """Return the places of a phrase's words in a prompt as the release of layout guidance counts tokens.

    Texts are cut at single blanks, each word counts as one token, and of a word that stands there twice the first is
    taken. That is right only where no word before has two tokens and no comma follows. Words that are not there, where
    the release stops with an error, are left out.
    """
    words = prompt.strip(".").split(" ")
    return tuple(words.index(word) + 1 for word in phrase.strip(".").split(" ") if word in words)
