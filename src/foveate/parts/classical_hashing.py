"""Hash functions from before deep learning: what a learned one has to beat. scikit-learn style estimators.

Each learns from features ``(N, D)`` alone and turns features into bool codes ``(N, K)``, ready for `hashing.pack`.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.linalg import eigh, orthogonal_procrustes
from sklearn.base import BaseEstimator, TransformerMixin

from foveate.errors import InputError

ROWS = 2**16
"""Features that are converted to double precision at a time."""


class _Hash(TransformerMixin, BaseEstimator):
    """What the estimators share: a projection of centred features, and the sign of what comes of it.

    Attributes:
        mean_: float64 ``(D,)``, of the features that it was fitted to.
        projection_: float64 ``(D, number of projections)``.
    """

    mean_: np.ndarray
    projection_: np.ndarray

    def __init__(self, bits: int = 32, seed: int = 0) -> None:
        self.bits = bits
        self.seed = seed

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Turn features ``(N, D)`` into codes, bool ``(N, K)``; a projection of exactly 0 is a one.

        Raises:
            InputError: If the features are not finite, or not of the width that the estimator was fitted to.
        """
        features = checked(features, len(self.mean_))
        codes = np.empty((len(features), self.bits), bool)
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            codes[rows] = self._signs((features[rows] - self.mean_) @ self.projection_)
        return codes

    def _signs(self, projected: np.ndarray) -> np.ndarray:
        """Turn projections into bits."""
        return projected >= 0

    def _centred(self, features: np.ndarray) -> np.ndarray:
        """Check the arguments, remember the mean and take it off: float64 ``(N, D)``."""
        if self.bits < 1:
            raise InputError("bits", f"is {self.bits}", "at least 1")
        features = checked(features).astype(np.float64)
        self.mean_ = features.mean(0)
        return features - self.mean_


def checked(features: np.ndarray, width: int | None = None) -> np.ndarray:
    """Return features as an array if they are real, finite, ``(N, D)``, and of the given width.

    Raises:
        InputError: If they are not.
    """
    features = np.asarray(features)
    if features.dtype.kind not in "fiub" or features.ndim != 2 or not features.size:
        raise InputError("features", f"{features.dtype} array of shape {features.shape}", "real numbers (N, D)")
    if width not in (None, features.shape[1]):
        raise InputError("features", f"have width {features.shape[1]}", f"width {width}, as those of fit")
    if not np.isfinite(features).all():
        raise InputError("features", "hold NaN or infinity", "finite numbers")
    return features


def principal_directions(centred: np.ndarray, most: int) -> np.ndarray:
    """Compute principal directions exactly, largest variance first.

    Args:
        centred: float64 ``(N, D)`` of mean zero.
        most: Directions wanted.

    Returns:
        float64 ``(D, most)``, orthonormal; fewer columns if the features span fewer dimensions. The largest entry of each
        is positive, which makes them unique.
    """
    count, width = centred.shape
    # The smaller of the two Gram matrices has the same eigenvalues, and only the wanted ones are computed.
    gram = centred.T @ centred if width <= count else centred @ centred.T
    side = len(gram)
    values, vectors = eigh(gram, subset_by_index=(max(0, side - most), side - 1), overwrite_a=True)
    values, vectors = values[::-1], vectors[:, ::-1]
    # Below a millionth of the largest deviation stands rounding, not the data.
    vectors = vectors[:, values > 1e-12 * max(values[0], 0)]
    directions = vectors if width <= count else np.linalg.qr(centred.T @ vectors)[0]
    largest = np.abs(directions).argmax(0)
    return directions * np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1, 1)


def _as_many_directions(centred: np.ndarray, bits: int) -> np.ndarray:
    """Compute one principal direction for each bit.

    Raises:
        InputError: If the features span fewer dimensions.
    """
    directions = principal_directions(centred, bits)
    if directions.shape[1] < bits:
        wrong = f"{bits} bits from {len(centred)} features that span {directions.shape[1]} of {centred.shape[1]} dimensions"
        raise InputError("bits", wrong, f"at most {directions.shape[1]}, or more features, or LSH")
    return directions


