"""Sizes of a LayoutDiffusion network; the published ones by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from radl_model.errors import UsageError


@dataclass(frozen=True)
class LayoutDiffusionConfig:
    """Shape of the network; the defaults are those of "COCO 256 large".

    Attributes:
        image_size: side of the images in pixels; channels: width of the first level.
        multipliers: width of each level as a multiple of `channels`.
        attention: downsampling factors at which the levels attend; the middle always attends.
        res_blocks: residual blocks a level; head_channels: content channels of an attention head.
        encoder_width, encoder_layers, encoder_heads: of the layout encoder.
        slots: rows of a layout, padding included. It is part of the model: group norms run over the slots.
        classes: rows of the class table, the image's own class 0 and the padding class included.
        padding: the class of an empty slot.
        names: the class names, of which the first has number 1; none stands for COCO's and COCO-Stuff's own numbers.
        learned_variance: whether six channels come out (noise and variance) or three.
        velocity: whether the layers give the velocity, of which the network makes the noise. Predicted noise errs by
            1 / alpha in the image, 152 times at the first step, which a short training does not get over.
    """

    image_size: int = 256
    channels: int = 256
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    attention: tuple[int, ...] = (8, 16, 32)
    res_blocks: int = 2
    head_channels: int = 64
    dropout: float = 0.0
    encoder_width: int = 256
    encoder_layers: int = 6
    encoder_heads: int = 8
    slots: int = 10
    classes: int = 185
    padding: int = 184
    learned_variance: bool = True
    velocity: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image_size % 2 ** (len(self.multipliers) - 1):
            raise UsageError(f"A side of {self.image_size} pixels cannot be halved {len(self.multipliers) - 1} times.")
        if self.velocity and self.learned_variance:
            raise UsageError("A LayoutDiffusion network that predicts the velocity has no learned variance.")
        widths = {self.channels * m for m in self.multipliers} | {self.encoder_width}
        odd = sorted(w for w in widths if w % 32)
        if odd:
            raise UsageError(f"Every width has to be a multiple of 32, for the group norms; {odd[0]} is not.")
        if self.names and (len(self.names), self.padding) != (self.classes - 2, self.classes - 1):
            raise UsageError(
                f"A LayoutDiffusion config with {len(self.names)} names has two classes more, the last of them for "
                f"padding; this one has {self.classes} classes and padding {self.padding}."
            )

    @property
    def most_instances(self) -> int:
        """Instances that a layout can hold: one slot is the image's and, as published, one stays empty."""
        return self.slots - 2

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> LayoutDiffusionConfig:
        """Return the config of a JSON object. Raises `UsageError` for a key that is not known."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise UsageError(f"A LayoutDiffusion config has no '{unknown[0]}'. Known: {', '.join(sorted(known))}.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return the config as a JSON object."""
        return asdict(self)


COCO_256 = LayoutDiffusionConfig()
COCO_128 = LayoutDiffusionConfig(image_size=128, multipliers=(1, 1, 2, 3, 4), attention=(4, 8, 16), dropout=0.1)
PUBLISHED = {"coco-256": COCO_256, "coco-128": COCO_128}
"""The published COCO-Stuff models (568.6 M and 435.3 M parameters)."""
