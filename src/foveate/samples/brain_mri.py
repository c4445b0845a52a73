"""MR slices with phase, coils and noise: real anatomy from the MNI152 template that nilearn ships, and oriented phantoms.

A slice is drawn on a fine grid and cut in k-space to its size, as a scanner does it: edges ring. Training, validation and test
slices stem from different slabs of the template, some millimetres apart, in each of the three orientations; slices of different
orientations share a line of voxels at most. The template's halves mirror each other: a sagittal slab is on both sides.

The phantoms are made for adaptive sampling: ellipses and a texture that share a direction and a width, drawn anew for each, so
that k-space is strong in another band each time, and the samples around DC tell where.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from foveate.parts.caching import cached
from foveate.parts.coils import simulate_coils
from foveate.samples.mni152 import mni152

PartName = Literal["train", "val", "test"]
Orientation = Literal["axial", "coronal", "sagittal"]
ORIENTATIONS: tuple[Orientation, ...] = ("axial", "coronal", "sagittal")
PHANTOM = len(ORIENTATIONS)  # what a phantom has in the place of an orientation
VERSION = 1  # of the drawing; another one is drawn anew

# Slabs in the template's millimetres along z, y and |x|, at least 4 mm apart.
SLABS: dict[Orientation, dict[PartName, tuple[tuple[float, float], ...]]] = {
    "axial": {
        "train": ((-34, -16), (0, 14), (30, 46)),
        "val": ((20, 25), (61, 64)),
        "test": ((-11, -5), (51, 56)),
    },
    "coronal": {
        "train": ((-88, -66), (-50, -34), (-14, 6), (24, 44)),
        "val": ((-28, -20), (49, 53)),
        "test": ((-60, -55), (11, 18)),
    },
    "sagittal": {
        "train": ((2, 16), (32, 46)),
        "val": ((51, 54),),
        "test": ((21, 27),),
    },
}
_FIELD_OF_VIEW = 215.0  # millimetres, before zoom
_FINE = 2.0  # millimetres between the points of the fine grid, about; there are at least two to a pixel
_CENTRE = {"axial": (0.0, -17.0), "coronal": (0.0, 8.0), "sagittal": (-17.0, 8.0)}


@dataclass(frozen=True)
class Setting:
    """What slices are drawn.

    Attributes:
        phantoms: Share of phantoms.
        orientations: Of the anatomy, in equal shares.
        turn: Largest angle in the plane in degrees, to either side.
        zoom: Largest change of the field of view, as a share.
        elastic: Standard deviation of the smooth shifts in millimetres.
        contrast: Map grey values through a random curve: CSF may shine and white matter be dark.
        phase: Largest phase in the middle three fifths of the view, of a smooth polynomial, as a share of pi.
    """

    phantoms: float = 0.5
    orientations: tuple[Orientation, ...] = ORIENTATIONS
    turn: float = 90.0
    zoom: float = 0.12
    elastic: float = 3.0
    contrast: bool = True
    phase: float = 1.0


MIXED = Setting()
ANATOMY = Setting(phantoms=0.0)
CONTROL = Setting(phantoms=0.0, orientations=("axial",), turn=0.0, contrast=False)
"""Slices that are much alike: one mask is as good for each of them as another one's own."""


class Slices(NamedTuple):
    """Slices without noise.

    Attributes:
        images: complex64 ``(N, H, W)``, the middle of the object in the middle; the largest magnitude of each is 1.
        kinds: int64 ``(N,)``: position in `ORIENTATIONS`, or `PHANTOM`.
        places: float32 ``(N,)``: where the slice lies in the template, in millimetres along its normal; NaN for phantoms.
    """

    images: np.ndarray
    kinds: np.ndarray
    places: np.ndarray


class Scan(NamedTuple):
    """Fully sampled measurements.

    Attributes:
        kspace: complex64 ``(N, C, H, W)``, DC in the middle, as the files' reader gives it (`foveate.parts.kspace.FASTMRI`).
        maps: complex64 ``(N, C, H, W)``: the coils' sensitivities.
    """

    kspace: np.ndarray
    maps: np.ndarray


