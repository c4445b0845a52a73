"""From a head CT to the voxels inside the skull, and from those to the points that a mixture is fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from foveate.errors import InputError

Smooth = Literal["median", "tv", "none"]

LOW, HIGH = -20.0, 120.0  # HU; what is below or above counts as this
STEP = 0.25  # HU: width of an intensity bin
BINS = int((HIGH - LOW) / STEP)
LEVELS = LOW + STEP * (np.arange(BINS) + 0.5)  # centres of the bins
BONE = 300.0  # HU
LEAST_BRAIN = 100.0  # ml
WORKING = (2.0, 2.0, 2.5)  # mm: voxels smaller than this are joined before the mixture is fitted
EXPECTED = "a head CT without contrast agent in Hounsfield units, with its skull"


@dataclass(frozen=True)
class Cavity:
    """The inside of the skull.

    Attributes:
        whole: bool ``(X, Y, Z)``: the cavity V.
        core: Without the rim in which bone shines in.
    """

    whole: np.ndarray
    core: np.ndarray


@dataclass(frozen=True)
class Points:
    """What a mixture is fitted to, sorted by the first coordinate.

    Attributes:
        position: float64 ``(N, 3)`` in millimetres.
        level: int16 ``(N,)``: index into `LEVELS`.
        cell: Side lengths of a point's cell in millimetres ``(3,)``.
        volume: Millimetres cubed that a point stands for.
        effective: How many independent points they are worth.
        home: int64 ``(N, 3)``: cell of a point on the grid whose cells have the side lengths above.
    """

    position: np.ndarray
    level: np.ndarray
    cell: np.ndarray
    volume: float
    effective: float
    home: np.ndarray

    def __len__(self) -> int:
        """Count the points."""
        return len(self.level)

    @property
    def intensity(self) -> np.ndarray:
        """Intensities in HU, to a quarter of one."""
        return LEVELS[self.level]

    def smoothed(self, values: np.ndarray, width: float) -> np.ndarray:
        """Average values ``(N,)`` over neighbours with a Gaussian of a width in millimetres."""
        shape = self.home.max(axis=0) + 1
        flat = np.ravel_multi_index(tuple(self.home.T), shape)
        sums, counts = (
            np.bincount(flat, weights, math.prod(shape)).reshape(shape) for weights in (values, np.ones(len(values)))
        )
        sums, counts = (ndimage.gaussian_filter(a, width / self.cell, mode="constant", truncate=3) for a in (sums, counts))
        return (sums / np.maximum(counts, 1e-12)).ravel()[flat]


def quantised(intensity: np.ndarray) -> np.ndarray:
    """Clip intensities in HU to the range of the mixture and round them to its bins: int16."""
    return np.clip((intensity - LOW) / STEP, 0, BINS - 1).astype(np.int16)


def scattered(position: np.ndarray, intensity: np.ndarray, volume: float, effective: float | None = None) -> Points:
    """Make points of positions that lie on no grid.

    Args:
        position: ``(N, 3)`` in millimetres.
        intensity: ``(N,)`` in HU.
        volume: Millimetres cubed that a point stands for.
        effective: How many independent points they are worth; as many as there are by default.
    """
    order = np.argsort(position[:, 0], kind="stable")
    position = np.ascontiguousarray(position[order], np.float64)
    cell = np.full(3, volume ** (1 / 3))
    home = np.floor((position - position.min(axis=0)) / cell).astype(np.int64)
    return Points(position, quantised(intensity[order]), cell, volume, float(effective or len(position)), home)


def check_hounsfield(values: np.ndarray, where: object) -> None:
    """Refuse a volume that is not in Hounsfield units.

    Raises:
        InputError: If it is constant, spans too little, or holds nothing as dense as bone.
    """
    first, last = (float(v) for v in np.percentile(values[:: max(1, len(values) // 64)], (1, 99)))
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(where, f"every voxel is {low:g}", EXPECTED)
    if last - first < 200:
        raise InputError(where, f"is not in HU: its values go from {first:g} to {last:g} (1st to 99th percentile)", EXPECTED)
    if high <= BONE:
        raise InputError(where, f"is not in HU: there is no bone, its values go from {low:g} to {high:g}", EXPECTED)


def _ball(mask: np.ndarray, radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Dilate by a ball of a radius in millimetres."""
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius


