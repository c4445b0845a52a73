"""Hash functions from before deep learning."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr
from sklearn.base import clone
from sklearn.decomposition import PCA

from foveate.errors import InputError
from foveate.parts import classical_hashing
from foveate.parts.classical_hashing import ITQ, LSH, PCASign, SpectralHashing
from foveate.parts.hashing import pack

ALL = [LSH, PCASign, ITQ, SpectralHashing]


def clusters(count: int = 500, width: int = 24, seed: int = 0) -> np.ndarray:
    """Draw features around 12 centres, off the origin, float32 ``(count, width)``."""
    rng = np.random.default_rng(seed)
    centres = 3 + 2 * rng.standard_normal((12, width))
    return (centres[rng.integers(0, 12, count)] + rng.standard_normal((count, width))).astype(np.float32)


@pytest.mark.parametrize("hasher", ALL)
def test_what_all_keep(hasher, monkeypatch):
    features = clusters()
    model = hasher(bits=16, seed=3).fit(features)
    codes = model.transform(features)
    assert (codes.shape, codes.dtype) == ((500, 16), bool)
    assert pack(codes).shape == (500, 2)
    assert np.all((codes.mean(0) > 0.02) & (codes.mean(0) < 0.98))
    # Near features have near codes.
    assert spearmanr(pdist(features[:100]), pdist(codes[:100].astype(float), "hamming")).statistic > 0.25

    again = clone(model)
    assert again.get_params() == model.get_params()
    assert {"bits": 16, "seed": 3}.items() <= model.get_params().items()
    assert np.array_equal(again.fit(features).transform(features), codes)
    assert np.array_equal(again.fit_transform(features), codes)
    assert np.array_equal(np.concatenate([model.transform(row[None]) for row in features[:50]]), codes[:50])
    monkeypatch.setattr(classical_hashing, "ROWS", 7)
    assert np.array_equal(model.transform(features), codes)


@pytest.mark.parametrize("hasher", ALL)
def test_wrong_features_say_so(hasher):
    features = clusters(60)
    model = hasher(bits=8).fit(features)
    spoiled = features.copy()
    spoiled[3, 4] = np.nan
    for call in (
        lambda: hasher(bits=0).fit(features),
        lambda: hasher(bits=8).fit(spoiled),
        lambda: hasher(bits=8).fit(features[0]),
        lambda: hasher(bits=8).fit(features[:0]),
        lambda: hasher(bits=8).fit(features.astype(str)),
        lambda: model.transform(features[:, 1:]),
        lambda: model.transform(spoiled),
    ):
        with pytest.raises(InputError):
            call()


def test_bits_that_the_features_do_not_have():
    flat = clusters(60, 10) @ np.random.default_rng(0).standard_normal((10, 24))
    for hasher in (PCASign, ITQ):
        with pytest.raises(InputError, match="32 bits from 60 features that span 24 of 24"):
            hasher(bits=32).fit(clusters(60))
        with pytest.raises(InputError, match="span 10 of 24"):
            hasher(bits=16).fit(flat)
        with pytest.raises(InputError, match="span 8 of 24"):
            hasher(bits=16).fit(clusters(9))
        with pytest.raises(InputError, match="span 0 of 24"):
            hasher(bits=8).fit(np.ones((9, 24)))
    with pytest.raises(InputError, match="all alike"):
        SpectralHashing(bits=8).fit(np.ones((9, 24)))
    for hasher in (LSH, SpectralHashing):
        assert hasher(bits=32).fit(flat).transform(flat).shape == (60, 32)


def test_lsh_bits_differ_in_proportion_to_the_angle():
    # Each feature comes with its opposite, so that the mean is the origin.
    features = np.random.default_rng(0).standard_normal((10, 6))
    codes = LSH(bits=20_000, seed=1).fit(np.concatenate([features, -features])).transform(features)
    angles = np.arccos(1 - pdist(features, "cosine")) / np.pi
    assert pdist(codes.astype(float), "hamming") == pytest.approx(angles, abs=4.5 * 0.5 / np.sqrt(20_000))


@pytest.mark.parametrize("count", [500, 18])
def test_pca_signs_are_those_of_scikit_learn(count):
    features = clusters(count)
    components = PCA(8, svd_solver="full").fit_transform(features.astype(np.float64))
    codes = PCASign(bits=8).fit(features).transform(features)
    same = (codes == (components >= 0)).mean(0)
    assert set(same) <= {0.0, 1.0}  # a direction may point either way


def test_itq_turns_towards_the_corners():
    features = clusters()
    model = ITQ(bits=16, seed=2).fit(features)
    assert model.rotation_.T @ model.rotation_ == pytest.approx(np.eye(16), abs=1e-12)
    assert len(model.losses_) == 50
    assert np.all(np.diff(model.losses_) <= 1e-9 * model.losses_[0])
    assert model.losses_[-1] < 0.99 * model.losses_[0]
    directions = PCASign(bits=16).fit(features).projection_
    assert model.projection_ == pytest.approx(directions @ model.rotation_)
    rotated = (features - model.mean_) @ model.projection_
    assert ((np.where(rotated >= 0, 1, -1) - rotated) ** 2).sum() == pytest.approx(model.losses_[-1], rel=1e-3)
    assert not np.array_equal(ITQ(bits=16, seed=9).fit(features).rotation_, model.rotation_)


def test_itq_finds_corners_that_were_turned_away():
    rng = np.random.default_rng(0)
    corners = rng.random((4000, 8)) < 0.5
    noise = 0.05 * rng.standard_normal(corners.shape)
    features = (2.0 * corners - 1 + noise) @ ortho_group.rvs(8, random_state=0)
    # It ends in the nearest minimum, so the best of several starts is taken.
    codes = min((ITQ(bits=8, seed=seed).fit(features) for seed in range(8)), key=lambda m: m.losses_[-1]).transform(features)
    # Every learned bit is one of the true ones or its opposite, and each is found once.
    agreement = np.abs(np.corrcoef(codes.T, corners.T)[:8, 8:])
    assert np.sort(agreement.max(1))[0] > 0.99
    assert sorted(agreement.argmax(1)) == list(range(8))


def test_itq_quantises_no_worse_than_faiss():
    # faiss scales centred features to length 1, so these are so already.
    features = clusters(2000)
    features -= features.mean(0)
    features = np.concatenate([features, -features]) / np.linalg.norm(np.concatenate([features] * 2), axis=1, keepdims=True)
    theirs = faiss.ITQTransform(24, 16, True)
    theirs.train(features)

    def loss(rotated):
        return float(((np.where(rotated >= 0, 1, -1) - rotated) ** 2).sum())

    model = ITQ(bits=16).fit(features)
    assert loss((features - model.mean_) @ model.projection_) < loss(theirs.apply(features))


def test_spectral_hashing_cuts_the_lowest_frequencies_of_a_box():
    grid = np.stack(np.meshgrid(np.linspace(0, 3.5, 71), np.linspace(0, 1, 21), indexing="ij"), -1).reshape(-1, 2)
    turn = ortho_group.rvs(2, random_state=1)
    model = SpectralHashing(bits=6).fit(grid @ turn)
    # Frequencies m / L: 1, 2, 3 over 3.5, then 1 over 1, then 4 and 5 over 3.5.
    assert model.direction_.tolist() == [0, 0, 0, 1, 0, 0]
    assert model.frequency_ == pytest.approx(np.pi * np.array([1 / 3.5, 2 / 3.5, 3 / 3.5, 1, 4 / 3.5, 5 / 3.5]))
    codes = model.transform(grid @ turn).reshape(71, 21, 6)
    # Mode m changes sign m times along its side, and not along the other.
    assert np.abs(np.diff(codes[:, 0].astype(int), axis=0)).sum(0).tolist() == [1, 2, 3, 0, 4, 5]
    assert np.abs(np.diff(codes[0].astype(int), axis=0)).sum(0).tolist() == [0, 0, 0, 1, 0, 0]
