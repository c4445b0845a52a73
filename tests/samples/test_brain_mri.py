"""Embedded MR slices: where they come from, what they are, how they are measured."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from foveate.parts.kspace import locate_dc
from foveate.parts.sampling_masks import spectrum
from foveate.samples.brain_mri import (
    ANATOMY,
    CONTROL,
    MIXED,
    ORIENTATIONS,
    PHANTOM,
    SLABS,
    Setting,
    acquire,
    brain_mri,
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Keep what these tests draw among themselves."""
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path_factory.getbasetemp() / "brain_mri"))


def test_slabs_of_different_parts_are_apart():
    for slabs in SLABS.values():
        ends = sorted((low, high, part) for part, several in slabs.items() for low, high in several)
        for (_, high, part), (low, _, other) in pairwise(ends):
            assert low - high >= (4 if part != other else 0)
        assert set(slabs) == {"train", "val", "test"}
    assert min(low for several in SLABS["sagittal"].values() for low, _ in several) > 0  # both sides mirror each other


def test_slices_stem_from_the_slabs_of_their_part():
    for part in ("train", "val", "test"):
        slices = brain_mri(24, part, side=32)
        assert slices.images.shape == (24, 32, 32) and slices.images.dtype == np.complex64
        np.testing.assert_allclose(np.abs(slices.images).max(axis=(1, 2)), 1, rtol=1e-5)
        assert np.bincount(slices.kinds).tolist() == [4, 4, 4, 12]
        for kind, place in zip(slices.kinds, slices.places, strict=True):
            if kind == PHANTOM:
                assert np.isnan(place)
            else:
                assert any(low <= place <= high for low, high in SLABS[ORIENTATIONS[kind]][part])


def test_slices_follow_from_the_seed():
    one, again = brain_mri(6, "train", seed=1, side=32), brain_mri(6, "train", seed=1, side=32)
    assert np.array_equal(one.images, again.images)
    others = [brain_mri(6, "train", seed=2, side=32), brain_mri(6, "test", seed=1, side=32)]
    assert all(not np.isclose(one.images, other.images).all(axis=(1, 2)).any() for other in others)


def test_settings():
    anatomy = brain_mri(9, "val", side=32, setting=ANATOMY)
    assert np.bincount(anatomy.kinds).tolist() == [3, 3, 3]
    control = brain_mri(9, "val", side=32, setting=CONTROL)
    assert set(control.kinds) == {0}
    flat = brain_mri(4, "val", side=32, setting=Setting(phase=0.0))
    strong = np.abs(flat.images) > 0.3
    assert np.abs(np.angle(flat.images[strong])).max() < 0.2  # a little from cutting even sizes
    turned = brain_mri(16, "val", side=32)
    spread = [np.std(np.angle(image * np.conj(image.sum()))[np.abs(image) > 0.3]) for image in turned.images]
    assert max(spread) > 0.5
    with pytest.raises(ValueError, match="not train, val or test"):
        brain_mri(1, "dev")


def test_the_mixed_set_rewards_a_mask_for_each_slice_and_the_control_set_does_not():
    """Decibels of the missing energy between each slice's own best mask and the one that is best on average."""

    def reward(setting: Setting) -> float:
        power = [
            np.abs(acquire(brain_mri(60, p, side=32, setting=setting).images).kspace[:, 0]) ** 2 for p in ("train", "test")
        ]
        train, test = (p / p.sum(axis=(1, 2), keepdims=True) for p in power)
        fixed = spectrum(train.mean(axis=0), 4, 6)
        lost = [(p[~fixed].sum(), p[~spectrum(p, 4, 6)].sum()) for p in test]
        return float(np.mean([10 * np.log10(a / b) for a, b in lost]))

    assert reward(MIXED) > reward(CONTROL) + 1.5


def test_measurements():
    images = brain_mri(3, "train", side=32).images
    scan = acquire(images, coils=4, snr_db=(30, 30), seed=5)
    assert scan.kspace.shape == scan.maps.shape == (3, 4, 32, 32)
    assert scan.kspace.dtype == np.complex64 and locate_dc(scan.kspace) == "centre"
    axes = (-2, -1)
    coils = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace, axes=axes), norm="ortho"), axes=axes)
    noise = coils - scan.maps * images[:, None]
    ratio = np.mean(np.abs(images) ** 2, axis=(1, 2)) / np.mean(np.abs(noise) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(10 * np.log10(ratio), 30, atol=0.4)
    assert not np.array_equal(scan.maps[0], scan.maps[1])
    # A slice is measured alike whatever else is.
    np.testing.assert_array_equal(acquire(images[:1], 4, (30, 30), seed=5).kspace[0], scan.kspace[0])
