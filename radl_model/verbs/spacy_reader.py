"""The same relation text from spaCy's tagger: an optional second opinion to the rules in `extract.py`.

The package spaCy and a small English model are extras. The model `en_core_web_sm` goes by several package names, so any
installed model whose name starts with it is taken.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from radl_model.errors import MissingExtra
from radl_model.verbs.lexicon import Reading, relation_at

if TYPE_CHECKING:
    from spacy.language import Language

MODEL = "en_core_web_sm"
PARTICLES = {"ADP", "PART", "ADV"}


@functools.lru_cache(maxsize=1)
def tagger() -> Language:
    """Load spaCy's small English model, once a process.

    Raises:
        MissingExtra: spaCy or the model is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise MissingExtra(
            "The verb extractor 'spacy' needs the package spaCy. Run: pip install 'radl-bench[verbs]', or use the "
            "extractor 'rules', which needs nothing."
        ) from error
    names = sorted(name for name in spacy.util.get_installed_models() if name.startswith(MODEL))
    if not names:
        raise MissingExtra(
            f"spaCy has no model {MODEL} here. Run: python -m spacy download {MODEL}, or install any package of it."
        )
    return spacy.load(names[0], exclude=["ner"])


def read(prompt: str) -> Reading:
    """Return the verbs of a prompt, auxiliaries excluded, each with the adpositions, particles and adverbs after it.

    Raises:
        MissingExtra: spaCy or the model is not installed.
    """
    tokens = [token for token in tagger()(prompt) if not token.is_space]
    words = [token.text.lower() for token in tokens]
    tagged = [i for i, token in enumerate(tokens) if token.pos_ == "VERB"]
    # "a parked car": a participle that describes a noun says nothing about what things do to each other.
    verbs = [i for i in tagged if tokens[i].dep_ not in {"amod", "compound"}]
    phrases = []
    for i in verbs:
        run = itertools.takewhile(lambda token: token.pos_ in PARTICLES, tokens[i + 1 :])
        phrases.append(" ".join([words[i], *(relation_at(words[i + 1 :]) or [token.text.lower() for token in run])]))
    return Reading([words[i] for i in verbs], phrases, [words[i] for i in tagged])


def noun_chunks(text: str) -> list[str]:
    """Return the noun phrases of a text in lower case, pronouns left out; raises `MissingExtra`."""
    return [chunk.text.lower() for chunk in tagger()(text).noun_chunks if chunk.root.pos_ != "PRON"]
