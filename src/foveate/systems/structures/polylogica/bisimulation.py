"""Minimisation: the coarsest partition of the cells that no formula can tell apart, the quotient, distinguishing formulas.

Paper: arXiv 2105.06194, the section on bisimilarity and its logical characterisation. Simplicial bisimilarity equals logical
equivalence; it is computed here as the coarsest partition that refines the atoms and is stable under gamma of any two blocks
(pairs of single blocks are enough: cut a path where its block changes). One round looks at all pairs of blocks at once:

* a *component* is a connected set of cells of one block A; its *view* is the set of blocks that have a cell in it or below it;
* cell w satisfies gamma(A, B) exactly if it lies in or below some component of A whose view has B.

So two cells of a block stay together if they lie below components of the same (block, view) pairs. That may split a round
earlier than gamma of two blocks would, but never what a formula cannot tell apart: the cells of A whose component has a given
view are themselves described by a formula, because a cell of A lies below no other component of A than its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveate.systems.structures.polylogica.method import Formulas, Frame

Logic = Literal["gamma", "eta"]


@dataclass(frozen=True)
class Minimised:
    """The classes of logically equivalent cells.

    Attributes:
        frame: The model's frame.
        atoms: Its atomic propositions.
        rounds: int32 ``(n,)`` for each round the block of each cell, coarsest first; a block's number is the order of its
            first cell. The last one are the classes.
        logic: The logic whose equivalence it is.
    """

    frame: Frame
    atoms: Mapping[str, np.ndarray]
    rounds: tuple[np.ndarray, ...]
    logic: Logic

    @property
    def classes(self) -> np.ndarray:
        """int32 ``(n,)``: the class of each cell."""
        return self.rounds[-1]

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.classes.max()) + 1

    @property
    def first(self) -> np.ndarray:
        """The first cell of each class."""
        return np.unique(self.classes, return_index=True)[1]

    def quotient(self) -> tuple[Frame, dict[str, np.ndarray]]:
        """Return the quotient: a class is below another if some cell of it is below some cell of the other.

        It is a reflexive frame and in general no poset; it satisfies the formulas that its classes' cells do.
        """
        upper, lower = self.frame.pairs()
        frame = Frame.from_pairs(self.count, self.classes[upper], self.classes[lower])
        return frame, {name: cells[self.first] for name, cells in self.atoms.items()}


def minimise(frame: Frame, atoms: Mapping[str, np.ndarray], logic: Logic = "gamma") -> Minimised:
    """Compute the coarsest partition of the cells that the logic's formulas respect.

    Args:
        frame: A finite reflexive frame; for the theorem of the paper, the face poset of a polyhedron.
        atoms: Atomic proposition to bool ``(n,)``.
        logic: ``gamma`` is the paper's. ``eta`` has only ``eta(a,b) = a & through(a,b)`` beside the Boolean operators, hence
            fewer classes: the branching equivalence by which the authors minimise.
    """
    block = np.zeros(frame.size, np.int32)
    for cells in atoms.values():
        block = _numbered(2 * block + cells)
    refine = _refine_gamma if logic == "gamma" else _refine_eta
    rounds = [block]
    while True:
        finer = refine(frame, rounds[-1])
        if finer.max() == rounds[-1].max():
            return Minimised(frame, dict(atoms), tuple(rounds), logic)
        rounds.append(finer)


def _numbered(codes: np.ndarray) -> np.ndarray:
    """Number values by their first occurrence."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse.ravel()]


