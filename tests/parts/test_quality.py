"""PSNR, SSIM and luma, against other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from foveate.parts.quality import luma, psnr, ssim
from foveate.results import Picture


def pair(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make a restored picture, unrounded and partly out of range, and an 8-bit clean one, both (H, W, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, 40 * 30 * 3).reshape(40, 30, 3)
    clean = np.round(255 * np.clip(ramp + 0.1 * rng.standard_normal(ramp.shape), 0, 1)) / 255
    return (clean + 0.05 * rng.standard_normal(ramp.shape)).astype(np.float32), clean.astype(np.float32)


def tensor(picture: np.ndarray) -> torch.Tensor:
    """Turn (H, W, 3) into (1, 3, H, W)."""
    return torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())


def test_psnr_of_rounded_pictures_is_that_of_the_saved_files():
    restored, clean = pair()
    saved = [Picture.from_unit(picture).pixels for picture in (restored, clean)]
    expected = peak_signal_noise_ratio(saved[1], saved[0])
    assert float(psnr(tensor(restored), tensor(clean))) == pytest.approx(expected, abs=1e-4)


def test_psnr_of_unrounded_pictures_is_clipped():
    restored, clean = pair()
    expected = peak_signal_noise_ratio(clean, restored.clip(0, 1), data_range=1)
    assert float(psnr(tensor(restored), tensor(clean), rounded=False)) == pytest.approx(expected, abs=1e-4)


def test_luma():
    _, clean = pair()
    expected = rgb2ycbcr(clean)[..., 0] / 255
    np.testing.assert_allclose(luma(tensor(clean))[0, 0].numpy(), expected, atol=1e-6)
    white, black = (float(luma(torch.full((1, 3, 1, 1), value))) for value in (1.0, 0.0))
    assert (white, black) == pytest.approx((235 / 255, 16 / 255))


def test_psnr_on_luma():
    restored, clean = pair()
    rounded = np.round(restored.clip(0, 1) * 255) / 255
    one, two = (rgb2ycbcr(picture)[..., 0] / 255 for picture in (clean, rounded))
    expected = peak_signal_noise_ratio(one, two, data_range=1)
    assert float(psnr(tensor(restored), tensor(clean), on_luma=True)) == pytest.approx(expected, abs=1e-3)


def test_psnr_is_per_picture():
    pairs = [pair(seed) for seed in range(3)]
    together = psnr(torch.cat([tensor(r) for r, _ in pairs]), torch.cat([tensor(c) for _, c in pairs]))
    assert together.tolist() == [float(psnr(tensor(r), tensor(c))) for r, c in pairs]
    assert math.isinf(psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)))
    half = psnr(tensor(pairs[0][0]).half(), tensor(pairs[0][1]).half())
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(together[0]), abs=0.05)


def ssim_by_hand(restored: np.ndarray, clean: np.ndarray) -> float:
    """Follow Wang et al. 2004, equation 13: Gaussian window of 11 pixels, borders left out, mean over the colours."""
    x, y = restored.astype(float), clean.astype(float)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, radius=5, axes=(0, 1))[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    index = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2) / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))
    return float(index.mean())


def test_ssim():
    restored, clean = pair()
    expected = structural_similarity(
        clean, restored, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(restored, clean) == pytest.approx(expected)
    assert ssim(restored, clean) == pytest.approx(ssim_by_hand(restored, clean), abs=1e-5)
    assert ssim(clean, clean) == pytest.approx(1)


@pytest.mark.parametrize(("size", "defined"), [((10, 40), False), ((40, 10), False), ((11, 11), True), ((1, 1), False)])
def test_ssim_of_small_pictures(size, defined):
    restored, clean = (np.random.default_rng(i).random((*size, 3), dtype=np.float32) for i in range(2))
    assert math.isfinite(ssim(restored, clean)) == defined
