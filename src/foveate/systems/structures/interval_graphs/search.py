"""Kernels of the search: the constrained interval graph, growth by one temporal edge, codes, and counting.

Everything is a flat array; a temporal edge is an index, and an occurrence a row of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from foveate.systems.structures.interval_graphs.canonical import APART, EARLIER, LATER, TOGETHER, mix, pair

CLASS, U, V, START, END, NET, SIDED = range(7)  # columns of an edge


class Edges(NamedTuple):
    """The temporal edges of a database, as the kernels see them.

    Attributes:
        table: Class, first node, second node, start, end, network, and whether ends are told apart, of each edge ``(E, 7)``,
            int64. Of undirected edges with ends of different labels the first is that of the smaller label.
        loose: Classes whose ends may change places ``(C,)``.
        ordered: Whether only the order of starts counts (``es``, ``is``).
        open: Whether edges that only touch in time do not overlap.
    """

    table: np.ndarray
    loose: np.ndarray
    ordered: bool
    open: bool

    def of(self, members: np.ndarray) -> Edges:
        """Return some of the edges."""
        return self._replace(table=self.table[members])


# The kernels pass the table on, and not the tuple that holds it: of that, each access to a field counts references.


@njit(cache=True)
def _related(table: np.ndarray, ordered: bool, open_: bool, i: int, j: int) -> int:
    """How two edges are related in the constrained interval graph."""
    u, v, x, y = table[i, U], table[i, V], table[j, U], table[j, V]
    if u not in (x, y) and v not in (x, y):
        return APART
    one, other = table[i, START], table[j, START]
    if one > table[j, END] or other > table[i, END] or (open_ and (one == table[j, END] or other == table[i, END])):
        return APART
    if not ordered or one == other:
        return TOGETHER
    return EARLIER if one < other else LATER


@njit(cache=True)
def _longer(values: np.ndarray, size: int) -> np.ndarray:
    longer = np.empty(size, values.dtype)
    for i in range(len(values)):
        longer[i] = values[i]
    return longer


@njit(cache=True)
def interval_graph(edges: Edges, nodes: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Find all pairs of edges that share a node and overlap in time.

    The edges are swept in the order of their starts. Each node keeps a list of those that may still overlap what comes; one
    that has ended is taken out when it is met, so the work is linear in edges and pairs.

    Args:
        edges: Edges ordered by start within each network.
        nodes: Number of nodes.
        limit: Give up with more pairs than these.

    Returns:
        The earlier and the later edge of each pair ``(P,)``, int32, ordered by the later; P = limit + 1 means that it gave up.
    """
    # Lists are linked by slots: 2 i + 1 is edge i in its first node's list, 2 i + 2 in its second's, and 0 ends a list.
    table, open_ = edges.table, edges.open
    head, following = np.zeros(nodes, np.int64), np.zeros(2 * len(table) + 1, np.int64)
    size = max(16, len(table))
    one, two = np.empty(size, np.int32), np.empty(size, np.int32)
    count = 0
    for j in range(len(table)):
        for side in range(2 if table[j, U] != table[j, V] else 1):
            node = table[j, U + side]
            slot, before = head[node], 0
            while slot:
                i = (slot - 1) // 2
                if table[i, END] < table[j, START] or (open_ and table[i, END] == table[j, START]):
                    if before == 0:
                        head[node] = following[slot]
                    else:
                        following[before] = following[slot]
                else:
                    # An edge that shares both nodes was met in the first node's list.
                    met = side == 1 and (table[i, U] == table[j, U] or table[i, V] == table[j, U])
                    if not met and _related(table, False, open_, i, j) != APART:
                        if count > limit:
                            return one[:count], two[:count]
                        if count == size:
                            size *= 2
                            one, two = _longer(one, size), _longer(two, size)
                        one[count], two[count] = i, j
                        count += 1
                    before = slot
                slot = following[slot]
            following[2 * j + 1 + side] = head[node]
            head[node] = 2 * j + 1 + side
    return one[:count], two[:count]


