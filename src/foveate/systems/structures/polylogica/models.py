"""Models: cells, their order and their atoms; read from and written to the authors' JSON formats.

A simplicial model lists its simplices, ``{"coordinatesOfPoints": [[x, y, z], ...], "atomNames": [...], "simplexes": [{"id",
"points", "atoms"}, ...]}``; a poset model its elements, ``{"points": [{"id", "atoms", "up"}, ...]}``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.polylogica.complexes import Complex, MissingFace, from_simplices, subdivide
from foveate.systems.structures.polylogica.method import Frame

MAX_BYTES = 2**32
SIMPLICIAL = '{"coordinatesOfPoints": [[x, y, z], ...], "simplexes": [{"id", "points", "atoms"}, ...]}'
POSET = '{"points": [{"id", "atoms", "up"}, ...]}'
EXPECTED = f"a model, {SIMPLICIAL} or {POSET}"


@dataclass(frozen=True)
class Grid:
    """Pixels or voxels, for the discrete semantics.

    Attributes:
        kept: bool ``(H, W)`` or ``(X, Y, Z)``: those that are cells, numbered in order.
        spacing: Side lengths along the axes.
        owner: Where they are cut into simplices, int32 ``(n,)``: the number of the one that each cell lies inside, or -1.
    """

    kept: np.ndarray
    spacing: tuple[float, ...]
    owner: np.ndarray | None = None

    def cells(self) -> np.ndarray:
        """Return for each pixel or voxel one of the cells inside it; what holds at one of them holds at all."""
        if self.owner is None:
            raise InputError("grid", "was not cut into simplices")
        inside = np.flatnonzero(self.owner >= 0)
        found = np.empty(np.count_nonzero(self.kept), np.int64)
        found[self.owner[inside]] = inside
        return found


@dataclass(frozen=True)
class Model:
    """What is checked.

    Attributes:
        frame: The cells and what is below them.
        atoms: Atomic proposition to bool ``(n,)``.
        whole: The complex that the cells belong to, if it is known.
        grid: The pixels or voxels that the cells are or come from, if they do.
        order: int ``(k,)``: the cell that each entry of the file is, in the file's order; None if that is the cells' own.
        names: The file's names of its entries, in the file's order.
        hint: What else could become an atom.
        notes: What the user should know.
    """

    frame: Frame
    atoms: Mapping[str, np.ndarray]
    whole: Complex | None = None
    grid: Grid | None = None
    order: np.ndarray | None = None
    names: Sequence[str] = ()
    hint: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.frame.size

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Put values at cells into the file's order."""
        return values if self.order is None else values[self.order]

    def cell(self, name: str) -> int:
        """Return the cell of a name, or of a number where the file gives no names.

        Raises:
            InputError: If there is none.
        """
        if self.names:
            if name in self.names:
                place = list(self.names).index(name)
                return place if self.order is None else int(self.order[place])
        elif name.isdigit() and int(name) < self.size:
            return int(name)
        known = ", ".join(map(str, self.names[:5])) if self.names else f"0 to {self.size - 1}"
        raise InputError(name, "is no cell of the model", f"one of {known}" + (", ..." if len(self.names) > 5 else ""))

    def subdivided(self, times: int) -> Model:
        """Subdivide barycentrically: each new cell has the atoms of the cell that it lies in.

        Raises:
            InputError: If the model is no complex.
        """
        if not times:
            return self
        if self.whole is None:
            raise InputError("subdivide", "the model is no simplicial complex", "subdivide 0")
        finer, carrier = subdivide(self.whole)
        atoms = {name: cells[carrier] for name, cells in self.atoms.items()}
        return replace(self, frame=finer.frame, atoms=atoms, whole=finer, order=None, names=()).subdivided(times - 1)


# ---------------------------------------------------------------------------------------------------------------------
# reading
# ---------------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Model:
    """Read a simplicial or a poset model.

    Raises:
        InputError: If the file is missing, no JSON, or no model; entries in question are named.
    """
    content = parse_json(path, EXPECTED)
    if isinstance(content, dict) and isinstance(content.get("simplexes"), list):
        return _simplicial(path, content)
    if isinstance(content, dict) and isinstance(content.get("points"), list):
        return _poset(path, content)
    raise InputError(path, "holds JSON, but no model", EXPECTED)


