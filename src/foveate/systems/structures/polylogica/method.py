"""Semantics and model checking: reflexive frames, the operators of SLCS with reachability on them, hash-consed formulas.

Paper: arXiv 2105.06194, the sections on polyhedral models, on their finite representation, and on the model checker.

A polyhedron is cut into *cells*, the relative interiors of the simplices of a complex. Cell ``v`` is below cell ``w`` if it
is a face of it. What holds at a point depends on its cell only, so it is enough to label the finite set of cells. Everything
here is written for any finite reflexive relation "below": face posets, quotients of them, and symmetric graphs alike. A set of
cells is a bool array, one entry for each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numba
import numpy as np

from foveate.errors import InputError

Compat = Literal["none", "0.3", "0.4"]


class Space(Protocol):
    """What formulas are evaluated on: the three operators that all others come from."""

    @property
    def size(self) -> int:
        """Number of cells."""

    def closure(self, cells: np.ndarray) -> np.ndarray:
        """Add all that is below."""

    def star(self, cells: np.ndarray) -> np.ndarray:
        """Add all that is above."""

    def through(self, safe: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Find where a path starts that passes ``safe`` and ends in ``target``."""


# ---------------------------------------------------------------------------------------------------------------------
# frames
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A finite reflexive relation on cells, as compressed rows: for a face poset, each cell's proper faces.

    Attributes:
        start: int64 ``(n + 1,)``: the row of cell w is ``below[start[w]:start[w + 1]]``.
        below: int32: what is below each cell, of every codimension; the cell itself is left out.
    """

    start: np.ndarray
    below: np.ndarray

    @classmethod
    def from_pairs(cls, size: int, upper: np.ndarray, lower: np.ndarray) -> Frame:
        """Make a frame of pairs (cell, cell below it) in any order; a cell with itself and repeated pairs are dropped."""
        apart = upper != lower
        code = np.unique(upper[apart].astype(np.int64) * size + lower[apart])
        start = np.zeros(size + 1, np.int64)
        np.cumsum(np.bincount(code // size, minlength=size), out=start[1:])
        return cls(start, (code % size).astype(np.int32))

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.start) - 1

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the relation as arrays (cell, cell below it), the cell itself left out."""
        return np.repeat(np.arange(self.size, dtype=np.int32), np.diff(self.start)), self.below

    def symmetric(self) -> Frame:
        """Return the graph of comparable cells: the closure space that forgets which of two cells is the face."""
        upper, lower = self.pairs()
        return Frame.from_pairs(self.size, np.concatenate([upper, lower]), np.concatenate([lower, upper]))

    def closure(self, cells: np.ndarray) -> np.ndarray:
        """Add all that is below some cell of the set: the topological closure (D in the sheet)."""
        return _closure(self.start, self.below, cells)

    def star(self, cells: np.ndarray) -> np.ndarray:
        """Add all that is above some cell of the set: the open star (U in the sheet)."""
        return _star(self.start, self.below, cells)

    def components(self, kind: np.ndarray) -> np.ndarray:
        """Number the connected components of cells that are comparable and of one kind.

        Args:
            kind: int ``(n,)``; cells of a negative kind belong to no component.

        Returns:
            int32 ``(n,)``: the component of each cell, from 0 in order of the first cell; -1 for none.
        """
        return _components(self.start, self.below, kind.astype(np.int32))

    def through(self, safe: np.ndarray, target: np.ndarray) -> np.ndarray:
        r"""Find the cells that satisfy :math:`\gamma(safe, target)`.

        A cell does if a path that starts in it runs through ``safe`` and ends in ``target``; neither end has to be safe. On the
        frame: it lies in or below a component of ``safe`` that has a target cell in it or below it. A path crosses cells of
        every codimension: a safe vertex and a safe triangle are connected even if no edge between them is safe.
        """
        return _through(self.start, self.below, safe.view(np.int8) - np.int8(1), target)


@numba.njit(cache=True, nogil=True)
def _closure(start: np.ndarray, below: np.ndarray, cells: np.ndarray) -> np.ndarray:
    out = cells.copy()
    for w in range(cells.size):
        if cells[w]:
            for k in range(start[w], start[w + 1]):
                out[below[k]] = True
    return out