def brain_mri(count: int, part: PartName, seed: int = 0, side: int = 64, setting: Setting = MIXED) -> Slices:
    """Draw slices, or take them as they were drawn before; the kinds are mixed.

    Args:
        count: How many.
        part: Of the template. Phantoms of different parts differ in their seeds.
        seed: Another one, other slices.
        side: Height and width in pixels.
        setting: `MIXED`, `ANATOMY`, `CONTROL` or another one.

    Raises:
        ValueError: If there is no such part, or the side is below 16.
        MissingExtra: If nibabel or nilearn is not installed.
    """
    if part not in SLABS["axial"] or side < 16:
        raise ValueError(f"part {part!r}, side {side}: not train, val or test, or below 16")

    def make() -> dict[str, np.ndarray]:
        first = list(SLABS["axial"]).index(part)
        drawn = [_slice(np.random.default_rng((seed, first, i)), i, part, side, setting) for i in range(count)]
        images, kinds, places = zip(*drawn, strict=True)
        # Kinds follow from the index, so that shares are exact; the order is mixed afterwards.
        order = np.random.default_rng((seed, first)).permutation(count)
        columns = np.stack(images), np.array(kinds), np.array(places, np.float32)
        return dict(zip(("images", "kinds", "places"), (column[order] for column in columns), strict=True))

    return Slices(**cached("brain_mri", [VERSION, count, part, seed, side, asdict(setting)], make))


def acquire(images: np.ndarray, coils: int = 1, snr_db: tuple[float, float] = (30.0, 40.0), seed: int = 0) -> Scan:
    """Measure slices with coils of their own and complex Gaussian noise.

    Args:
        images: Complex ``(N, H, W)``, the middle of the object in the middle.
        coils: How many; one is a coil of sensitivity 1.
        snr_db: Range of the ratio of mean signal power, over the whole slice and all coils, to a sample's noise power, in dB.
        seed: Of coils and noise. A slice's depend on its index too, and not on what else is measured.
    """
    kspace = np.empty((len(images), coils, *images.shape[1:]), np.complex64)
    maps = np.empty_like(kspace)
    for i, image in enumerate(images):
        rng = np.random.default_rng((seed, i, 1))
        maps[i] = simulate_coils(coils, image.shape, rng)
        clean = _kspace(maps[i] * image)
        power = np.mean(np.abs(image) ** 2) * 10 ** (-rng.uniform(*snr_db) / 10)
        noise = rng.standard_normal((2, *clean.shape))
        kspace[i] = clean + np.sqrt(power / 2) * (noise[0] + 1j * noise[1])
    return Scan(kspace, maps)


def _kspace(images: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=axes), norm="ortho"), axes=axes)


