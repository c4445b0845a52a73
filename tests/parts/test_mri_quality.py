"""Scores of slices, against scikit-image and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from foveate.parts.mri_quality import gaussian_ssim, nmse, over_maximum, psnr, ssim


def slices(scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Make four slices and targets of different ranges."""
    rng = np.random.default_rng(0)
    target = np.cumsum(rng.standard_normal((4, 32, 28)), axis=2)
    target = np.abs(target) * np.array([1, 3, 0.2, 40])[:, None, None] * scale
    image = target + 0.1 * target.max(axis=(1, 2), keepdims=True) * rng.standard_normal(target.shape)
    return torch.from_numpy(image).float(), torch.from_numpy(target).float()


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e5])
def test_ssim_and_psnr_are_those_of_scikit_image_with_the_range_of_each_target(scale):
    image, target = slices(scale)
    for i, (one, other) in enumerate(zip(image.double().numpy(), target.double().numpy(), strict=True)):
        assert float(ssim(image, target)[i]) == pytest.approx(
            structural_similarity(other, one, data_range=other.max()), abs=1e-4
        )
        assert float(psnr(image, target)[i]) == pytest.approx(
            peak_signal_noise_ratio(other, one, data_range=other.max()), abs=1e-3
        )


def test_the_range_may_be_given():
    image, target = slices()
    wide = structural_similarity(target[0].numpy(), image[0].numpy(), data_range=255)
    assert float(ssim(image, target, 255)[0]) == pytest.approx(wide, abs=1e-4)
    assert float(psnr(image, target, 255)[0]) == pytest.approx(
        peak_signal_noise_ratio(target[0].numpy(), image[0].numpy(), data_range=255), abs=1e-3
    )
    each = target.amax((1, 2))
    assert torch.equal(ssim(image, target, each), ssim(image, target))
    assert torch.equal(ssim(image[:, None], target[:, None]), ssim(image, target))


def test_gaussian_ssim_is_that_of_matlab():
    image, target = (over_maximum(x) for x in slices())
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="same", boundary="symm")

    x, y = image[1].double().numpy(), target[1].double().numpy()
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    by_hand = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert float(gaussian_ssim(image, target)[1]) == pytest.approx(by_hand.mean(), abs=1e-5)


def test_nmse():
    image, target = slices()
    wanted = [np.linalg.norm(a - b) ** 2 / np.linalg.norm(b) ** 2 for a, b in zip(image.numpy(), target.numpy(), strict=True)]
    np.testing.assert_allclose(nmse(image, target).numpy(), wanted, rtol=1e-4)


def test_edges_of_the_definitions():
    zeros = torch.zeros(1, 16, 16)
    assert float(ssim(zeros, zeros)) == pytest.approx(1)
    assert math.isinf(float(psnr(zeros, zeros)))
    assert torch.equal(over_maximum(zeros), zeros)
    image = torch.rand(2, 16, 16, requires_grad=True)
    (-ssim(image, torch.zeros(2, 16, 16)).mean()).backward()
    assert torch.isfinite(image.grad).all()
    with pytest.raises(ValueError, match="smaller than the window"):
        ssim(torch.zeros(1, 6, 16), torch.zeros(1, 6, 16))
    with pytest.raises(ValueError, match=r"not .B, H, W."):
        psnr(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match="magnitude"):
        psnr(torch.zeros(1, 16, 16) + 0j, zeros)


def test_gradients():
    image, target = (x[:1, :12, :12].double() for x in slices())
    for score in (ssim, gaussian_ssim, psnr, nmse):
        assert torch.autograd.gradcheck(lambda x, score=score: score(x, target), image.clone().requires_grad_())
