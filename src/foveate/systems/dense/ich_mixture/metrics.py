"""How well a mask fits: overlap, volumes, distances, regions."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from foveate.systems.dense.ich_mixture.segmentation import TOUCHING, large_enough


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient; 1 if both are empty."""
    both = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / both if both else 1.0


def regions(mask: np.ndarray, voxel_ml: float, least_ml: float = 0.5) -> int:
    """Count the pieces (26 neighbours) of a volume at least."""
    return int(ndimage.label(large_enough(mask, voxel_ml, least_ml), TOUCHING)[1])


def hausdorff95(mask: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Return the 95th percentile of the distances between the surfaces in mm, both ways; NaN if one is empty."""
    if not mask.any() or not truth.any():
        return math.nan
    surfaces = [m & ~ndimage.binary_erosion(m) for m in (mask, truth)]
    away = [ndimage.distance_transform_edt(~s, sampling=spacing) for s in surfaces]
    return float(np.percentile(np.concatenate([away[1][surfaces[0]], away[0][surfaces[1]]]), 95))


def scores(mask: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, float]:
    """Measure a mask against the truth.

    Returns:
        Dice, IoU, sensitivity and precision, volume error and false positive volume in ml, HD95 in mm, whether blood of
        0.5 ml or more is found at all; NaN where a figure has no meaning.
    """
    mask, truth = mask > 0, truth > 0
    millilitres = math.prod(spacing) / 1000
    both, either = int((mask & truth).sum()), int((mask | truth).sum())
    seen, there = int(mask.sum()), int(truth.sum())
    bleeds = there * millilitres >= 0.5
    return {
        "dice": dice(mask, truth) if bleeds else math.nan,
        "iou": both / either if bleeds else math.nan,
        "sensitivity": both / there if bleeds else math.nan,
        "precision": both / seen if bleeds and seen else math.nan,
        "volume_error_ml": (seen - there) * millilitres,
        "false_positive_ml": (seen - both) * millilitres,
        "hd95_mm": hausdorff95(mask, truth, spacing),
        "detected": float(both > 0) if bleeds else math.nan,
    }
