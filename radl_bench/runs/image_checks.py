"""What is odd about pictures made elsewhere: lossy files, black or one-coloured ones, swapped channels, sizes, modes.

Nothing here changes a picture or a score; what is found becomes sentences that stand beside the scores.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from radl_bench.types import COLORS, Benchmark, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

SUSPICION = 0.01
"""One-sided p of the sign test under which the pictures are said to look like BGR."""

_SIDE = 128  # pixels to which a picture is reduced before its colours are looked at
_SWAPPABLE = frozenset({"red", "blue", "yellow", "brown"})  # the others look the same with red and blue swapped


def few(names: list[str], what: str = "file", many: str | None = None, most: int = 5) -> str:
    """Return `2 files (a.png, b.png)`, with dots after the fifth."""
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} {what if len(names) == 1 else many or what + 's'} ({shown})"


@dataclass
class PictureChecks:
    """Looks at the pictures of a benchmark one by one; `notes` says what was odd."""

    benchmark: Benchmark
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    lossy: list[str] = field(default_factory=list)
    converted: list[str] = field(default_factory=list)
    black: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    votes: Counter[str] = field(default_factory=Counter)

    def look(self, name: str, sample: Sample, image: Image) -> None:
        """Take notice of an opened picture; `name` is its file's."""
        self.sizes[name] = image.size
        if image.format == "JPEG":
            self.lossy.append(name)
        if image.mode not in ("RGB", "L", "P"):
            self.converted.append(f"{name} ({image.mode})")
        darkest, brightest = _extremes(image)
        if darkest == brightest:
            (self.black if brightest == (0, 0, 0) else self.plain).append(name)
        elif any(i.color in _SWAPPABLE for i in sample.instances):
            self._vote(name, sample, image)

    def _vote(self, name: str, sample: Sample, image: Image) -> None:
        right, swapped = swap_votes(image, sample)
        self.votes.update({"right": right, "swapped": swapped})
        if swapped > right:
            self.swapped.append(name)

    def notes(self) -> list[str]:
        """Return a sentence for each kind of oddity, naming files."""
        said = {
            "JPEG, whose losses are part of the scores": self.lossy,
            "of another mode than RGB, converted": self.converted,
            "all black (a safety checker?), scored as they are": self.black,
            "of one colour throughout, scored as they are": self.plain,
        }
        out = [f"{few(names)} {what}." for what, names in said.items() if names]
        right, swapped = self.votes["right"], self.votes["swapped"]
        if sign_test(swapped, right) < SUSPICION:
            out.append(
                f"The pictures look like BGR: {swapped} red, yellow, blue or brown things have their colour only with "
                f"red and blue swapped, {right} only as they are. They are scored as they are: {few(self.swapped)}."
            )
        return out + self._odd_sizes()

    def _odd_sizes(self) -> list[str]:
        counts = Counter(self.sizes.values())
        if not counts:
            return []
        width, height = counts.most_common(1)[0][0]
        odd = [f"{name} ({w}x{h})" for name, (w, h) in sorted(self.sizes.items()) if (w, h) != (width, height)]
        notes = [f"{few(odd)} of another size than the others ({width}x{height})."] if odd else []
        if width != height:
            return [*notes, f"The pictures are {width}x{height}, not square; boxes are stretched."]
        if width != self.benchmark.resolution:
            side = self.benchmark.resolution
            notes.append(f"The pictures are {width}x{height}; {self.benchmark.name} is defined at {side}x{side}.")
        return notes


def swap_votes(image: Image, sample: Sample) -> tuple[int, int]:
    """Return how many things have their colour in their box only as the picture is, and only with channels swapped."""
    import numpy as np

    from radl_bench.judges.color import coverage
    from radl_bench.judges.segmenters import BoxSegmenter

    pixels = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE)))
    things = [i for i in sample.instances if i.color in _SWAPPABLE]
    masks = BoxSegmenter().masks(pixels, np.array([i.box for i in things], float))
    index = range(len(things)), [COLORS.index(i.color or "") for i in things]
    here, there = (coverage(view, masks)[index] >= 0.2 for view in (pixels, pixels[..., ::-1]))
    return int((here & ~there).sum()), int((there & ~here).sum())


def sign_test(more: int, fewer: int) -> float:
    """Return the one-sided p of at least `more` out of `more + fewer` fair coins; 1 without a coin."""
    n = more + fewer
    return sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n


def _extremes(image: Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the least and the greatest value of each of the three channels."""
    channels = image.convert("RGB").getextrema()
    low, high = zip(*channels, strict=True)  # type: ignore[misc]
    return low, high
