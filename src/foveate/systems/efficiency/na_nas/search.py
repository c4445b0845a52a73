"""Search among single cells: random search and regularised evolution, plain or by the aggregate over the neighbourhood.

Paper: arXiv 2105.06369 (NA-RS). Every cell is scored once: neighbours of different candidates that coincide cost nothing, and
what is counted is the cells that were scored, neighbours included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from foveate.errors import InputError
from foveate.systems.efficiency.na_nas.neighbourhood import Neighbourhood
from foveate.systems.efficiency.na_nas.spaces import Cell, Space

Method = Literal["rs", "na-rs", "evo", "na-evo", "darts", "na-darts"]
POPULATION, CONTEST = 10, 3  # of regularised evolution


@dataclass
class Scores:
    """Errors of cells, each computed once.

    Attributes:
        evaluate: Computes the error of a cell, in [0, 1].
        known: Errors so far, in the order in which cells were first asked for.
        asked: How often an error was asked for.
    """

    evaluate: Callable[[Cell], float]
    known: dict[Cell, float] = field(default_factory=dict)
    asked: int = 0

    def __call__(self, cell: Cell) -> float:
        """Return the error of a cell."""
        self.asked += 1
        if cell not in self.known:
            self.known[cell] = self.evaluate(cell)
        return self.known[cell]


@dataclass(frozen=True)
class Tried:
    """A candidate with what it was judged by.

    Attributes:
        cell: The candidate.
        own: Its own error.
        value: The aggregate over its neighbourhood, which is minimised.
        neighbours: Those that were looked at, with their errors.
        unique: Cells scored by the time that it was judged.
    """

    cell: Cell
    own: float
    value: float
    neighbours: tuple[tuple[Cell, float], ...]
    unique: int


@dataclass
class Found:
    """The outcome of a search.

    Attributes:
        best: The candidate with the lowest aggregate.
        tried: All candidates in order.
        scores: What was scored.
    """

    best: Tried
    tried: list[Tried]
    scores: Scores


def judge(space: Space, cell: Cell, scores: Scores, around: Neighbourhood, rng: np.random.Generator, dedup: bool) -> Tried:
    """Score a cell and its neighbours.

    Args:
        space: The space.
        cell: The candidate.
        scores: Scores cells.
        around: Which neighbours count, and how.
        rng: Draws them.
        dedup: Leave neighbours out that compute what the cell computes: they would make it look flat.
    """
    neighbours = [space.changed(cell, change) for change in around.draw(space, rng)]
    total = space.count(around.d)
    if dedup:
        function = space.function(cell)
        kept = [n for n in neighbours if space.function(n) != function]
        # Of those not drawn the share that would be left out is not known; it is taken for that of the drawn ones.
        total = round(total * len(kept) / len(neighbours)) if neighbours else total
        neighbours = kept
    own = scores(cell)
    around_it = tuple((n, scores(n)) for n in neighbours)
    errors = np.array([own, *(error for _, error in around_it)])
    return Tried(cell, own, float(around.value(errors, total)), around_it, len(scores.known))


def search(
    space: Space,
    scores: Scores,
    around: Neighbourhood,
    method: Literal["random", "evolution"] = "random",
    candidates: int = 20,
    evaluations: int = 0,
    rng: np.random.Generator | None = None,
    dedup: bool = False,
    tick: Callable[[int], object] = lambda done: None,
) -> Found:
    """Search.

    Args:
        space: The space.
        scores: Scores cells.
        around: With ``aggregate="self"`` this is plain search.
        method: ``random`` draws candidates uniformly; ``evolution`` mutates the best of a few out of the youngest ones (Real et
            al., 2019).
        candidates: Candidates to judge, if ``evaluations`` is 0.
        evaluations: Go on until so many cells are scored, neighbours counted. The last candidate's neighbours are all scored.
        rng: Draws candidates, contests and neighbours, each from a stream of its own: the candidates of random search do not
            depend on the neighbourhood.
        dedup: See `judge`.
        tick: Told of each candidate.

    Raises:
        InputError: If there is nothing to do.
    """
    if candidates < 1 or evaluations < 0:
        raise InputError("candidates, evaluations", f"{candidates}, {evaluations}", "at least one candidate")
    drawing, around_them = (rng or np.random.default_rng(0)).spawn(2)
    tried: list[Tried] = []
    limit = min(evaluations, space.size)
    while len(scores.known) < limit if evaluations else len(tried) < candidates:
        if method == "random" or len(tried) < POPULATION:
            cell = space.draw(drawing)
        else:
            contest = drawing.choice(POPULATION, CONTEST, replace=False)
            parent = min((tried[-1 - int(i)] for i in contest), key=lambda t: t.value)
            cell = space.changed(parent.cell, space.change(int(drawing.integers(space.count(1))), 1))
        tried.append(judge(space, cell, scores, around, around_them, dedup))
        tick(1)
    return Found(min(tried, key=lambda t: t.value), tried, scores)