class LSH(_Hash):
    """Locality-sensitive hashing by random hyperplanes (Charikar, 2002), through the mean of the features.

    Args:
        bits: K; may exceed D.
        seed: Of the hyperplanes.
    """

    def fit(self, features: np.ndarray, y: None = None) -> Self:
        """Learn the mean of features ``(N, D)`` and draw the hyperplanes."""
        width = self._centred(features).shape[1]
        self.projection_ = np.random.default_rng(self.seed).standard_normal((width, self.bits))
        return self


class PCASign(_Hash):
    """The signs of the first K principal components.

    Args:
        bits: K, at most the dimensions that the features span.
        seed: Not used: nothing is drawn.
    """

    def fit(self, features: np.ndarray, y: None = None) -> Self:
        """Learn from features ``(N, D)``.

        Raises:
            InputError: If they span fewer than K dimensions.
        """
        self.projection_ = _as_many_directions(self._centred(features), self.bits)
        return self


class ITQ(_Hash):
    """Iterative quantisation (Gong and Lazebnik, CVPR 2011): principal components, rotated towards the corners of a cube.

    Args:
        bits: K, at most the dimensions that the features span.
        seed: Of the rotation that it starts from.
        iterations: Alternations of codes and rotation; 50 in the paper.

    Attributes:
        rotation_: float64 ``(K, K)``, orthogonal.
        losses_: The quantisation error ``||B - VR||²`` after each alternation (equation 2).

    Note:
        `faiss.ITQTransform` scales every centred feature to length 1 first and learns from a sample of large sets, which the
        paper does not; and the rotation it ends with has a higher error (tests/parts/test_classical_hashing.py).
    """

    def __init__(self, bits: int = 32, seed: int = 0, iterations: int = 50) -> None:
        super().__init__(bits, seed)
        self.iterations = iterations

    def fit(self, features: np.ndarray, y: None = None) -> Self:
        """Learn from features ``(N, D)``.

        Raises:
            InputError: If they span fewer than K dimensions.
        """
        centred = self._centred(features)
        directions = _as_many_directions(centred, self.bits)
        components = centred @ directions
        rotation = np.linalg.qr(np.random.default_rng(self.seed).standard_normal((self.bits, self.bits)))[0]
        self.losses_ = []
        for _ in range(self.iterations):
            codes = np.where(components @ rotation >= 0, 1.0, -1.0)
            rotation = orthogonal_procrustes(components, codes)[0]
            self.losses_.append(float(((codes - components @ rotation) ** 2).sum()))
        self.rotation_, self.projection_ = rotation, directions @ rotation
        return self


class SpectralHashing(_Hash):
    """Spectral hashing (Weiss, Torralba and Fergus, NIPS 2008) for features uniform in a box along principal directions.

    There the eigenfunctions of the Laplacian are cosines along one direction, and the K of the lowest frequencies are cut
    at zero.

    Args:
        bits: K; may exceed D, since a long direction gives several bits.
        seed: Not used: nothing is drawn.

    Attributes:
        origin_: float64 ``(directions,)``, where the box begins.
        direction_: int ``(K,)``, along which direction each bit looks.
        frequency_: float64 ``(K,)``, radians per unit of length.
    """

    def fit(self, features: np.ndarray, y: None = None) -> Self:
        """Learn from features ``(N, D)``.

        Raises:
            InputError: If they are all alike.
        """
        centred = self._centred(features)
        self.projection_ = principal_directions(centred, min(self.bits, *centred.shape))
        if not self.projection_.shape[1]:
            raise InputError("features", "are all alike", "features that differ")
        components = centred @ self.projection_
        self.origin_ = components.min(0)
        # Mode m along a side of length L has frequency m π / L; its eigenvalue falls with the frequency (section 3.1).
        frequencies = np.arange(1, self.bits + 1)[:, None] * np.pi / np.ptp(components, 0)
        lowest = np.argsort(frequencies, axis=None, kind="stable")[: self.bits]
        self.direction_ = lowest % frequencies.shape[1]
        self.frequency_ = frequencies.ravel()[lowest]
        return self

    def _signs(self, projected: np.ndarray) -> np.ndarray:
        """Cut the eigenfunctions at zero."""
        return np.cos((projected - self.origin_)[:, self.direction_] * self.frequency_) >= 0
