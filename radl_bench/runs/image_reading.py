"""Reading images of any origin: bounded, in known formats alone, as upright 8-bit RGB with remarks on what changed.

The same rules hold for images a generator returns, for folders of images made elsewhere, and for the photographs behind
FID.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""What Pillow may try: it opens files by content, and an EPS called .png would start Ghostscript."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})

MAX_PIXELS = 8192 * 8192
"""Most pixels of an image; a larger one is refused before it is decoded."""

GROUND = (255, 255, 255)
"""What transparent pixels are laid on: white."""

BLACK = "all black (a safety checker?)"
PLAIN = "of one colour throughout"

_SPREAD = 2  # levels of 255 that the channels of a one-coloured image may differ by: what JPEG leaves of it
_PLAIN_MODES = frozenset({"RGB", "RGBX"})
_KNOWN_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV"})
_UPRIGHT = 1
_ORIENTATION = 0x0112


class Remark(NamedTuple):
    """What was changed in an image or is odd about it, fit to follow "it is"; `detail` is of this image alone."""

    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})" if self.detail else self.what


class BadImage(ValueError):
    """What was given is no image that can be used; the text is half a sentence: "it has 0 x 0 pixels"."""


def open_image(source: Path | bytes) -> Image:
    """Return an image of one of `FORMATS` with its head read and its pixels still packed; close it, or use `with`.

    Raises `BadImage`: the file cannot be read, is of no known format, or has more than `MAX_PIXELS`.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadImage(f"it is not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise BadImage(f"it cannot be read ({type(error).__name__})") from error
    try:
        _check_size(image)
    except BadImage:
        image.close()
        raise
    return image


def as_rgb(image: Image) -> tuple[Image, tuple[Remark, ...]]:
    """Return an image as upright 8-bit RGB, and remarks on what was changed or is odd.

    EXIF orientation is applied, transparent pixels are laid on white (`GROUND`), 16 bits become 8, grey and other modes
    are converted; an image of one colour gets a remark. Equal pixels give equal results, whatever the format.

    Raises `BadImage`: no pixels, too many, a closed or damaged file, NaN or infinity, or values without a stated range.
    """
    from PIL import Image as pil

    if not isinstance(image, pil.Image):
        raise BadImage(f"it is {type(image).__name__} instead of a PIL image")
    _check_size(image)
    try:
        remarks = [*_of_the_file(image)]
        image.load()
        rgb = _converted(_turned(image, remarks), remarks)
    except BadImage:
        raise
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise BadImage(f"it cannot be read ({type(error).__name__})") from error
    plain = constant(rgb)
    return rgb, (*remarks, *([Remark(plain)] if plain else []))


def constant(rgb: Image) -> str | None:
    """Return `BLACK` or `PLAIN` for an RGB image of one colour throughout, None for any other."""
    from PIL.Image import Resampling

    # a few pixels first: they tell of nearly every image, in a tenth of the time
    for pixels in (rgb.resize((8, 8), Resampling.NEAREST), rgb):
        extremes: tuple[tuple[int, int], ...] = pixels.getextrema()  # type: ignore[assignment]
        if any(high - low > _SPREAD for low, high in extremes):
            return None
    return BLACK if all(high <= _SPREAD for _, high in extremes) else PLAIN


def read_image(source: Path | bytes) -> tuple[Image, tuple[Remark, ...]]:
    """Return the image in a file, or in the bytes of one, as `as_rgb` does, with a remark where its format is lossy.

    Raises `BadImage` as `open_image` and `as_rgb` do.
    """
    with open_image(source) as image:
        kind = {"JPEG": "JPEG", "MPO": "JPEG"}.get(image.format or "")
        if image.format == "WEBP" and _has_chunk(source if isinstance(source, bytes) else source.read_bytes(), b"VP8 "):
            kind = "lossy WebP"
        rgb, remarks = as_rgb(image)
    return rgb, (*([Remark(f"{kind}, whose losses are part of the scores")] if kind else []), *remarks)


def _has_chunk(data: bytes, name: bytes) -> bool:
    """Say whether a RIFF file has such a chunk; "VP8 " holds lossy pixels."""
    at = 12
    while at + 8 <= len(data):
        chunk, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if chunk == name:
            return True
        at += 8 + (24 - 8 if chunk == b"ANMF" else size + size % 2)  # the first frame lies inside of its own chunk
    return False


def _check_size(image: Image) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadImage(f"it has {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise BadImage(f"it has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read")


def _of_the_file(image: Image) -> list[Remark]:
    """Return remarks on what the file has beside its pixels."""
    remarks = []
    if getattr(image, "n_frames", 1) > 1:
        remarks.append(Remark("of several frames, the first is taken"))
    tile = getattr(image, "tile", None) or []
    if image.format == "PNG" and any(";16" in str(part[3]) for part in tile):
        remarks.append(Remark("of 16 bits a channel, read as 8"))
    profile = _profile(image)
    if profile is not None and "srgb" not in profile.casefold():
        remarks.append(Remark("of another colour space than sRGB, not converted", profile))
    return remarks


def _profile(image: Image) -> str | None:
    """Return the name of the colour profile in a file, None without one."""
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return None
    try:
        from PIL import ImageCms

        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    except Exception:  # a damaged profile, or a Pillow without lcms
        return "unknown"
    return "".join(c for c in name if c.isprintable()).strip()[:40] or "unknown"


def _turned(image: Image, remarks: list[Remark]) -> Image:
    from PIL import ImageOps

    if image.getexif().get(_ORIENTATION, _UPRIGHT) in range(2, 9):
        remarks.append(Remark("turned by the orientation in EXIF"))
        return ImageOps.exif_transpose(image)
    return image


def _converted(image: Image, remarks: list[Remark]) -> Image:
    """Return 8-bit RGB; what is not plain RGB adds a remark."""
    from PIL import Image as pil

    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.mode not in _KNOWN_MODES:
        raise BadImage(f"its mode {image.mode} is not read; give 8-bit RGB")
    if image.mode not in _PLAIN_MODES:
        remarks.append(Remark("of another mode than RGB, converted", image.mode))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            remarks.append(Remark("transparent in places, laid on white"))
            image = pil.alpha_composite(pil.new("RGBA", layer.size, (*GROUND, 255)), layer)
    # one that belongs to a file is copied, which may be closed
    return image if image.mode == "RGB" and type(image) is pil.Image else image.convert("RGB")


def _eight_bits(image: Image) -> Image:
    """Return mode L of 16-bit grey: 65535 becomes 255. Other numbers have no stated range and are refused."""
    import numpy as np
    from PIL import Image as pil

    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise BadImage("it holds NaN or infinity")
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise BadImage(f"its mode {image.mode} has no stated range of values; give 8-bit RGB")
    return pil.fromarray(np.rint(values.astype(np.float64) / 257.0).clip(0, 255).astype(np.uint8))
