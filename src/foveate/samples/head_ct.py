"""Procedural head CT: bleeds of five kinds in a real anatomy, the MNI152 template that nilearn ships, deformed at random.

A case is made of fields of the template (tissue shares, distance to the brain's surface, ventricles), sampled at the voxels of
a random head. Shares of a voxel are averaged over its extent, so that thin things are as faint as a scanner makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from foveate.samples.mni152 import mni152

Bleed = Literal["epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid"]
BLEEDS: tuple[Bleed, ...] = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
VERSION = 1  # of what is made; part of the key of every cache of it
SHAPE, SPACING = (96, 112, 30), (2.0, 2.0, 5.0)
_FINE = (2, 2, 3)  # parts of a voxel along its axes, over which the shares of bone and of outer bleeds are averaged
_PAD = 14  # voxels around the template, so that distances go on outside
_LEAST_ML = 1.0  # of a bleed
AIR = -1000.0


@dataclass(frozen=True)
class HeadCT:
    """A made-up scan with what is true of it.

    Attributes:
        values: int16 ``(X, Y, Z)`` in Hounsfield units; axes run to the right, the front and the top.
        labels: uint8 ``(X, Y, Z)``: 0, or 1 + the place in `BLEEDS` of the bleed that fills more than half of the voxel, where
            less than a tenth of it is bone: nobody would draw blood where the picture is white.
        spacing: Side lengths of a voxel in millimetres.
    """

    values: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float] = SPACING

    @property
    def bleeds(self) -> tuple[Bleed, ...]:
        """The kinds of bleeds that are there."""
        return tuple(b for i, b in enumerate(BLEEDS, 1) if (self.labels == i).any())


@dataclass(frozen=True)
class Head:
    """Fields of one random head at the voxels of its scan, each float32 ``(X, Y, Z)``.

    Attributes:
        place: Millimetres from the centre of the scan ``(3, X, Y, Z)``.
        mni: Place in the template's millimetres ``(3, X, Y, Z)``.
        distance: To the brain's surface in millimetres, negative inside.
        grey: Share of grey matter.
        white: Share of white matter.
        ventricles: Share of ventricles.
    """

    place: np.ndarray
    mni: np.ndarray
    distance: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    ventricles: np.ndarray


@cache
def _template() -> dict[str, np.ndarray]:
    """Return the template's fields, float32, ``_PAD`` voxels of a millimetre larger on each side than it is."""
    from scipy import ndimage

    arrays = [np.pad(mni152(kind), _PAD) for kind in ("t1", "gm", "wm")]
    brain = ndimage.binary_fill_holes(arrays[0] > 0)
    # The template ends in a plane below; there the brain stem and the skull go on.
    brain[:, :, :_PAD] = brain[:, :, _PAD, None]
    coarse = brain[::2, ::2, ::2]
    distance = 2 * (ndimage.distance_transform_edt(~coarse) - ndimage.distance_transform_edt(coarse))
    grey, white = (a / np.float32(255) for a in arrays[1:])
    fluid = brain & (grey + white < 0.5)
    # Ventricles: the fluid deep inside, of which the largest piece.
    deep = fluid & (ndimage.zoom(distance, 2, order=1)[tuple(slice(n) for n in fluid.shape)] < -22)
    pieces, _ = ndimage.label(ndimage.binary_opening(deep))
    inside = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    ventricles = (ndimage.binary_dilation(inside, iterations=2) & deep).astype(np.float32)

    def averaged(field: np.ndarray) -> np.ndarray:
        """Average over the extent of a voxel of the scan."""
        smooth = field
        for axis, width in enumerate(SPACING):
            smooth = ndimage.uniform_filter1d(smooth, round(width), axis=axis)
        return smooth

    return {
        "distance": ndimage.gaussian_filter(distance, 1).astype(np.float32),
        "grey": averaged(grey),
        "white": averaged(white),
        "ventricles": averaged(ventricles),
    }


def _smooth_noise(rng: np.random.Generator, shape: Sequence[int], width: Sequence[float]) -> np.ndarray:
    """Draw a smooth random field of unit variance: a Gaussian filter of a width in voxels over white noise."""
    from scipy import ndimage

    field = ndimage.gaussian_filter(rng.standard_normal(tuple(shape), dtype=np.float32), width, mode="wrap")
    return field / field.std()