def parse_json(path: Path, expected: str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is missing, too large, or no JSON; line and column are named.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, "is too large", f"at most {MAX_BYTES:,} bytes")
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(path, "there is no such file", expected) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", expected) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not text", expected) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}", f"is not JSON: {error.msg}", expected) from error
    except RecursionError as error:
        raise InputError(path, "is nested too deeply", expected) from error


def _simplicial(path: Path, content: dict[str, Any]) -> Model:
    entries = content["simplexes"]
    if not entries:
        raise InputError(path, "lists no simplexes", SIMPLICIAL)
    points = _coordinates(path, content.get("coordinatesOfPoints"))
    names = [_named(path, i, s) for i, s in enumerate(entries)]
    corners = [s["points"] for s in entries]
    lengths = np.fromiter(map(len, corners), np.int64, len(corners))
    flat = list(chain.from_iterable(corners))
    if set(map(type, flat)) != {int}:
        raise InputError(path, "a simplex has a point that is no whole number", "numbers of points, from 0")
    try:
        vertices = np.array(flat, np.int64)
    except OverflowError as error:
        raise InputError(path, "a simplex has a point of too large a number", f"points from 0 to {len(points) - 1}") from error
    owner = np.repeat(np.arange(len(entries)), lengths)
    outside = np.flatnonzero((vertices < 0) | (vertices >= len(points)))
    if outside.size:
        k = outside[0]
        wrong = f"simplex {names[owner[k]]!r} has point {vertices[k]}, but there are {len(points)} coordinates"
        raise InputError(path, wrong, f"points from 0 to {len(points) - 1}")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = [np.sort(vertices[starts[:-1][lengths == d + 1][:, None] + np.arange(d + 1)], axis=1) for d in range(lengths.max())]
    try:
        whole = from_simplices(points, rows)
    except MissingFace as error:
        wanted = sorted(error.simplex)
        name = next(n for n, s in zip(names, corners, strict=True) if sorted(s) == wanted)
        wrong = f"simplex {name!r} on points {list(error.simplex)} has no face on points {list(error.face)}"
        raise InputError(path, wrong, "every face of a simplex as a simplex of its own") from error
    except InputError as error:
        raise InputError(path, error.wrong, error.expected) from error
    order = np.empty(len(entries), np.int64)
    for d, kind in enumerate(rows):
        order[lengths == d + 1] = whole.find(kind)
    listed = _atoms(path, entries, names, content.get("atomNames", []))
    atoms = {}
    for name, members in listed.items():
        atoms[name] = np.zeros(whole.size, bool)
        atoms[name][order[members]] = True
    notes = ()
    promised = content.get("numberOfPoints", len(points))
    if promised != len(points):
        notes = (f"numberOfPoints says {promised}, but there are {len(points)} coordinates; they count",)
    return Model(whole.frame, atoms, whole, order=order, names=names, notes=notes)


