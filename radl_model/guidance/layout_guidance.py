"""Layout guidance (Chen et al., WACV 2024), its backward form: latents are moved until phrases are attended in boxes.

The energy of an image is how much of the attention to each token lies outside the token's box,
`E = mean over layers, instances, tokens and heads of (1 - inside / all)^2`, in the mid block and the first up block. In
the first steps it is measured up to five times a step and the latents go down its gradient. Written from the paper and
a description of the release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radl_model.boxes import Four
from radl_model.engine import AttentionStore, Layout, Run, Session, Step, low_attentions
from radl_model.engine.roles import Grid, attention_grids
from radl_model.errors import UsageError, did_you_mean
from radl_model.guidance.cells import cut, mask_of
from radl_model.guidance.gradient import carry_on, check_scheduler, gradient, moved
from radl_model.guidance.words import note_of_unguided, without_article, word_positions

CHOICES = {"tokens": ("spans", "words"), "stop": ("each-step", "for-good"), "plurals": ("shared", "none")}


@dataclass(frozen=True)
class GuidanceConfig:
    """Numbers and readings of layout guidance; the numbers are those of the release.

    Attributes:
        strength: factor of the energy; threshold: energy under which an image is left alone, [0, 1].
        turns: most updates a step; active_fraction: share of the steps with guidance (10 of 51).
        tokens: "spans" takes each instance's own mention, without its article; "words" counts words as the release
            does, takes the first mention, and guides equal phrases into the union of their boxes.
        plurals: with "spans", "shared" guides the instances of one plural ("three horses") together into the union of
            their boxes; "none" leaves them without guidance.
        stop: "each-step" measures anew in every step and moves what is above the threshold; "for-good" as released:
            the test looks at the energy before the last update, and an image that passed it is never measured again.

    Raises:
        UsageError: an unknown reading or a number out of its range.
    """

    strength: float = 30.0
    threshold: float = 0.2
    turns: int = 5
    active_fraction: float = 0.2
    tokens: str = "spans"
    stop: str = "each-step"
    plurals: str = "shared"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(did_you_mean(getattr(self, name), known, name))
        if not (0 <= self.strength < float("inf") and 0 <= self.threshold <= 1 and self.turns >= 0):
            raise UsageError("layout-guidance wants a strength and turns of at least 0, and a threshold in [0, 1].")


@dataclass(frozen=True)
class Target:
    """Tokens whose attention should lie in some boxes."""

    tokens: tuple[int, ...]
    boxes: tuple[Four, ...]


class LayoutGuidanceAdapter:
    """Makes a base follow boxes by moving its latents; has no weights."""

    max_instances = None

    def __init__(self, unet: nn.Module, config: GuidanceConfig | None = None) -> None:
        self.store, self.config = AttentionStore(low_attentions(unet)), config or GuidanceConfig()

    def attach(self, unet: nn.Module) -> None:
        """Make the layers readable."""
        self.store.attach(unet)

    def start(self, run: Run) -> Session | None:
        """Return the session of a batch, None without any instance.

        Raises:
            UsageError: the scheduler starts anew in each step.
        """
        if not any(layout.phrases for layout in run.layouts):
            return None
        check_scheduler(run.scheduler)
        return LayoutGuidanceSession(run, self.store, self.config)

    def detach(self, unet: nn.Module) -> None:
        """Give the layers back."""
        self.store.detach(unet)


class LayoutGuidanceSession(Session):
    """One batch; every image has its own energy and stops by itself."""

    def __init__(self, run: Run, store: AttentionStore, config: GuidanceConfig) -> None:
        self.store, self.config = store, config
        share = config.active_fraction if run.active_fraction is None else run.active_fraction
        self.last = round(share * run.steps)
        found = [targets_of(run, layout, config) for layout in run.layouts]
        grids = attention_grids(run.unet, run.grid)
        self.aims = [Aims(targets, {n: grids[n] for n in store.layers}, run.device) for targets, _ in found]
        self.note = [note_of_unguided(*pair) for pair in zip(run.layouts, (g for _, g in found), strict=True)]
        self.todo = torch.tensor([bool(aims.targets) for aims in self.aims], device=run.device)
        self.measured = 0

    def before_unet(self, step: Step, latents: Tensor) -> Tensor:
        """Move the latents of those images that are not done, up to `turns` times."""
        if step.index >= self.last:
            return latents
        if self.config.stop == "each-step":
            self.todo = torch.tensor([bool(aims.targets) for aims in self.aims], device=latents.device)
        start = latents
        for _ in range(self.config.turns):
            if not bool(self.todo.any()):
                break
            latents = self._turn(step, latents)
        carry_on(step, latents - start)
        return latents

    def notes(self) -> list[str]:
        """Return which instances got no guidance."""
        return self.note

    def _turn(self, step: Step, latents: Tensor) -> Tensor:
        with torch.enable_grad():
            z = step.scale(latents).detach().requires_grad_()
            energy = self.energy(step.maps(z, self.store))
            self.measured += 1
            before, self.todo = self.todo, self.todo & (energy.detach() > self.config.threshold)
            who = before if self.config.stop == "for-good" else self.todo
            if not bool(who.any()):
                return latents
            slope = gradient(self.config.strength * energy, z)
        # x - sigma^2 dL/dx of the release, for any scheduler: z = x / sqrt(1 + sigma^2), 1 - alpha_bar its noise.
        return moved(step, latents, (1 - step.alpha_bar) * slope, who)

    def energy(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Energy of each image, [B], of maps {layer: [B, heads, cells, T]}; 0 for one without words to guide."""
        return torch.stack(
            [aims.energy({name: shares[i] for name, shares in maps.items()}) for i, aims in enumerate(self.aims)]
        )