def head(seed: int | Sequence[int], shape: tuple[int, int, int] = SHAPE) -> Head:
    """Deform the template at random: sizes by up to 8 %, turns by up to 10 degrees, and a smooth shift of some 4 mm.

    Args:
        seed: Of everything.
        shape: Voxels of the scan.
    """
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    fields = _template()
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, SPACING, strict=True)]
    place = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    turn = Rotation.from_euler("zxy", rng.uniform(-10, 10, 3), degrees=True).as_matrix()
    matrix = turn / rng.uniform(0.92, 1.08, 3)
    shift = np.stack([2.3 * _smooth_noise(rng, shape, [25 / s for s in SPACING]) for _ in range(3)])
    # The top of the head is in the scan; what is too much below is cut off.
    centre = np.array([0.0, -17.0, 94.0 - SPACING[2] * shape[2] / 2])
    mni = np.tensordot(matrix.astype(np.float32), place, 1) + shift + centre.astype(np.float32)[:, None, None, None]
    index = mni + np.array([98, 134, 72], np.float32)[:, None, None, None] + _PAD
    sampled = {
        name: ndimage.map_coordinates(field, index / (2 if name == "distance" else 1), order=1, mode="nearest")
        for name, field in fields.items()
    }
    return Head(place, mni, **sampled)


def head_ct(
    seed: int | Sequence[int],
    bleeds: Sequence[Bleed] = (),
    noise: float | None = None,
    shape: tuple[int, int, int] = SHAPE,
) -> HeadCT:
    """Make a head CT with bleeds.

    Fluid has 8, white matter 28, grey matter 37 HU, shifted a little from case to case; bone 700 to 1500, blood 55 to 85. There
    are a falx, a tentorium, up to three calcifications, correlated noise, and darkening towards the middle.

    Args:
        seed: Of everything.
        bleeds: Kinds of bleeds, one each; a kind may come twice.
        noise: Standard deviation in HU; from 4 to 8 by default.
        shape: Voxels of the scan, 2 x 2 x 5 mm each.
    """
    from scipy import ndimage

    numbers = [seed] if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng([*numbers, 1])
    made = head([*numbers, 0], shape)
    common, contrast = rng.uniform(-2, 2), rng.uniform(-1, 1)
    fluid, white, grey = 8 + rng.uniform(-3, 3), 28 + common, 37 + common + contrast
    inside, outside = _shell(rng, made)
    share_fluid = np.clip(inside - made.grey - made.white, 0, None)
    tissue = fluid * share_fluid + white * made.white + grey * made.grey
    membranes = _membranes(made) * (inside > 0.99)
    tissue += membranes * (rng.uniform(45, 60) - tissue)
    labels = np.zeros(shape, np.uint8)
    covered = np.zeros(shape, np.float32)
    blood = np.zeros(shape, np.float32)
    for kind in bleeds:
        share = _bleed(rng, made, kind, share_fluid)
        share = np.minimum(share, np.clip(inside - covered, 0, None))
        texture = rng.uniform(55, 85) + 5 * _smooth_noise(rng, shape, [3 / s for s in SPACING])
        if kind in ("intraventricular", "subarachnoid"):  # blood in the place of fluid alone
            tissue = tissue - np.minimum(share, share_fluid) * fluid
        else:
            tissue = tissue * (1 - share / np.maximum(inside, 1e-3))
        blood += share * texture
        covered += share
        labels[(share > 0.5) & (inside > 0.9)] = 1 + BLEEDS.index(kind)
    values = tissue + blood + outside
    values = ndimage.gaussian_filter(values, [0.8 / s if s < 4 else 0 for s in SPACING])
    deviation = rng.uniform(4, 8) if noise is None else noise
    values += deviation * _smooth_noise(rng, shape, [rng.uniform(1.0, 1.6) / 2, rng.uniform(1.0, 1.6) / 2, 0.3])
    values -= 4 * np.exp(-(made.place**2).sum(axis=0) / (2 * 60.0**2)) * (inside > 0)
    for _ in range(rng.integers(4)):
        _calcify(rng, values, made)
    return HeadCT(np.clip(np.rint(values), -1024, 3071).astype(np.int16), labels)


