"""From a scan to its haemorrhages: the steps in their order, and the decision at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from foveate.systems.dense.ich_mixture.cavity import (
    Cavity,
    Points,
    Smooth,
    check_hounsfield,
    factors,
    find_cavity,
    prepare,
    quantised,
    smoothed,
)
from foveate.systems.dense.ich_mixture.method import START, Mixture, posterior
from foveate.systems.dense.ich_mixture.search import DEFAULT, Found, Settings, search

Spacing = tuple[float, float, float]
TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours


@dataclass(frozen=True)
class Ready:
    """A scan, ready for any method.

    Attributes:
        values: float32 ``(X, Y, Z)`` in HU, as they came.
        intensity: The same, smoothed and clipped.
        cavity: The inside of the skull.
        points: The core's voxels, joined into a working grid.
        spacing: Side lengths of a voxel in millimetres.
        margin: Width of the cavity's rim in millimetres.
    """

    values: np.ndarray
    intensity: np.ndarray
    cavity: Cavity
    points: Points
    spacing: Spacing
    margin: float

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return math.prod(self.spacing) / 1000


@dataclass(frozen=True)
class Segmentation:
    """The haemorrhages of a scan.

    Attributes:
        mask: uint8 ``(X, Y, Z)``.
        probability: float32 ``(X, Y, Z)``: posterior of the haemorrhages.
        labels: uint16 ``(X, Y, Z)``: in the mask the number of the haemorrhage's cluster, from 1 up.
        found: The mixture, and how it was found.
        ready: What it was fitted to.
    """

    mask: np.ndarray
    probability: np.ndarray
    labels: np.ndarray
    found: Found
    ready: Ready


def make_ready(
    values: np.ndarray, spacing: Spacing, margin: float = 1.5, smooth: Smooth = "median", where: object = "volume"
) -> Ready:
    """Find the inside of the skull and the points that a mixture is fitted to.

    Args:
        values: ``(X, Y, Z)`` in HU.
        spacing: Side lengths of a voxel in millimetres.
        margin: Width of the rim in millimetres in which bone shines in.
        smooth: How noise is taken away.
        where: The file, for messages.

    Raises:
        InputError: If the volume is not in HU, or there is no skull with a brain in it.
    """
    values = np.maximum(np.asarray(values, np.float32), -1024)  # what lies outside a scanner's circle is often lower
    check_hounsfield(values, where)
    cavity = find_cavity(values, spacing, margin, where)
    intensity = smoothed(values, cavity.core, spacing, smooth)
    return Ready(values, intensity, cavity, prepare(intensity, cavity.core, spacing), spacing, margin)


def segment(ready: Ready, settings: Settings = DEFAULT, start: Mapping[str, Any] = START) -> Segmentation:
    """Find the haemorrhages.

    Args:
        ready: The scan.
        settings: The switches.
        start: Weights, means and standard deviations of healthy tissue to start from.
    """
    found = search(ready.points, settings, start)
    return decide(ready, found, settings)


def decide(ready: Ready, found: Found, settings: Settings = DEFAULT) -> Segmentation:
    """Turn a fitted mixture into a mask on the scan's own voxels."""
    mixture = found.fit.mixture
    probability = np.zeros(ready.values.shape, np.float32)
    which = np.zeros(ready.values.shape, np.uint16)
    if mixture.clusters:
        where = _near(ready, mixture, settings.box)
        position = np.argwhere(where) * np.array(ready.spacing)
        share, likeliest = posterior(position, quantised(_at_working_noise(ready)[where]), mixture, settings.box)
        probability[where], which[where] = share, likeliest
    core = ready.cavity.core
    mask = finish(ready, (probability > 0.5) & core, mixture.healthy_limit, settings.least_ml)
    probability[~(core | mask)] = 0
    which[~mask] = 0
    if mask.any() and (empty := mask & (which == 0)).any():  # filled holes, and rim outside all boxes
        nearest = ndimage.distance_transform_edt(which == 0, ready.spacing, return_distances=False, return_indices=True)
        which[empty] = which[tuple(nearest[:, empty])]
    return Segmentation(mask.astype(np.uint8), probability, which, found, ready)


