"""Finite simplicial complexes as integer arrays: their face posets, barycentric subdivision, mazes and grids of cubes.

Paper: arXiv 2105.06194, the section on polyhedral models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.polylogica.method import Frame

MAX_DIMENSION = 7  # a simplex has 2 ** (d + 1) - 2 proper faces
MAX_CELLS = 2**26  # 67 million, whose incidences are some 2 GB


class MissingFace(InputError):
    """A complex lacks a face of one of its simplices.

    Args:
        simplex: Points of the simplex.
        face: Points of the face.
    """

    def __init__(self, simplex: Sequence[int], face: Sequence[int]) -> None:
        self.simplex, self.face = tuple(simplex), tuple(face)
        wrong = f"the simplex on points {list(simplex)} has no face on points {list(face)}"
        super().__init__("complex", wrong, "every face of a simplex as a simplex of its own")
        self.args = (self.simplex, self.face)


@dataclass(frozen=True)
class Complex:
    """A finite simplicial complex. Its cells are numbered by dimension, then by their points.

    Attributes:
        points: float64 ``(P, 3)``: coordinates; points that no simplex has are allowed.
        simplices: For each dimension d int32 ``(n_d, d + 1)``: points of each simplex, ascending; rows in order, none twice.
        faces: For each dimension d int32 ``(n_d, 2 ** (d + 1))``: the cell of each face, by the mask of the points that it
            has; column 0 is not used, and the last one is the cell itself.
    """

    points: np.ndarray
    simplices: tuple[np.ndarray, ...]
    faces: tuple[np.ndarray, ...]

    @property
    def size(self) -> int:
        """Number of cells."""
        return sum(map(len, self.simplices))

    @property
    def dimension(self) -> int:
        """Largest dimension of a simplex."""
        return len(self.simplices) - 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of simplices of each dimension."""
        return tuple(map(len, self.simplices))

    @property
    def euler(self) -> int:
        """Euler characteristic."""
        return sum((-1) ** d * count for d, count in enumerate(self.counts))

    @cached_property
    def starts(self) -> np.ndarray:
        """First cell of each dimension, and the number of cells."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    @cached_property
    def dimensions(self) -> np.ndarray:
        """int8 ``(n,)``: dimension of each cell."""
        return np.repeat(np.arange(len(self.simplices), dtype=np.int8), self.counts)

    @cached_property
    def frame(self) -> Frame:
        """The face poset: of each cell all proper faces, of every codimension."""
        lengths = [np.full(len(f), f.shape[1] - 2, np.int64) for f in self.faces]
        start = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        return Frame(start, np.concatenate([f[:, 1:-1].ravel() for f in self.faces]))

    @cached_property
    def maximal(self) -> np.ndarray:
        """Bool ``(n,)``: cells that are no other cell's face."""
        alone = np.ones(self.size, bool)
        alone[self.frame.below] = False
        return alone

    def find(self, rows: np.ndarray) -> np.ndarray:
        """Find simplices that are there by their points ``(k, d + 1)``, ascending: the cells that they are."""
        d = rows.shape[1] - 1
        if not len(rows):
            return np.zeros(0, np.int64)
        both = np.concatenate([self.simplices[d].astype(np.int64), rows])
        place = np.unique(_ranks(both, max(len(self.points), 2)), return_inverse=True)[1].ravel()
        return self.starts[d] + place[len(self.simplices[d]) :]

    def mean_over_points(self, values: np.ndarray) -> np.ndarray:
        """Average values at points ``(P,)`` over the points of each cell."""
        return np.concatenate([values[s].mean(axis=1) for s in self.simplices])

    def all_points(self, chosen: np.ndarray) -> np.ndarray:
        """Find the cells all of whose points are among some points: bool ``(P,)`` to ``(n,)``."""
        return np.concatenate([chosen[s].all(axis=1) for s in self.simplices])