def _sets(owner: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Number the sets that ``count`` owners have: pairs (owner, member) in, the number of each owner's set of members out."""
    bound = int(member.max(initial=0)) + 1
    pairs = np.unique(owner.astype(np.int64) * bound + member)
    ends = np.searchsorted(pairs, np.arange(1, count + 1) * bound).tolist()
    members = pairs % bound
    known: dict[bytes, int] = {}
    numbers, begin = np.empty(count, np.int32), 0
    for i, end in enumerate(ends):
        numbers[i] = known.setdefault(members[begin:end].tobytes(), len(known))
        begin = end
    return numbers


def _reflexive(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs (cell, cell in or below it)."""
    upper, lower = frame.pairs()
    own = np.arange(frame.size, dtype=np.int32)
    return np.concatenate([upper, own]), np.concatenate([lower, own])


def _views(frame: Frame, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the component of each cell, and the number of each component's view."""
    component = frame.components(block)
    upper, lower = _reflexive(frame)
    return component, _sets(component[upper], block[lower], int(component.max()) + 1)


def _features(frame: Frame, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each component its feature, a number for its (block, view), and the component of each cell."""
    component, view = _views(frame, block)
    of_block = np.empty(len(view), np.int64)
    of_block[component] = block
    return _numbered(of_block * (int(view.max()) + 1) + view), component


def _refine_gamma(frame: Frame, block: np.ndarray) -> np.ndarray:
    feature, component = _features(frame, block)
    upper, lower = _reflexive(frame)
    seen = _sets(lower, feature[component[upper]], frame.size)
    return _numbered(block.astype(np.int64) * frame.size + seen)


def _refine_eta(frame: Frame, block: np.ndarray) -> np.ndarray:
    """Split by eta(A or U, B) for A the cell's own block and any U and B.

    With eta a step up into another block is no end of a path, so pairs of single blocks are not enough.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    component, view = _views(frame, block)
    count = len(view)
    of_block = np.empty(count, np.int64)
    of_block[component] = block
    upper, lower = frame.pairs()
    blocks = int(block.max()) + 1
    touching = block[upper] != block[lower]
    edges = np.unique(np.stack([component[upper[touching]], component[lower[touching]]], axis=1).astype(np.int64), axis=0)
    # A node is (component C, block U that it touches), joined to (C', block of C) for each C' of U that C touches; and (C, its
    # own block) alone. Connected, they are the components of A or U.
    here, there = edges.T
    first = here * blocks + of_block[there]
    second = there * blocks + of_block[here]
    own = np.arange(count) * blocks + of_block
    nodes, number = np.unique(np.concatenate([first, second, own]), return_inverse=True)
    ones = np.ones(len(first), np.int8)
    graph = coo_array((ones, (number[: len(first)], number[len(first) : 2 * len(first)])), shape=(len(nodes),) * 2)
    joined, label = connected_components(graph, directed=False)
    # What the component of A or U views: all that its parts do.
    up, low = _reflexive(frame)
    part_views = np.unique(component[up].astype(np.int64) * blocks + block[low])
    start = np.searchsorted(part_views, np.arange(count + 1) * blocks)
    part = nodes // blocks
    lengths = (start[1:] - start[:-1])[part]
    chosen = np.repeat(start[part] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())
    union = _sets(np.repeat(label, lengths), part_views[chosen] % blocks, joined)
    # Of each component: the pairs (U, view of A or U).
    pair = _numbered((nodes % blocks) * (int(union.max()) + 1) + union[label])
    seen = _sets(part, pair, count)
    return _numbered(block.astype(np.int64) * (int(seen.max()) + 1) + seen[component])


# ---------------------------------------------------------------------------------------------------------------------
# formulas that tell cells apart
# ---------------------------------------------------------------------------------------------------------------------


class Separator:
    """Makes formulas that hold at one cell and not at another.

    Args:
        found: A minimisation for ``gamma``.
        formulas: Where the formulas go; subformulas are shared.
    """

    def __init__(self, found: Minimised, formulas: Formulas) -> None:
        self.found, self.formulas = found, formulas
        self._rounds: list[tuple[list[set[int]], list[tuple[int, set[int]]]]] = []
        self._known: dict[tuple[int, int, int], int] = {}
        self._blocks: dict[tuple[int, int], int] = {}
        self._firsts = [np.unique(block, return_index=True)[1].tolist() for block in found.rounds]
        self._children: list[dict[int, list[int]]] = [{}]
        for coarse, first in zip(found.rounds, self._firsts[1:], strict=False):
            children: dict[int, list[int]] = {}
            for number, cell in enumerate(first):
                children.setdefault(int(coarse[cell]), []).append(number)
            self._children.append(children)

    def formula(self, one: int, other: int) -> int | None:
        """Return a formula that holds at cell ``one`` and not at cell ``other``, or None if there is none."""
        for r, block in enumerate(self.found.rounds):
            if block[one] != block[other]:
                return self._blocks_apart(r, int(block[one]), int(block[other]))
        return None

    def describe(self, cell: int) -> int:
        """Return a formula that holds exactly at the cells of a cell's class."""
        last = len(self.found.rounds) - 1
        return self._block(last, int(self.found.classes[cell]))

    def _block(self, r: int, number: int) -> int:
        """Describe a block of a round: its parent's description, and what tells it from its siblings."""
        key = (r, number)
        if key not in self._blocks:
            if r == 0:
                parent, siblings = None, range(len(self._firsts[0]))
            else:
                up = int(self.found.rounds[r - 1][self._firsts[r][number]])
                parent, siblings = self._block(r - 1, up), self._children[r][up]
            parts = [] if parent is None else [parent]
            parts += [self._blocks_apart(r, number, other) for other in siblings if other != number]
            self._blocks[key] = self._all(parts)
        return self._blocks[key]

    def _all(self, parts: list[int]) -> int:
        parts = list(dict.fromkeys(parts))
        if not parts:
            return self.formulas.make("tt")
        whole = parts[0]
        for part in parts[1:]:
            whole = self.formulas.make("and", whole, part)
        return whole

    def _blocks_apart(self, r: int, one: int, other: int) -> int:
        """Tell two blocks of a round apart whose parents are the same."""
        key = (r, one, other)
        if key not in self._known:
            cells = self._firsts[r][one], self._firsts[r][other]
            self._known[key] = self._by_atoms(*cells) if r == 0 else self._by_features(r - 1, *cells)
        return self._known[key]

    def _by_atoms(self, one: int, other: int) -> int:
        for name, cells in self.found.atoms.items():
            if cells[one] != cells[other]:
                atom = self.formulas.atom(name)
                return atom if cells[one] else self.formulas.make("not", atom)
        raise AssertionError("blocks of the first round differ in an atom")

    def _by_features(self, r: int, one: int, other: int) -> int:
        """Tell two cells of a block of round r apart by the components that they lie below."""
        seen, described = self._round(r)
        make = self.formulas.make
        for positive, here, there in ((True, one, other), (False, other, one)):
            for feature in sorted(seen[here] - seen[there]):
                block, view = described[feature]
                rivals = [described[f][1] for f in sorted(seen[there]) if described[f][0] == block]
                # A block in this view and in none of the rivals' is told by gamma of two blocks.
                alone = view - set().union(*rivals)
                if alone:
                    whole = make("through", self._block(r, block), self._block(r, min(alone)))
                else:
                    parts = [self._block(r, block), *(self._view_apart(r, block, view, rival) for rival in rivals)]
                    whole = make("through", self._all(parts), make("tt"))
                return whole if positive else make("not", whole)
        raise AssertionError("cells that were split differ in a feature")

    def _view_apart(self, r: int, block: int, view: set[int], rival: set[int]) -> int:
        """Describe, for cells of a block, that their component has one view and not another."""
        more = view - rival
        target = min(more) if more else min(rival - view)
        whole = self.formulas.make("through", self._block(r, block), self._block(r, target))
        return whole if more else self.formulas.make("not", whole)

    def _round(self, r: int) -> tuple[list[set[int]], list[tuple[int, set[int]]]]:
        """Return of a round the features that each cell lies in or below, and of each feature its block and view."""
        while len(self._rounds) <= r:
            frame, block = self.found.frame, self.found.rounds[len(self._rounds)]
            feature, component = _features(frame, block)
            upper, lower = _reflexive(frame)
            views: list[set[int]] = [set() for _ in feature]
            for c, b in zip(component[upper].tolist(), block[lower].tolist(), strict=True):
                views[c].add(b)
            seen: list[set[int]] = [set() for _ in range(frame.size)]
            for w, f in zip(lower.tolist(), feature[component[upper]].tolist(), strict=True):
                seen[w].add(f)
            described: list[tuple[int, set[int]]] = [(0, set())] * (int(feature.max()) + 1)
            for cell, c in enumerate(component.tolist()):
                described[int(feature[c])] = (int(block[cell]), views[c])
            self._rounds.append((seen, described))
        return self._rounds[r]