def neighbours(pairs: np.ndarray, edges: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn pairs ``(P, 2)`` into adjacency lists, each ascending: offsets ``(E + 1,)``, neighbours and pairs ``(2 P,)``."""
    from_, to = np.concatenate([pairs, pairs[:, ::-1]]).T
    order = np.lexsort((to, from_))
    offset = np.concatenate([[0], np.cumsum(np.bincount(from_, minlength=edges))])
    return offset, np.ascontiguousarray(to[order]), np.tile(np.arange(len(pairs), dtype=np.int32), 2)[order]


@njit(cache=True)
def _joined(offset: np.ndarray, other: np.ndarray, which: np.ndarray, i: int, j: int) -> int:
    """The pair of edges i and j, or -1, by bisection."""
    low, high = offset[i], offset[i + 1]
    while low < high:
        middle = (low + high) // 2
        if other[middle] < j:
            low = middle + 1
        else:
            high = middle
    return which[low] if low < offset[i + 1] and other[low] == j else -1


@njit(cache=True)
def _tie(table: np.ndarray, ordered: bool, open_: bool, i: int, j: int) -> int:
    """Hash how edge j looks from edge i: classes, relative start, which ends meet whatever places they have, relation."""
    first, second = table[i, SIDED], table[j, SIDED]
    met = 0
    for side in range(2):
        for other in range(2):
            if table[i, U + side] == table[j, U + other]:
                met += 1 + (1 + side) * first + 5 * (1 + other) * second
    delta = 0 if ordered else table[j, START] - table[i, START]
    value = table[i, CLASS] * 0x2545F4914F6CDD1D + table[j, CLASS] * 0x1B873593CC9E2D51 + delta * 0x165667B19E3779F9
    return mix(value + met * 4 + _related(table, ordered, open_, i, j))


@njit(cache=True)
def sketch(edges: Edges, rows: np.ndarray) -> np.ndarray:
    """Hash occurrences ``(n, k)`` so that isomorphic ones have one hash; others may, too, so it only rules out."""
    table, ordered, open_ = edges.table, edges.ordered, edges.open
    n, k = rows.shape
    found = np.empty(n, np.int64)
    for r in range(n):
        total = 0
        for i in range(k):
            for j in range(k):
                if i != j:
                    total += _tie(table, ordered, open_, rows[r, i], rows[r, j])
        found[r] = total
    return found


@njit(cache=True)
def extend(
    edges: Edges,
    lists: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    root: np.ndarray,
    via: np.ndarray,
    hashed: np.ndarray,
    limit: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Extend occurrences by one adjacent edge, each set of edges once.

    The first two members of a row are its root: the first of all pairs, in the order of the pairs, that are adjacent in the
    set. Further members stand as a breadth-first search meets them, which goes by the place of the first member that they are
    adjacent to, then by number. Both are properties of the set, and all leading parts of such a row have them too, so no set
    is met twice and none is missed.

    Args:
        edges: The temporal edges.
        lists: Adjacency, of `neighbours`, of the frequent pairs.
        rows: Occurrences ``(n, k)``.
        root: Pair of each row's first two members ``(n,)``.
        via: Place of the first member that each row's last one is adjacent to ``(n,)``; 0 if k is 2.
        hashed: Each row's sketch ``(n,)``.
        limit: Give up with more extensions than these.

    Returns:
        Row that was extended, edge, its `via`, and sketch of the extension, ``(m,)`` each; m = limit + 1 means that it gave up.
    """
    offset, other, which = lists
    table, ordered, open_ = edges.table, edges.ordered, edges.open
    n, k = rows.shape
    size = max(64, n)
    parent, added, place = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    total = np.empty(size, np.int64)
    count = 0
    for r in range(n):
        for at in range(k):
            # What comes before the last member in the search's order was left out on purpose.
            if k > 2 and at < via[r]:
                continue
            for slot in range(offset[rows[r, at]], offset[rows[r, at] + 1]):
                x = other[slot]
                if which[slot] <= root[r] or (k > 2 and at == via[r] and x <= rows[r, k - 1]):
                    continue
                fits = True
                for i in range(k):
                    if rows[r, i] == x:
                        fits = False
                        break
                    if i == at or _related(table, ordered, open_, rows[r, i], x) == APART:
                        continue
                    # Met earlier, or a pair that is infrequent or comes before the root.
                    if i < at or _joined(offset, other, which, x, rows[r, i]) <= root[r]:
                        fits = False
                        break
                if not fits:
                    continue
                if count == size:
                    if count > limit:
                        return parent, added, place, total
                    size = min(2 * size, max(limit, size) + 1)
                    parent, added, place = _longer(parent, size), _longer(added, size), _longer(place, size)
                    total = _longer(total, size)
                parent[count], added[count], place[count], total[count] = r, x, at, hashed[r]
                for i in range(k):
                    total[count] += _tie(table, ordered, open_, rows[r, i], x) + _tie(table, ordered, open_, x, rows[r, i])
                count += 1
    return parent[:count], added[:count], place[:count], total[:count]


@njit(cache=True)
def spell(edges: Edges, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the codes of occurrences ``(n, k)``, their edges ordered by class and start: like ones mostly get one code.

    Returns:
        The codes ``(n, L)``, and which member of its row stands at each place ``(n, k)``.
    """
    table, ordered, open_ = edges.table, edges.ordered, edges.open
    n, k = rows.shape
    codes, orders = np.empty((n, 4 * k + k * (k - 1) // 2), np.int64), np.empty((n, k), np.int64)
    node = np.empty(2 * k, np.int64)
    for r in range(n):
        first = table[rows[r, 0], START]
        for i in range(k):
            x = rows[r, i]
            first = min(first, table[x, START])
            at = i
            while at > 0:
                before = rows[r, orders[r, at - 1]]
                later = table[before, START] > table[x, START]
                if table[before, CLASS] < table[x, CLASS] or (table[before, CLASS] == table[x, CLASS] and not later):
                    break
                orders[r, at] = orders[r, at - 1]
                at -= 1
            orders[r, at] = i
        count = 0
        for i in range(k):
            x = rows[r, orders[r, i]]
            for side in range(2):
                number = 0
                while number < count and node[number] != table[x, U + side]:
                    number += 1
                if number == count:
                    node[count] = table[x, U + side]
                    count += 1
                codes[r, 4 * i + 1 + side] = number
            if table[x, SIDED] == 0 and codes[r, 4 * i + 1] > codes[r, 4 * i + 2]:
                codes[r, 4 * i + 1], codes[r, 4 * i + 2] = codes[r, 4 * i + 2], codes[r, 4 * i + 1]
            codes[r, 4 * i] = table[x, CLASS]
            codes[r, 4 * i + 3] = 0 if ordered else table[x, START] - first
            for j in range(i):
                codes[r, pair(k, j, i)] = _related(table, ordered, open_, rows[r, orders[r, j]], x)
    return codes, orders


@njit(cache=True)
def _hash(row: np.ndarray) -> int:
    total = 0
    for value in row:
        total = mix(total + value + 0x9E3779B9)
    return total


@njit(cache=True)
def group(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number equal rows ``(n, w)`` alike, in the order in which they come: numbers ``(n,)`` and first row of each ``(g,)``."""
    n, w = rows.shape
    size = 16
    while size < 2 * n:
        size *= 2
    table = np.zeros(size, np.int32)  # number of a group, plus one
    numbers, firsts = np.empty(n, np.int32), np.empty(n, np.int32)
    count = 0
    for r in range(n):
        slot = _hash(rows[r]) & (size - 1)
        while True:
            g = table[slot] - 1
            if g < 0:
                firsts[count], numbers[r] = r, count
                count += 1
                table[slot] = count
                break
            same = True
            for x in range(w):
                if rows[firsts[g], x] != rows[r, x]:
                    same = False
                    break
            if same:
                numbers[r] = g
                break
            slot = (slot + 1) & (size - 1)
    return numbers, firsts[:count]


@njit(cache=True)
def support(numbers: np.ndarray, net: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count in how many networks each group occurs, and how often.

    Args:
        numbers: Group of each occurrence ``(n,)``.
        net: Its network ``(n,)``, ascending.
        groups: Number of groups g.

    Returns:
        Networks ``(g,)``, occurrences ``(g,)``, and which occurrences are their group's first in a network ``(n,)``.
    """
    last = np.zeros(groups, np.int64)  # network of each group's last occurrence, plus one
    networks, occurrences = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    first = np.zeros(len(numbers), np.bool_)
    for i in range(len(numbers)):
        g = numbers[i]
        occurrences[g] += 1
        if last[g] != net[i] + 1:
            last[g] = net[i] + 1
            networks[g] += 1
            first[i] = True
    return networks, occurrences, first