def cohort(count: int, world: int = 0, healthy: float = 0.25, two: float = 0.3) -> list[tuple[Bleed, ...]]:
    """List the bleeds of many cases: a share is healthy, and of the others a share has two kinds; kinds take turns."""
    rng = np.random.default_rng([world, 2])
    found: list[tuple[Bleed, ...]] = []
    turn = 0
    for case in range(count):
        if int((case + 1) * healthy) > int(case * healthy):
            found.append(())
            continue
        first = BLEEDS[turn % len(BLEEDS)]
        turn += 1
        others = [b for b in BLEEDS if b != first]
        found.append((first, others[rng.integers(4)]) if rng.random() < two else (first,))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# the parts of a head
# ---------------------------------------------------------------------------------------------------------------------


def _fine(field: np.ndarray) -> np.ndarray:
    """Interpolate a smooth field at the centres of the parts of each voxel."""
    for axis, parts in enumerate(_FINE):
        n = field.shape[axis]
        at = (np.arange(n * parts) + 0.5) / parts - 0.5
        low = np.clip(np.floor(at).astype(int), 0, max(n - 2, 0))
        ahead = np.clip(at - low, 0, 1).astype(np.float32)
        ahead = ahead.reshape([-1 if a == axis else 1 for a in range(3)])
        one, other = np.take(field, low, axis), np.take(field, np.minimum(low + 1, n - 1), axis)
        field = one + ahead * (other - one)
    return field


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Average over the parts of each voxel."""
    x, y, z = (n // f for n, f in zip(fine.shape, _FINE, strict=True))
    return fine.reshape(x, _FINE[0], y, _FINE[1], z, _FINE[2]).mean(axis=(1, 3, 5), dtype=np.float32)


def _shell(rng: np.random.Generator, made: Head) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of each voxel inside the skull, and what skull, scalp and air add to its value in HU."""
    shape = made.distance.shape
    distance = _fine(made.distance)
    thickness = _fine(np.clip(5 + 1.0 * _smooth_noise(rng, shape, [30 / s for s in SPACING]), 3, 7))
    bone = _fine(np.clip(1100 + 150 * _smooth_noise(rng, shape, [8 / s for s in SPACING]), 700, 1500))
    soft = np.float32(rng.uniform(10, 40))
    values = np.where(distance < thickness, bone, np.where(distance < thickness + 5, soft, np.float32(AIR)))
    return _coarse((distance < 0).astype(np.float32)), _coarse(np.where(distance < 0, np.float32(0), values))


def _membranes(made: Head) -> np.ndarray:
    """Return the share of each voxel that falx and tentorium take: sheets of 1.2 and 1.5 mm, outside white matter."""
    x, y, z = made.mni

    def sheet(offset: np.ndarray, thickness: float, width: float) -> np.ndarray:
        return np.clip((thickness + width) / 2 - np.abs(offset), 0, min(thickness, width)) / width

    between = (z > 25) | ((y > 40) & (z > -10)) | ((y < -55) & (z > 0))
    below = (y < -38) & (np.abs(x) > 6) & (z < 6)
    height = 2 - 0.4 * np.abs(x) + 0.25 * np.minimum(y + 35, 0)
    falx = sheet(x, 1.2, SPACING[0]) * between
    tentorium = sheet((z - height) * 0.9, 1.5, SPACING[2]) * below
    return np.maximum(falx, tentorium) * (made.white < 0.3)


