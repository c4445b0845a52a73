"""What the mixture is compared with: thresholds, clusterings, joint Gaussians, a Markov random field.

All work on the same voxels inside the skull, and their masks are finished alike. Smoothing and numbers of classes were chosen
by the mean Dice coefficient on 15 labelled made-up heads that no experiment uses: more than an unsupervised method would know.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from scipy import ndimage

from foveate.systems.dense.ich_mixture.cavity import BINS, LEVELS, quantised
from foveate.systems.dense.ich_mixture.segmentation import Ready, finish

BLOOD = 50.0  # HU: the usual lower limit of fresh blood; what is below on average is not called blood

Baseline = Literal["threshold", "otsu", "kmeans", "fcm", "gmm_intensity", "gmm_joint", "mrf"]


def softened(ready: Ready, width: float) -> np.ndarray:
    """Smooth the core's intensities slice by slice with a Gaussian of a width in mm, as if there was nothing outside."""
    core = ready.cavity.core
    if not width:
        return np.where(core, ready.intensity, 0)
    sigma = [width / ready.spacing[0], width / ready.spacing[1], 0]
    weight = ndimage.gaussian_filter(core.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(core, ready.intensity, 0), sigma)
    return np.where(core, total / np.maximum(weight, 1e-6), 0)


def threshold(ready: Ready, low: float = BLOOD, high: float = 100, width: float = 0.0, opening: int = 1) -> np.ndarray:
    """Take what lies between two thresholds in HU; open it by squares of 2 x 2 voxels, if that is wanted."""
    soft = softened(ready, width)
    mask = (soft > low) & (soft <= high) & ready.cavity.core
    if opening:
        mask = ndimage.binary_opening(mask, np.ones((2, 2, 1)), iterations=opening)
    return finish(ready, mask, low)


def otsu(ready: Ready, classes: int = 3, width: float = 0.0, least: float = BLOOD) -> np.ndarray:
    """Take the brightest class of Otsu's multi-level thresholds, if it begins above a least value in HU."""
    from skimage.filters import threshold_multiotsu

    soft = softened(ready, width)
    low = max(float(threshold_multiotsu(soft[ready.cavity.core], classes, nbins=128)[-1]), least)
    return finish(ready, (soft > low) & ready.cavity.core, low)


def kmeans(ready: Ready, clusters: int = 16, scale: float = 0.0, width: float = 2.0, least: float = BLOOD) -> np.ndarray:
    """Cluster intensity (HU) and position (mm, times a scale) by k-means; take clusters with a mean above a least value."""
    from sklearn.cluster import KMeans

    soft = softened(ready, width)
    values, where = _features(ready, soft)
    values[:, :3] *= scale
    model = KMeans(clusters, n_init=3, random_state=0).fit(_some(values))
    blood = model.cluster_centers_[:, 3] > least
    return finish(ready, _painted(where, blood[model.predict(values)]), least)


def fcm(ready: Ready, clusters: int = 8, width: float = 2.0, least: float = BLOOD, exponent: float = 2.0) -> np.ndarray:
    """Cluster intensities by fuzzy c-means (Bezdek), on their histogram; take clusters with a centre above a least value."""
    soft = softened(ready, width)
    level = quantised(soft[ready.cavity.core])
    counts = np.bincount(level, minlength=BINS).astype(float)
    centres = np.quantile(LEVELS[level], (np.arange(clusters) + 0.5) / clusters)
    centres[-1] = 65.0  # quantiles alone would leave no centre to a small bleed
    for _ in range(200):
        apart = np.maximum((LEVELS - centres[:, None]) ** 2, 1e-9)
        member = apart ** (-1 / (exponent - 1))
        member /= member.sum(axis=0)
        weight = counts * member**exponent
        following = weight @ LEVELS / np.maximum(weight.sum(axis=1), 1e-12)
        moved, centres = np.abs(following - centres).max(), following
        if moved < 1e-4:
            break
    blood = (centres > least)[member.argmax(axis=0)]
    mask = np.zeros_like(ready.cavity.core)
    mask[ready.cavity.core] = blood[level]
    return finish(ready, mask, least)


