"""How a picture and a text are shown to an encoder: channel order, and the templates a phrase is put into.

The public COCO-MIG scorer shows pictures in OpenCV's channel order and puts the whole label, article included, into the
80 templates of ImageNet ("a bad photo of a a red car."). `strict` shows RGB and repairs the articles.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Look(NamedTuple):
    """How an encoder sees: pictures with red and blue swapped or not; phrases "plain", "doubled" or "articles".

    "plain" is the phrase alone; "doubled" puts it into the templates as it is; "articles" without its own article, with
    "an" where it belongs.
    """

    bgr: bool = False
    phrase: str = "plain"

    def key(self, text: str, local: bool) -> str:
        """Return the text under which a cosine is filed; a plain look at RGB files it under the text itself."""
        marks = ("bgr|" if self.bgr else "") + (f"80-{self.phrase}|" if local and self.phrase != "plain" else "")
        return marks + text


@cache
def sentences(phrase: str, how: str) -> tuple[str, ...]:
    """Return the texts whose unit vectors are averaged for a phrase: itself, or 80 sentences."""
    if how == "plain":
        return (phrase,)
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    if how == "doubled":
        return tuple(template(phrase) for template in OPENAI_IMAGENET_TEMPLATES)
    bare = re.sub(r"^(?:an?|the)\s+", "", phrase, flags=re.IGNORECASE)
    return tuple(with_articles(template(bare)) for template in OPENAI_IMAGENET_TEMPLATES)


def with_articles(text: str) -> str:
    """Return the text with "a" or "an" as the next word's first letter asks; "uni-", "use-", "one" are consonants."""

    def repair(match: re.Match[str]) -> str:
        word = match[3].lower()
        vowel = word[0] in "aeiou" and not word.startswith(("uni", "use", "eu", "one"))
        return match[1] + ("n" if vowel else "") + match[2] + match[3]

    return re.sub(r"\b([Aa])n?(\s+)([A-Za-z]+)", repair, text)
