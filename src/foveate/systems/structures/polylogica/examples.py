"""What the contract feeds it: the triangle of seven cells in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveate.results import Picture
from foveate.systems.structures.polylogica.output import Volume, compact
from foveate.systems.structures.polylogica.samples import triangle

POINTS = np.array([[0.0, 0, 0], [50, 0, 0], [25, 35, 0], [30, 10, 40]])
TRIANGLES = np.array([[0, 1, 2], [0, 1, 3]])


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a small model in a format, or a specification that fits all of them."""
    path = folder / f"model.{suffix}"
    if name == "spec":
        path.write_text(
            'save "boundary" boundary(tt)\nsave "ways" through(I tt,tt)\nprint "cells" volume(tt)\n', encoding="utf-8"
        )
    elif suffix == "json":
        compact(triangle()).write(path)
    elif suffix == "obj":
        lines = [f"v {x} {y} {z} {x / 50} 0.5 {z / 40}" for x, y, z in POINTS]
        path.write_text("\n".join([*lines, *(f"f {a + 1} {b + 1} {c + 1}" for a, b, c in TRIANGLES)]) + "\n", encoding="utf-8")
    elif suffix in ("nii", "nii.gz"):
        Volume(_blobs(), (1.0, 1.0, 2.0)).write(path)
    elif suffix == "png":
        Picture(_blobs()[0]).write(path)
    elif suffix in ("gii", "gii.gz"):
        _gifti(path)
    else:
        import meshio

        module = {"ply": meshio.ply, "stl": meshio.stl, "vtk": meshio.vtk, "vtu": meshio.vtu}[suffix]
        marks = {} if suffix in ("ply", "stl") else {"red": [np.array([1, 0], np.uint8)]}
        module.write(str(path), meshio.Mesh(POINTS, [("triangle", TRIANGLES.astype(np.int32))], cell_data=marks))
    return path


def _blobs() -> np.ndarray:
    """Return labels uint8 ``(4, 5, 6)``: two regions and some background."""
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[:, 1:4, 1:3], labels[:, 2:, 3:5] = 1, 2
    return labels


def _gifti(path: Path) -> None:
    import nibabel

    arrays = [
        nibabel.gifti.GiftiDataArray(POINTS.astype(np.float32), "NIFTI_INTENT_POINTSET"),
        nibabel.gifti.GiftiDataArray(TRIANGLES.astype(np.int32), "NIFTI_INTENT_TRIANGLE"),
    ]
    nibabel.gifti.GiftiImage(darrays=arrays).to_filename(path)
