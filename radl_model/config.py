"""Settings of the fusion layer: one frozen dataclass; RaDL `paper` and its relatives are instances of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from radl_bench.errors import UsageError

CHOICES: dict[str, tuple[str, ...]] = {
    "context": ("channel_tokens", "channel_pooled", "token"),
    "enhancement": ("grid", "none"),
    "relation_mask": ("union", "ones"),
    "mask_mode": ("migc", "area"),
}


@dataclass(frozen=True)
class FusionConfig:
    """What one layer computes; every open reading of the paper is a field (`radl_model/README.md` lists them).

    Attributes:
        context: keys of Instance Attention (3). `channel_tokens`: the box embedding is broadcast to all T label tokens
            and joined by channel, T x 2D. `channel_pooled`: one token 2D, pooled label and box. `token`: pooled label
            and box as two tokens of D.
        n_freqs: Fourier frequencies of the box embedding.
        position_hidden: width of the position MLP.
        enhancement: `grid`, the learnable query map of (2), or `none`.
        enhancement_grid: side S of the query map.
        relation: the Relation Attention branch (6).
        relation_mask: mask of the relation phase in the fusion logits, the union of boxes or ones.
        layout_attention: a self-attention phase in which only pixels that share a box (or the background) meet.
        slots: slots of the phase gate; background, layout and relation take one each, instances the rest.
        mask_mode: `migc`, two bilinear reductions 512 -> 64 -> r in closed form; `area`, exact cell coverage.
        mask_prior: start the fusion logits from log coverage, so that untrained weights already follow the boxes.
        active_fraction: share of the denoising steps with the layer on, counted from the first.
    """

    context: str = "channel_tokens"
    n_freqs: int = 8
    position_hidden: int = 512
    enhancement: str = "grid"
    enhancement_grid: int = 16
    relation: bool = True
    relation_mask: str = "union"
    layout_attention: bool = True
    slots: int = 30
    mask_mode: str = "migc"
    mask_prior: bool = True
    active_fraction: float = 0.5

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"The layer setting {name}={getattr(self, name)!r} must be one of {allowed}.")
        if not 0.0 <= self.active_fraction <= 1.0:
            raise UsageError(f"active_fraction={self.active_fraction} must lie in [0, 1].")
        if self.max_instances < 1:
            raise UsageError(f"slots={self.slots} leaves no slot for an instance; use 4 or more.")

    @property
    def max_instances(self) -> int:
        """Most instances one image may have: 27 with 30 slots and both extra phases."""
        return self.slots - 1 - int(self.layout_attention) - int(self.relation)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FusionConfig:
        """Build from a parsed `config.json` or TOML table; an unknown key raises `UsageError`."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"Unknown layer setting {unknown[0]!r}. Known: {', '.join(sorted(known))}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self)
