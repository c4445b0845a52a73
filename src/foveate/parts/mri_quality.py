"""How close reconstructed slices are to their targets, in the ways in which the field scores them; all differentiable.

Papers disagree in the window and in the range, and figures of two kinds must not be mixed: `ssim` is fastMRI's (7 x 7 uniform
window, range of each target), `gaussian_ssim` MATLAB's and that of the EDSR line of code (11 x 11 Gaussian, borders mirrored).

Note:
    torchmetrics takes one range for a whole batch, scikit-image is not differentiable, and ``fastmri.SSIMLoss`` does not divide
    by the range first, which loses digits where values are tiny. The tests compare with scikit-image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _peaks(target: Tensor, peak: float | Tensor | None) -> Tensor:
    """Return the range of each slice ``(B,)``: its maximum, unless one is given; 1 for a slice of zeros."""
    if peak is None:
        peak = target.flatten(1).amax(1)
    peaks = torch.as_tensor(peak, dtype=target.dtype, device=target.device).expand(len(target))
    return torch.where(peaks > 0, peaks, torch.ones_like(peaks))


def _slices(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Check and reduce both to ``(B, H, W)`` of floats."""
    if image.shape != target.shape or image.ndim not in (3, 4) or (image.ndim == 4 and image.shape[1] != 1):
        raise ValueError(f"slices of shape {tuple(image.shape)} and targets of shape {tuple(target.shape)}, not (B, H, W)")
    if image.is_complex() or target.is_complex():
        raise ValueError("complex slices: take the magnitude first")
    image, target = (x.squeeze(1) if x.ndim == 4 else x for x in (image, target))
    return (image, target) if target.dtype == torch.float64 else (image.float(), target.float())


def psnr(image: Tensor, target: Tensor, peak: float | Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each slice in dB.

    Args:
        image: Real ``(B, H, W)`` or ``(B, 1, H, W)``.
        target: The same shape.
        peak: The maximum of each target by default; else one for all, such as 1 or 255, or ``(B,)``.

    Returns:
        ``(B,)``. Equal slices give infinity.

    Example:
        >>> psnr(torch.full((1, 8, 8), 1.8), torch.full((1, 8, 8), 2.0))
        tensor([20.0000])
    """
    image, target = _slices(image, target)
    scale = _peaks(target, peak)[:, None, None]
    return -10 * torch.log10(((image - target) / scale).square().flatten(1).mean(1))


def nmse(image: Tensor, target: Tensor) -> Tensor:
    """Squared error over the squared norm of the target, of each slice ``(B,)``."""
    image, target = _slices(image, target)
    return (image - target).square().flatten(1).sum(1) / target.square().flatten(1).sum(1)


def ssim(image: Tensor, target: Tensor, peak: float | Tensor | None = None, window: int = 7) -> Tensor:
    """Structural similarity of each slice as in fastMRI: uniform window, unbiased covariance, K1 = 0.01, K2 = 0.03.

    Windows that stick out of the slice are left out. The same as scikit-image's ``structural_similarity`` with
    ``data_range=target.max()``.

    Args:
        image: Real ``(B, H, W)`` or ``(B, 1, H, W)``.
        target: The same shape.
        peak: The data range: the maximum of each target by default; else one for all, or ``(B,)``.
        window: Side of the window in pixels.

    Returns:
        ``(B,)``; its mean, negated, is the loss of many reconstruction papers.

    Raises:
        ValueError: If shapes differ or a side is shorter than the window.
    """
    image, target = _slices(image, target)
    if min(target.shape[-2:]) < window:
        raise ValueError(f"slices of {target.shape[-2]} x {target.shape[-1]} pixels, smaller than the window of {window}")
    scale = _peaks(target, peak)[:, None, None]
    count = window**2
    return _index(image / scale, target / scale, lambda v: F.avg_pool2d(v, window, stride=1), count / (count - 1))


def gaussian_ssim(image: Tensor, target: Tensor, peak: float | Tensor | None = 1.0) -> Tensor:
    """Structural similarity of each slice with an 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03.

    The index has the size of the slice: the borders are mirrored, the edge included (MATLAB's 'symmetric'). scikit-image has
    the same window and leaves the borders out.

    Args:
        image: Real ``(B, H, W)`` or ``(B, 1, H, W)``.
        target: The same shape.
        peak: The data range: one for all, ``(B,)``, or None for the maximum of each target.

    Returns:
        ``(B,)``.

    Raises:
        ValueError: If shapes differ or a side is shorter than 5 pixels.
    """
    image, target = _slices(image, target)
    if min(target.shape[-2:]) < 5:
        raise ValueError(f"slices of {target.shape[-2]} x {target.shape[-1]} pixels, too small to be mirrored")
    scale = _peaks(target, peak)[:, None, None]
    offsets = torch.arange(-5, 6, device=target.device, dtype=target.dtype)
    weights = torch.exp(-(offsets**2) / (2 * 1.5**2))
    weights = weights / weights.sum()

    def smooth(values: Tensor) -> Tensor:
        values = F.conv2d(_mirrored(values, 5), weights.reshape(1, 1, 1, -1))
        return F.conv2d(values, weights.reshape(1, 1, -1, 1))

    return _index(image / scale, target / scale, smooth, 1.0)


def _mirrored(values: Tensor, width: int) -> Tensor:
    """Mirror the borders, the edge included."""
    for axis in (-2, -1):
        length = values.shape[axis]
        place = torch.arange(-width, length + width, device=values.device)
        place = torch.where(place < 0, -1 - place, place)
        place = torch.where(place >= length, 2 * length - 1 - place, place)
        values = values.index_select(axis, place)
    return values


def _index(image: Tensor, target: Tensor, average: Callable[[Tensor], Tensor], correction: float) -> Tensor:
    """Average the similarity index (Wang et al. 2004, equation 13) over each slice of range 1."""
    x, y = image[:, None], target[:, None]
    mean_x, mean_y = average(x), average(y)
    var_x = correction * (average(x * x) - mean_x**2)
    var_y = correction * (average(y * y) - mean_y**2)
    covariance = correction * (average(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2)).flatten(1).mean(1)


def over_maximum(image: Tensor) -> Tensor:
    """Divide each slice ``(B, H, W)`` or ``(B, 1, H, W)`` by its own maximum; slices of zeros stay.

    Some papers score what is left then: a wrong overall scale costs nothing.
    """
    peaks = _peaks(image, None)
    return image / peaks.reshape(-1, *[1] * (image.ndim - 1))
