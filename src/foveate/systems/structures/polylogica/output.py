"""Results in the formats of the field: truth vectors, VTU and PLY with an array for each formula, a page to look at."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foveate.results import Record, Text
from foveate.systems.structures.polylogica.complexes import Complex
from foveate.systems.structures.polylogica.models import Grid, Model, frame_record, simplicial_record

_VTK = ("vertex", "line", "triangle", "tetra")
_PAGE = Path(__file__).with_name("view.html")
MOST_IN_PAGE = 1_000_000  # cells


@dataclass(frozen=True)
class Truth(Record):
    """Name to bool ``(n,)``, written as the authors' result.json: an object of lists of booleans, one line for each name."""

    kind: ClassVar[str] = "truth"

    def write(self, path: Path) -> None:
        """Write JSON."""
        with path.open("w", encoding="utf-8") as file:
            file.write("{")
            for i, (name, values) in enumerate(self.values.items()):
                words = ",".join(np.where(values, "true", "false").tolist())
                file.write(("," if i else "") + f"\n{json.dumps(name)}: [{words}]")
            file.write("\n}\n")


@dataclass(frozen=True)
class Specified(Text):
    """A specification."""

    suffix: ClassVar[str] = ".imgql"
    kind: ClassVar[str] = "specification"


@dataclass(frozen=True)
class Json(Text):
    """A model as JSON in one line, so that many cells stay a small file."""

    suffix: ClassVar[str] = ".json"
    kind: ClassVar[str] = "model"


def compact(source: Model) -> Json:
    """Return a model in the authors' JSON."""
    record = simplicial_record(source.whole, source.atoms) if source.whole else frame_record(source.frame, source.atoms)
    return Json(json.dumps(record, separators=(",", ":")) + "\n")


@dataclass(frozen=True)
class Volume:
    """A label volume.

    Attributes:
        labels: uint8 ``(X, Y, Z)``.
        spacing: Side lengths of a voxel in millimetres.
    """

    labels: np.ndarray
    spacing: tuple[float, float, float]
    suffix: ClassVar[str] = ".nii"
    kind: ClassVar[str] = "volume"

    def write(self, path: Path) -> None:
        """Write NIfTI."""
        import nibabel

        nibabel.Nifti1Image(self.labels, np.diag([*self.spacing, 1.0])).to_filename(path)


@dataclass(frozen=True)
class Vtu:
    """All cells of a complex, or the pixels or voxels of a grid, with an array for each set, for ParaView and the like.

    Attributes:
        shape: The cells.
        values: Name to bool, or whole numbers, ``(n,)``.
    """

    shape: Complex | Grid
    values: Mapping[str, np.ndarray]
    suffix: ClassVar[str] = ".vtu"
    kind: ClassVar[str] = "mesh"

    def write(self, path: Path) -> None:
        """Write VTU: compressed binary; sets as arrays of zeros and ones."""
        import meshio

        if isinstance(self.shape, Grid):
            points, blocks = _boxes(self.shape)
            starts = np.array([0, len(blocks[0][1])])
        else:
            points = self.shape.points
            blocks = [(kind, rows) for kind, rows in zip(_VTK, self.shape.simplices, strict=False)]
            starts = self.shape.starts
        data = {
            name: [_plain(cells[a:b]) for a, b, _ in zip(starts, starts[1:], blocks, strict=False)]
            for name, cells in self.values.items()
        }
        meshio.vtu.write(str(path), meshio.Mesh(points, blocks, cell_data=data), binary=True)


def _plain(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint8 if values.dtype == bool else np.int32)


