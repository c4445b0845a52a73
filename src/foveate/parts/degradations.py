"""What spoils a photograph: noise, blur, rain and compression, each seeded by the caller's generator.

All take and give float32 ``(H, W, 3)`` in [0, 1].
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

Rng = np.random.Generator


def signal_noise(x: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Add noise that grows with the signal, as a sensor's does: ``x + strength * n * (0.3 + x)``, n standard normal."""
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return np.clip(x + np.float32(strength) * noise * (np.float32(0.3) + x), 0, 1)


def white_noise(x: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """Add white Gaussian noise of standard deviation ``sigma``."""
    return np.clip(x + np.float32(sigma) * rng.standard_normal(x.shape, dtype=np.float32), 0, 1)


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    """Compress as JPEG at a quality of 1 to 95 and decompress."""
    buffer = io.BytesIO()
    Image.fromarray(np.round(x * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), dtype=np.float32) / np.float32(255)


def motion_blur(x: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Blur along a straight line of ``length`` pixels at ``angle`` radians; borders are mirrored."""
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    centre = side // 2
    for t in np.linspace(-length / 2, length / 2, 8 * side):
        kernel[round(centre + t * np.sin(angle)), round(centre + t * np.cos(angle))] += 1
    kernel /= kernel.sum()
    return np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], axis=2)


def rain(x: np.ndarray, density: float, length: float, angle: float, rng: Rng) -> np.ndarray:
    """Screen-blend streaks of rain over a picture.

    Args:
        x: The picture.
        density: Share of the pixels where a streak starts, e.g. 0.002 to 0.02.
        length: Length of the streaks in pixels.
        angle: Their direction in radians.
        rng: Where and how bright the drops are.
    """
    height, width = x.shape[:2]
    drops = np.where(rng.random((height, width)) < density, rng.uniform(0.5, 1, (height, width)), 0).astype(np.float32)
    streaks = motion_blur(np.repeat(drops[..., None], 3, axis=2), length, angle) * np.float32(length * 0.6)
    return 1 - (1 - x) * (1 - np.clip(streaks, 0, 0.8))
