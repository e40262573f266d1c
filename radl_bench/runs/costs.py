"""What a run of the papers' scale costs, computed from counts; nothing here was measured on a card.

The counts are of Stable Diffusion v1.4's networks at 512 x 512 pixels: operations by `torch.utils.flop_counter`, a
multiplication and an addition being two, and parameters (a test counts them again). How often a method runs the UNet
follows from its definition; where it depends on the image, the most is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from radl_bench.errors import UsageError, did_you_mean

UNET_FLOPS = 803_273_441_280
"""Of one row: one latent under one prompt, forward."""
VAE_FLOPS = 2_514_518_933_504
"""Of decoding one image."""
UNET_PARAMETERS, VAE_PARAMETERS, TEXT_PARAMETERS = 859_520_964, 83_653_863, 123_060_480
GLIGEN_PARAMETERS = 209_000_000
SAVED_VALUES = 1_084_021_824
"""Values kept for the gradient of one row of the UNet, whole forward, attention maps included."""
DECODED_VALUES = 3 * 256 * 512 * 512
"""The largest step of decoding an image: three planes of 256 channels at 512 x 512."""

USED = 0.4
"""Share of a card's peak that is assumed to be reached."""
LAYERS = 1.15
"""Most that layout layers may add to a row (the bar of benchmarks/speed/overhead.py)."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CARDS: dict[str, tuple[str, int, dict[str, float]]] = {
    "h100": ("H100 SXM", 80, {"float32": 67, "bfloat16": 989, "float16": 989}),
    "a100": ("A100 SXM", 80, {"float32": 19.5, "bfloat16": 312, "float16": 312}),
    "rtx4090": ("RTX 4090", 24, {"float32": 82.6, "bfloat16": 165.2, "float16": 165.2}),
}
"""By name: its name in words, GB of memory, and TFLOPS of dense matrices by dtype, as the makers' data sheets state."""

_GUIDED = 3.0  # a forward and the backward through it, in forwards


@dataclass(frozen=True)
class Method:
    """Rows of the UNet, in forwards, that an image needs over all its steps; and what lies in memory beside the base.

    Attributes:
        rows: from steps and the mean number of instances; `why` says it in words.
        parameters: of its layers; guided: whether it keeps a forward for the gradient.
    """

    rows: Callable[[int, float], float]
    why: str
    parameters: int = 0
    guided: bool = False


METHODS = {
    "stable-diffusion": Method(lambda s, n: 2 * s, "2 a step"),
    "radl": Method(lambda s, n: 2 * LAYERS * s, f"2 a step, times {LAYERS} for the layers"),
    "migc": Method(lambda s, n: 2 * LAYERS * s, f"2 a step, times {LAYERS} for the layers"),
    "gligen": Method(lambda s, n: 2 * LAYERS * s, f"2 a step, times {LAYERS} for the layers", GLIGEN_PARAMETERS),
    "multidiffusion": Method(lambda s, n: 2 * (1 + n) * s, "2 a step for the prompt and for each instance"),
    "layout-guidance": Method(
        lambda s, n: 2 * s + _GUIDED * 5 * ceil(0.2 * s),
        "2 a step, and 5 guided ones, of 3 forwards each, in the first fifth of the steps",
        guided=True,
    ),
    "boxdiff": Method(
        lambda s, n: 2 * s + _GUIDED * (ceil(0.5 * s) + 60),
        "2 a step, and a guided one, of 3 forwards, in the first half of the steps; 60 more for refinement",
        guided=True,
    ),
}


@dataclass(frozen=True)
class Cost:
    """Gigabytes of the images' pixels (a PNG is smaller), of memory for one image at a time, and hours on a card.

    `card` is its name with its peak, `card_gb` its memory.
    """

    image_gb: float
    memory_gb: float
    hours: float
    card: str
    card_gb: int


def cost(method: str, images: int, steps: int, instances: float, *, dtype: str, card: str) -> Cost:
    """Return what `images` images of 512 x 512 cost; raises `UsageError` for a method, dtype or card without figures.

    Args:
        instances: mean number of instances an image.
    """
    asked = ((method, list(METHODS), "method with figures"), (dtype, list(BYTES), "dtype"), (card, list(CARDS), "card"))
    for name, known, what in asked:
        if name not in known:
            raise UsageError(did_you_mean(name, known, what))
    needs, (title, size, peaks) = METHODS[method], CARDS[card]
    flops = images * (needs.rows(steps, instances) * UNET_FLOPS + VAE_FLOPS)
    values = UNET_PARAMETERS + VAE_PARAMETERS + TEXT_PARAMETERS + needs.parameters
    values += max(SAVED_VALUES if needs.guided else 0, DECODED_VALUES)
    hours = flops / (USED * peaks[dtype] * 1e12) / 3600
    name = f"{title} ({peaks[dtype]:g} TFLOPS in {dtype})"
    return Cost(images * 512 * 512 * 3 / 1e9, values * BYTES[dtype] / 1e9, hours, name, size)