def _boxes(grid: Grid) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Return the pixels as quadrangles or the voxels as hexahedra."""
    corners = {
        2: ("quad", [(0, 0), (1, 0), (1, 1), (0, 1)]),
        3: ("hexahedron", [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]),
    }
    kind, offsets = corners[grid.kept.ndim]
    where = np.argwhere(grid.kept)[:, None] + np.array(offsets)
    nodes, rows = np.unique(where.reshape(-1, grid.kept.ndim), axis=0, return_inverse=True)
    points = np.zeros((len(nodes), 3))
    points[:, : grid.kept.ndim] = nodes * np.array(grid.spacing)
    return points, [(kind, rows.reshape(where.shape[:2]))]


@dataclass(frozen=True)
class Ply:
    """Points and triangles of a complex, each with a property of zeros and ones for each set.

    Edges are left out, because common readers stumble over them, and tetrahedra, which the format does not have.

    Attributes:
        shape: The complex.
        values: Name to bool ``(n,)``.
    """

    shape: Complex
    values: Mapping[str, np.ndarray]
    suffix: ClassVar[str] = ".ply"
    kind: ClassVar[str] = "mesh"

    def write(self, path: Path) -> None:
        """Write binary PLY; what is no letter or digit in a name becomes an underscore."""
        names: dict[str, str] = {}
        for name in self.values:
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            while plain in names.values():
                plain += "_"
            names[name] = plain
        used = self.shape.simplices[0][:, 0]
        place = np.zeros(len(self.shape.points), np.int32)
        place[used] = np.arange(len(used))
        vertices = self._table(0, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")], names)
        vertices["x"], vertices["y"], vertices["z"] = self.shape.points[used].T
        flags = [f"property uchar {plain}" for plain in names.values()]
        header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(used)}"]
        header += [*(f"property float {axis}" for axis in "xyz"), *flags]
        body = vertices.tobytes()
        if self.shape.dimension > 1:
            faces = self._table(2, [("count", "u1"), ("corners", "<i4", (3,))], names)
            faces["count"], faces["corners"] = 3, place[self.shape.simplices[2]]
            header += [f"element face {len(faces)}", "property list uchar int vertex_indices", *flags]
            body += faces.tobytes()
        path.write_bytes("\n".join([*header, "end_header\n"]).encode("ascii") + body)

    def _table(self, d: int, columns: list[Any], names: Mapping[str, str]) -> np.ndarray:
        """Return rows for the cells of a dimension with the sets' columns filled in."""
        part = slice(self.shape.starts[d], self.shape.starts[d + 1])
        table = np.zeros(len(self.shape.simplices[d]), [*columns, *((plain, "u1") for plain in names.values())])
        for name, plain in names.items():
            table[plain] = self.values[name][part]
        return table


@dataclass(frozen=True)
class Page:
    """A page that shows a complex in a browser, to turn, with one set at a time highlighted; nothing is loaded from elsewhere.

    Attributes:
        shape: The complex.
        values: Name to bool ``(n,)``.
        title: The page's.
    """

    shape: Complex
    values: Mapping[str, np.ndarray]
    title: str
    suffix: ClassVar[str] = ".html"
    kind: ClassVar[str] = "page"

    def write(self, path: Path) -> None:
        """Write HTML."""
        centre = (self.shape.points.max(axis=0) + self.shape.points.min(axis=0)) / 2
        extent = float(np.abs(self.shape.points - centre).max()) or 1.0

        def packed(values: np.ndarray) -> str:
            return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")

        content = {
            "points": packed(((self.shape.points - centre) / extent).astype("<f4")),
            "cells": [packed(rows.astype("<u4")) for rows in self.shape.simplices[:3]],
            "outer": packed(outer_triangles(self.shape).astype("u1")),
            "starts": self.shape.starts.tolist(),
            "sets": {name: packed(cells.astype("u1")) for name, cells in self.values.items()},
        }
        # No text of the user's may end the script.
        data, title = (text.replace("<", "\\u003c") for text in (json.dumps(content), json.dumps(self.title)))
        page = _PAGE.read_text(encoding="utf-8")
        path.write_text(page.replace("__TITLE__", title).replace("__DATA__", data), encoding="utf-8")


def outer_triangles(whole: Complex) -> np.ndarray:
    """Find the triangles that can be seen: those that are not a face of two tetrahedra. Empty without triangles."""
    if whole.dimension < 2:
        return np.zeros(0, bool)
    if whole.dimension < 3:
        return np.ones(len(whole.simplices[2]), bool)
    # A tetrahedron's triangles are its faces by the masks of three of its four points.
    triangles = whole.faces[3][:, [7, 11, 13, 14]].ravel() - whole.starts[2]
    return np.bincount(triangles, minlength=len(whole.simplices[2])) < 2
