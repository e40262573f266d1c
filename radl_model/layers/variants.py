"""The published members of the family as settings of the one layer."""

from __future__ import annotations

from dataclasses import replace

from radl_model.errors import UsageError, did_you_mean
from radl_model.layers.config import FusionConfig

PAPER = FusionConfig()
"""RaDL as the paper states it."""

MIGC = FusionConfig(
    context="token",
    box_order="xxyy",
    enhancement="none",
    instance_query="input",
    relation=False,
    sac_perm="official",
    mask_prior=False,
    gate="through",
)
"""MIGC's public module: two context tokens, no enhancement, no relation; 26 of 50 steps."""

MIGC_PLUS = replace(MIGC, fusion="refined", refine_fraction=1.0)
"""MIGC++: refined shading everywhere, the gate without its first half."""

RELEASE = replace(
    MIGC,
    context="channel_pooled",
    n_freqs=32,
    relation=True,
    verb_mode="release_ing",
    verb_bos=False,
    no_verb="empty",
    total_mask="sum",
    relation_mask="ones",
    layout_slot="permuted",
)
"""RaDL's released code: one key token, no Attribute Enhancement, 31 of 60 steps."""

VARIANTS = {"paper": PAPER, "migc": MIGC, "migc++": MIGC_PLUS, "release": RELEASE}


def variant(name: str, **changes: object) -> FusionConfig:
    """Return the settings of a variant, with some of them changed.

    Raises:
        UsageError: unknown variant or setting.
    """
    if name not in VARIANTS:
        raise UsageError(did_you_mean(name, VARIANTS, "variant"))
    return FusionConfig.from_dict({**VARIANTS[name].to_dict(), **changes})
