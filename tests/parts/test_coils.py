"""Coils: sensitivities, root sum of squares, adaptive combination."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.parts.coils import adaptive_combine, adaptive_maps, rss, simulate_coils


def scan(noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Make an object with a phase, and its images by five coils."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:40j, -1:1:36j]
    image = (0.3 + 0.7 * ((x**2 + y**2) < 0.5)) * np.exp(1j * (x - 2 * y))
    coils = simulate_coils(5, image.shape, rng) * image
    coils = coils + noise * (rng.standard_normal(coils.shape) + 1j * rng.standard_normal(coils.shape))
    return torch.from_numpy(image), torch.from_numpy(coils)


def test_simulated_sensitivities():
    maps = simulate_coils(4, (30, 40), np.random.default_rng(1))
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(0), 1, atol=1e-6)
    assert (np.abs(maps).max(axis=(1, 2)) > 0.7).all()  # each sees something best
    peaks = {np.unravel_index(np.abs(m).argmax(), m.shape) for m in maps}
    assert len(peaks) == 4
    steps = np.abs(np.diff(maps, axis=1)).max(), np.abs(np.diff(maps, axis=2)).max()
    assert max(steps) < 0.15  # smooth
    np.testing.assert_array_equal(simulate_coils(1, (3, 3)), 1)
    assert not np.array_equal(simulate_coils(4, (8, 8)), simulate_coils(4, (8, 8), np.random.default_rng(0)))


def test_root_sum_of_squares_gives_the_magnitude_back():
    image, coils = scan()
    torch.testing.assert_close(rss(coils), image.abs(), atol=1e-6, rtol=0)


def slowly(coils: np.ndarray, window: int, iterations: int) -> np.ndarray:
    """Combine pixel by pixel, as the definition says."""
    count, height, width = coils.shape
    out, half = np.zeros((height, width), complex), window // 2
    for y in range(height):
        for x in range(width):
            near = coils[:, max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1].reshape(count, -1)
            vector = np.ones(count, complex)
            for _ in range(iterations):
                vector = (near @ near.conj().T) @ vector
                vector /= np.linalg.norm(vector)
            out[y, x] = vector.conj() @ coils[:, y, x]
    return out


def test_adaptive_combination_is_its_definition():
    _, coils = scan(0.05)
    np.testing.assert_allclose(adaptive_combine(coils).numpy(), slowly(coils.numpy(), 7, 2), atol=1e-10)
    batch = torch.stack([coils, 2 * coils])
    torch.testing.assert_close(adaptive_combine(batch, 5)[1], 2 * adaptive_combine(coils, 5))


def test_adaptive_combination_keeps_the_object_and_less_noise_than_the_root_sum_of_squares():
    image, clean = scan()
    torch.testing.assert_close(adaptive_combine(clean).abs(), image.abs(), atol=0.02, rtol=0)
    background = torch.zeros_like(clean) + scan(0.1)[1] - clean
    assert adaptive_combine(background, iterations=8).abs().mean() < 0.9 * rss(background).mean()
    assert torch.isfinite(adaptive_maps(torch.zeros(2, 9, 9, dtype=torch.complex64)).abs()).all()
    with pytest.raises(ValueError, match="no middle"):
        adaptive_maps(clean, 6)