def _largest(mask: np.ndarray, connectivity: int = 1) -> np.ndarray:
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, connectivity))
    if not count:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _filled(mask: np.ndarray) -> np.ndarray:
    """Fill holes slice by slice."""
    within = np.zeros((3, 3, 3), bool)  # neighbours in the same slice
    within[:, 1, 1] = within[1, :, 1] = True
    return ndimage.binary_fill_holes(mask, within)


def find_cavity(
    values: np.ndarray, spacing: tuple[float, float, float], margin: float = 1.5, where: object = "volume"
) -> Cavity:
    """Find the inside of the skull.

    Bone is closed with a ball of 5 mm and filled slice by slice; of what is soft in there, the largest piece stays after
    an opening with a ball of 2 mm.

    Args:
        values: ``(X, Y, Z)`` in HU.
        spacing: Side lengths of a voxel in millimetres.
        margin: Width of the rim in millimetres that the core leaves out.
        where: The file, for messages.

    Raises:
        InputError: If there is no skull with a brain in it.

    Note:
        Ours: the paper's text could not be had.
    """
    bone = _largest(values > BONE, 3)
    box = ndimage.find_objects(bone.astype(np.uint8))
    if not box:
        raise InputError(where, "has no skull", EXPECTED)
    # Work within the skull's bounding box, with room for a ball of 5 mm.
    room = [math.ceil(7 / s) for s in spacing]
    cut = tuple(slice(max(0, b.start - r), b.stop + r) for b, r in zip(box[0], room, strict=True))
    bone, soft = bone[cut], values[cut]
    rough = _rough_cavity(bone, soft, spacing)
    if rough.sum() * math.prod(spacing) / 1000 < LEAST_BRAIN:
        raise InputError(where, f"has no brain of {LEAST_BRAIN:g} ml or more inside a skull", EXPECTED)
    inside = _filled(rough & (soft > -200) & (soft <= HIGH)) & ~bone
    # From bone, not from what was left out as too bright: that is the rim already.
    distance = ndimage.distance_transform_edt(rough & ~bone, sampling=spacing) - min(spacing[:2]) / 2
    whole, core = np.zeros(values.shape, bool), np.zeros(values.shape, bool)
    whole[cut] = inside
    core[cut] = inside & (distance > margin)
    if not core.any():
        raise InputError(where, f"has nothing inside the skull beyond a margin of {margin:g} mm", "a smaller margin")
    return Cavity(whole, core)