def gmm_intensity(ready: Ready, components: int = 4, width: float = 2.0, least: float = BLOOD) -> np.ndarray:
    """Fit scikit-learn's Gaussian mixture to intensities; take components with a mean above a least value."""
    soft = softened(ready, width)
    model = _intensity_mixture(ready, soft, components)
    mask = np.zeros_like(ready.cavity.core)
    blood = (model.means_[:, 0] > least)[model.predict(LEVELS[:, None])]
    mask[ready.cavity.core] = blood[quantised(soft[ready.cavity.core])]
    return finish(ready, mask, least)


def _intensity_mixture(ready: Ready, soft: np.ndarray, components: int):  # noqa: ANN202
    from sklearn.mixture import GaussianMixture

    values = soft[ready.cavity.core].astype(np.float64)[:, None]
    start = np.quantile(values, (np.arange(components) + 0.5) / components)[:, None]
    start[-1] = 65.0  # quantiles alone would leave no component to a small bleed
    return GaussianMixture(components, means_init=start, random_state=0, reg_covar=1.0).fit(_some(values))


def gmm_joint(ready: Ready, components: int = 24, width: float = 1.0, least: float = BLOOD) -> np.ndarray:
    """Fit scikit-learn's Gaussian mixture to position and intensity; take components with a mean above a least value in HU."""
    from sklearn.mixture import GaussianMixture

    soft = softened(ready, width)
    values, where = _features(ready, soft)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    model = GaussianMixture(components, random_state=0, n_init=1, reg_covar=1e-4).fit(_some(scaled))
    bright = model.means_[:, 3] * values[:, 3].std() + values[:, 3].mean()
    return finish(ready, _painted(where, (bright > least)[model.predict(scaled)]), least)


def mrf(ready: Ready, components: int = 4, width: float = 2.0, least: float = BLOOD, strength: float = 0.5) -> np.ndarray:
    """Label voxels by a Gaussian mixture of intensities with a Potts prior over 6 neighbours (iterated conditional modes)."""
    soft = softened(ready, width)
    model = _intensity_mixture(ready, soft, components)
    core = ready.cavity.core
    box = ndimage.find_objects(core.astype(np.uint8))[0]
    inside = core[box]
    levels = LEVELS[:, None]
    spread = model.covariances_[:, 0, 0]
    cost = 0.5 * (levels - model.means_[:, 0]) ** 2 / spread + 0.5 * np.log(spread) - np.log(model.weights_)
    unary = cost.T[:, quantised(soft[box])].astype(np.float32)
    label = unary.argmin(axis=0)
    neighbours = ndimage.generate_binary_structure(3, 1).astype(np.float32)
    neighbours[1, 1, 1] = 0
    for _ in range(8):
        members = [((label == c) & inside).astype(np.float32) for c in range(components)]
        agree = [ndimage.convolve(member, neighbours, mode="constant") for member in members]
        following = (unary - strength * np.stack(agree)).argmin(axis=0)
        if (following == label).all():
            break
        label = following
    mask = np.zeros_like(core)
    mask[box] = (model.means_[:, 0] > least)[label] & inside
    return finish(ready, mask, least)


def _features(ready: Ready, soft: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return position in mm and intensity in HU ``(N, 4)`` of the core's voxels."""
    core = ready.cavity.core
    return np.column_stack([np.argwhere(core) * np.array(ready.spacing), soft[core]]).astype(np.float64), core


def _some(values: np.ndarray, most: int = 20000) -> np.ndarray:
    """Take a sample to fit to, the same one always, where there are many."""
    if len(values) <= most:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), most, replace=False))]


def _painted(where: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    mask = np.zeros_like(where)
    mask[where] = chosen
    return mask


@cache
def baselines() -> dict[Baseline, Callable[[Ready], np.ndarray]]:
    """Name the baselines."""
    return {
        "threshold": threshold, "otsu": otsu, "kmeans": kmeans, "fcm": fcm, "gmm_intensity": gmm_intensity,
        "gmm_joint": gmm_joint, "mrf": mrf,
    }  # fmt: skip
