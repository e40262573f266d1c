"""Text for Relation Attention: what the things in a prompt do to each other, or where they are to each other.

The default extractor is rules over a small lexicon: deterministic, no model, no download. `spacy_reader.py` reads the
same from spaCy's tagger. Benchmarks cache the text in their samples, so that generation depends on neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from radl_model.errors import UsageError, did_you_mean
from radl_model.verbs.lexicon import INFLECTED, RELATIONS, WORDS, Reading, relation_at

MODES = ("verb_phrase_or_prep", "verb_phrase", "verb", "release_ing")
EXTRACTORS = ("rules", "spacy")

_DETERMINERS = {"a", "an", "the", "his", "her", "its", "their", "some"}
_OF = [[word, "of"] for word in ("out", "off", "inside", "outside")]
_TOKEN = re.compile(r"[a-z]+(?:['-][a-z]+)*|[.,;:!?]")


def extract_verbs(prompt: str, mode: str = "verb_phrase_or_prep", extractor: str = "rules") -> str:
    """Return the relation text of a prompt, "" when it states none.

    Args:
        prompt: a global prompt, e.g. "a dog leaning against a red car".
        mode: `verb_phrase`: verbs with their particles and prepositions, joined by ", " ("leaning against");
            `verb_phrase_or_prep`: the same, or the spatial prepositions when there is no verb ("left of");
            `verb`: verbs alone; `release_ing`: verbs alone, joined by a space, each forced to end in -ing.
        extractor: `rules`, or `spacy` (extra `verbs`, and its model en_core_web_sm).

    Raises:
        UsageError: unknown mode or extractor.
        MissingExtra: spaCy or its model is not installed.
    """
    if mode not in MODES:
        raise UsageError(f"Unknown verb mode {mode!r}. Known: {', '.join(MODES)}.")
    found = _reader(extractor)(prompt)
    if mode == "release_ing":
        return " ".join(_unique([w if w.endswith("ing") else w + "ing" for w in found.tagged]))
    texts = found.verbs if mode == "verb" else found.phrases
    if not texts and mode == "verb_phrase_or_prep":
        texts = _prepositions(" ".join(_TOKEN.findall(prompt.lower())))
    return ", ".join(_unique(texts))


def _reader(extractor: str) -> Callable[[str], Reading]:
    if extractor == "spacy":
        from radl_model.verbs.spacy_reader import read

        return read
    if extractor != "rules":
        raise UsageError(did_you_mean(extractor, EXTRACTORS, "verb extractor"))
    return _read


def _read(prompt: str) -> Reading:
    words = _TOKEN.findall(prompt.lower())
    at = [i for i in range(len(words)) if _is_verb(words, i)]
    verbs = [words[i] for i in at]
    return Reading(verbs, [" ".join([words[i], *_followers(words[i + 1 :])]) for i in at], verbs)


def _is_verb(words: list[str], i: int) -> bool:
    """A known inflected verb, or any other -ing word, that is not the first half of a noun phrase."""
    word = words[i]
    before = words[i - 1] if i else "."
    after = words[i + 1] if i + 1 < len(words) else "."
    if word in WORDS["things_or_verbs"]:
        return after in _DETERMINERS and before not in WORDS["modifiers"]
    if word in WORDS["not_verbs"] | WORDS["auxiliaries"]:
        return False
    if word in WORDS["bases"] and before in WORDS["subjects"]:
        return True
    if not (word in INFLECTED or (word.endswith("ing") and len(word) > 5)):
        return False
    opens_noun = after.isalpha() and after not in WORDS["modifiers"] | WORDS["followers"]
    if before in WORDS["modifiers"] - {"and"} or not before.isalpha():
        # "a running dog", "two parked cars": a modifier; "the cut" or "a slice of": a noun.
        return before in {"with", ".", ",", ";"} and word.endswith("ing") and not opens_noun
    return not (word in WORDS["compounds"] and opens_noun)


def _followers(words: list[str]) -> list[str]:
    """What belongs to the verb before `words`: a fixed relation, or a run of particles, adverbs, prepositions."""
    end = 0
    while end < len(words) and (words[end] in WORDS["followers"] or (end and words[end - 1 : end + 1] in _OF)):
        end += 1
    return relation_at(words) or words[:end]


def _prepositions(text: str) -> list[str]:
    """Spatial prepositions in order of appearance, the longest reading at each place."""
    found: list[tuple[int, str]] = []
    for surface, kept in RELATIONS.items():
        pattern = rf"\b{surface}\b"
        found += [(m.start(), kept) for m in re.finditer(pattern, text)]
        text = re.sub(pattern, lambda m: "_" * len(m.group()), text)
    return [kept for _, kept in sorted(found)]


def _unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))
