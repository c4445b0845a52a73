"""A scan's slices side by side, the haemorrhage outlined."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from foveate.results import Picture

WINDOW = (0.0, 80.0)  # HU, that in which blood is looked for
MOST_SLICES = 24
COLOURS = np.array(
    [[0.95, 0.20, 0.15], [0.98, 0.70, 0.10], [0.25, 0.75, 0.95], [0.45, 0.85, 0.30], [0.85, 0.45, 0.95], [1.0, 0.95, 0.35]]
)


def montage(values: np.ndarray, labels: np.ndarray, spacing: tuple[float, float, float], side: int = 192) -> Picture:
    """Draw slices as radiologists look at them: the front up, the patient's right on the left.

    Args:
        values: ``(X, Y, Z)`` in HU; axes run to the patient's right, front and top.
        labels: ``(X, Y, Z)``: 0, or the number of the haemorrhage's cluster, whose outline is drawn in its colour.
        spacing: Side lengths of a voxel in millimetres.
        side: Height of a slice in pixels.
    """
    shown = np.flatnonzero((values > WINDOW[1]).any(axis=(0, 1)) & (values > -200).any(axis=(0, 1)))
    if len(shown) > MOST_SLICES:  # those with blood, and others evenly
        bloody = [z for z in shown if labels[:, :, z].any()][: MOST_SLICES * 2 // 3]
        others = np.setdiff1d(shown, bloody)
        step = np.linspace(0, len(others) - 1, MOST_SLICES - len(bloody)).round().astype(int)
        shown = np.sort(np.concatenate([np.array(bloody, int), others[step]]))
    shown = shown if len(shown) else np.arange(values.shape[2])[:MOST_SLICES]
    height = side
    width = max(1, round(side * values.shape[0] * spacing[0] / (values.shape[1] * spacing[1])))
    rows = np.minimum((np.arange(height)[::-1] + 0.5) / height * values.shape[1], values.shape[1] - 1).astype(int)
    columns = np.minimum((np.arange(width)[::-1] + 0.5) / width * values.shape[0], values.shape[0] - 1).astype(int)
    across = math.ceil(math.sqrt(len(shown) * 1.5))
    sheet = np.zeros((math.ceil(len(shown) / across) * height, across * width, 3))
    for place, z in enumerate(shown):
        grey = (values[columns[None, :], rows[:, None], z] - WINDOW[0]) / (WINDOW[1] - WINDOW[0])
        tile = np.repeat(np.clip(grey, 0, 1)[:, :, None], 3, axis=2)
        drawn = labels[columns[None, :], rows[:, None], z].astype(int)
        edge = (drawn > 0) & (
            (ndimage.minimum_filter(drawn, 3, mode="constant") != drawn) | (ndimage.maximum_filter(drawn, 3) != drawn)
        )
        tile[edge] = COLOURS[(drawn[edge] - 1) % len(COLOURS)]
        row, column = divmod(place, across)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return Picture.from_unit(sheet)
