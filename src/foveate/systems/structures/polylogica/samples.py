"""Embedded models, each with a specification: a triangle, mazes, the surface of a brain, its grey and white matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from foveate.errors import InputError, MissingExtra
from foveate.systems.structures.polylogica.complexes import from_simplices, maze
from foveate.systems.structures.polylogica.models import Model
from foveate.systems.structures.polylogica.reading import Reading, of_volume, read_model

Sample = Literal["triangle", "maze", "brain", "tissue"]

TRIANGLE = """\
// Near an edge lie its ends; a path may start and end anywhere.
let red = ap("red")
let blue = ap("blue")

save "near red" near(red)
save "interior blue" interior(blue)
save "through blue to red" through(blue,red)
save "through red to blue" through(red,blue)
"""

MAZE = """\
// From which rooms a white room is one corridor away, and from which two.
let green = ap("G")
let white = ap("W")
let corridor = ap("corridor")
let ways(goal) = eta((green | eta(corridor,goal)),goal)

save "one step" ways(white)
save "two steps" ways(ways(white)) & (!ways(white))
save "green beyond reach" green \\ reach(white,tt)
"""

# 33 formulas, atoms included, as many as the specification that the authors logged their times with.
BRAIN = """\
let valley = ap("sulcus")
let ridge = ap("gyrus")

// Valleys that a deep point can be reached from without leaving them, the shallow others, and the line around the first.
let basin = touch(valley,ap("deep"))
let shallow = valley \\ basin
save "basin" basin
save "shallow" shallow
save "shore" boundary(basin)

// Crests of ridges; those at the front that hang together with a shallow valley, and what they are cut off by.
let crest = ridge & ap("crest")
let bank = touch(crest | shallow,shallow) & ap("front")
save "bank" bank
save "inner bank" interior(bank) \\ near(basin)

// Crests that nowhere grow thick, and thin ground that cannot be left but over a basin.
let thick = ap("thick")
save "thin crest" crest \\ touch(crest,thick)
save "thin pond" I sur(!thick,basin)
"""

TISSUE = """\
let grey = ap("label1")
let seed = ap("label3")
let white = ap("label2") | seed

// White matter that hangs together with that at the top, what does not, and grey matter in touch with it.
let core = touch(white,seed)
save "core" core
save "islands" white \\ core
save "at core" touch(grey,core)

// Topology is not erosion: on polyhedra the interior of an interior is itself.
save "contact" near(grey) & near(white)
save "inner white" I white
save "inner inner white" I I white
save "filled white" I N white
"""


def triangle() -> Model:
    """Return the triangle of seven cells whose answers are known."""
    points = np.array([[0.0, 0, 0], [50, 0, 0], [25, 35, 0]])
    whole = from_simplices(points, [np.arange(3)[:, None], np.array([[0, 1], [0, 2], [1, 2]]), np.array([[0, 1, 2]])])
    red = np.isin(np.arange(7), [2, 3])
    return Model(whole.frame, {"red": red, "blue": ~red}, whole)


def white_maze(n: int = 3) -> Model:
    """Return the maze of the published models: the inner rooms are white (W), the outer ones green (G)."""
    whole, room, owner = maze(n)
    place = np.stack(np.unravel_index(np.maximum(owner, 0), (n, n, n)))
    inner = ((place > 0) & (place < n - 1)).all(axis=0)
    return Model(whole.frame, {"G": room & ~inner, "W": room & inner, "corridor": ~room}, whole)


def brain(hemisphere: Literal["left", "right"] = "left") -> Model:
    """Return the pial surface of fsaverage5: 61,442 cells, with atoms by depth, curvature, thickness and place."""
    folder = _shipped() / "fsaverage5"
    maps = tuple(folder / f"{name}_{hemisphere}.gii.gz" for name in ("sulc", "curv", "thick"))
    s, c, t = (f"{name}_{hemisphere}" for name in ("sulc", "curv", "thick"))
    rules = f"sulcus = {s} > 0.3, gyrus = {s} <= 0.3, deep = {s} > 1.2, crest = {c} < -0.05, front = y > 0, thick = {t} > 2.5"
    return read_model(folder / f"pial_{hemisphere}.gii.gz", Reading(rules, maps))


def tissue(stride: int = 6, voxels: bool = False, adjacency: int = 0) -> Model:
    """Return the grey and white matter of the MNI template, cut into tetrahedra or as voxels; see `tissue_labels`."""
    labels, spacing = tissue_labels(stride)
    return of_volume(Path("tissue"), {"value": labels}, spacing, Reading(voxels=voxels, adjacency=adjacency))


def tissue_labels(stride: int = 6) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Label the MNI template by the larger probability, if that is 0.3 at least.

    Args:
        stride: Every so many-th voxel of a millimetre along each axis.

    Returns:
        uint8 ``(X, Y, Z)``: 1 grey, 2 white matter, 3 white matter more than 120 mm above the lowest slice; and the spacing.
    """
    import nibabel

    folder = _shipped()
    names = [f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz" for kind in ("gm", "wm")]
    step = (slice(None, None, stride),) * 3
    grey, white = (np.asarray(nibabel.load(folder / name).dataobj)[step] for name in names)
    labels = np.where(np.maximum(grey, white) < 77, 0, np.where(grey >= white, 1, 2))  # 77 of 255 is 0.3
    labels[(labels == 2) & (np.arange(labels.shape[2]) * stride > 120)] = 3
    return labels.astype(np.uint8), (float(stride),) * 3


def _shipped() -> Path:
    """Return the folder of data that nilearn ships."""
    from importlib.util import find_spec

    found = find_spec("nilearn")  # importing it takes seconds
    if found is None or found.origin is None:
        raise MissingExtra("nilearn", "structures")
    folder = Path(found.origin).parent / "datasets" / "data"
    if not (folder / "fsaverage5" / "pial_left.gii.gz").is_file():
        raise InputError(folder, "does not hold the surfaces that nilearn ships", "another version of nilearn")
    return folder


SAMPLES: dict[str, tuple[Callable[[], Model], str]] = {
    "triangle": (triangle, TRIANGLE),
    "maze": (white_maze, MAZE),
    "brain": (brain, BRAIN),
    "tissue": (tissue, TISSUE),
}