def _near(ready: Ready, mixture: Mixture, box: float) -> np.ndarray:
    """Return the cavity's voxels within the box of any haemorrhage."""
    whole = ready.cavity.whole
    rows = range(mixture.healthy, len(mixture.weight))
    if not box or not mixture.spatial[mixture.healthy]:
        return whole
    near = np.zeros_like(whole)
    for c in rows:
        half = box * np.sqrt(np.diag(mixture.scatter[c]))
        low = np.maximum(np.floor((mixture.centre[c] - half) / ready.spacing), 0).astype(int)
        high = np.maximum(np.ceil((mixture.centre[c] + half) / ready.spacing), 0).astype(int) + 1
        near[tuple(map(slice, low, high))] = True
    return near & whole


def _at_working_noise(ready: Ready) -> np.ndarray:
    """Average the intensities over as many voxels as the working grid joins, so that they are as noisy as those fitted."""
    joined = factors(ready.spacing)
    if joined == (1, 1, 1):
        return ready.intensity
    (box,) = ndimage.find_objects(ready.cavity.whole.astype(np.uint8))
    core, intensity = ready.cavity.core[box], ready.intensity[box]
    weight = ndimage.uniform_filter(core.astype(np.float32), joined, mode="constant")
    total = ndimage.uniform_filter(np.where(core, intensity, 0), joined, mode="constant")
    found = ready.intensity.copy()
    found[box] = np.where(core, total / np.maximum(weight, 1e-6), intensity)
    return found


def finish(ready: Ready, mask: np.ndarray, bright: float, least_ml: float = 0.5) -> np.ndarray:
    """Clean a mask, alike for all methods: small pieces go, the cavity's rim comes back where it is bright, holes are filled.

    Args:
        ready: The scan.
        mask: bool ``(X, Y, Z)``, within the core.
        bright: HU above which the rim beside a haemorrhage belongs to it.
        least_ml: Least volume of a piece in millilitres.
    """
    mask = large_enough(mask, ready.voxel_ml, least_ml)
    if not mask.any():
        return mask
    reach = ready.margin + min(ready.spacing[:2]) / 2
    room = math.ceil(reach / min(ready.spacing[:2])) + 1
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    cut = (*(slice(max(0, b.start - room), b.stop + room) for b in box[:2]), box[2])
    near, whole = mask[cut], ready.cavity.whole[cut]
    rim = whole & ~ready.cavity.core[cut] & (ready.values[cut] > bright)
    close = ndimage.distance_transform_edt(~near, sampling=(*ready.spacing[:2], 1e3)) <= reach
    mask = mask.copy()
    mask[cut] = ndimage.binary_fill_holes(near | (rim & close)) & whole
    return mask


def large_enough(mask: np.ndarray, voxel_ml: float, least_ml: float) -> np.ndarray:
    """Keep the pieces (26 neighbours) of a mask that have a volume at least."""
    labels, _ = ndimage.label(mask, TOUCHING)
    kept = np.bincount(labels.ravel()) * voxel_ml >= least_ml
    kept[0] = False
    return kept[labels]


def clusters_table(result: Segmentation, affine: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Describe each cluster: volume, centre, intensity, axes, weight.

    Args:
        result: The haemorrhages.
        affine: ``(4, 4)``, voxel indices to millimetres; the centre is told in its millimetres.
    """
    mixture, ready = result.found.fit.mixture, result.ready
    affine = np.diag([*ready.spacing, 1.0]) if affine is None else affine
    rows = []
    for k in range(mixture.clusters):
        c = mixture.healthy + k
        own = result.labels == k + 1
        index = mixture.centre[c] / ready.spacing
        values, vectors = np.linalg.eigh(mixture.scatter[c])
        rows.append(
            {
                "cluster": k + 1,
                "ml": float(own.sum()) * ready.voxel_ml,
                "centre_mm": (affine @ [*index, 1.0])[:3],
                "mean_hu": float(mixture.mean[c]),
                "sd_hu": math.sqrt(mixture.variance[c]),
                "measured_mean_hu": float(ready.values[own].mean()) if own.any() else math.nan,
                "axes_sd_mm": np.sqrt(values[::-1]),
                "axes": vectors.T[::-1] @ (affine[:3, :3] / np.array(ready.spacing)).T,
                "weight": float(mixture.weight[c]),
            }
        )
    return rows
