"""Text for Relation Attention: what the things in a prompt do to each other, or where they are to each other.

A rule-based extractor over a small lexicon; deterministic, no model, no download. Benchmarks cache its result in their
samples, so that generation does not depend on it.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from radl_bench.errors import UsageError

MODES = ("verb_phrase_or_prep", "verb_phrase", "verb", "release_ing")


def _lexicon() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string((Path(__file__).parent / "verb_lexicon.ini").read_text())
    return parser


_LEXICON = _lexicon()
_WORDS = {name: set(words.split()) for name, words in _LEXICON["words"].items()}
_RELATIONS = dict(_LEXICON["relations"])
_TOKEN = re.compile(r"[a-z]+(?:['-][a-z]+)*|[.,;:!?]")


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


_INFLECTED = {form for base in _WORDS["bases"] for form in _forms(base)} | _WORDS["irregular"]


def extract_verbs(prompt: str, mode: str = "verb_phrase_or_prep") -> str:
    """Return the relation text of a prompt, "" when it states none.

    Args:
        prompt: a global prompt, e.g. "a dog leaning against a red car".
        mode: `verb_phrase`: verbs with their particles and prepositions, joined by ", " ("leaning against");
            `verb_phrase_or_prep`: the same, or the spatial prepositions when there is no verb ("left of");
            `verb`: verbs alone; `release_ing`: verbs alone, joined by a space, each forced to end in -ing.

    Raises:
        UsageError: unknown mode.
    """
    if mode not in MODES:
        raise UsageError(f"Unknown verb mode {mode!r}. Known: {', '.join(MODES)}.")
    words = _TOKEN.findall(prompt.lower())
    at = [i for i in range(len(words)) if _is_verb(words, i)]
    if mode == "release_ing":
        return " ".join(_unique([w if w.endswith("ing") else w + "ing" for w in (words[i] for i in at)]))
    if mode == "verb":
        return ", ".join(_unique([words[i] for i in at]))
    found = _unique([_phrase(words, i) for i in at])
    if not found and mode == "verb_phrase_or_prep":
        found = _unique(_prepositions(" ".join(words)))
    return ", ".join(found)


def _is_verb(words: list[str], i: int) -> bool:
    """A known inflected verb, or any other -ing word, that is not the first half of a noun phrase."""
    word = words[i]
    before = words[i - 1] if i else "."
    after = words[i + 1] if i + 1 < len(words) else "."
    if word in _WORDS["not_verbs"] | _WORDS["auxiliaries"]:
        return False
    if not (word in _INFLECTED or (word.endswith("ing") and len(word) > 5)):
        return False
    opens_noun = after.isalpha() and after not in _WORDS["modifiers"] | _WORDS["followers"]
    if before in _WORDS["modifiers"] - {"and"} or not before.isalpha():
        # "a running dog", "two parked cars": a modifier; "the cut" or "a slice of": a noun.
        return before in {"with", ".", ",", ";"} and word.endswith("ing") and not opens_noun
    return not (word in _WORDS["compounds"] and opens_noun)


def _phrase(words: list[str], i: int) -> str:
    """The verb with what follows it: adverbs and prepositions, "on top of", "next to", "in front of" as a whole."""
    rest = " ".join(words[i + 1 :])
    for surface in _RELATIONS:
        if rest.startswith(surface + " "):
            return f"{words[i]} {surface}"
    end = i + 1
    while end < len(words) and words[end] in _WORDS["followers"]:
        end += 1
    return " ".join(words[i:end])


def _prepositions(text: str) -> list[str]:
    """Spatial prepositions in order of appearance, the longest reading at each place."""
    found: list[tuple[int, str]] = []
    for surface, kept in _RELATIONS.items():
        pattern = rf"\b{surface}\b"
        found += [(m.start(), kept) for m in re.finditer(pattern, text)]
        text = re.sub(pattern, lambda m: "_" * len(m.group()), text)
    return [kept for _, kept in sorted(found)]


def _unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))
