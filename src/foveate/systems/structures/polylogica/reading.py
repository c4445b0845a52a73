"""A model of any file: JSON, meshes, pictures and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.polylogica import volumes
from foveate.systems.structures.polylogica.complexes import closed, cubes, grid_frame
from foveate.systems.structures.polylogica.labelling import COLOURS, Atoms, Border, Test, by_rules, labels, quantised, spread
from foveate.systems.structures.polylogica.meshes import READERS, Mesh, read_map, read_mesh
from foveate.systems.structures.polylogica.models import Grid, Model, read_json

FORMATS = "a model as json, obj, ply, stl, vtk, vtu, gii, nii or png, or a folder of png slices"
MAX_BYTES = 2**31


@dataclass(frozen=True)
class Reading:
    """How a mesh or a volume becomes a model.

    Attributes:
        rules: Rules for atoms, ``name = field > number & field <= number, other = ...``.
        labels: Files with a value for each point of a GIFTI surface; a field is named after each.
        border: Whether a labelled region has its border (``closed``) or not (``open``).
        stride: Take every so many-th pixel or voxel along each axis.
        background: Keep the pixels or voxels that have no atom.
        voxels: Make pixels or voxels the cells, adjacent as in ``adjacency``, rather than cut them into simplices.
        adjacency: 6, 18 or 26 for voxels, 4 or 8 for pixels; 0 is the smallest.
    """

    rules: str = ""
    labels: tuple[Path, ...] = ()
    border: Border = "closed"
    stride: int = 1
    background: bool = False
    voxels: bool = False
    adjacency: int = 0


def read_model(path: Path, reading: Reading = Reading()) -> Model:
    """Read a model of any format.

    Args:
        path: The file, or a folder of PNG slices.
        reading: How a mesh or a volume becomes a model.

    Raises:
        InputError: If it cannot be read, or is no model.
    """
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if reading.labels and suffix not in READERS:
        raise InputError(path, "is no mesh, so there are no points for labels", "no labels, or a mesh")
    if path.is_dir():
        return of_volume(path, *volumes.read_stack(path), reading)
    if suffix == "png":
        return of_volume(path, *volumes.read_flat(path), reading)
    if not path.is_file():
        raise InputError(path, "there is no such file", FORMATS)
    if suffix not in ("json", "nii", *READERS):
        raise InputError(path, "is of a kind that is not known", FORMATS)
    if suffix != "json" and path.stat().st_size > MAX_BYTES:
        raise InputError(path, "is too large", f"at most {MAX_BYTES:,} bytes")
    if suffix == "nii":
        return of_volume(path, *volumes.read_nifti(path), reading)
    if reading.voxels:
        raise InputError(path, "is no picture or volume", "a NIfTI volume or PNG slices for voxel semantics")
    if suffix == "json":
        if reading.rules:
            raise InputError(path, "has its own atoms", "no rules for atoms with a JSON model")
        return read_json(path)
    mesh = read_mesh(path, suffix, FORMATS)
    for file in reading.labels:
        mesh.at_points |= read_map(file, len(mesh.points))
    return of_mesh(path, mesh, reading)


def of_mesh(path: Path, mesh: Mesh, reading: Reading) -> Model:
    """Make a model of a mesh: points in one place are one, and every face is there once.

    Args:
        path: The file that it stems from, for messages.
        mesh: The mesh. Fields at points that are one are the first one's.
        reading: How it becomes a model.

    Raises:
        InputError: If it is too large, or a rule is wrong.
    """
    notes = []
    unique, first, place = np.unique(mesh.points, axis=0, return_index=True, return_inverse=True)
    if len(unique) < len(mesh.points):
        notes.append(f"{len(mesh.points) - len(unique):,} points lie where another one does; they are taken as one")
    # Points stay in the order of the file.
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    place, first = rank[place.ravel()], np.sort(first)
    simplices = [np.sort(place[rows], axis=1) for rows in mesh.simplices]
    proper = [(rows[:, 1:] != rows[:, :-1]).all(axis=1) for rows in simplices]
    kept = np.concatenate(proper)
    if not kept.all():
        notes.append(f"{np.count_nonzero(~kept):,} cells have a point twice and are left out")
    simplices = [rows[chosen] for rows, chosen in zip(simplices, proper, strict=True)]
    while len(simplices) > 1 and not len(simplices[-1]):
        simplices.pop()
    try:
        whole = closed(mesh.points[first], simplices)
    except InputError as error:
        raise InputError(path, error.wrong, error.expected) from error
    listed = np.concatenate([whole.find(rows) for rows in simplices])
    at_points = {name: np.asarray(column)[first] for name, column in mesh.at_points.items()}
    at_cells = {name: column[kept] for name, column in mesh.at_cells.items()}
    at_points |= dict(zip("xyz", whole.points.T, strict=True))
    atoms: Atoms = {}
    coloured = set(COLOURS) <= at_points.keys()
    if coloured:
        at_points |= {name: _unit(at_points[name]) for name in COLOURS}
        atoms |= quantised({name: whole.mean_over_points(at_points[name]) for name in COLOURS})
    for name, column in at_points.items():
        if not coloured or name not in (*COLOURS, "alpha"):
            for atom, chosen in labels(name, column):
                closed_region = reading.border == "closed"
                atoms[atom] = whole.all_points(chosen) if closed_region else ~whole.all_points(~chosen)
    for name, column in at_cells.items():
        for atom, chosen in labels(name, column):
            atoms[atom] = spread(whole, listed, chosen, reading.border)

    def holds(name: str, test: Test) -> np.ndarray:
        if name in at_points:
            return test(whole.mean_over_points(at_points[name]))
        return spread(whole, listed, test(at_cells[name]), reading.border)

    fields = [*at_points, *at_cells]
    atoms |= by_rules(reading.rules, fields, holds)
    return Model(whole.frame, atoms, whole, hint=f"--rules makes atoms of {', '.join(fields)}", notes=tuple(notes))


def _unit(channel: np.ndarray) -> np.ndarray:
    """Bring a colour channel to [0, 1]: whole numbers are of 8 or 16 bits."""
    if channel.dtype.kind in "iu":
        return channel / np.iinfo(channel.dtype).max if channel.dtype.kind == "u" else channel / 255
    return channel.astype(np.float64)


def of_volume(path: Path, values: Mapping[str, np.ndarray], spacing: Sequence[float], reading: Reading) -> Model:
    """Make a model of a picture or a volume: cut into simplices, or of the pixels or voxels themselves.

    Args:
        path: The file that it stems from, for messages.
        values: Fields, name to ``(H, W)`` or ``(X, Y, Z)``.
        spacing: Side lengths along the axes.
        reading: How it becomes a model.

    Raises:
        InputError: If there are no labels, the model would be too large, or a rule is wrong.
    """
    if reading.stride < 1:
        raise InputError("stride", f"is {reading.stride}", "1 or more")
    step = (slice(None, None, reading.stride),) * len(spacing)
    values = {name: column[step] for name, column in values.items()}
    spacing = tuple(s * reading.stride for s in spacing)
    flat = {name: column.ravel() for name, column in values.items()}
    atoms: Atoms = {}
    if "red" in flat:
        atoms |= quantised(flat)
    elif not reading.rules:
        atoms |= dict(labels("label", flat["value"], always=True))
    atoms |= by_rules(reading.rules, list(flat), lambda name, test: test(flat[name]))
    if not atoms:
        raise InputError(path, "has no labels", 'whole numbers of up to 64 values, or rules such as "dense = value > 200"')
    shape = next(iter(values.values())).shape
    kept = np.ones(shape, bool) if reading.background else np.logical_or.reduce([*atoms.values()]).reshape(shape)
    atoms = {name: chosen[kept.ravel()] for name, chosen in atoms.items()}
    hint = f"--rules makes atoms of {', '.join(flat)}"
    try:
        if reading.voxels:
            frame = grid_frame(kept, reading.adjacency or 2 * kept.ndim)
            return Model(frame, atoms, grid=Grid(kept, spacing), hint=hint)
        whole, owner = cubes(kept, spacing)
    except InputError as error:
        what = f"{error.where} {error.wrong}" if error.where != "grid" else error.wrong
        raise InputError(path, what, f"{error.expected}; stride and rules change what is kept") from error
    inside = np.flatnonzero(owner >= 0)
    atoms = {name: spread(whole, inside, chosen[owner[inside]], reading.border) for name, chosen in atoms.items()}
    return Model(whole.frame, atoms, whole, grid=Grid(kept, spacing, owner), hint=hint)
