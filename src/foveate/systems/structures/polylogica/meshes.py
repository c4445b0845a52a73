"""Mesh files: OBJ, PLY, STL, VTK, VTU and GIFTI, and maps of values at the points of a surface."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.polylogica.labelling import COLOURS


@dataclass
class Mesh:
    """A mesh as it lies in a file.

    Attributes:
        points: float64 ``(P, 3)``.
        simplices: Listed simplices of each dimension d, ``(k_d, d + 1)`` points.
        at_points: Fields at points, name to ``(P,)``.
        at_cells: Fields at listed simplices, name to ``(k,)``, dimension by dimension.
    """

    points: np.ndarray
    simplices: list[np.ndarray]
    at_points: dict[str, np.ndarray] = field(default_factory=dict)
    at_cells: dict[str, np.ndarray] = field(default_factory=dict)


def read_mesh(path: Path, suffix: str, expected: str) -> Mesh:
    """Read a mesh file.

    Args:
        path: The file.
        suffix: Its format, one of `READERS`.
        expected: What would work, told if it does not.

    Raises:
        InputError: If it is damaged, or of another format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, which is judged here
            mesh = READERS[suffix](path)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # readers raise, or leave, whatever the damage leads to
        said = "" if isinstance(error, SystemExit) else str(error)
        raise InputError(path, f"is damaged or no {suffix} file: {said or type(error).__name__}", expected) from error
    if not len(mesh.points) or not sum(map(len, mesh.simplices)):
        raise InputError(path, "holds no cells", "a mesh of points, lines, triangles or tetrahedra")
    if not np.isfinite(mesh.points).all():
        raise InputError(path, "has coordinates that are not finite", "numbers")
    if any(len(s) and (s.min() < 0 or s.max() >= len(mesh.points)) for s in mesh.simplices):
        raise InputError(path, "has a cell on a point that is not there", "an undamaged file")
    return mesh


def _obj(path: Path) -> Mesh:
    """Read points (with colours behind the coordinates), points, lines and faces of an OBJ file."""
    points, colours = [], []
    simplices: list[list[list[int]]] = [[], [], []]
    text = path.read_text(encoding="utf-8", errors="strict")
    for number, line in enumerate(text.splitlines(), 1):
        keyword, *words = line.split("#")[0].split() or [""]
        try:
            if keyword == "v":
                values = [float(word) for word in words]
                points.append(values[:3])
                colours.append(values[-3:] if len(values) >= 6 else None)
                if len(values) < 3:
                    raise ValueError("three coordinates are needed")
            elif keyword in ("p", "l", "f"):
                corners = [int(word.partition("/")[0]) for word in words]
                corners = [c - 1 if c > 0 else len(points) + c for c in corners]
                if any(not 0 <= c < len(points) for c in corners) or len(corners) < " plf".index(keyword):
                    raise ValueError("a point that is not there, or too few")
                if keyword == "p":
                    simplices[0] += [[c] for c in corners]
                elif keyword == "l":
                    simplices[1] += [list(pair) for pair in pairwise(corners)]
                else:  # a polygon as a fan of triangles
                    simplices[2] += [[corners[0], b, c] for b, c in pairwise(corners[1:])]
        except ValueError as error:
            raise InputError(
                f"{path}:{number}", f"cannot be understood: {error}", "an OBJ file: v, p, l and f lines"
            ) from error
    rows = [np.array(s, np.int64).reshape(-1, d + 1) for d, s in enumerate(simplices)]
    mesh = Mesh(np.array(points, np.float64).reshape(-1, 3), rows)
    if colours and all(c is not None for c in colours):
        mesh.at_points = dict(zip(COLOURS, np.array(colours, np.float64).T, strict=True))
    return mesh


_SIMPLICES = {"vertex": 0, "line": 1, "triangle": 2, "tetra": 3}


