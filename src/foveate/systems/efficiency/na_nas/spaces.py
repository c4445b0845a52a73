"""Search spaces: a cell is one operation on each edge of a small graph, and its neighbours differ on a few edges.

Paper: arXiv 2105.06369, section 3 (the neighbourhood). A change is a list of (edge, shift): the operation on an edge moves on
by ``shift`` places, cyclically. The same change acts on a discrete cell and on the mixing weights of a relaxed one, so
that both have one neighbourhood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from foveate.errors import InputError

Cell = tuple[int, ...]
Change = tuple[tuple[int, int], ...]

NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
DARTS = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip


@dataclass(frozen=True)
class Space:
    """A cell space.

    Attributes:
        name: Its name.
        operations: What an edge may be; the first one is ``none``.
        nodes: Nodes of a cell, its inputs included; edges run from each earlier node to each later one that is no input.
        inputs: Input nodes: one, or the outputs of the last two cells.
        kinds: Cells that are sought together: one, or a normal and a reduction cell.

    Example:
        >>> space = SPACES["nano"]
        >>> space.text((3, 0, 1))
        '|nor_conv_3x3~0|+|none~0|skip_connect~1|'
        >>> space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|")
        (3, 0, 1)
        >>> space.count(1), space.count(3)
        (12, 124)
    """

    name: str
    operations: tuple[str, ...]
    nodes: int
    inputs: int = 1
    kinds: int = 1

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The edges of one cell as (source, target), by target and then by source."""
        return tuple((source, target) for target in range(self.inputs, self.nodes) for source in range(target))

    @property
    def edges(self) -> int:
        """Edges of all kinds of cells."""
        return self.kinds * len(self.pairs)

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.operations) ** self.edges

    def every(self) -> Iterator[Cell]:
        """Go through all cells."""
        return product(range(len(self.operations)), repeat=self.edges)

    def half(self, cell: Cell, kind: int) -> Cell:
        """Return the operations of one kind of cell."""
        count = len(self.pairs)
        return cell[kind * count : (kind + 1) * count]

    # The neighbourhood

    def at_distance(self, d: int) -> int:
        """Count the cells that differ from a cell on exactly ``d`` edges."""
        return math.comb(self.edges, d) * (len(self.operations) - 1) ** d

    def count(self, d: int) -> int:
        """Count the neighbours at a distance of 1 to ``d``, the cell itself left out."""
        return sum(self.at_distance(k) for k in range(1, min(d, self.edges) + 1))

    def change(self, index: int, d: int) -> Change:
        """Return the change that makes the neighbour of a number, 0 to ``count(d) - 1``; near ones come first."""
        k = 1
        while index >= self.at_distance(k):
            index -= self.at_distance(k)
            k += 1
        if not 0 < k <= d:
            raise IndexError(f"no neighbour {index} within distance {d}")
        chosen, shifts = divmod(index, (len(self.operations) - 1) ** k)
        made = []
        first = 0
        for left in range(k, 0, -1):  # the combination of this number, in lexicographic order
            while chosen >= (fewer := math.comb(self.edges - first - 1, left - 1)):
                chosen -= fewer
                first += 1
            shifts, shift = divmod(shifts, len(self.operations) - 1)
            made.append((first, shift + 1))
            first += 1
        return tuple(made)

    def changes(self, d: int) -> list[Change]:
        """List all changes within distance ``d``: the whole neighbourhood but its centre."""
        return [self.change(i, d) for i in range(self.count(d))]

    def draw_changes(self, count: int, d: int, rng: np.random.Generator) -> list[Change]:
        """Draw changes uniformly without replacement; all of them, in order, if there are no more than ``count``."""
        total = self.count(d)
        if count >= total:
            return self.changes(d)
        return [self.change(int(i), d) for i in rng.choice(total, count, replace=False)]

    def changed(self, cell: Cell, change: Change) -> Cell:
        """Apply a change to a cell."""
        made = list(cell)
        for edge, shift in change:
            made[edge] = (made[edge] + shift) % len(self.operations)
        return tuple(made)

    def neighbours(self, cell: Cell, d: int = 1) -> list[Cell]:
        """List all cells at a distance of 1 to ``d``."""
        return [self.changed(cell, change) for change in self.changes(d)]

    def draw(self, rng: np.random.Generator) -> Cell:
        """Draw a cell uniformly; with two inputs, one of those that a search derives: two incoming edges at each node."""
        if self.inputs == 1:
            return tuple(int(o) for o in rng.integers(len(self.operations), size=self.edges))
        made = [0] * self.edges
        for kind in range(self.kinds):
            for target in range(self.inputs, self.nodes):
                for source in rng.choice(target, 2, replace=False):
                    place = kind * len(self.pairs) + self.pairs.index((int(source), target))
                    made[place] = int(rng.integers(1, len(self.operations)))
        return tuple(made)

    # What a cell computes

    def connected(self, cell: Cell) -> bool:
        """Whether a path without ``none`` leads from an input to the output, in each kind of cell."""
        return all(self._reaches(self.half(cell, kind)) for kind in range(self.kinds))

    def _reaches(self, half: Cell) -> bool:
        reached = set(range(self.inputs))
        for (source, target), operation in zip(self.pairs, half, strict=True):
            if operation and source in reached:
                reached.add(target)
        # With two inputs all later nodes are concatenated; with one the last node is the output.
        return len(reached) > self.inputs if self.inputs > 1 else self.nodes - 1 in reached

    def function(self, cell: Cell) -> str:
        """Describe what a cell computes, alike for cells that differ in nothing but names of nodes and edges without effect.

        Sums do not depend on their order, ``skip_connect`` passes on what it gets, and what ``none`` gives, or an operation
        makes of it, adds nothing (at most a constant, where batch norms have biases).
        """
        return "/".join(self._described(self.half(cell, kind)) for kind in range(self.kinds))

    def _described(self, half: Cell) -> str:
        terms: list[tuple[str, ...]] = [(f"x{i}",) for i in range(self.inputs)] + [()] * (self.nodes - self.inputs)
        for (source, target), operation in zip(self.pairs, half, strict=True):
            name = self.operations[operation]
            if name == "none" or not terms[source]:
                continue
            made = terms[source] if name == "skip_connect" else (f"{name}({'+'.join(terms[source])})",)
            terms[target] = tuple(sorted(terms[target] + made))
        if self.inputs > 1:
            return ";".join("+".join(t) or "0" for t in terms[self.inputs :])
        return "+".join(terms[-1]) or "0"

    # Text

    def text(self, cell: Cell) -> str:
        """Write a cell: ``|op~source|op~source|`` for each node, ``+`` between nodes, ``/`` between normal and reduction cell.

        In spaces with two inputs edges that are ``none`` are left out.
        """
        return "/".join(self._text(self.half(cell, kind)) for kind in range(self.kinds))

    def _text(self, half: Cell) -> str:
        nodes: dict[int, list[str]] = {}
        for (source, target), operation in zip(self.pairs, half, strict=True):
            if operation or self.inputs == 1:
                nodes.setdefault(target, []).append(f"{self.operations[operation]}~{source}")
        return "+".join(f"|{'|'.join(nodes.get(t, []))}|" for t in range(self.inputs, self.nodes))

    def parse(self, text: str, where: object = "cell") -> Cell:
        """Read a cell as `text` writes it.

        Args:
            text: The cell.
            where: Names its source in errors.

        Raises:
            InputError: If an operation is unknown, or edges are missing or too many; it says at which column.
        """
        halves = text.split("/")
        example = f"{self.kinds} cell(s) such as {self.text(tuple([self.edges and 1] * self.edges)).split('/')[0]}"
        if len(halves) != self.kinds:
            raise InputError(where, f"column 1: {len(halves)} cell(s) with / between them", example)
        made: list[int] = []
        column = 1
        for half in halves:
            made += self._parsed(half, column, where, example)
            column += len(half) + 1
        return tuple(made)

    def _parsed(self, half: str, column: int, where: object, example: str) -> list[int]:
        operations = dict.fromkeys(self.pairs, 0)
        nodes = half.split("+")
        if len(nodes) != self.nodes - self.inputs:
            wrong = f"column {column}: {len(nodes)} nodes with + between them, not {self.nodes - self.inputs}"
            raise InputError(where, wrong, example)
        for target, node in enumerate(nodes, self.inputs):
            if len(node) < 2 or node[0] != "|" or node[-1] != "|":
                raise InputError(where, f"column {column}: {node[:40]!r} does not stand between two |", example)
            found = [item for item in node[1:-1].split("|") if node != "||"]
            few, many = (target, target) if self.inputs == 1 else (1, target)
            if not few <= len(found) <= many:
                wanted = str(many) if few == many else f"{few} to {many}"
                raise InputError(where, f"column {column}: node {target} has {len(found)} edges", f"{wanted} edges")
            at = column + 1
            seen = set()
            for place, item in enumerate(found):
                name, _, source = item.partition("~")
                if name not in self.operations:
                    wrong = f"column {at}: unknown operation {name[:40]!r}"
                    raise InputError(where, wrong, f"one of {', '.join(self.operations)}")
                ordered = [str(place)] if self.inputs == 1 else [str(s) for s in range(target) if s not in seen]
                if source not in ordered:
                    wrong = f"column {at}: the edge {item[:40]!r} comes from node {source[:10]!r}"
                    raise InputError(where, wrong, f"~{' or ~'.join(ordered)}")
                seen.add(int(source))
                operations[int(source), target] = self.operations.index(name)
                at += len(item) + 1
            column += len(node) + 1
        return list(operations.values())


SPACES = {
    space.name: space
    for space in (
        Space("nb201", NB201, nodes=4),
        Space("darts", DARTS, nodes=6, inputs=2, kinds=2),
        Space("nano", NB201, nodes=3),
        Space("nano6", ("none", "skip_connect", "nor_conv_3x3"), nodes=4),
    )
}


def find_space(name: str) -> Space:
    """Return a space by name.

    Raises:
        InputError: If there is none.
    """
    if name not in SPACES:
        raise InputError("space", f"there is no {name!r}", f"one of {', '.join(SPACES)}")
    return SPACES[name]