def _calcify(rng: np.random.Generator, values: np.ndarray, made: Head) -> None:
    """Put a calcification of one to three voxels and 90 to 200 HU deep into the brain."""
    start = _choose(rng, made.distance < -20)
    for step in range(rng.integers(1, 4)):
        values[start[0] + step % 2, start[1] + step // 2, start[2]] = rng.uniform(90, 200)


def _choose(rng: np.random.Generator, allowed: np.ndarray) -> tuple[int, int, int]:
    """Choose a voxel among those that are allowed."""
    flat = np.flatnonzero(allowed)
    x, y, z = np.unravel_index(flat[rng.integers(len(flat))], allowed.shape)
    return int(x), int(y), int(z)


# ---------------------------------------------------------------------------------------------------------------------
# bleeds
# ---------------------------------------------------------------------------------------------------------------------


def _bleed(rng: np.random.Generator, made: Head, kind: Bleed, fluid: np.ndarray) -> np.ndarray:
    """Return the share of each voxel that a bleed of a kind takes; drawn anew while it is tiny."""
    millilitres = float(np.prod(SPACING)) / 1000
    for _ in range(20):
        if kind == "intraventricular":
            share = _intraventricular(rng, made)
        elif kind == "subarachnoid":
            share = _subarachnoid(rng, made, fluid)
        elif kind == "intraparenchymal":
            share = _intraparenchymal(rng, made)
        else:
            share = _outer(rng, made, kind == "subdural")
        if (share > 0.5).sum() * millilitres >= _LEAST_ML:
            break
    return share.astype(np.float32)


def _intraparenchymal(rng: np.random.Generator, made: Head) -> np.ndarray:
    """An ellipsoid of 2 to 60 ml in the brain, its surface distorted by noise."""
    from scipy.spatial.transform import Rotation

    volume = float(np.exp(rng.uniform(np.log(2), np.log(60))))
    radii = 10 * (3 * volume / (4 * np.pi)) ** (1 / 3) * np.exp(rng.uniform(-0.35, 0.35, 3))
    inside = (made.distance < -(8 + 0.5 * radii.max())) & (made.mni[2] > -15) & (made.ventricles < 0.1) & (made.white > 0.3)
    centre = made.place[:, *_choose(rng, inside if inside.any() else made.distance < -20)]
    offset = made.place - centre[:, None, None, None]
    turned = np.tensordot(Rotation.random(rng=rng).as_matrix() / radii[:, None], offset, 1)
    radius = np.sqrt((turned**2).sum(axis=0)) + 0.18 * _smooth_noise(rng, made.distance.shape, [6 / s for s in SPACING])
    return _coarse((_fine(radius.astype(np.float32)) < 1).astype(np.float32)) * (made.distance < 0)


def _intraventricular(rng: np.random.Generator, made: Head) -> np.ndarray:
    """The part of the ventricles below a level, of a patient who lies on the back."""
    within = made.ventricles > 0.3
    level = np.quantile(made.place[1][within], rng.uniform(0.3, 0.85))
    return made.ventricles * (made.place[1] < level)


def _subarachnoid(rng: np.random.Generator, made: Head, fluid: np.ndarray) -> np.ndarray:
    """The fluid between brain and skull, within 25 to 40 mm of a point."""
    outer = (made.distance > -25) & (made.distance < 0) & (made.ventricles < 0.1)
    centre = made.place[:, *_choose(rng, outer & (made.mni[2] > -20) & (fluid > 0.5))]
    offset = np.sqrt(((made.place - centre[:, None, None, None]) ** 2).sum(axis=0))
    return fluid * outer * (offset < rng.uniform(25, 40))


def _outer(rng: np.random.Generator, made: Head, subdural: bool) -> np.ndarray:
    """A layer below the skull: a lens of 25 to 40 mm radius (epidural), or a wide crescent on one side (subdural)."""
    side = np.abs(made.mni[0]) > 30
    start = _choose(rng, (made.distance > -4) & (made.distance < 0) & side & (made.mni[2] > 0) & (made.mni[2] < 55))
    centre = made.place[:, *start]
    offset = np.sqrt(((made.place - centre[:, None, None, None]) ** 2).sum(axis=0))
    if subdural:
        radius, thickness, power = rng.uniform(55, 80), rng.uniform(5, 12), 0.5
    else:
        radius, thickness, power = rng.uniform(25, 40), rng.uniform(9, 20), 1.0
    depth = thickness * np.clip(1 - (offset / radius) ** 2, 0, None) ** power
    same_side = np.sign(made.mni[0]) == np.sign(made.mni[0][start])
    layer = np.minimum(made.distance + depth, -made.distance)  # positive between the skull and the depth
    layer = np.where(depth > 0, layer, -5) * 1.0
    return _coarse((_fine(layer.astype(np.float32)) > 0).astype(np.float32)) * same_side
