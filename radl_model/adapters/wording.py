"""What is made of phrases, prompts and seeds before anything is encoded: MIGC's and the released RaDL's habits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from radl_model.engine.run import Generators
    from radl_model.layers.config import FusionConfig

MAX_COPIES = 7
"""MIGC repeats a phrase as often as the image has instances, up to this."""
RELEASE_OPENING = "a high quality image of "


def repeat_phrases(phrases: Sequence[str], verbs: Sequence[str] | None = None) -> list[str]:
    """Return each phrase min(N, 7) times, joined by ", and ", as MIGC's benchmark script does for N phrases.

    Args:
        verbs: one text a phrase that every copy ends in, as in the released RaDL; "" for none.
    """
    count = min(len(phrases), MAX_COPIES)
    return [", and ".join([text] * count) for text in _with_verbs(phrases, verbs)]


def release_prompt(phrases: Sequence[str], verbs: Sequence[str] | None = None) -> str:
    """Return the global prompt that the released RaDL puts in the place of the user's (reading A16)."""
    return RELEASE_OPENING + ", and ".join(_with_verbs(phrases, verbs))


def relation_texts(prompt: str, verbs: str, config: FusionConfig) -> list[str]:
    """Return the texts of Relation Attention for one image; an empty list leaves the phase out.

    Args:
        verbs: the relation text, "" when the prompt states none (then `config.no_verb` decides).
    """
    if not config.relation:
        return []
    if not verbs:
        return {"drop": [], "empty": [""], "prompt": [prompt]}[config.no_verb]
    if config.verb_texts == "joined":
        return [verbs]
    parts = verbs.split() if config.verb_mode == "release_ing" else verbs.split(",")
    return [part.strip() for part in parts if part.strip()]


def slot_generators(config: FusionConfig, given: Generators, images: int) -> list[torch.Generator] | None:
    """Return one CPU generator an image for the slots of the phase gate, seeded as the image's noise is.

    Args:
        given: the caller's generators, one an image; or one (None: the global one) for all, whose seed counts up.
    """
    import torch

    if config.sac_perm != "official":
        return None
    if isinstance(given, (list, tuple)):
        seeds = [generator.initial_seed() for generator in given] * (images // max(1, len(given)))
    else:
        first = torch.initial_seed() if given is None else given.initial_seed()
        seeds = [first + i for i in range(images)]
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def _with_verbs(phrases: Sequence[str], verbs: Sequence[str] | None) -> list[str]:
    if verbs is None:
        return list(phrases)
    return [f"{phrase} {verb}".strip() for phrase, verb in zip(phrases, verbs, strict=True)]
