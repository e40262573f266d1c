"""How an image and a text are shown to an encoder: channel order, and the templates a phrase is put into.

The public COCO-MIG scorer shows images in OpenCV's channel order and puts the whole label, article included, into the
80 templates of ImageNet ("a bad photo of a a red car."). `strict` shows RGB and repairs the articles.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Look(NamedTuple):
    """How an encoder sees: images with red and blue swapped or not, at their own size (`side` 0) or stretched to a
    square; phrases "plain", "doubled" or "articles".

    "plain" is the phrase alone; "doubled" puts it into the templates as it is; "articles" puts its own article
    into the place of the templates' "a", repaired where it is surely wrong ("a orange").
    """

    bgr: bool = False
    phrase: str = "plain"
    side: int = 0

    def key(self, text: str, local: bool) -> str:
        """Return the text under which a cosine is filed; a plain look at RGB files it under the text itself."""
        marks = (
            (f"{self.side}|" if self.side else "")
            + ("bgr|" if self.bgr else "")
            + (f"80-{self.phrase}|" if local and self.phrase != "plain" else "")
        )
        return marks + text


@cache
def sentences(phrase: str, how: str) -> tuple[str, ...]:
    """Return the texts whose unit vectors are averaged for a phrase: itself, or 80 sentences."""
    if how == "plain":
        return (phrase,)
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    if how == "doubled":
        return tuple(template(phrase) for template in OPENAI_IMAGENET_TEMPLATES)
    article, bare = _article_of(phrase)
    return tuple(_filled(template(_SLOT), article, bare) for template in OPENAI_IMAGENET_TEMPLATES)


def with_articles(text: str) -> str:
    """Return the text with "a" and "an" as the sound of the next word asks; an article that may be right stays.

    Sounds: "an hour", "a unicorn", "a European". Initials ("a UFO", "an MRI", "a NASA crew") and words in h ("an herb")
    may have either, so they keep what they have, but for a few in which the h is surely silent.
    """

    def repair(match: re.Match[str]) -> str:
        n = {"a": "", "an": "n"}.get(_sound(match[4]), match[2])
        return match[1] + n + match[3] + match[4]

    return _ARTICLE.sub(repair, text)


_SLOT = "\0"
_ARTICLE = re.compile(r"\b([Aa])(n?)(\s+)([A-Za-z]+)")
_SILENT = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_CONSONANT = re.compile(
    r"(?:uni[cfloqstv]|u[st]e|usa|usu|ut[io]|uku|ura|ubiq|eu|ewe|one(?!rous)|once|ouija)", re.IGNORECASE
)
"""Words that begin with a vowel and are spoken with a consonant: unicorn (but not unimportant), used, ewe, one."""

_SPELT_WITH_A_VOWEL = frozenset("AEFHILMNORSX")


def _sound(word: str) -> str:
    """Return "a" or "an" as a word surely asks, or "" where it may have either."""
    if _SILENT.match(word):
        return "an"
    if (word.isupper() and len(word) > 1) or word[0] in "hH":
        return ""
    return "an" if word[0] in "aeiouAEIOU" and not _CONSONANT.match(word) else "a"


def _article_of(phrase: str) -> tuple[str, str]:
    """Return the article that goes with a phrase, its own where that may be right, and the phrase without one."""
    repaired = with_articles(phrase)
    match = re.match(r"(an?|the)\s+(?=\S)", repaired, re.IGNORECASE)
    bare = repaired[match.end() :] if match else repaired
    if match and match[1].lower() != "the":
        return match[1].lower(), bare
    word = re.match(r"[A-Za-z]*", bare)
    first = word[0] if word else ""
    spelt = first.isupper() and len(first) > 1 and first[0] in _SPELT_WITH_A_VOWEL
    return (_sound(first) if first else "") or ("an" if spelt else "a"), bare


def _filled(template: str, article: str, bare: str) -> str:
    """Return a template with a phrase in its slot; "a" right before the slot becomes the phrase's article."""
    text = re.sub(rf"\b([Aa])n?(\s+){_SLOT}", lambda m: m[1] + article[1:] + m[2] + _SLOT, with_articles(template))
    return text.replace(_SLOT, bare)
