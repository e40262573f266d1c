"""What is odd about images: lossy files, black or one-coloured ones, swapped channels, sizes, modes.

Nothing here changes a score; what is found becomes sentences that stand beside the scores.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from radl_bench.runs.image_reading import BLACK, PLAIN, Remark, as_rgb
from radl_bench.text import safe
from radl_bench.types import COLORS, Benchmark, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

SUSPICION = 0.01
"""One-sided p of the sign test under which the images are said to look like BGR."""

_SIDE = 128  # pixels to which an image is reduced before its colours are looked at
_SWAPPABLE = frozenset({"red", "blue", "yellow", "brown"})  # the others look the same with red and blue swapped


def few(names: list[str], what: str = "file", many: str | None = None, most: int = 5) -> str:
    """Return `2 files (a.png, b.png)`, with dots after the fifth; names are shown as `text.safe` has them."""
    listed = ", ".join(text if len(text) <= 100 else text[:97] + "..." for text in map(safe, names[:most]))
    dots = ", ..." if len(names) > most else ""
    return f"{len(names)} {what if len(names) == 1 else many or what + 's'} ({listed}{dots})"


def checked(image: Image) -> tuple[Image, str | None]:
    """Return an image as 8-bit RGB and what is to be said of it (all black, laid on white, ...), None for nothing.

    The one check of images, made and imported: raises `BadImage` (a `ValueError`) with half a sentence for one that
    cannot be used: no pixels, NaN, closed or cut short, a mode without stated values, see `image_reading.as_rgb`.
    """
    rgb, remarks = as_rgb(image)
    return rgb, "; ".join(map(str, remarks)) or None


def notes_of_sizes(sizes: Mapping[str, tuple[int, int]], benchmark: Benchmark) -> list[str]:
    """Return what is odd about the sizes (width, height) of images by name: mixed, not square, not the benchmark's."""
    counts = Counter(sizes.values())
    if not counts:
        return []
    width, height = counts.most_common(1)[0][0]
    odd = [f"{name} ({w}x{h})" for name, (w, h) in sorted(sizes.items()) if (w, h) != (width, height)]
    notes = [f"{few(odd)} of another size than the others ({width}x{height})."] if odd else []
    if width != height:
        return [*notes, f"The images are {width}x{height}, not square; boxes are stretched."]
    if width != benchmark.resolution:
        side = benchmark.resolution
        notes.append(f"The images are {width}x{height}; {benchmark.name} is defined at {side}x{side}.")
    return notes


def notes_of_equals(contents: Mapping[str, object], what: str = "image") -> list[str]:
    """Return what is said of images that are the same as another; `contents` tells by name which are."""
    times = Counter(contents.values())
    same = [name for name, content in contents.items() if times[content] > 1]
    return [f"{few(same, what)} the same as another, pixel for pixel, scored as they are."] if same else []


@dataclass
class PictureChecks:
    """Looks at the images of a folder one by one; `notes` says what was odd."""

    benchmark: Benchmark
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    swapped: list[str] = field(default_factory=list)
    votes: Counter[str] = field(default_factory=Counter)

    def look(self, name: str, sample: Sample, rgb: Image, remarks: tuple[Remark, ...]) -> None:
        """Take notice of an image as it is judged; `name` is its file's, `remarks` are those of reading it."""
        self.sizes[name] = rgb.size
        for what, detail in remarks:
            self.remarks.setdefault(what, []).append(f"{name} ({detail})" if detail else name)
        if any(remark.what in (BLACK, PLAIN) for remark in remarks):
            return
        self.contents[name] = hashlib.sha256(rgb.tobytes() + str(rgb.size).encode()).digest()
        if any(i.color in _SWAPPABLE for i in sample.instances):
            self._vote(name, sample, rgb)

    def _vote(self, name: str, sample: Sample, image: Image) -> None:
        right, swapped = swap_votes(image, sample)
        self.votes.update({"right": right, "swapped": swapped})
        if swapped > right:
            self.swapped.append(name)

    def notes(self) -> list[str]:
        """Return a sentence for each kind of oddity, naming files."""
        out = [f"{few(names)} {as_scored(what)}." for what, names in self.remarks.items()]
        right, swapped = self.votes["right"], self.votes["swapped"]
        if sign_test(swapped, right) < SUSPICION:
            out.append(
                f"The images look like BGR: {swapped} red, yellow, blue or brown things have their colour only with "
                f"red and blue swapped, {right} only as they are. They are scored as they are: {few(self.swapped)}."
            )
        return out + notes_of_equals(self.contents, "file") + notes_of_sizes(self.sizes, self.benchmark)


def as_scored(what: str) -> str:
    """Return a remark as it stands in a sentence about files: what shows nothing is scored nevertheless."""
    return f"{what}, scored as they are" if what in (BLACK, PLAIN) else what


def swap_votes(image: Image, sample: Sample) -> tuple[int, int]:
    """Return how many things have their colour in their box only as the image is, and only with channels swapped."""
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
