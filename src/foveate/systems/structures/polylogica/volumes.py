"""Pictures and volumes: label pictures, folders of PNG slices, NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.readers.pictures import read_picture
from foveate.systems.structures.polylogica.labelling import COLOURS

# Fields, name to ``(H, W)`` or ``(X, Y, Z)``; and side lengths along the axes.
Volume = tuple[dict[str, np.ndarray], tuple[float, ...]]

MAX_VOXELS = 2**28


def read_flat(path: Path) -> Volume:
    """Read a picture: a field of grey values, or three of colours in [0, 1]."""
    picture = read_picture(path)
    if picture.grey:
        return {"value": picture.pixels if picture.pixels.ndim == 2 else picture.pixels[..., 0]}, (1.0, 1.0)
    return dict(zip(COLOURS, np.moveaxis(picture.colour().astype(np.float64), 2, 0), strict=True)), (1.0, 1.0)


def read_stack(folder: Path) -> Volume:
    """Read a folder of PNG slices, in the order of their names, as a volume; the first axis goes through the slices."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png" and p.is_file())
    if not files:
        raise InputError(folder, "holds no PNG slices", "slices of a volume as PNG, all of one size")
    slices = [read_flat(file)[0] for file in files]
    shapes = {(tuple(s), next(iter(s.values())).shape) for s in slices}
    if len(shapes) > 1:
        raise InputError(folder, "its slices differ in size or in colour", "PNG slices of one size and kind")
    return {name: np.stack([s[name] for s in slices]) for name in slices[0]}, (1.0, 1.0, 1.0)


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI volume."""
    import nibabel

    expected = "a NIfTI volume of three dimensions"
    try:
        image = nibabel.load(path)
        shape = tuple(n for n in image.shape if n != 1) if len(image.shape) > 3 else image.shape
        if len(shape) != 3 or np.prod(shape, dtype=float) > MAX_VOXELS:
            raise InputError(path, f"has shape {image.shape}", f"{expected}, at most {MAX_VOXELS:,} voxels")
        values = np.asarray(image.dataobj).reshape(shape)
        spacing = tuple(float(z) for z in image.header.get_zooms()[:3])
    except InputError:
        raise
    except Exception as error:  # nibabel raises whatever the damage leads to
        raise InputError(path, f"is damaged or no NIfTI file: {error or type(error).__name__}", expected) from error
    if values.dtype.kind not in "biuf":
        raise InputError(path, f"holds values of type {values.dtype}", "numbers")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(path, "holds values that are not finite", "numbers")
        whole = np.rint(values)
        if (values == whole).all() and np.abs(whole).max() < 2**31:
            values = whole.astype(np.int64)
    return {"value": values}, spacing
