"""Settings of the fusion layer: one frozen dataclass; RaDL `paper` and its relatives (`variants.py`) are instances."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from radl_model.errors import UsageError
from radl_model.verbs.extract import MODES

CHOICES: dict[str, tuple[str, ...]] = {
    "placement": ("mid_up", "mid", "all"),
    "shading": ("frozen", "trained"),
    "context": ("channel_tokens", "channel_pooled", "token"),
    "box_order": ("xyxy", "xxyy"),
    "enhancement": ("grid", "tokens", "none"),
    "instance_query": ("features", "input"),
    "query_norm": ("shared", "separate", "none"),
    "verb_mode": MODES,
    "verb_texts": ("joined", "separate"),
    "no_verb": ("drop", "empty", "prompt"),
    "total_mask": ("union", "sum"),
    "relation_scope": ("union", "pair"),
    "relation_mask": ("union", "ones"),
    "fusion": ("sac", "refined", "conv", "mean", "sum"),
    "layout_slot": ("fixed", "permuted"),
    "sac_perm": ("rank", "official"),
    "mask_mode": ("migc", "area"),
    "gate": ("below", "through"),
}


@dataclass(frozen=True)
class FusionConfig:
    """What one layer computes; every open reading of the paper is a field (`radl_model/README.md` lists them).

    Attributes:
        placement: cross-attentions that get a layer (A14): `mid_up`, mid block and first up block that has attentions;
            `mid`, the mid block; `all`.
        shading: cross-attention of (1) (A1): the base's `frozen` one, or one `trained` from its weights.
        context: keys of Instance Attention (3) (A3, A4). `channel_tokens`: the box embedding is broadcast to all T
            label tokens and joined by channel, T x 2D. `channel_pooled`: one token 2D, pooled label and box. `token`:
            pooled label and box as two tokens of D.
        n_freqs: Fourier frequencies of the box embedding.
        box_order: coordinates of a box as the embedding sees them.
        position_hidden: width of the position MLP.
        enhancement: Attribute Enhancement (2) (A2): `grid`, a learnable query map; `tokens`, learnable query tokens
            written back to the cells; `none`.
        enhancement_grid: side S of the query map; enhancement_tokens: number of query tokens.
        instance_query: query of (3): the (enhanced) `features` of the instance, or the layer's `input`, as in MIGC.
        query_norm: LayerNorm before the queries of (3) and (6) (A5): one `shared`, two `separate`, or `none`.
        relation: the Relation Attention branch (6).
        verb_mode: what relation text is extracted from a prompt, see `verbs.py`; verb_texts: one text an image
            (`joined`), or one a verb, their features averaged (`separate`) (A6).
        verb_bos: whether the relation text keeps its first token.
        no_verb: an image without a relation (A7): `drop` the phase, encode the `empty` text, or the whole `prompt`.
        total_mask: mask of (6) (A8): the `union` of boxes, reduced; or the clipped `sum` of reduced masks.
        relation_scope: boxes in that mask (A9): all (`union`), or those of the things related (`pair`).
        relation_mask: mask of the relation phase in the fusion logits (A11), the union of boxes or ones.
        layout_attention: a self-attention phase in which only pixels that share a box (or the background) meet (A10).
        fusion: network of (7) (A10): `sac`, MIGC's; `refined`, MIGC++'s; `conv`, a 1x1 conv on [phase; mask] and the
            log mask; `mean` and `sum`, no learned weights.
        slots: slots of the phase gate; background, layout and relation take one each, instances the rest.
        layout_slot: the layout phase has a slot of its own, or comes after the instances and is permuted with them.
        sac_perm: order of the instances in the slots: by `rank`; or `official`, a permutation drawn at every layer and
            step from a generator of the image, seeded as the image is.
        mask_mode: `migc`, two bilinear reductions 512 -> 64 -> r in closed form; `area`, exact cell coverage.
        mask_prior: start the fusion logits from log coverage, so that untrained weights already follow the boxes.
        active_fraction: share of the denoising steps with the layer on, counted from the first (A12).
        gate: steps with an index `below` the share, or `through` it: one more, MIGC's 26 of 50.
        refine_fraction: share of the steps in which all other cross-attentions average the frozen attentions of the
            boxes and the prompt ten to one (MIGC's and MIGC++'s parameter-free fuser).
    """

    placement: str = "mid_up"
    shading: str = "frozen"
    context: str = "channel_tokens"
    n_freqs: int = 8
    box_order: str = "xyxy"
    position_hidden: int = 512
    enhancement: str = "grid"
    enhancement_grid: int = 16
    enhancement_tokens: int = 16
    instance_query: str = "features"
    query_norm: str = "shared"
    relation: bool = True
    verb_mode: str = "verb_phrase_or_prep"
    verb_texts: str = "joined"
    verb_bos: bool = True
    no_verb: str = "drop"
    total_mask: str = "union"
    relation_scope: str = "union"
    relation_mask: str = "union"
    layout_attention: bool = True
    fusion: str = "sac"
    slots: int = 30
    layout_slot: str = "fixed"
    sac_perm: str = "rank"
    mask_mode: str = "migc"
    mask_prior: bool = True
    active_fraction: float = 0.5
    gate: str = "below"
    refine_fraction: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"The layer setting {name}={getattr(self, name)!r} must be one of {allowed}.")
        for name in ("active_fraction", "refine_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name}={getattr(self, name)} must lie in [0, 1].")
        if self.max_instances < 1:
            raise UsageError(f"slots={self.slots} leaves no slot for an instance; use 4 or more.")
        if self.fusion == "refined" and self.relation:
            raise UsageError("fusion='refined' is MIGC++'s network, which has no relation phase; set relation=false.")

    @property
    def max_instances(self) -> int:
        """Most instances one image may have: 27 with 30 slots and both extra phases."""
        return self.slots - self.first_slot - int(self.layout_attention) - int(self.relation)

    @property
    def first_slot(self) -> int:
        """Slot of the first instance: 1 after the background, 0 where the background is no phase."""
        return 0 if self.fusion == "refined" else 1

    @property
    def permuted_slots(self) -> int:
        """How many slots change places in a permutation: those of the instances, and of layout if it is among them."""
        return self.max_instances + int(self.layout_attention and self.layout_slot == "permuted")

    def active_steps(self, total: int, fraction: float | None = None) -> int:
        """Return how many of `total` steps, from the first, have the layers on: 30 of 60, or 26 of 50 (`through`)."""
        return _steps(self.active_fraction if fraction is None else fraction, total, self.gate)

    def refine_steps(self, total: int) -> int:
        """Return how many of `total` steps, from the first, have the parameter-free fuser on."""
        return _steps(self.refine_fraction, total, self.gate)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FusionConfig:
        """Build from a parsed `config.json` or TOML table; an unknown key raises `UsageError`."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"Unknown layer setting {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        return cls(**values)

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain JSON values."""
        return asdict(self)


def _steps(fraction: float, total: int, gate: str) -> int:
    """Number of indices i with i < fraction * total, or i <= it; none at all for a share of 0."""
    if fraction <= 0:
        return 0
    # The margin keeps a product that misses a whole number by a rounding error, as 0.57 * 100 = 56.99999999999999 and
    # 0.07 * 100 = 7.000000000000001 do, from moving the gate by a step.
    reach = math.ceil(fraction * total - 1e-6) if gate == "below" else math.floor(fraction * total + 1e-6) + 1
    return min(total, reach)