def from_simplices(points: np.ndarray, simplices: Sequence[np.ndarray]) -> Complex:
    """Make a complex of all its simplices.

    Args:
        points: ``(P, 3)``.
        simplices: For each dimension d ``(n_d, d + 1)`` points, rows and their order arbitrary.

    Raises:
        MissingFace: If a face of a simplex is not listed; the first such one is named.
        InputError: If a simplex has a point twice or is listed twice, or the complex is empty or of too high a dimension.
    """
    if len(simplices) > MAX_DIMENSION + 1:
        raise InputError("complex", f"has dimension {len(simplices) - 1}", f"at most {MAX_DIMENSION}")
    if not sum(map(len, simplices)):
        raise InputError("complex", "has no simplices", "at least one point")
    ordered = []
    for d, rows in enumerate(simplices):
        rows = np.sort(np.asarray(rows, np.int64).reshape(-1, d + 1), axis=1)
        twice = np.flatnonzero((rows[:, 1:] == rows[:, :-1]).any(axis=1))
        if twice.size:
            raise InputError("complex", f"a simplex has a point twice: {rows[twice[0]].tolist()}", "distinct points")
        unique = unique_rows(rows, len(points))
        if len(unique) < len(rows):
            repeated = _repeated(rows, len(points)).tolist()
            raise InputError("complex", f"the simplex on points {repeated} is listed twice", "every simplex once")
        ordered.append(unique)
    return _with_faces(points, ordered)


def closed(points: np.ndarray, tops: Sequence[np.ndarray]) -> Complex:
    """Make a complex of some simplices and all their faces.

    Args:
        points: ``(P, 3)``.
        tops: For each dimension d ``(k_d, d + 1)`` points of simplices; repeated ones count once.

    Raises:
        InputError: As `from_simplices`.
    """
    layers: list[np.ndarray] = []
    faces = np.empty((0, len(tops) + 1), np.int64)
    for d in range(len(tops) - 1, -1, -1):
        given = np.sort(np.asarray(tops[d], np.int64).reshape(-1, d + 1), axis=1)
        drops = [np.delete(faces, i, axis=1) for i in range(faces.shape[1])] if len(faces) else []
        faces = unique_rows(np.concatenate([given, *drops]), len(points))
        layers.insert(0, faces)
    return from_simplices(points, layers)


def _ranks(rows: np.ndarray, count: int) -> np.ndarray:
    """Turn rows of numbers below ``count`` into one number each, in the rows' lexicographic order."""
    code, bound = rows[:, 0].astype(np.int64), count
    for column in rows.T[1:]:
        if bound > 2**62 // count:  # the next product would not fit
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
            bound = len(rows)
        code = code * count + column
        bound *= count
    return code


def unique_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """Sort rows of numbers below ``count`` and drop repeated ones."""
    if not len(rows):
        return rows
    _, first = np.unique(_ranks(rows, max(count, 2)), return_index=True)
    return rows[first]


def _repeated(rows: np.ndarray, count: int) -> np.ndarray:
    """Return a row that stands there twice."""
    _, inverse, counts = np.unique(_ranks(rows, max(count, 2)), return_inverse=True, return_counts=True)
    return rows[np.flatnonzero(counts[inverse] > 1)[0]]


def _with_faces(points: np.ndarray, ordered: Sequence[np.ndarray]) -> Complex:
    """Number the faces of every simplex: those with one point less are looked up, the others are theirs."""
    simplices = tuple(rows.astype(np.int32) for rows in ordered)
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in simplices])])
    if starts[-1] > MAX_CELLS:
        raise InputError("complex", f"has {starts[-1]:,} cells", f"at most {MAX_CELLS:,}")
    place = np.full(len(points), -1, np.int64)
    place[simplices[0][:, 0]] = np.arange(len(simplices[0]))
    keys: list[np.ndarray] = []  # of the simplices of each dimension from 1 on: (number of the face without the last point, it)
    faces: list[np.ndarray] = []
    for d, rows in enumerate(ordered):
        table = np.zeros((len(rows), 2 ** (d + 1)), np.int32)
        table[:, -1] = starts[d] + np.arange(len(rows))
        if d and len(rows):
            for i in range(d + 1):
                without = np.delete(rows, i, axis=1)
                found = _look_up(without, place, keys, len(points))
                if found.min() < 0:
                    k = int(np.argmin(found))
                    raise MissingFace(rows[k].tolist(), without[k].tolist())
                kept = [j for j in range(d + 1) if j != i]
                for mask in range(1, 2**d):
                    whole = sum(1 << kept[j] for j in range(d) if mask >> j & 1)
                    table[:, whole] = faces[d - 1][found, mask]
        faces.append(table)
        if d:
            keys.append((table[:, -1 - 2**d] - starts[d - 1]).astype(np.int64) * len(points) + rows[:, -1])
    return Complex(np.asarray(points, np.float64), simplices, tuple(faces))