class Aims:
    """The targets of one image on the grids of the layers.

    Args:
        targets: of the image; grids: {layer: (H, W)}.
    """

    def __init__(self, targets: Sequence[Target], grids: Mapping[str, Grid], device: torch.device | str) -> None:
        self.targets, self.device = targets, device
        self.masks: dict[str, Tensor] = {}
        if targets:
            drawn = {grid: torch.stack([mask_of(t.boxes, grid, cut).flatten() for t in targets]).to(device)
                     for grid in set(grids.values())}  # fmt: skip
            self.masks = {name: drawn[grid] for name, grid in grids.items()}
        self.tokens = sorted({token for target in targets for token in target.tokens})
        self.weights = torch.tensor(
            [[target.tokens.count(token) / len(target.tokens) for token in self.tokens] for target in targets],
            device=device,
        )

    def energy(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Energy of the image, from 0 to 1, of {layer: [heads, cells, T]}."""
        if not self.targets:
            return torch.zeros((), device=self.device)
        lost = []
        for name, shares in maps.items():
            inside = self.inside(name, shares)
            lost.append(((1 - inside).square().mean(0) * self.weights.to(inside)).sum() / len(self.targets))
        return torch.stack(lost).mean()

    def inside(self, name: str, shares: Tensor) -> Tensor:
        """Share of the attention to each token that lies in each target's boxes, [heads, targets, tokens]."""
        own = shares[..., self.tokens]
        whole = own.sum(1, keepdim=True).clamp_min(torch.finfo(own.dtype).tiny)
        return self.masks[name].to(own) @ (own / whole)


def targets_of(run: Run, layout: Layout, config: GuidanceConfig) -> tuple[list[Target], list[bool]]:
    """Return the targets of an image, and for each instance whether one guides it."""
    if config.tokens == "words":
        return _by_words(layout, run.prompt_states.shape[1] - 1)
    spans = run.encoder.spans(layout, config.plurals == "shared")
    boxes: dict[tuple[int, ...], list[Four]] = {}
    for i, (span, box) in enumerate(zip(spans, layout.boxes, strict=True)):
        if span is not None:
            own = without_article(span, layout, i)
            boxes.setdefault(tuple(range(own.start, own.stop)), []).append(box)
    targets = [Target(tokens, tuple(shared)) for tokens, shared in boxes.items()]
    return targets, [span is not None for span in spans]


def _by_words(layout: Layout, end: int) -> tuple[list[Target], list[bool]]:
    """The release's reading: one target a distinct phrase; tokens from `end` on are cut off."""
    boxes: dict[str, list[Four]] = {}
    for phrase, box in zip(layout.phrases, layout.boxes, strict=True):
        boxes.setdefault(phrase, []).append(box)
    tokens = {phrase: tuple(t for t in word_positions(layout.prompt, phrase) if t < end) for phrase in boxes}
    targets = [Target(tokens[phrase], tuple(own)) for phrase, own in boxes.items() if tokens[phrase]]
    return targets, [bool(tokens[phrase]) for phrase in layout.phrases]