def _images(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


def _slice(rng: np.random.Generator, index: int, part: PartName, side: int, setting: Setting) -> tuple[np.ndarray, int, float]:
    """Draw a slice; whether it is a phantom, or of which orientation, follows from the index."""
    fine = side * max(2, round(_FIELD_OF_VIEW / (side * _FINE)))
    if int((index + 1) * setting.phantoms) > int(index * setting.phantoms):
        kind, place, magnitude = PHANTOM, float("nan"), _phantom(rng, side, fine)
    else:
        anatomy = index - int(index * setting.phantoms)
        orientation = setting.orientations[anatomy % len(setting.orientations)]
        kind = ORIENTATIONS.index(orientation)
        place, magnitude = _anatomy(rng, orientation, part, fine, setting)
    spectrum = _kspace(magnitude * np.exp(1j * _phase(rng, fine, setting.phase)))
    start = fine // 2 - side // 2
    image = _images(spectrum[start : start + side, start : start + side])
    return (image / np.abs(image).max()).astype(np.complex64), kind, place


@cache
def _template() -> np.ndarray:
    """Return the template's T1 values without the skull, float32 ``(197, 233, 189)`` of a millimetre each, in [0, 1]."""
    return mni152().astype(np.float32) / 255


def _anatomy(
    rng: np.random.Generator, orientation: Orientation, part: PartName, fine: int, setting: Setting
) -> tuple[float, np.ndarray]:
    """Draw a slice of the template: its place in millimetres, and magnitudes ``(fine, fine)``."""
    from scipy import ndimage

    slabs = np.array(SLABS[orientation][part])
    thickness = slabs[:, 1] - slabs[:, 0]
    slab = slabs[rng.choice(len(slabs), p=thickness / thickness.sum())]
    place = float(rng.uniform(*slab))
    angle = np.deg2rad(rng.uniform(-1, 1) * setting.turn)
    span = _FIELD_OF_VIEW * (1 + rng.uniform(-1, 1) * setting.zoom)
    along = ((np.arange(fine) + 0.5) / fine - 0.5) * span
    down, right = np.meshgrid(along, along, indexing="ij")
    shifts = setting.elastic * _smooth(rng, fine)
    moved_by = rng.uniform(-6, 6, 2) * bool(setting.zoom)
    across = _CENTRE[orientation][0] + right * np.cos(angle) - down * np.sin(angle) + shifts[0] + moved_by[0]
    upward = _CENTRE[orientation][1] - right * np.sin(angle) - down * np.cos(angle) + shifts[1] + moved_by[1]
    normal = np.full_like(across, place)
    if orientation == "axial":
        millimetres = across, upward, normal
    elif orientation == "coronal":
        millimetres = across, normal, upward
    else:
        millimetres = normal * (1 if rng.random() < 0.5 else -1), across, upward
    voxels = [values + offset for values, offset in zip(millimetres, (98, 134, 72), strict=True)]
    values = ndimage.map_coordinates(_template(), voxels, order=1)
    if setting.contrast:
        # The template's grey values: fluid at about 0.3, grey matter at 0.65, white matter at 0.85.
        curve = np.concatenate([[0], rng.uniform(0.15, 1, 4)])
        values = np.interp(values, (0, 0.25, 0.5, 0.7, 0.9), curve)
    return place, values


def _smooth(rng: np.random.Generator, fine: int) -> np.ndarray:
    """Draw two smooth fields of unit variance ``(2, fine, fine)``: Gaussians around the points of a coarse grid."""
    knots = 10
    bumps = np.exp(-((np.linspace(0, knots - 1, fine)[:, None] - np.arange(knots)) ** 2) / 2)
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    return bumps @ rng.standard_normal((2, knots, knots)) @ bumps.T


def _phantom(rng: np.random.Generator, side: int, fine: int) -> np.ndarray:
    """Draw ellipses and a texture of one direction and one width within a large ellipse: magnitudes ``(fine, fine)``."""
    along = ((np.arange(fine) + 0.5) / fine - 0.5) * side  # in pixels of the slice
    y, x = np.meshgrid(along, along, indexing="ij")
    direction = rng.uniform(0, np.pi)
    frequency = rng.uniform(0.1, 0.4)  # of the texture, in cycles per pixel
    u, v = x * np.cos(direction) + y * np.sin(direction), y * np.cos(direction) - x * np.sin(direction)

    axes, tilt = rng.uniform(0.3, 0.45, 2) * side, rng.uniform(0, np.pi)
    p, q = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    body = (p / axes[0]) ** 2 + (q / axes[1]) ** 2 < 1
    # A wave six times as long tells of the texture in the samples around DC.
    values = rng.uniform(0.4, 0.6) + rng.uniform(0.1, 0.2) * np.cos(2 * np.pi * frequency / 6 * u + rng.uniform(0, 2 * np.pi))
    thin = 0.6 / frequency
    for _ in range(int(rng.integers(4, 10))):
        centre = rng.uniform(-0.32, 0.32, 2) * side
        narrow, long = thin * rng.uniform(0.8, 1.6), thin * rng.uniform(2.5, 5)
        inside = ((u - centre[0]) / narrow) ** 2 + ((v - centre[1]) / long) ** 2 < 1
        values = np.where(inside, rng.uniform(0.1, 1), values)

    # Noise in two blobs of k-space, opposite each other.
    steps = (np.arange(fine) - fine // 2) / side  # cycles per pixel of the slice
    ky, kx = np.meshgrid(steps, steps, indexing="ij")
    ku, kv = kx * np.cos(direction) + ky * np.sin(direction), ky * np.cos(direction) - kx * np.sin(direction)
    blob = np.exp(-((np.abs(ku) - frequency) ** 2 + kv**2) / (2 * 0.03**2))
    texture = _images(_kspace(rng.standard_normal((fine, fine))) * blob).real
    values = values + rng.uniform(0.15, 0.25) * texture / texture.std()
    return np.clip(values, 0, 1.5) * body


def _phase(rng: np.random.Generator, fine: int, largest: float) -> np.ndarray:
    """Draw a polynomial of degree 3: ``(fine, fine)``; in the middle of the view it stays within some share of pi."""
    along = np.linspace(-1, 1, fine)
    weights = rng.standard_normal((4, 4)) * (np.add.outer(np.arange(4), np.arange(4)) <= 3)
    phase = np.polynomial.polynomial.polygrid2d(along, along, weights)
    middle = phase[fine // 5 : -(fine // 5), fine // 5 : -(fine // 5)]
    return phase * (np.pi * largest * rng.uniform(0.3, 1) / np.abs(middle).max())