def _rough_cavity(bone: np.ndarray, soft: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Close and fill the skull, and open what is in it; on voxels of about a millimetre where they are finer.

    Returns:
        bool ``(X, Y, Z)``: the cavity, bone's own partial volume included.
    """
    joined = tuple(max(1, round(1.0 / s)) for s in spacing)
    coarse = tuple(s * f for s, f in zip(spacing, joined, strict=True))
    shape = tuple(-(-n // f) * f for n, f in zip(bone.shape, joined, strict=True))
    padding = [(0, s - n) for s, n in zip(shape, bone.shape, strict=True)]
    blocks = tuple(x for n, f in zip(shape, joined, strict=True) for x in (n // f, f))
    # Bone is what is mostly bone; what has any air is no tissue.
    solid = np.pad(bone, padding).reshape(blocks).mean(axis=(1, 3, 5)) >= 0.5
    air = np.pad(soft <= -200, padding).reshape(blocks).any(axis=(1, 3, 5))
    dilated = np.pad(_ball(solid, 5, coarse), 1)
    closed = (ndimage.distance_transform_edt(dilated, sampling=coarse) > 5)[1:-1, 1:-1, 1:-1] | solid
    tissue = _filled(closed) & ~solid & ~air
    opened = ndimage.distance_transform_edt(np.pad(tissue, 1), sampling=coarse)[1:-1, 1:-1, 1:-1] > 2
    kept = tissue & _ball(_largest(opened), 2.5, coarse)
    if math.prod(joined) > 1:
        for axis, factor in enumerate(joined):
            kept = np.repeat(kept, factor, axis)
        kept = kept[tuple(slice(n) for n in bone.shape)] & ~bone
    return kept


def factors(spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Tell how many voxels along each axis are joined into one of the working grid."""
    x, y, z = (max(1, round(w / s)) for w, s in zip(WORKING, spacing, strict=True))
    return x, y, z


def smoothed(
    values: np.ndarray, core: np.ndarray, spacing: tuple[float, float, float], smooth: Smooth = "median"
) -> np.ndarray:
    """Take noise away from the intensities within the core.

    Args:
        values: ``(X, Y, Z)`` in HU.
        core: Where they count.
        spacing: Side lengths of a voxel in millimetres.
        smooth: ``median`` over 3 x 3 voxels of a slice, ``tv`` (total variation, slice by slice), or ``none``.

    Returns:
        float32 ``(X, Y, Z)``, clipped to the range of the mixture.

    Note:
        The median is taken where voxels are finer than 1.2 mm; of coarser ones it would take away thin layers of blood.
    """
    clipped = np.clip(values, LOW, HIGH).astype(np.float32)
    if smooth == "median" and max(spacing[:2]) < 1.2:
        box = ndimage.find_objects(core.astype(np.uint8))[0]
        clipped[box] = ndimage.median_filter(clipped[box], (3, 3, 1), mode="nearest")
    elif smooth == "tv":
        from skimage.restoration import denoise_tv_chambolle

        for z in np.flatnonzero(core.any(axis=(0, 1))):
            clipped[:, :, z] = denoise_tv_chambolle(clipped[:, :, z] / 100, weight=0.05) * 100
    return clipped


def prepare(
    intensity: np.ndarray, core: np.ndarray, spacing: tuple[float, float, float], effective: float | None = None
) -> Points:
    """Join the core's voxels into those of the working grid, by their mean: one point for each that is at least half full.

    Args:
        intensity: ``(X, Y, Z)`` in HU, smoothed.
        core: Where they count.
        spacing: Side lengths of a voxel in millimetres.
        effective: How many independent points they are worth; estimated by default.
    """
    joined = factors(spacing)
    shape = tuple(-(-n // f) * f for n, f in zip(core.shape, joined, strict=True))
    padding = [(0, s - n) for s, n in zip(shape, core.shape, strict=True)]
    blocks = tuple(x for n, f in zip(shape, joined, strict=True) for x in (n // f, f))

    def per_block(values: np.ndarray) -> np.ndarray:
        return np.pad(values, padding).reshape(blocks).sum(axis=(1, 3, 5), dtype=np.float64)

    counts = per_block(core)
    mean = per_block(np.where(core, intensity, 0)) / np.maximum(counts, 1)
    full = counts * 2 >= math.prod(joined)
    home = np.argwhere(full)
    cell = np.array(spacing) * joined
    # A block's middle, counted from the first voxel's centre.
    position = home * cell + (np.array(joined) - 1) / 2 * np.array(spacing)
    worth = effective or int(full.sum()) / correlation_volume(mean, full, tuple(cell))
    level = quantised(mean[full])
    return Points(position, level, cell, float(np.prod(cell)), float(worth), home)


def correlation_volume(values: np.ndarray, mask: np.ndarray, cell: tuple[float, ...], width: float = 6.0) -> float:
    """Estimate how many neighbouring voxels say the same.

    That is the product over the axes of ``1 + 2 sum_l rho(l)``, for the autocorrelation rho of the intensities less
    their local mean, up to the lag where it falls below 0.05.

    Args:
        values: ``(X, Y, Z)`` in HU.
        mask: Where they count.
        cell: Side lengths of a voxel in millimetres.
        width: Of the Gaussian of the local mean, in millimetres.

    Note:
        What is more than 2.5 robust standard deviations from the local mean is left out: a bleed or a ventricle is no
        noise, and with it each voxel would seem to be worth the less the larger the bleed.
    """
    rest = _less_local_mean(values, mask, cell, width)
    spread = 1.4826 * float(np.median(np.abs(rest[mask])))
    mask = mask & (np.abs(rest) <= 2.5 * spread)
    rest = _less_local_mean(values, mask, cell, width)
    weight = mask.astype(np.float64)
    variance = float((rest**2).sum() / weight.sum())
    if variance == 0:
        return 1.0
    found = 1.0
    for axis in range(3):
        total = 1.0
        for lag in range(1, values.shape[axis]):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(lag, None), slice(None, -lag)
            one, other = tuple(ahead), tuple(behind)
            pairs = float((weight[one] * weight[other]).sum())
            rho = float((rest[one] * rest[other]).sum()) / (pairs * variance) if pairs else 0.0
            if rho < 0.05:
                break
            total += 2 * rho
        found *= total
    return found


def _less_local_mean(values: np.ndarray, mask: np.ndarray, cell: tuple[float, ...], width: float) -> np.ndarray:
    sigma = [width / c for c in cell]
    weight = np.maximum(ndimage.gaussian_filter(mask.astype(np.float64), sigma), 1e-6)
    return np.where(mask, values - ndimage.gaussian_filter(np.where(mask, values, 0.0), sigma) / weight, 0.0)