@numba.njit(cache=True, nogil=True)
def _star(start: np.ndarray, below: np.ndarray, cells: np.ndarray) -> np.ndarray:
    out = cells.copy()
    for w in range(cells.size):
        if not out[w]:
            for k in range(start[w], start[w + 1]):
                if cells[below[k]]:
                    out[w] = True
                    break
    return out


@numba.njit(cache=True, nogil=True)
def _find(parent: np.ndarray, w: int) -> int:
    while parent[w] != w:
        parent[w] = parent[parent[w]]  # path halving
        w = parent[w]
    return w


@numba.njit(cache=True, nogil=True)
def _join(start: np.ndarray, below: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Join comparable cells of one kind; the smallest cell of a component is its root."""
    parent = np.arange(kind.size).astype(np.int32)
    for w in range(kind.size):
        if kind[w] >= 0:
            root = _find(parent, w)
            for k in range(start[w], start[w + 1]):
                v = below[k]
                if kind[v] == kind[w] and parent[v] != root:
                    other = _find(parent, v)
                    if other < root:
                        parent[root] = other
                        root = other
                    elif root < other:
                        parent[other] = root
    return parent


@numba.njit(cache=True, nogil=True)
def _components(start: np.ndarray, below: np.ndarray, kind: np.ndarray) -> np.ndarray:
    parent = _join(start, below, kind)
    number = np.full(kind.size, -1, np.int32)
    count = 0
    for w in range(kind.size):
        if kind[w] >= 0:
            root = _find(parent, w)
            if number[root] < 0:
                number[root] = count
                count += 1
            number[w] = number[root]
    return number


@numba.njit(cache=True, nogil=True)
def _through(start: np.ndarray, below: np.ndarray, kind: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute gamma; ``kind`` is 0 for safe cells and -1 for others."""
    parent = _join(start, below, kind)
    arrives = np.zeros(kind.size, np.bool_)  # by root: the component has a target in it or below it
    for w in range(kind.size):
        if kind[w] == 0:
            root = _find(parent, w)
            parent[w] = root
            if not arrives[root]:
                seen = target[w]
                for k in range(start[w], start[w + 1]):
                    if seen:
                        break
                    seen = target[below[k]]
                arrives[root] = seen
    out = np.zeros(kind.size, np.bool_)
    for w in range(kind.size):
        if kind[w] == 0 and arrives[parent[w]]:
            out[w] = True
            for k in range(start[w], start[w + 1]):
                out[below[k]] = True
    return out


def warm_up() -> None:
    """Compile the operators, or load them compiled, which takes a part of a second the first time."""
    tiny = Frame.from_pairs(2, np.array([1]), np.array([0]))
    some = np.array([True, False])
    tiny.closure(tiny.star(tiny.through(some, some)))
    tiny.components(np.zeros(2, np.int32))


@dataclass(frozen=True)
class Naive:
    """The same operators cell by cell, straight from their definitions: slow, for comparison.

    Args:
        frame: The relation.
    """

    frame: Frame

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.frame.size

    @cached_property
    def faces(self) -> list[set[int]]:
        """What is below each cell, the cell itself too."""
        start, below = self.frame.start, self.frame.below
        return [{w, *below[start[w] : start[w + 1]].tolist()} for w in range(self.size)]

    @cached_property
    def cofaces(self) -> list[set[int]]:
        """What is above each cell, the cell itself too."""
        above: list[set[int]] = [set() for _ in self.faces]
        for w, faces in enumerate(self.faces):
            for v in faces:
                above[v].add(w)
        return above

    def closure(self, cells: np.ndarray) -> np.ndarray:
        """Ask each cell whether some cell above it is in the set."""
        return np.array([any(cells[v] for v in above) for above in self.cofaces], bool)

    def star(self, cells: np.ndarray) -> np.ndarray:
        """Ask each cell whether some cell below it is in the set."""
        return np.array([any(cells[v] for v in faces) for faces in self.faces], bool)

    def through(self, safe: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Search, from each cell, for a path up, to and fro, and down: w0 below w1, w1 to w(k-1) safe, w(k) below w(k-1)."""
        return np.array([self._reaches(w, safe, target) for w in range(self.size)], bool)

    def _reaches(self, w: int, safe: np.ndarray, target: np.ndarray) -> bool:
        seen = {v for v in self.cofaces[w] if safe[v]}
        waiting = list(seen)
        while waiting:
            v = waiting.pop()
            if any(target[u] for u in self.faces[v]):
                return True
            further = {u for u in self.faces[v] | self.cofaces[v] if safe[u]} - seen
            seen |= further
            waiting.extend(further)
        return False


# ---------------------------------------------------------------------------------------------------------------------
# formulas
# ---------------------------------------------------------------------------------------------------------------------

Kind = Literal["set", "number", "boolean", "string"]


@dataclass(frozen=True)
class Operator:
    """What an operator takes and gives; ``compute`` is its function if it is one of plain values, and no set operator."""

    takes: tuple[Kind, ...]
    gives: Kind
    commutes: bool = False
    compute: Callable[..., Any] | None = None


def _divide(a: float, b: float) -> float:
    return a / b if b else float("nan")


_UNARY, _BINARY = ("set",), ("set", "set")
_NUMBERS, _TRUTHS = ("number", "number"), ("boolean", "boolean")
OPERATORS: dict[str, Operator] = {
    "ap": Operator(("string",), "set"),
    "tt": Operator((), "set"),
    "ff": Operator((), "set"),
    "bconstant": Operator(("boolean",), "set"),
    "not": Operator(_UNARY, "set"),
    "and": Operator(_BINARY, "set", commutes=True),
    "or": Operator(_BINARY, "set", commutes=True),
    "near": Operator(_UNARY, "set"),
    "interior": Operator(_UNARY, "set"),
    "cvnear": Operator(_UNARY, "set"),
    "through": Operator(_BINARY, "set"),
    "volume": Operator(_UNARY, "number", compute=lambda a: int(np.count_nonzero(a))),
    ".+.": Operator(_NUMBERS, "number", commutes=True, compute=lambda a, b: a + b),
    ".-.": Operator(_NUMBERS, "number", compute=lambda a, b: a - b),
    ".*.": Operator(_NUMBERS, "number", commutes=True, compute=lambda a, b: a * b),
    "./.": Operator(_NUMBERS, "number", compute=_divide),
    ".=.": Operator(_NUMBERS, "boolean", commutes=True, compute=lambda a, b: a == b),
    ".<.": Operator(_NUMBERS, "boolean", compute=lambda a, b: a < b),
    ".<=.": Operator(_NUMBERS, "boolean", compute=lambda a, b: a <= b),
    ".>.": Operator(_NUMBERS, "boolean", compute=lambda a, b: a > b),
    ".>=.": Operator(_NUMBERS, "boolean", compute=lambda a, b: a >= b),
    ".&.": Operator(_TRUTHS, "boolean", commutes=True, compute=lambda a, b: a and b),
    ".|.": Operator(_TRUTHS, "boolean", commutes=True, compute=lambda a, b: a or b),
    "!.": Operator(("boolean",), "boolean", compute=lambda a: not a),
}


@dataclass(frozen=True)
class Node:
    """One formula: an operator on other formulas, by number; a constant has a value and the operator ``constant``."""

    operator: str
    arguments: tuple[int, ...] = ()
    value: float | bool | str | None = None
    kind: Kind = "set"


@dataclass
class Formulas:
    """Hash-consed formulas: the same operator on the same arguments is one node; arguments come before what they are used in.

    Example:
        >>> f = Formulas()
        >>> a, b = f.atom("a"), f.atom("b")
        >>> f.make("and", a, b) == f.make("and", b, a)
        True
        >>> f.show(f.make("through", a, f.make("not", b)))
        'through(ap("a"),not(ap("b")))'
    """

    nodes: list[Node] = field(default_factory=list)
    _numbers: dict[Node, int] = field(default_factory=dict)

    def constant(self, value: float | bool | str) -> int:
        """Return the number of a constant."""
        kind: Kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        return self._number(Node("constant", (), value, kind))

    def atom(self, name: str) -> int:
        """Return the number of an atomic proposition."""
        return self.make("ap", self.constant(name))

    def make(self, operator: str, *arguments: int) -> int:
        """Return the number of an operator's application.

        Raises:
            InputError: If there is no such operator, or its arguments are of another number or kind.
        """
        if operator not in OPERATORS:
            raise InputError(operator, "there is no such operator", f"one of {', '.join(OPERATORS)}")
        known = OPERATORS[operator]
        kinds = tuple(self.nodes[a].kind for a in arguments)
        if kinds != known.takes:
            raise InputError(operator, f"got ({', '.join(kinds)})", f"({', '.join(known.takes)})")
        if known.commutes:
            arguments = tuple(sorted(arguments))
        return self._number(Node(operator, arguments, None, known.gives))

    def _number(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[node]

    def needed(self, roots: Iterable[int]) -> list[int]:
        """List the formulas that some formulas consist of, themselves included, arguments first."""
        found, waiting = set(), list(roots)
        while waiting:
            i = waiting.pop()
            if i not in found:
                found.add(i)
                waiting.extend(self.nodes[i].arguments)
        return sorted(found)

    def show(self, formula: int) -> str:
        """Write a formula out, without sharing."""
        node = self.nodes[formula]
        if node.operator == "constant":
            return f'"{node.value}"' if node.kind == "string" else str(node.value).lower()
        inner = ",".join(self.show(a) for a in node.arguments)
        return f"{node.operator}({inner})" if inner else node.operator


# ---------------------------------------------------------------------------------------------------------------------
# the checker
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Checker:
    """Evaluate formulas on a space, each one once.

    Args:
        space: The cells and their order.
        atoms: Atomic proposition to the bool array of the cells that have it.
        compat: Reading of ``near`` and ``interior``: ``none`` is the paper's (closure, and all cells above). Releases read
            otherwise: ``0.3`` adds the cells above for ``near``; ``0.3`` and ``0.4`` ask the cells below for ``interior``.
        cache: Whether a formula that stands in several places is evaluated once.
        threads: Formulas evaluated side by side.

    Attributes:
        evaluated: How many applications of operators the last call evaluated; constants do not count.
    """

    space: Space
    atoms: Mapping[str, np.ndarray]
    compat: Compat = "none"
    cache: bool = True
    threads: int = 1
    evaluated: int = field(default=0, init=False)

    def values(self, formulas: Formulas, roots: Sequence[int]) -> list[Any]:
        """Evaluate formulas: a bool array ``(n,)`` for a set, a plain value for what is none."""
        self.evaluated = 0
        if not self.cache:
            return [self._unshared(formulas, root) for root in roots]
        needed = formulas.needed(roots)
        self.evaluated = sum(formulas.nodes[i].operator != "constant" for i in needed)
        if self.threads < 2:
            known: dict[int, Any] = {}
            for i in needed:
                node = formulas.nodes[i]
                known[i] = self._apply(node, [known[a] for a in node.arguments])
            return [known[root] for root in roots]
        tasks: dict[int, Future] = {}
        with ThreadPoolExecutor(self.threads) as pool:
            # Arguments are submitted before what waits for them, so that the pool never waits for itself.
            for i in needed:
                node = formulas.nodes[i]
                tasks[i] = pool.submit(lambda n: self._apply(n, [tasks[a].result() for a in n.arguments]), node)
            return [tasks[root].result() for root in roots]

    def _unshared(self, formulas: Formulas, root: int) -> Any:
        """Evaluate a formula as the tree that it is when nothing is shared."""
        waiting: list[tuple[int, bool]] = [(root, False)]
        done: list[Any] = []
        while waiting:
            i, ready = waiting.pop()
            node = formulas.nodes[i]
            if not ready and node.arguments:
                waiting.append((i, True))
                waiting.extend((a, False) for a in reversed(node.arguments))
                continue
            arguments = [done.pop() for _ in node.arguments][::-1]
            done.append(self._apply(node, arguments))
            self.evaluated += node.operator != "constant"
        return done.pop()

    def _apply(self, node: Node, arguments: Sequence[Any]) -> Any:
        compute = OPERATORS[node.operator].compute if node.operator in OPERATORS else None
        if compute is not None:
            return compute(*arguments)
        match node.operator:
            case "constant":
                return node.value
            case "ap":
                return self.atoms[arguments[0]]
            case "tt" | "ff" | "bconstant":
                return np.full(self.space.size, arguments[0] if arguments else node.operator == "tt")
            case "not":
                return ~arguments[0]
            case "and":
                return arguments[0] & arguments[1]
            case "or":
                return arguments[0] | arguments[1]
            case "near":
                return self.space.star(*arguments) if self.compat == "0.3" else self.space.closure(*arguments)
            case "cvnear":
                return self.space.star(*arguments)
            case "interior":
                return ~(self.space.closure if self.compat == "none" else self.space.star)(~arguments[0])
            case "through":
                return self.space.through(*arguments)
        raise InputError(node.operator, "there is no such operator")
