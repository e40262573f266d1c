"""Which tokens of a prompt name an instance: phrases sought in the text, tokens found by the tokenizer's offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from radl_model.errors import UsageError
from radl_model.plurals import singular

ARTICLES = ("a", "an", "the")
_WORD = re.compile(r"\w+(?:['-]\w+)*")


@dataclass(frozen=True)
class Span:
    """Tokens [start, stop) of a prompt, counted with the first, special token at 0.

    Attributes:
        by: what was found there, "phrase" or "category"; or "plural", of either, which several instances share.
    """

    start: int
    stop: int
    by: str = "phrase"


def token_spans(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    phrases: Sequence[str],
    categories: Sequence[str] = (),
    plurals: bool = False,
) -> list[Span | None]:
    """Find the tokens of each phrase in a prompt.

    Phrases are sought as whole words, whatever their case and spacing. The k-th instance of equal text gets the k-th
    mention, and no word serves two instances: longer phrases choose first, so that "car" does not take the car of
    "a red car". Where the phrase is not in the prompt, a mention of its category is taken; with `plurals`, what is left
    then shares a mention in the plural, as the horses of "three horses" do.

    Args:
        tokenizer: with offsets (a "fast" one); its `model_max_length` cuts the prompt.
        categories: bare class name of each phrase; empty means no second try.
        plurals: whether instances of equal text share a mention of their plural.

    Returns:
        One span a phrase; None where no mention is left, or where it lies beyond the tokenizer's length.

    Raises:
        UsageError: the tokenizer states no offsets.
    """
    if not tokenizer.is_fast:
        raise UsageError(
            "The tokens of a phrase are found by offsets, which this tokenizer does not state; use a fast one."
        )
    offsets = _offsets(tokenizer, prompt)
    found = mentions(prompt, phrases, categories, plurals)
    return [None if place is None else _tokens(offsets, *place) for place in found]


def mentions(
    prompt: str, phrases: Sequence[str], categories: Sequence[str] = (), plurals: bool = False
) -> list[tuple[int, int, str] | None]:
    """Return where each phrase is mentioned, as characters [start, stop) and by what, see `token_spans`."""
    taken: list[tuple[int, int]] = []
    found: list[tuple[int, int, str] | None] = [None] * len(phrases)
    for by, texts in (("phrase", phrases), ("category", categories)):
        for i in _longest_first(texts):
            if found[i] is None and (place := _mention(prompt, texts[i], taken)):
                taken.append(place)
                found[i] = (*place, by)
    for texts in ([_bare(phrase) for phrase in phrases], categories) if plurals else ():
        _share_plurals(prompt, texts, taken, found)
    return found


def _share_plurals(
    prompt: str, texts: Sequence[str], taken: list[tuple[int, int]], found: list[tuple[int, int, str] | None]
) -> None:
    """Give those of equal text that have no mention yet one of their plural together."""
    alike: dict[str, list[int]] = {}
    for i in _longest_first(texts):
        if found[i] is None:
            alike.setdefault(" ".join(texts[i].casefold().split()), []).append(i)
    for text, members in alike.items():
        if place := _plural_mention(prompt, text, taken):
            taken.append(place)
            for i in members:
                found[i] = (*place, "plural")


def _longest_first(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: -len(texts[i].split()))


def _bare(phrase: str) -> str:
    """The phrase without the article that it begins with."""
    first, _, rest = phrase.strip().partition(" ")
    return rest if rest and first.casefold() in ARTICLES else phrase


def _mention(prompt: str, text: str, taken: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """First mention of `text` in `prompt` that shares no character with those taken, as [start, stop) characters."""
    words = text.split()
    if not words:
        return None
    pattern = r"(?<!\w)" + r"\s+".join(re.escape(word) for word in words) + r"(?!\w)"
    for match in re.finditer(pattern, prompt, re.IGNORECASE):
        if all(match.end() <= start or match.start() >= stop for start, stop in taken):
            return match.span()
    return None


def _plural_mention(prompt: str, text: str, taken: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """As `_mention`, of the plural of a lower-case text: "red cars" for "red car"."""
    wanted = text.split()
    words = list(_WORD.finditer(prompt))
    for first, last in zip(words, words[len(wanted) - 1 :], strict=False) if wanted else ():
        start, stop = first.start(), last.end()
        *lead, noun = prompt[start:stop].casefold().split()
        plural = lead == wanted[:-1] and noun != wanted[-1] and singular(noun) == wanted[-1]
        if plural and all(stop <= a or start >= b for a, b in taken):
            return start, stop
    return None


def _offsets(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[tuple[int, int]]:
    length = tokenizer.model_max_length
    encoded = tokenizer(prompt, truncation=True, max_length=length, return_offsets_mapping=True)
    return [(int(a), int(b)) for a, b in encoded["offset_mapping"]]


def _tokens(offsets: list[tuple[int, int]], start: int, stop: int, by: str) -> Span | None:
    """The tokens that hold characters [start, stop); None where the cut took one of them."""
    inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start]
    if not inside or offsets[inside[-1]][1] < stop:
        return None
    return Span(inside[0], inside[-1] + 1, by)
