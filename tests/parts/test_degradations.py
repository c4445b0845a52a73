"""What spoils a photograph, and what it must leave as it is."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.parts import degradations as spoil

ALL = {
    "signal_noise": lambda x, rng: spoil.signal_noise(x, 0.1, rng),
    "white_noise": lambda x, rng: spoil.white_noise(x, 0.1, rng),
    "jpeg": lambda x, _: spoil.jpeg(x, 30),
    "motion_blur": lambda x, _: spoil.motion_blur(x, 9, 0.7),
    "rain": lambda x, rng: spoil.rain(x, 0.02, 12, 1.2, rng),
}
SEEDED = ("signal_noise", "white_noise", "rain")


def photograph(height: int = 37, width: int = 52) -> np.ndarray:
    """Make a picture that may not be written to."""
    ramp = np.linspace(0, 1, height * width * 3, dtype=np.float32).reshape(height, width, 3)
    ramp.setflags(write=False)
    return ramp


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(37, 52), (1, 1), (2, 90)])
def test_shape_kind_and_range(name, size):
    for x in (photograph(*size), np.ones((*size, 3), np.float32), np.zeros((*size, 3), np.float32)):
        before = x.copy()
        out = ALL[name](x, np.random.default_rng(0))
        assert out.shape == x.shape
        assert out.dtype == np.float32
        assert 0 <= out.min() <= out.max() <= 1
        assert np.array_equal(x, before), "the original is left alone"
        assert not np.shares_memory(x, out)


@pytest.mark.parametrize("name", ALL)
def test_the_generator_decides(name):
    x = photograph()
    once, again, other = (ALL[name](x, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert np.array_equal(once, other) == (name not in SEEDED)
    assert not np.array_equal(once, x)


def test_noise_has_the_strength_it_says():
    rng = np.random.default_rng(0)
    for level in (0.2, 0.5, 0.7):
        x = np.full((200, 200, 3), level, np.float32)
        assert (spoil.white_noise(x, 0.03, rng) - x).std() == pytest.approx(0.03, rel=0.02)
        assert (spoil.signal_noise(x, 0.05, rng) - x).std() == pytest.approx(0.05 * (0.3 + level), rel=0.02)


def test_jpeg_is_worse_at_lower_quality():
    x = spoil.white_noise(photograph(), 0.1, np.random.default_rng(0))
    errors = [np.square(spoil.jpeg(x, quality) - x).mean() for quality in (95, 60, 20, 1)]
    assert errors == sorted(errors)


def test_blur_spreads_a_point_along_its_line():
    point = np.zeros((31, 31, 3), np.float32)
    point[15, 15] = 1
    flat, upright = (spoil.motion_blur(point, 8, angle)[..., 0] for angle in (0, np.pi / 2))
    assert flat.sum() == pytest.approx(1, abs=1e-5)
    assert np.flatnonzero(flat.sum(1)).tolist() == [15]
    assert 8 <= len(np.flatnonzero(flat.sum(0))) <= 10
    np.testing.assert_allclose(upright, flat.T, atol=1e-6)
    np.testing.assert_allclose(flat, flat[:, ::-1], atol=1e-2)


@pytest.mark.parametrize("length", [0.1, 1, 2.5, 13, 40])
def test_blur_leaves_a_constant(length):
    x = np.full((20, 20, 3), 0.4, np.float32)
    for angle in np.linspace(0, np.pi, 7):
        np.testing.assert_allclose(spoil.motion_blur(x, length, angle), x, atol=1e-6)


def test_rain_only_brightens_and_more_of_it_more():
    x = photograph(80, 80)
    rng = np.random.default_rng
    wet = [spoil.rain(x, density, 12, 1.2, rng(0)) for density in (0, 0.002, 0.02)]
    np.testing.assert_allclose(wet[0], x, atol=1e-6)
    assert all((after >= x - 1e-6).all() for after in wet)
    assert wet[0].mean() < wet[1].mean() < wet[2].mean()
