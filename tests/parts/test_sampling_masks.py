"""Masks: exact budgets, centres, and what each pattern is made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from foveate.errors import InputError
from foveate.parts.sampling_masks import (
    LINES,
    POINTS,
    budget,
    centre_lines,
    centre_square,
    equispaced_lines,
    fastmri_equispaced,
    poisson_disc,
    polynomial_density,
    radial,
    random_lines,
    random_points,
    sampling_mask,
    spectrum,
)

EXACT = [kind for kind in (*LINES, *POINTS) if kind != "fastmri-lines"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(EXACT),
    st.integers(16, 40),
    st.integers(16, 40),
    st.floats(1, 12),
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_the_budget_is_exact_and_holds_the_centre(kind, height, width, acceleration, centre, seed):
    lines = kind in LINES
    middle = centre_lines(width, centre)[None] if lines else centre_square((height, width), centre)
    wanted = round_half_up(width / acceleration) * height if lines else round_half_up(height * width / acceleration)
    if kind != "radial" and wanted < np.broadcast_to(middle, (height, width)).sum():
        with pytest.raises(InputError, match="the centre alone takes"):
            sampling_mask(kind, (height, width), acceleration, centre, seed)
        return
    mask = sampling_mask(kind, (height, width), acceleration, centre, seed, dc="centre")
    assert mask.dtype == bool and mask.shape == (height, width)
    assert mask.sum() == wanted
    assert kind == "radial" or (mask >= middle).all()
    assert not lines or (mask == mask[:1]).all()
    assert np.array_equal(np.fft.fftshift(sampling_mask(kind, (height, width), acceleration, centre, seed)), mask)


def round_half_up(value: float) -> int:
    """Round as the budget does."""
    return int(np.floor(value + 0.5))


@pytest.mark.parametrize(("acceleration", "side", "points"), [(4, 22, 4096), (8, 16, 2048), (16, 12, 1024)])
def test_the_budgets_of_seq_mri_at_128(acceleration, side, points):
    for kind in ("random", "polynomial", "poisson"):
        mask = sampling_mask(kind, (128, 128), acceleration, side, seed=3)
        half = side // 2
        corners = mask[np.ix_([*range(half), *range(-half, 0)], [*range(half), *range(-half, 0)])]
        assert mask.sum() == points and corners.all()  # the square is in the four corners
    lines = sampling_mask("random-lines", (128, 128), 4, 4, seed=3)
    assert lines[0].sum() == 32
    assert lines[0, [0, 1, -2, -1]].all()  # half of the lines at each end


@pytest.mark.parametrize("kind", ["uniform-lines", "gaussian-lines", "gaussian", "radial"])
@pytest.mark.parametrize("acceleration", [3, 5])
@pytest.mark.parametrize("size", [(320, 320), (64, 64)])
def test_the_net_acceleration_of_donet_is_within_two_per_cent(kind, acceleration, size):
    mask = sampling_mask(kind, size, acceleration)
    assert mask.size / mask.sum() == pytest.approx(acceleration, rel=0.02)


def test_equispaced_lines():
    mask = equispaced_lines(320, 3, 29)
    assert mask.sum() == 107
    outside = np.flatnonzero(~centre_lines(320, 29))
    gaps = np.diff(np.flatnonzero(mask[outside]))
    assert set(gaps.tolist()) <= {3, 4}  # 291 lines, of which 78 are taken


def test_fastmri_lines_are_those_that_fastmri_publishes():
    # The mask of 4x at 128 that SeqMRI keeps from fastMRI's generator.
    kept = [3, 7, 12, 16, 21, 25, 30, 34, 38, 43, 47, 52, 56, 61, 62, 63, 64, 65]
    kept += [69, 74, 78, 83, 87, 92, 96, 100, 105, 109, 114, 118, 123]
    made = fastmri_equispaced(128, 4, 4 / 128, offset=3)
    assert np.flatnonzero(made).tolist() == kept
    grappa = fastmri_equispaced(368, 4, 0.08, offset=1, adjusted=False)
    assert np.flatnonzero(grappa)[:3].tolist() == [1, 5, 9]
    assert grappa[170:199].all() and not grappa[199:201].any()
    with pytest.raises(InputError, match="leaves no line"):
        fastmri_equispaced(128, 8, 0.2)


def test_densities():
    rng = np.random.default_rng(0)
    masks = {
        d: np.mean([random_lines(100, 4, 4, rng, d) for _ in range(200)], axis=0) for d in ("uniform", "gaussian", "polynomial")
    }
    inner, outer = slice(35, 65), np.r_[:15, 85:100]
    assert masks["uniform"][outer].mean() == pytest.approx(21 / 96, abs=0.04)
    for density in ("gaussian", "polynomial"):
        assert masks[density][inner].mean() > 2.5 * masks[density][outer].mean() > 0
    # Each sample is taken as often as the density says.
    free = ~centre_square((12, 12), 2)
    density = polynomial_density(free, 44)
    drawn = np.mean([random_points((12, 12), 3, 2, rng, "polynomial") for _ in range(1500)], axis=0)
    assert density.sum() == pytest.approx(44)
    assert np.abs(drawn - density)[free].max() < 0.065


def test_poisson_discs_keep_their_distance_and_grow_apart():
    mask = poisson_disc((64, 64), 6, 6, np.random.default_rng(0))
    y, x = np.mgrid[:64, :64] - 32
    outside = mask & (np.hypot(y, x) > 12)
    random = random_points((64, 64), 6, 6, np.random.default_rng(0)) & (np.hypot(y, x) > 12)

    def touching(points: np.ndarray) -> float:
        return float((pdist(np.argwhere(points)) < 1.5).sum() / points.sum())

    assert touching(outside) < 0.15 * touching(random)
    assert mask[np.hypot(y, x) < 12].mean() > 2 * mask[np.hypot(y, x) > 24].mean()


def test_radial_spokes_go_through_dc_by_the_golden_angle():
    mask = radial((65, 65), 13, start=0)
    assert mask[32].all()  # the first spoke
    y, x = np.argwhere(mask).T - 32
    angles = np.deg2rad(111.246 * np.arange(6))[:, None]
    near = np.abs(x * np.sin(angles) - y * np.cos(angles)) < 0.75
    assert near.any(axis=0).all()
    assert (near[:5].sum(axis=1) >= 60).all()  # five whole spokes, and the middle of the sixth
    last = near[5] & ~near[:5].any(axis=0)
    assert 0 < np.hypot(x, y)[last].max() < 25
    assert radial((20, 30), 1).all()


def test_the_spectrum_takes_the_strongest():
    power = np.random.default_rng(0).random((16, 20))
    mask = spectrum(power, 4, 4)
    square = centre_square((16, 20), 4)
    assert mask.sum() == 80 and mask[square].all()
    assert power[mask & ~square].min() > power[~mask].max()
    lines = spectrum(power[0], 4, 2)
    assert lines.sum() == 5 and lines[[9, 10]].all()


@pytest.mark.parametrize("acceleration", [0.5, 0, -1, float("nan"), float("inf"), 1000])
def test_impossible_accelerations(acceleration):
    with pytest.raises(InputError, match="acceleration"):
        budget(128, acceleration)


def test_an_unknown_kind_is_told_the_known_ones():
    with pytest.raises(InputError, match=r"no kind 'spiral' \(expected: uniform-lines, .*, radial\)"):
        sampling_mask("spiral", (8, 8), 2)
