"""Receive coils: simulated sensitivities, and one image of many coils by root sum of squares or adaptively.

Note:
    deepinv has no adaptive combination; sigpy's ``birdcage_maps`` (which deepinv calls) and its ESPIRiT are
    good, but the package has stood still since January 2025. Hence these few lines are here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Rng = np.random.Generator


def simulate_coils(count: int, size: tuple[int, int], rng: Rng | None = None, width: float = 0.6) -> np.ndarray:
    """Simulate sensitivities: Gaussian lobes around the field of view, each with a phase of its own that runs across it.

    Args:
        count: How many coils. A single one has sensitivity 1 everywhere.
        size: Height and width.
        rng: Shifts the coils around the rim and their phases; without one they are evenly spaced.
        width: Standard deviation of a lobe, as a share of the field of view.

    Returns:
        complex64 ``(count, H, W)`` whose root sum of squares is 1 at every pixel.

    Raises:
        ValueError: If there is no coil.
    """
    if count < 1:
        raise ValueError(f"{count} coils")
    if count == 1:
        return np.ones((1, *size), np.complex64)
    y, x = (((np.arange(n) - n // 2) / n).astype(np.float64) for n in size)
    steps = np.arange(count) + (0 if rng is None else rng.uniform(-0.25, 0.25, count) + rng.uniform(0, count))
    angles = 2 * np.pi * steps / count
    radii = 0.55 + (0 if rng is None else rng.uniform(-0.05, 0.05, count))
    rows, columns = (radii * np.sin(angles))[:, None, None], (radii * np.cos(angles))[:, None, None]
    dy, dx = y[None, :, None] - rows, x[None, None, :] - columns
    # Across the lobe the phase turns by about a radian, as a loop's field does; coils differ by their angle around the rim.
    offset = angles[:, None, None] + (0 if rng is None else rng.uniform(-np.pi, np.pi, (count, 1, 1)))
    phase = offset + 1.5 * (dy * np.cos(angles)[:, None, None] - dx * np.sin(angles)[:, None, None])
    maps = np.exp(-(dy**2 + dx**2) / (2 * width**2)) * np.exp(1j * phase)
    return (maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))).astype(np.complex64)


def rss(coil_images: Tensor) -> Tensor:
    """Combine coils by the root of the sum of squares: complex ``(..., C, H, W)`` to real ``(..., H, W)``."""
    return torch.linalg.vector_norm(coil_images, dim=-3)


def adaptive_maps(coil_images: Tensor, window: int = 7, iterations: int = 2) -> Tensor:
    """Estimate relative sensitivities from the images themselves (Walsh, Gmitro and Marcellin, 2000).

    At each pixel the first eigenvector of the coils' covariance, summed over a window (zeros outside the image), is approached
    by power iterations from a vector of ones.

    Args:
        coil_images: Complex ``(..., C, H, W)``.
        window: Side of the window in pixels, odd.
        iterations: Power iterations.

    Returns:
        Complex ``(..., C, H, W)`` of unit norm over the coils; zero where the window is empty.

    Raises:
        ValueError: If the window is even.
    """
    if window % 2 == 0:
        raise ValueError(f"a window of {window} pixels, which has no middle")
    batch, maps = coil_images.reshape(-1, *coil_images.shape[-3:]), []
    for coils in batch:  # one at a time: 15 coils of 320 x 320 have a covariance of 180 MB
        count, height, width = coils.shape
        products = (coils[:, None] * coils[None].conj()).reshape(count * count, height, width)
        parts = torch.cat([products.real, products.imag])[None]
        sums = window**2 * F.avg_pool2d(parts, window, stride=1, padding=window // 2, count_include_pad=True)[0]
        covariance = torch.complex(sums[: count**2], sums[count**2 :]).reshape(count, count, height, width)
        vector = torch.ones_like(coils)
        for _ in range(iterations):
            vector = torch.einsum("ijyx,jyx->iyx", covariance, vector)
            length = torch.linalg.vector_norm(vector, dim=0)
            vector = vector / length.clamp(min=torch.finfo(length.dtype).tiny)
        maps.append(vector)
    return torch.stack(maps).reshape(coil_images.shape)


def adaptive_combine(coil_images: Tensor, window: int = 7, iterations: int = 2) -> Tensor:
    """Combine coils adaptively: each weighted by the conjugate of its estimated sensitivity (see `adaptive_maps`).

    Args:
        coil_images: Complex ``(..., C, H, W)``.
        window: Side of the window in pixels, odd.
        iterations: Power iterations.

    Returns:
        Complex ``(..., H, W)``. Its magnitude is that of the object where noise is small against it; its phase is relative.
    """
    return (adaptive_maps(coil_images, window, iterations).conj() * coil_images).sum(dim=-3)
