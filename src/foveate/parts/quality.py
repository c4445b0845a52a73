"""How close a restored picture is to the clean one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# ITU-R BT.601 luma of RGB in [0, 1], in the 16-235 range, over 255.
_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)


def luma(x: Tensor) -> Tensor:
    """Return Y of YCbCr (BT.601, 16 to 235 of 255): ``(B, 3, H, W)`` in [0, 1] to ``(B, 1, H, W)``."""
    weights = torch.tensor(_LUMA, dtype=x.dtype, device=x.device).reshape(3, 1, 1)
    return (x * weights).sum(-3, keepdim=True) + 16 / 255


def psnr(restored: Tensor, clean: Tensor, rounded: bool = True, on_luma: bool = False) -> Tensor:
    """Peak signal-to-noise ratio of each picture in dB, peak 1.

    Args:
        restored: ``(B, 3, H, W)``; clipped to [0, 1].
        clean: The same shape.
        rounded: Round the restored picture to 8 bits first, as it would be saved (not done for SIDD's benchmark).
        on_luma: Compare Y of YCbCr (the custom for deraining).

    Returns:
        ``(B,)``. Equal pictures give infinity.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1), rounded=False)
        tensor([20.])
    """
    restored = restored.float().clamp(0, 1)
    if rounded:
        restored = (restored * 255).round() / 255
    if on_luma:
        restored, clean = luma(restored), luma(clean)
    return -10 * torch.log10((restored - clean.float()).square().flatten(1).mean(1))


def ssim(restored: np.ndarray, clean: np.ndarray) -> float:
    """Structural similarity of two ``(H, W, 3)`` pictures in [0, 1], Gaussian window of sigma 1.5 as in the original paper.

    A picture with a side under 11 pixels has no such window and gives NaN.
    """
    from skimage.metrics import structural_similarity

    if min(clean.shape[:2]) < 11:
        return float("nan")
    return float(
        structural_similarity(
            clean, restored, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def noise_level(picture: np.ndarray, block: int = 16) -> float:
    """Estimate the standard deviation of a picture's noise, in its own unit, where the picture is flattest.

    A mask that no plane or straight edge excites (Immerkaer 1996, equation 4) is averaged over blocks; the lowest tenth of
    them, under- and overexposed ones and perfectly flat ones (bars, borders) left out, is taken to show noise alone.

    Args:
        picture: ``(H, W)`` or ``(H, W, C)`` in [0, 1].
        block: Side of the blocks in pixels. A picture of fewer than ten blocks gives NaN: it cannot be told.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> round(noise_level(0.5 + 0.1 * rng.standard_normal((200, 200))), 2)
        0.09
    """
    from scipy.ndimage import convolve

    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    rows, columns = (length // block for length in grey.shape)
    if rows * columns < 10:
        return float("nan")
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=grey.dtype)

    def means(values: np.ndarray) -> np.ndarray:
        return values[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))

    exposed = (means(grey) > 0.02) & (means(grey) < 0.98)
    levels = np.sqrt(np.pi / 2) / 6 * means(np.abs(convolve(grey, mask, mode="mirror")))
    uneven = levels[exposed & (levels > 0)]
    return float(np.quantile(uneven, 0.1)) if len(uneven) else 0.0
