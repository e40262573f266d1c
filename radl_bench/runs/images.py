"""An image under judgement: opened at the first need, checked against its sha256, and let go again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.runs.image_reading import BadImage, as_rgb, open_image
from radl_bench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

FULL = (0.0, 0.0, 1.0, 1.0)
"""The box that is the whole image."""


@dataclass(slots=True)
class Picture:
    """One image that was asked for; `problem` says why it cannot be judged, or is None.

    `load` opens it at the first need, checks it against the sha256 of its row, and keeps it until `close`. There may be
    millions, so `file` is best a text, of which `path` makes a path when it is asked for.
    """

    sample: Sample
    k: int
    file: Path | str | None
    sha256: str = ""
    problem: str | None = None
    _image: Image | None = field(default=None, repr=False)

    @property
    def path(self) -> Path | None:
        """Where the image lies; None where there is none."""
        return None if self.file is None else Path(self.file)

    @property
    def own_key(self) -> str:
        """What a judge's answer is filed under where equal images of two samples, or of one, may differ in it."""
        return f"{self.sha256}:{self.sample.id}:{self.k}"

    def load(self) -> Image | None:
        """Return the image in RGB; None, with `problem` set, where that is impossible."""
        if self._image is None and self.problem is None:
            self._open()
        return self._image

    def close(self) -> None:
        """Let go of the pixels."""
        self._image = None

    def _open(self) -> None:
        path = self.path
        assert path is not None
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != self.sha256:
                self.problem = f"the file {path.name} is not the one that was generated"
                return
            self._image = as_rgb(open_image(data))[0]
        except OSError as error:
            self.problem = f"the file {path.name} cannot be read ({type(error).__name__})"
        except BadImage as error:
            why = str(error) if error.__cause__ is None else type(error.__cause__).__name__
            self.problem = f"the file {path.name} cannot be read ({why})"


def stretched(image: Image, side: int) -> Image:
    """Return the image stretched to a square of `side` pixels; itself for a side of 0, or where it is one already."""
    from PIL.Image import Resampling

    return image if not side or image.size == (side, side) else image.resize((side, side), Resampling.BICUBIC)


def swapped(image: Image) -> Image:
    """Return the image with red and blue in each other's place."""
    from PIL import Image as pil

    red, green, blue = image.split()
    return pil.merge("RGB", (blue, green, red))


def crop_square(image: Image, box: Sequence[float]) -> Image:
    """Return the box of the image, stretched to a square so that an encoder's centre crop loses nothing of it."""
    from PIL.Image import Resampling

    from radl_bench.judges.segmenters import box_pixels

    if tuple(box) == FULL and image.width == image.height:
        return image
    rows, cols = box_pixels(tuple(box), image.height, image.width)
    crop = image.crop((cols.start, rows.start, cols.stop, rows.stop))
    side = max(crop.size)
    return crop.resize((side, side), Resampling.BICUBIC)