def _coordinates(path: Path, content: Any) -> np.ndarray:
    """Return coordinates as float64 ``(P, 3)``; what is missing to three is zero."""
    try:
        points = np.array(content, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(path, "coordinatesOfPoints are not numbers, as many for each point", SIMPLICIAL) from error
    if points.ndim != 2 or not len(points) or not 1 <= points.shape[1] <= 3:
        raise InputError(path, f"coordinatesOfPoints have shape {points.shape}", "two or three numbers for each point")
    if not np.isfinite(points).all():
        raise InputError(path, f"the coordinates of point {np.argwhere(~np.isfinite(points))[0, 0]} are not finite", "numbers")
    return np.pad(points, ((0, 0), (0, 3 - points.shape[1])))


def _named(path: Path, i: int, entry: Any) -> str:
    """Return the name of a simplex, having looked at its parts."""
    if not isinstance(entry, dict):
        raise InputError(path, f"simplex number {i} is no object", SIMPLICIAL)
    name = str(entry.get("id", i))
    if not isinstance(entry.get("points"), list) or not entry["points"]:
        raise InputError(path, f"simplex {name!r} has no points", SIMPLICIAL)
    return name


def _atoms(path: Path, entries: Sequence[Any], names: Sequence[str], listed: Any) -> dict[str, list[int]]:
    """Return the entries that have each atom, in the order of ``atomNames`` and then of first use."""
    found: dict[str, list[int]] = defaultdict(list)
    for name in listed if isinstance(listed, list) else []:
        found[str(name)] = []
    for i, entry in enumerate(entries):
        atoms = entry.get("atoms", [])
        if not isinstance(atoms, list) or not all(isinstance(a, str) for a in atoms):
            raise InputError(path, f"the atoms of {names[i]!r} are {atoms!r}", 'a list of names, ["red"]')
        for atom in atoms:
            found[atom].append(i)
    return dict(found)


def _poset(path: Path, content: dict[str, Any]) -> Model:
    """Read a poset, or with ``"relation": "frame"`` any reflexive frame, as its quotients are.

    A relation without cycles is taken as a partial order, whether ``up`` lists all that is above an element or only what is
    just above it: published models do either. A relation with cycles is taken as it stands.
    """
    entries = content["points"]
    if not entries or not all(isinstance(e, dict) and "id" in e for e in entries):
        raise InputError(path, "lists no points, or points without id", POSET)
    names = [str(e["id"]) for e in entries]
    number = {name: i for i, name in enumerate(names)}
    if len(number) < len(names):
        raise InputError(path, f"the id {max(names, key=names.count)!r} stands twice", "an id of its own for each point")
    upper, lower = [], []
    for i, entry in enumerate(entries):
        if not isinstance(entry.get("up", []), list):
            raise InputError(path, f"what is above {names[i]!r} is {entry['up']!r}", 'a list of ids, ["3", "4"]')
        for above in entry.get("up", []):
            if str(above) not in number:
                raise InputError(path, f"{names[i]!r} lies below {above!r}, which is not there", "ids of points in up")
            upper.append(number[str(above)])
            lower.append(i)
    atoms = {}
    for name, members in _atoms(path, entries, names, content.get("atomNames", [])).items():
        atoms[name] = np.zeros(len(entries), bool)
        atoms[name][members] = True
    frame = Frame.from_pairs(len(entries), np.array(upper, np.int64), np.array(lower, np.int64))
    if content.get("relation") != "frame":
        frame = _transitive(frame)
    return Model(frame, atoms, names=names)


def _transitive(frame: Frame) -> Frame:
    """Close a relation without cycles transitively; one with cycles stays as it is."""
    covers = [frame.below[a:b].tolist() for a, b in zip(frame.start, frame.start[1:], strict=False)]
    below: dict[int, set[int]] = {}
    try:
        for w in TopologicalSorter(dict(enumerate(covers))).static_order():
            below[w] = set(covers[w]).union(*(below[v] for v in covers[w]))
    except CycleError:
        return frame
    upper = np.repeat(np.arange(frame.size), [len(below[w]) for w in range(frame.size)])
    lower = np.fromiter(chain.from_iterable(below[w] for w in range(frame.size)), np.int64, len(upper))
    return Frame.from_pairs(frame.size, upper, lower)


# ---------------------------------------------------------------------------------------------------------------------
# writing
# ---------------------------------------------------------------------------------------------------------------------


def simplicial_record(whole: Complex, atoms: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a complex with its atoms in the authors' JSON format, faces before what they are faces of."""
    return {
        "numberOfPoints": len(whole.points),
        "coordinatesOfPoints": whole.points.tolist(),
        "atomNames": list(atoms),
        "simplexes": [
            {"id": f"s{i}", "points": corners, "atoms": having}
            for i, (corners, having) in enumerate(
                zip(chain.from_iterable(s.tolist() for s in whole.simplices), _having(atoms, whole.size), strict=True)
            )
        ],
    }


def frame_record(frame: Frame, atoms: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a reflexive frame with its atoms in the authors' JSON format for posets, marked as a frame."""
    upper, lower = frame.pairs()
    above: list[list[str]] = [[] for _ in range(frame.size)]
    for up, low in zip(upper.tolist(), lower.tolist(), strict=True):
        above[low].append(str(up))
    having = _having(atoms, frame.size)
    points = [{"id": str(i), "atoms": having[i], "up": above[i]} for i in range(frame.size)]
    return {"relation": "frame", "points": points}


def _having(atoms: Mapping[str, np.ndarray], size: int) -> list[list[str]]:
    having: list[list[str]] = [[] for _ in range(size)]
    for name, cells in atoms.items():
        for i in np.flatnonzero(cells).tolist():
            having[i].append(name)
    return having
