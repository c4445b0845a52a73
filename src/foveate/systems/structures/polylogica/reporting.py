"""What actions report: answers counted, put on the mesh and drawn; semantics compared; cells told apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import numpy as np

from foveate.errors import InputError
from foveate.results import Part, Picture, Table
from foveate.systems.structures.polylogica import drawing
from foveate.systems.structures.polylogica.bisimulation import Minimised, Separator
from foveate.systems.structures.polylogica.imgql import Specification, write_specification
from foveate.systems.structures.polylogica.method import Checker, Compat, Formulas, Naive
from foveate.systems.structures.polylogica.models import Grid, Model
from foveate.systems.structures.polylogica.output import Ply, Specified, Vtu

Semantics = Literal["poly", "graph", "voxel"]
Engine = Literal["sparse", "reference"]
Shape = Literal["vtu", "ply", "none"]
Drawn = tuple[dict[str, Part], list[str]]  # parts of a result, and what the user should know of them
MOST_ROWS = 1_000_000


def answers(
    source: Model,
    asked: Specification,
    semantics: Semantics = "poly",
    compat: Compat = "none",
    engine: Engine = "sparse",
    cache: bool = True,
    threads: int = 1,
) -> tuple[dict[str, np.ndarray], list[str], int]:
    """Evaluate what a specification saves and prints; and tell how many formulas that took."""
    frame = source.frame.symmetric() if semantics == "graph" else source.frame
    space = Naive(frame) if engine == "reference" else frame
    checker = Checker(space, source.atoms, compat, cache, threads or os.cpu_count() or 1)
    roots = [*asked.saves.values(), *(formula for _, formula in asked.prints)]
    found = checker.values(asked.formulas, roots)
    printed = []
    for (name, _), value in zip(asked.prints, found[len(asked.saves) :], strict=True):
        told = f"{np.count_nonzero(value):,} cells" if isinstance(value, np.ndarray) else str(value).lower()
        printed.append(f"{name}: {told}")
    return dict(zip(asked.saves, found, strict=False)), printed, checker.evaluated


def counts(source: Model, values: Mapping[str, np.ndarray]) -> Table:
    """Count where formulas hold: cells, their share, and cells of each dimension of a complex."""
    count = source.whole.dimension + 1 if source.whole else 0
    columns = ["formula", "cells", "share", *(f"dimension {d}" for d in range(count))]
    rows = []
    for name, cells in values.items():
        by_dimension = np.bincount(source.whole.dimensions[cells], minlength=count).tolist() if source.whole else []
        rows.append([name, int(cells.sum()), round(float(cells.mean()), 6), *by_dimension])
    return Table(columns, rows)


def on_mesh(source: Model, values: Mapping[str, np.ndarray], mesh: Shape) -> Drawn:
    """Make the mesh file, if the model has a shape."""
    shape = source.whole or source.grid
    if mesh == "none" or shape is None:
        return {}, []
    if mesh == "ply":
        if source.whole is None:
            raise InputError("mesh", "PLY holds no voxels", "vtu")
        return {"cells": Ply(source.whole, values)}, ["the PLY holds points and triangles; a VTU would hold all cells"]
    note = ["cells of dimension 4 and more are left out of VTU"] if source.whole and source.whole.dimension > 3 else []
    return {"cells": Vtu(shape, values)}, note


def picture(source: Model, values: Mapping[str, np.ndarray], counts: bool = True) -> Drawn:
    """Draw the model, if it has a shape and is not too large."""
    note = [f"the picture shows the first {drawing.MOST_PANELS} formulas"] if len(values) > drawing.MOST_PANELS else []
    if source.whole is not None:
        drawn = drawing.draw(source.whole, values, counts)
        if drawn is None:
            return {}, [f"no picture: more than {drawing.MOST_TRIANGLES:,} triangles"]
        return {"picture": drawn}, note
    if source.grid is not None:
        return {"picture": drawing.draw_slices(source.grid, {n: v.astype(np.int64) for n, v in values.items()})}, note
    return {}, []


def differences(grid: Grid, voxels: Mapping[str, np.ndarray], cells: Mapping[str, np.ndarray]) -> tuple[Table, Table, Picture]:
    """Compare what holds at voxels with what holds on the complex that they were cut into.

    All cells inside one voxel satisfy the same formulas, as an open cube of one kind does; so any of them stands for it.

    Args:
        grid: The voxels, and the cells inside them.
        voxels: Formula to bool for each voxel.
        cells: Formula to bool for each cell.

    Returns:
        Counts for each formula; the voxels where the two differ, a million at most; and a picture of slices.
    """
    cell = grid.cells()
    counted, listed, drawn = [], [], {}
    where = np.argwhere(grid.kept)
    for name, voxel in voxels.items():
        poly = cells[name][cell]
        apart = np.flatnonzero(voxel != poly)
        total = int(voxel.sum()) + int(poly.sum())
        dice = round(2 * int(np.count_nonzero(voxel & poly)) / total, 6) if total else 1.0
        counted.append([name, len(voxel), int(voxel.sum()), int(poly.sum()), len(apart), dice])
        drawn[name] = np.where(voxel, np.where(poly, 1, 3), 2 * poly)
        listed += [[name, *where[i].tolist(), int(voxel[i]), int(poly[i])] for i in apart[: MOST_ROWS - len(listed)]]
    axes = ["row", "column"] if grid.kept.ndim == 2 else ["i", "j", "k"]
    columns = ["formula", "voxels", "voxel semantics", "polyhedral semantics", "differ", "dice"]
    table = Table(["formula", *axes, "voxel semantics", "polyhedral semantics"], listed)
    return (
        Table(columns, counted),
        table,
        drawing.draw_slices(grid, drawn, ("neither", "both", "polyhedra alone", "voxels alone")),
    )


def apart(source: Model, found: Minimised, pair: str) -> tuple[Part, str]:
    """Write a specification that tells two cells apart."""
    if found.logic != "gamma":
        raise InputError("apart", "formulas that tell cells apart are made for gamma", "--logic gamma")
    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2:
        raise InputError("apart", f"is {pair!r}", "two cells with a comma between")
    one, other = (source.cell(name) for name in names)
    formulas = Formulas()
    formula = Separator(found, formulas).formula(one, other)
    if formula is None:
        return Specified(f"// No formula tells {names[0]} and {names[1]} apart.\n"), f"{names[0]} and {names[1]} are equivalent"
    text = write_specification(formulas, {f"{names[0]} not {names[1]}": formula})
    return Specified(f"// Holds at {names[0]} and not at {names[1]}.\n{text}"), f"{names[0]} and {names[1]} are not equivalent"
