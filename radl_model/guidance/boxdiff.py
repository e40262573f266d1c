"""BoxDiff (Xie et al., ICCV 2023): latents are moved until a noun's attention fills its box and leaves the rest.

Attention is read at 16 x 16 cells, averaged over layers and heads, sharpened over the words of the prompt and smoothed.
The loss of an instance has an inner part (the strongest cells inside should be 1), an outer part (the strongest outside
should be 0) and a corner part (its shadow on each axis should be that of the box near the box's edges). At three
steps the inner part is first brought below a bound ("refinement"). Written from the paper and a description of the
release; its oddities are settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radl_model.boxes import Four
from radl_model.engine import AttentionStore, Run, Session, Span, Step, attentions_at
from radl_model.errors import UsageError, did_you_mean
from radl_model.guidance.cells import cells_of, nearest
from radl_model.guidance.gradient import carry_on, check_scheduler, gradient, moved
from radl_model.guidance.words import note_of_unguided, without_article

SIDE = 16
"""Cells of a side of the attention maps it reads."""
SHARPNESS = 100.0
TOP = 0.2
"""Share of the cells, inside and outside, that count."""
REACH = 1
"""Cells on each side of an edge that the corner part looks at."""
BOUNDS = {0.0: 0.95, 0.2: 0.5, 0.4: 0.2}
"""Share of the steps -> bound of the inner part, above which that step refines; steps 0, 10 and 20 of 50."""
TURNS = 20
CHOICES = {
    "tokens": ("last", "phrase"),
    "after": ("all", "inner"),
    "second": ("kept", "lost"),
    "plurals": ("shared", "none"),
}


@dataclass(frozen=True)
class BoxDiffConfig:
    """Numbers and readings of BoxDiff.

    Attributes:
        step_size: factor of the gradient, 20 in the release; it belongs to the scale of the latents.
        active_fraction: share of the steps with guidance.
        refine: whether three steps repeat the update of the inner part, up to 20 times.
        after: terms of the update that follows a refinement: "all"; or "inner", as released, where the others still
            hang on the latents from before it and have no gradient.
        second: PNDM takes its first step twice, and the second time starts again from where the first started. "lost"
            as released: the update before that second time moves the prediction alone; "kept" moves the start too.
        tokens: "last" reads the last token of a mention, its noun, as the release's examples do; "phrase" the average
            of all but the article.
        plurals: "shared" lets the instances of one plural ("three horses") have its tokens together: each pulls them
            into its own box, and none out of another's; "none" leaves them without guidance.

    Raises:
        UsageError: an unknown reading or a number out of its range.
    """

    step_size: float = 20.0
    active_fraction: float = 0.5
    refine: bool = True
    after: str = "all"
    second: str = "kept"
    tokens: str = "last"
    plurals: str = "shared"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(did_you_mean(getattr(self, name), known, name))
        if not 0 <= self.step_size < float("inf"):
            raise UsageError(f"step_size={self.step_size} must be a finite number and at least 0.")


class BoxDiffAdapter:
    """Makes a base follow boxes by moving its latents; has no weights."""

    max_instances = None

    def __init__(self, config: BoxDiffConfig | None = None) -> None:
        self.config = config or BoxDiffConfig()
        self.store: AttentionStore | None = None

    def attach(self, unet: nn.Module) -> None:
        """Make the layers readable, once a batch has told which they are."""
        if self.store is not None:
            self.store.attach(unet)

    def start(self, run: Run) -> Session | None:
        """Return the session of a batch, None without any instance.

        Raises:
            UsageError: no attention of the UNet sees 16 x 16 cells at this size of image, or the scheduler starts
                anew in each step.
        """
        if not any(layout.phrases for layout in run.layouts):
            return None
        check_scheduler(run.scheduler)
        layers = tuple(attentions_at(run.unet, (SIDE, SIDE), run.grid))
        if self.store is None or self.store.layers != layers:
            self.detach(run.unet)
            self.store = AttentionStore(layers)
        self.store.attach(run.unet)
        return BoxDiffSession(run, self.store, self.config)

    def detach(self, unet: nn.Module) -> None:
        """Give the layers back."""
        if self.store is not None:
            self.store.detach(unet)


@dataclass(frozen=True)
class Terms:
    """Losses of a batch: `inner` [B], `worst` [B] the largest inner part of an instance, `rest` [B]; 0 for no words."""

    inner: Tensor
    worst: Tensor
    rest: Tensor


class BoxDiffSession(Session):
    """One batch; every image has its own loss and refines by itself."""

    def __init__(self, run: Run, store: AttentionStore, config: BoxDiffConfig) -> None:
        self.store, self.config = store, config
        share = config.active_fraction if run.active_fraction is None else run.active_fraction
        self.last = round(share * run.steps)
        self.bounds = {round(at * run.steps): bound for at, bound in reversed(BOUNDS.items())}
        spans = [run.encoder.spans(layout, config.plurals == "shared") for layout in run.layouts]
        self.note = [
            note_of_unguided(layout, [span is not None for span in own])
            for layout, own in zip(run.layouts, spans, strict=True)
        ]
        self.aims = [
            [
                Aim(
                    self._tokens(without_article(span, layout, i)),
                    layout.boxes[i],
                    run.device,
                    [box for box, other in zip(layout.boxes, own, strict=True) if other == span],
                )
                for i, span in enumerate(own)
                if span is not None
            ]
            for layout, own in zip(run.layouts, spans, strict=True)
        ]
        self.guided = torch.tensor([bool(own) for own in self.aims], device=run.device)
        self.measured = 0

    def before_unet(self, step: Step, latents: Tensor) -> Tensor:
        """Refine where this step does, then go down the gradient once."""
        if step.index >= self.last or not bool(self.guided.any()):
            return latents
        start, eta = latents, self.config.step_size * (1 - 0.5 * step.index / max(1, step.run.total - 1)) ** 0.5
        with torch.enable_grad():
            z, terms = self._measure(step, latents)
            refined = torch.zeros_like(self.guided)
            bound = self.bounds.get(step.index) if self.config.refine else None
            if bound is not None:
                refined = self.guided & (terms.worst > bound)
                latents, z, terms = self._refine(step, latents, z, terms, bound, eta)
            stale = refined & (self.config.after == "inner")
            loss = terms.inner + torch.where(stale, torch.zeros_like(terms.rest), terms.rest)
            latents = moved(step, latents, eta * gradient(loss, z), self.guided)
        if self.config.second == "kept":
            carry_on(step, latents - start)
        return latents

    def notes(self) -> list[str]:
        """Return which instances got no guidance."""
        return self.note

    def _refine(
        self, step: Step, latents: Tensor, z: Tensor, terms: Terms, bound: float, eta: float
    ) -> tuple[Tensor, Tensor, Terms]:
        """Go down the gradient of the worst inner part. As released, its test looks at the value before the update."""
        going = self.guided & (terms.worst > bound)
        for _ in range(TURNS):
            if not bool(going.any()):
                break
            latents = moved(step, latents, eta * gradient(terms.worst, z), going)
            going = going & (terms.worst > bound)
            z, terms = self._measure(step, latents)
        return latents, z, terms

    def _measure(self, step: Step, latents: Tensor) -> tuple[Tensor, Terms]:
        """Losses of the present latents, in the graph of what the UNet saw of them, [B, C, H, W]."""
        z = step.scale(latents).detach().requires_grad_()
        self.measured += 1
        return z, self.terms(step.maps(z, self.store))

    def terms(self, maps: Mapping[str, Tensor]) -> Terms:
        """Losses of each image of maps {layer: [B, heads, 256, T]}."""
        planes = sharpened(torch.cat(list(maps.values()), 1).mean(1))
        nothing = planes.new_zeros(2)
        own = [[aim.losses(planes[i]) for aim in aims] for i, aims in enumerate(self.aims)]
        rows = [torch.stack(losses) if losses else nothing[None] for losses in own]
        return Terms(
            torch.stack([row[:, 0].sum() for row in rows]),
            torch.stack([row[:, 0].max() for row in rows]),
            torch.stack([row[:, 1].sum() for row in rows]),
        )

    def _tokens(self, span: Span) -> tuple[int, ...]:
        return (span.stop - 1,) if self.config.tokens == "last" else tuple(range(span.start, span.stop))


class Aim:
    """What one instance wants of its tokens' attention.

    Args:
        tokens: of the instance; box: its own; shared: all boxes of these tokens, its own alone if not given.
    """

    def __init__(
        self, tokens: tuple[int, ...], box: Four, device: torch.device | str, shared: Sequence[Four] = ()
    ) -> None:
        self.tokens = tokens
        self.x0, self.y0, self.x1, self.y1 = cells_of(box, (SIDE, SIDE), nearest)
        self.mask = torch.zeros(SIDE, SIDE, dtype=torch.bool, device=device)
        self.mask[self.y0 : self.y1, self.x0 : self.x1] = True
        self.union = self.mask.clone()
        for x0, y0, x1, y1 in (cells_of(other, (SIDE, SIDE), nearest) for other in shared):
            self.union[y0:y1, x0:x1] = True

    def losses(self, planes: Tensor) -> Tensor:
        """Inner part, and outer and corner parts together, [2], of [256, T - 2] shares without first and last token."""
        plane = smoothed(planes[:, [token - 1 for token in self.tokens]].mean(1).unflatten(0, (SIDE, SIDE)))
        inner = (1 - strongest(plane[self.mask])).clamp_min(0)
        columns = edge_loss(plane.amax(0), self.union.any(0), self.x0, self.x1)
        rows = edge_loss(plane.amax(1), self.union.any(1), self.y0, self.y1)
        return torch.stack([inner, strongest(plane[~self.union]) + columns + rows])


def sharpened(shares: Tensor) -> Tensor:
    """Shares of the tokens but the first and the last, sharpened by a second softmax; [..., T] -> [..., T - 2]."""
    return (SHARPNESS * shares[..., 1:-1]).softmax(-1)


def smoothed(plane: Tensor) -> Tensor:
    """Smooth [H, W] with the weights .2119, .5761, .2119 along each axis, mirrored at the edges.

    By slices, since the gradient of padding by reflection is not the same twice on a GPU.
    """
    side = torch.e**-1
    for dim in (0, 1):
        size = plane.shape[dim]
        before = torch.cat([plane.narrow(dim, 1, 1), plane.narrow(dim, 0, size - 1)], dim)
        after = torch.cat([plane.narrow(dim, 1, size - 1), plane.narrow(dim, size - 2, 1)], dim)
        plane = (plane + side * (before + after)) / (1 + 2 * side)
    return plane


def strongest(values: Tensor) -> Tensor:
    """Mean of the largest fifth, of at least one; 0 where there is no cell at all (the box fills the image)."""
    if not len(values):
        return values.sum()
    return values.topk(max(1, int(TOP * len(values)))).values.mean()


def edge_loss(profile: Tensor, wanted: Tensor, low: int, high: int) -> Tensor:
    """How far a profile [16] is from 1 where it is wanted and 0 elsewhere, near both edges; a mean over all cells.

    The edges are those of [low, high). The band of the far one lies around its first cell outside, as in the release.
    """
    at = torch.arange(len(profile), device=profile.device)
    near = ((at - low).abs() <= REACH) | ((at - high).abs() <= REACH)
    return ((profile - wanted.to(profile)).abs() * near).mean()