def _meshio(path: Path) -> Mesh:
    """Read PLY, STL, VTK and VTU."""
    import meshio

    read = {".ply": meshio.ply.read, ".stl": meshio.stl.read, ".vtk": meshio.vtk.read, ".vtu": meshio.vtu.read}
    found = read[path.suffix.lower()](str(path))
    simplices: list[list[np.ndarray]] = [[] for _ in _SIMPLICES]
    values: dict[str, list[list[np.ndarray]]] = {}
    for i, block in enumerate(found.cells):
        rows, copies = np.asarray(block.data), 1
        if block.type == "quad":
            rows, copies = rows[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), 2
        elif block.type not in _SIMPLICES:
            raise InputError(path, f"has cells of type {block.type}", "points, lines, triangles, quadrangles and tetrahedra")
        d = rows.shape[1] - 1
        simplices[d].append(rows)
        for name, blocks in found.cell_data.items():
            column = np.asarray(blocks[i])
            if column.ndim == 1 and column.dtype.kind in "biuf":
                values.setdefault(name, [[] for _ in _SIMPLICES])[d].append(np.repeat(column, copies))
    joined = [np.concatenate(s) if s else np.empty((0, d + 1), np.int64) for d, s in enumerate(simplices)]
    points = np.asarray(found.points, np.float64)
    mesh = Mesh(np.pad(points, ((0, 0), (0, 3 - points.shape[1]))), joined)
    for name, column in found.point_data.items():
        column = np.asarray(column)
        if column.ndim == 1 and column.dtype.kind in "biuf":
            mesh.at_points[name] = column
        elif column.ndim == 2 and column.shape[1] in (3, 4) and name.lower() in ("rgb", "rgba", "colors", "colours"):
            mesh.at_points |= dict(zip(COLOURS, column.T, strict=False))
    total = sum(map(len, joined))
    for name, per_dimension in values.items():
        column = np.concatenate([c for columns in per_dimension for c in columns])
        if len(column) == total:
            mesh.at_cells[name] = column
    return mesh


def _gifti(path: Path) -> Mesh:
    """Read a GIFTI surface."""
    import nibabel

    image = nibabel.load(path)
    parts = {kind: image.agg_data(kind) for kind in ("pointset", "triangle")}
    if any(isinstance(part, tuple) for part in parts.values()):
        raise InputError(path, "holds no surface, or several", "one surface; scalar maps of a surface are given as labels")
    triangles = np.asarray(parts["triangle"], np.int64)
    lower = [np.empty((0, d + 1), np.int64) for d in range(2)]
    return Mesh(np.asarray(parts["pointset"], np.float64), [*lower, triangles])


def read_map(path: Path, count: int) -> dict[str, np.ndarray]:
    """Read the values of a scalar map, GIFTI or text: a field for each map in the file, named after the file."""
    name = path.name.partition(".")[0]
    expected = f"a GIFTI map or a text file with {count} values, one for each point"
    if not path.is_file():
        raise InputError(path, "there is no such file", expected)
    try:
        if ".gii" in path.suffixes:
            import nibabel

            maps = [np.asarray(array.data) for array in nibabel.load(path).darrays]
        else:
            maps = list(np.loadtxt(path, ndmin=2, delimiter="," if path.suffix == ".csv" else None).T)
    except Exception as error:  # readers raise whatever the damage leads to
        raise InputError(path, f"is damaged, or no map: {error or type(error).__name__}", expected) from error
    if not maps or any(m.shape != (count,) for m in maps):
        raise InputError(path, f"holds maps of shape {[m.shape for m in maps]}", expected)
    return {name if len(maps) == 1 else f"{name}{i}": m for i, m in enumerate(maps)}


READERS: dict[str, Callable[[Path], Mesh]] = {
    "obj": _obj,
    "ply": _meshio,
    "stl": _meshio,
    "vtk": _meshio,
    "vtu": _meshio,
    "gii": _gifti,
}