def _look_up(rows: np.ndarray, place: np.ndarray, keys: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Find simplices by their points: numbers within their dimension, -1 for what is not there."""
    found = place[rows[:, 0]]
    for d, column in enumerate(rows.T[1:]):
        key = np.where(found < 0, -1, found * count + column)
        near = np.searchsorted(keys[d], key)
        near[near == len(keys[d])] = 0
        hit = keys[d][near] == key if len(keys[d]) else np.zeros(len(key), bool)
        found = np.where(hit, near, -1)
    return found


def subdivide(whole: Complex) -> tuple[Complex, np.ndarray]:
    """Subdivide barycentrically: the points are the barycentres of the cells, the simplices are chains of faces.

    Returns:
        The subdivision; and int32 ``(n',)`` for each of its cells the cell that it lies in, the largest of its chain.
    """
    barycentres = np.concatenate([whole.points[s].mean(axis=1) for s in whole.simplices])
    tops: list[np.ndarray] = []
    expected = sum(math.factorial(d + 1) * count for d, count in enumerate(whole.counts))  # simplices as large as their carrier
    if expected > MAX_CELLS:
        raise InputError("subdivide", f"gives more than {expected:,} cells", f"at most {MAX_CELLS:,}")
    for d, table in enumerate(whole.faces):
        chosen = table[whole.maximal[whole.starts[d] : whole.starts[d + 1]]]
        orders = itertools.permutations(range(d + 1))
        chains = [list(itertools.accumulate((1 << i for i in order), int.__or__)) for order in orders]
        tops.append(np.concatenate([chosen[:, chain] for chain in chains]))
    finer = closed(barycentres, tops)
    return finer, np.concatenate([s[:, -1] for s in finer.simplices])


# ---------------------------------------------------------------------------------------------------------------------
# cubes cut into tetrahedra
# ---------------------------------------------------------------------------------------------------------------------

# Corners of a cube are numbered x + 2 y + 4 z. Its faces' diagonals join corners of an even sum; one tetrahedron on these
# four, and one at each of the others. The mirrored pattern joins the odd ones.
_EVEN = np.array([[0, 3, 5, 6], [1, 0, 3, 5], [2, 0, 3, 6], [4, 0, 5, 6], [7, 3, 5, 6]])
_ODD = _EVEN ^ 1


def maze(n: int) -> tuple[Complex, np.ndarray, np.ndarray]:
    """Build the three-dimensional maze: n x n x n cubic rooms, and a corridor between any two that face each other.

    Rooms are cut into five tetrahedra, corridors in the mirrored pattern, so that the diagonals of the squares that they share
    agree. There are 8 R points, 18 R + 8 L edges, 16 R + 12 L triangles and 5 R + 5 L tetrahedra, for R rooms and L corridors.

    Returns:
        The complex; bool ``(n,)`` cells of rooms, with their walls (the others are of corridors); and int32 ``(n,)`` the
        room of each such cell, x fastest, -1 for the others.

    Raises:
        InputError: If n is smaller than 1 or the maze too large.
    """
    if n < 1 or 122 * n**3 > MAX_CELLS:
        raise InputError("n", f"is {n}", f"from 1 to {math.floor((MAX_CELLS / 122) ** (1 / 3))} rooms along each side")
    rooms = np.arange(n**3).reshape(n, n, n)  # indexed z, y, x
    corner = np.stack([np.arange(8) >> axis & 1 for axis in range(3)], axis=1)  # x, y, z of each corner
    room = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij")[::-1], axis=-1).reshape(-1, 3)
    points = (3.0 * room[:, None] + corner).reshape(-1, 3)
    tops = [(8 * rooms.reshape(-1, 1, 1) + _EVEN).reshape(-1, 4)]
    for axis in range(3):
        first, second = (np.moveaxis(rooms, 2 - axis, 0)[part].reshape(-1, 1) for part in (slice(None, -1), slice(1, None)))
        # A corridor's near corners are the first room's far ones, and the other way round.
        far, bit = corner[:, axis], 1 << axis
        hexahedron = 8 * np.where(far == 0, first, second) + (np.arange(8) ^ bit)
        tops.append(hexahedron[:, _ODD].reshape(-1, 4))
    whole = closed(points, [np.empty((0, d + 1)) for d in range(3)] + [np.concatenate(tops)])
    owner = np.concatenate([np.where((s // 8 == s[:, :1] // 8).all(axis=1), s[:, 0] // 8, -1) for s in whole.simplices])
    return whole, owner >= 0, owner.astype(np.int32)


def cubes(kept: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> tuple[Complex, np.ndarray]:
    """Cut the pixels or voxels of a grid into triangles or tetrahedra, all along the same diagonal (Freudenthal's pattern).

    Args:
        kept: bool ``(H, W)`` or ``(X, Y, Z)``: which of them.
        spacing: Side lengths along the axes.

    Returns:
        The complex; and int32 ``(n,)`` for each of its cells that lies inside a pixel or voxel the number of that one among
        those kept, -1 for the cells that lie on their borders.

    Raises:
        InputError: If nothing is kept or the complex would be too large.
    """
    d = kept.ndim
    where = np.argwhere(kept)
    if not len(where):
        raise InputError("grid", "has nothing in it", "a pixel or voxel with an atom")
    if len(where) * (6, 26)[d - 2] > MAX_CELLS:
        raise InputError("grid", f"has {len(where):,} pixels or voxels", f"at most {MAX_CELLS // (6, 26)[d - 2]:,}")
    grid = np.array(kept.shape) + 1
    steps = np.cumprod([1, *grid[:0:-1]])[::-1]  # how far the next grid point lies along each axis
    base = where @ steps
    paths = [np.cumsum([0, *steps[list(order)]]) for order in itertools.permutations(range(d))]
    tops = np.concatenate([base[:, None] + path for path in paths])
    used, compact = np.unique(tops, return_inverse=True)
    points = np.zeros((len(used), 3))
    points[:, :d] = np.stack(np.unravel_index(used, grid), axis=1) * np.asarray(spacing[:d])
    whole = closed(points, [np.empty((0, k + 1)) for k in range(d)] + [compact.reshape(tops.shape)])
    number = np.full(math.prod(grid), -1, np.int32)
    number[base] = np.arange(len(base))
    owner = []
    for rows in whole.simplices:
        # Points ascend along the diagonal: a cell lies inside the voxel of its first point if it spans the whole of it.
        first, last = used[rows[:, 0]], used[rows[:, -1]]
        owner.append(np.where(last - first == steps.sum(), number[first], -1))
    return whole, np.concatenate(owner)


def grid_frame(kept: np.ndarray, adjacency: int) -> Frame:
    """Return the graph of adjacent pixels or voxels of a grid, numbered in order: the discrete closure space of images.

    Args:
        kept: bool ``(H, W)`` or ``(X, Y, Z)``: which of them.
        adjacency: In three dimensions 6 (a common face), 18 (or edge) or 26 (or corner); in two 4 (edge) or 8 (or corner).

    Raises:
        InputError: If there is no such adjacency.
    """
    kinds = {3: {6: 1, 18: 2, 26: 3}, 2: {4: 1, 8: 2}}[kept.ndim]
    if adjacency not in kinds:
        raise InputError("adjacency", f"is {adjacency} in {kept.ndim} dimensions", f"one of {', '.join(map(str, kinds))}")
    number = np.full(np.array(kept.shape) + 2, -1, np.int64)
    inner = (slice(1, -1),) * kept.ndim
    number[inner][kept] = np.arange(np.count_nonzero(kept))
    pairs = []
    for step in itertools.product((-1, 0, 1), repeat=kept.ndim):
        if 0 < np.abs(step).sum() <= kinds[adjacency]:
            here = number[inner][kept]
            there = np.roll(number, step, axis=tuple(range(kept.ndim)))[inner][kept]
            pairs.append(np.stack([here, there])[:, there >= 0])
    upper, lower = np.concatenate(pairs, axis=1)
    return Frame.from_pairs(int(np.count_nonzero(kept)), upper, lower)
