"""Fourier conventions, data consistency, cropping of k-space, masks that fit; complex convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import InputError
from foveate.parts.complex_layers import ComplexConv2d, complex_he
from foveate.parts.kspace import (
    CORNER,
    DC_CORNER,
    FASTMRI,
    Fourier,
    channels_to_complex,
    complex_to_channels,
    crop_or_pad,
    data_consistency,
    fit_mask,
    locate_dc,
    zero_filled,
)


def noise(*shape: int, seed: int = 0, double: bool = True) -> torch.Tensor:
    """Draw a complex tensor."""
    dtype = torch.complex128 if double else torch.complex64
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_definition(image: torch.Tensor, fourier: Fourier) -> torch.Tensor:
    """Sum the Fourier series, frequencies and places counted from where the convention has their zero."""

    def turns(n: int) -> torch.Tensor:
        places = torch.arange(n, dtype=torch.float64) - (n // 2 if fourier.origin == "centre" else 0)
        frequencies = torch.arange(n, dtype=torch.float64) - (n // 2 if fourier.dc == "centre" else 0)
        return torch.polar(torch.ones(n, n, dtype=torch.float64), -2 * torch.pi * torch.outer(frequencies, places) / n)

    height, width = image.shape[-2:]
    scale = {"backward": 1, "ortho": (height * width) ** 0.5, "forward": height * width}[fourier.norm]
    return turns(height) @ image @ turns(width).T / scale


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["centre", "corner"]),
    st.sampled_from(["centre", "corner"]),
    st.sampled_from(["backward", "ortho", "forward"]),
    st.integers(3, 8),
    st.integers(3, 8),
)
def test_every_convention_is_its_definition_and_goes_back(dc, origin, norm, height, width):
    fourier, image = Fourier(dc, origin, norm), noise(2, height, width)
    kspace = fourier.forward(image)
    torch.testing.assert_close(kspace, by_definition(image, fourier))
    torch.testing.assert_close(fourier.inverse(kspace), image)


def test_data_consistency_is_exact_for_any_image():
    image, truth = noise(2, 3, 320, 320, double=False), noise(2, 3, 320, 320, seed=1, double=False)
    mask = (torch.rand(320, 320, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    for fourier in (CORNER, FASTMRI, DC_CORNER):
        measured = fourier.forward(truth)
        after = fourier.forward(data_consistency(image, measured, mask, fourier))
        assert ((after - measured) * mask).abs().max() <= 1e-5 * (measured * mask).abs().max()
        before = fourier.forward(image)
        assert ((after - before) * (1 - mask)).abs().max() <= 1e-5 * before.abs().max()
    # What stands at samples that were not taken is never looked at.
    spoilt = torch.where(mask.bool(), measured, 1e3)
    assert torch.equal(data_consistency(image, spoilt, mask, fourier), data_consistency(image, measured, mask, fourier))


def test_weighted_data_consistency_is_the_least_squares_solution():
    image, measured, weight = noise(5, 6), noise(5, 6, seed=1), 3.0
    mask = (torch.arange(6) % 2).double()
    transform = by_definition(torch.eye(30, dtype=torch.complex128).reshape(30, 5, 6), Fourier(norm="ortho")).reshape(30, 30).T
    taken = mask.expand(5, 6).reshape(-1).bool()
    # Of |x - image|^2 + weight |F x - measured|^2 over the samples taken.
    system = torch.cat([torch.eye(30, dtype=torch.complex128), weight**0.5 * transform[taken]])
    wanted = torch.cat([image.reshape(-1), weight**0.5 * measured.reshape(-1)[taken]])
    solution = torch.linalg.lstsq(system, wanted[:, None]).solution.reshape(5, 6)
    torch.testing.assert_close(data_consistency(image, measured, mask, Fourier(norm="ortho"), weight), solution)


def test_zero_filling_and_gradients_to_the_mask():
    kspace, mask = noise(1, 8, 8), torch.full((8, 8), 0.5, dtype=torch.float64, requires_grad=True)
    assert torch.equal(zero_filled(kspace, torch.ones(8, 8)), CORNER.inverse(kspace))
    zero_filled(kspace, mask).abs().sum().backward()
    assert mask.grad is not None and (mask.grad != 0).all()


@pytest.mark.parametrize("size", [(8, 9), (7, 6), (5, 12), (12, 5)])
def test_cropping_keeps_the_middle_and_goes_back(size):
    point = torch.zeros(1, 8, 9)
    point[0, 4, 4] = 1
    cut = crop_or_pad(point, size)
    assert cut.shape == (1, *size)
    assert cut[0, size[0] // 2, size[1] // 2] == 1
    wider = crop_or_pad(noise(1, 8, 9), (13, 14))
    assert torch.equal(crop_or_pad(wider, (8, 9)), noise(1, 8, 9))


def test_dc_is_found():
    y, x = np.mgrid[:40, :30]
    blob = np.exp(-((y - 22) ** 2 + (x - 12) ** 2) / 40) * np.exp(1j * 0.3 * y)
    corner = np.fft.fft2(blob)
    assert locate_dc(corner) == "corner"
    assert locate_dc(np.fft.fftshift(corner)) == "centre"
    assert locate_dc(np.ones((40, 30))) == "centre"


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.ones((8, 7)), "m.npy: the mask has the size 8 x 7 .expected: 8 x 6, or one line of 6"),
        (np.ones(8), "has the size 8 "),
        (np.ones((1, 8, 6)), "has the size 1 x 8 x 6"),
        (np.full((8, 6), 0.5), "holds other values than 0 and 1, such as 0.5"),
        (np.full((8, 6), np.nan), "such as nan"),
        (np.full((8, 6), "a"), "holds other values"),
        (np.zeros((8, 6)), "has no samples"),
    ],
)
def test_masks_that_do_not_fit(mask, says):
    with pytest.raises(InputError, match=says):
        fit_mask(mask, (8, 6), "m.npy")


def test_complex_convolution_is_that_of_complex_tensors():
    layer = ComplexConv2d(3, 5, seed=4)
    assert layer.weight.numel() + layer.bias.numel() == 9 * 3 * 10 + 10
    x = noise(2, 3, 9, 8, double=False)
    kernel = torch.complex(*layer.weight.chunk(2))
    theirs = torch.nn.functional.conv2d(x, kernel, torch.complex(*layer.bias.chunk(2)), padding=1)
    torch.testing.assert_close(channels_to_complex(layer(complex_to_channels(x))), theirs, atol=1e-5, rtol=1e-5)


def test_complex_convolution_without_bias_is_linear_in_a_phase():
    layer, x = ComplexConv2d(2, 2, bias=False), noise(1, 2, 6, 6, double=False)
    turn = torch.polar(torch.tensor(1.0), torch.tensor(0.7))
    turned = channels_to_complex(layer(complex_to_channels(turn * x)))
    torch.testing.assert_close(turned, turn * channels_to_complex(layer(complex_to_channels(x))), atol=1e-6, rtol=1e-5)


def test_initial_kernels():
    for scale, modulus in (("fan_in", 1 / 288), ("sqrt", 288**-0.5)):
        kernel = torch.complex(*complex_he((64, 32, 3, 3), 1, scale).chunk(2))
        assert float(kernel.abs().square().mean()) == pytest.approx(2 * modulus**2, rel=0.05)
        assert abs(float(kernel.angle().mean())) < 0.05
    assert not torch.equal(complex_he((2, 2, 3, 3), 1), complex_he((2, 2, 3, 3), 2))
