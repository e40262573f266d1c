"""What happens to images on the way out of a generator: blur, rescaling, noise, compression, brightness.

The judges learn on scenes treated so, because they will judge the output of an autoencoder and not clean drawings. Hue
is never moved: colour is part of what is judged.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def blur(image: Picture, rng: np.random.Generator) -> Picture:
    """Gaussian of sigma 0.2..1.5 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.2, 1.5)), np.uint8)


def rescale(image: Picture, rng: np.random.Generator) -> Picture:
    """Down to 0.4..0.9 of the size and back."""
    height, width = image.shape[:2]
    factor = rng.uniform(0.4, 0.9)
    small = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def grain(image: Picture, rng: np.random.Generator) -> Picture:
    """Pixel noise of sigma 0..8 and colour blotches of sigma 0..8, the latter about 8 pixels wide."""
    height, width = image.shape[:2]
    fine = rng.standard_normal((height, width, 3), np.float32) * rng.uniform(0, 8)
    coarse = rng.standard_normal((height // 8, width // 8, 3), np.float32) * rng.uniform(0, 8)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(image + fine + blotches, 0, 255).astype(np.uint8)


def compress(image: Picture, rng: np.random.Generator) -> Picture:
    """JPEG of quality 30..90; the order of the channels does not matter to its artefacts."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def tone(image: Picture, rng: np.random.Generator) -> Picture:
    """Contrast 0.8..1.2, brightness -15..15 and saturation 0.75..1.1; the hue stays."""
    value = image.astype(np.float32)
    grey = value.mean(axis=2, keepdims=True)
    value = (grey + (value - grey) * rng.uniform(0.75, 1.1)) * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15)
    return np.clip(value, 0, 255).astype(np.uint8)


STEPS = ((tone, 0.4), (blur, 0.5), (rescale, 0.25), (grain, 0.35), (compress, 0.2))


def augment(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the uint8 RGB image [H, W, 3] after a random choice of `STEPS`; the geometry stays."""
    for step, share in STEPS:
        if rng.random() < share:
            image = step(image, rng)
    return image
