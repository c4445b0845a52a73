"""What a search tells of the cell that it found: its neighbours, its log, its place in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from foveate.systems.efficiency.na_nas.search import Found
from foveate.systems.efficiency.na_nas.spaces import Cell, Space
from foveate.systems.efficiency.na_nas.table import Tabular

FLATNESS = ["cell", "distance", "changes", "error", "connected", "same_function"]


class Neighbour(NamedTuple):
    """A neighbour and its error."""

    cell: Cell
    error: float


def neighbours_of(space: Space, cell: Cell) -> list[Cell]:
    """List the neighbours at distance 1."""
    return space.neighbours(cell, 1)


def flatness_rows(space: Space, cell: Cell, around: Sequence[Neighbour]) -> list[list[Any]]:
    """List each neighbour: on which edges it differs, its error, and whether it is another function at all."""
    function = space.function(cell)
    rows = []
    for other, error in around:
        changed = [i for i, (a, b) in enumerate(zip(cell, other, strict=True)) if a != b]
        told = [f"{_edge(space, i)}: {space.operations[cell[i]]} to {space.operations[other[i]]}" for i in changed]
        same = space.function(other) == function
        rows.append([space.text(other), len(changed), "; ".join(told), error, space.connected(other), same])
    return rows


def _edge(space: Space, place: int) -> str:
    kind, within = divmod(place, len(space.pairs))
    source, target = space.pairs[within]
    return f"{('normal ', 'reduction ')[kind] if space.kinds > 1 else ''}{source}-{target}"


def summary(space: Space, cell: Cell, own: float, around: Sequence[Neighbour]) -> dict[str, Any]:
    """Summarise the errors around a cell; also without neighbours through which nothing passes, and without doubles."""
    function = space.function(cell)
    kept = {
        "all": [n.error for n in around],
        "connected": [n.error for n in around if space.connected(n.cell)],
        "other_functions": [n.error for n in around if space.function(n.cell) != function],
    }
    found: dict[str, Any] = {"own": own}
    for name, errors in kept.items():
        values = np.array(errors)
        found[name] = {"neighbours": len(values)}
        if len(values):
            found[name] |= {
                "mean": values.mean(),
                "median": np.median(values),
                "worst": values.max(),
                "deviation": values.std(),
            }
    return found


def log_rows(found: Found, space: Space) -> list[list[Any]]:
    """List every score that was asked for, in order; ``new`` says whether it cost an evaluation."""
    rows: list[list[Any]] = []
    seen: set[Cell] = set()
    for number, tried in enumerate(found.tried):
        for place, (cell, error) in enumerate([(tried.cell, tried.own), *tried.neighbours]):
            new = cell not in seen
            seen.add(cell)
            value = tried.value if place == 0 else None
            rows.append([number, space.text(cell), "neighbour" if place else "candidate", error, value, new, len(seen)])
    return rows


def benchmark_report(table: Tabular, cell: Cell) -> dict[str, Any]:
    """Tell what the cell is worth in the test setting, and what the best one is worth."""
    test = table.test.mean(1)
    best, row = int(test.argmax()), table.row(cell)
    found = {
        "test_accuracy": test[row],
        "best_test_accuracy": test[best],
        "best_cell": table.space.text(table.cells[best]),
        "regret": test[best] - test[row],
        "rank": int((test > test[row]).sum()) + 1,
        "cells": len(test),
    }
    return found | {name: int(values[row]) for name, values in table.cost.items()}
