"""The canonical form of a temporal pattern: equal for two patterns if and only if they are isomorphic.

A pattern of k temporal edges is a *code*, int64 of length ``4 k + k (k - 1) / 2``: for each edge its class, its two nodes
(numbered from 0) and its start relative to the pattern's first (0 where only the order of starts counts); then, for each pair
of edges, how they are related in the constrained interval graph: `APART`, or adjacent and then `EARLIER`, `TOGETHER` or
`LATER` (where starts are compared exactly, adjacent edges are all marked `TOGETHER`: their starts say the rest).

A code depends on the order of its edges; the canonical one is the smallest over all orders that colour refinement leaves
open. Colours are hashes and decide only which orders are tried: should two ever collide, more orders are. Node identity counts
between all edges, also those that share no time; the released package compares labels that are blind to it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

APART, EARLIER, TOGETHER, LATER = 0, 1, 2, 3


@njit(cache=True)
def mix(x: int) -> int:
    """Scramble 64 bits; products wrap around."""
    x = (x ^ (x >> 30)) * -4658895280553007687
    x = (x ^ (x >> 27)) * -7723592293110705685
    return x ^ (x >> 31)


@njit(cache=True)
def pair(k: int, i: int, j: int) -> int:
    """Place in a code of the relation of edges i < j."""
    return 4 * k + i * (2 * k - i - 1) // 2 + j - i - 1


@njit(cache=True)
def relation(code: np.ndarray, k: int, i: int, j: int) -> int:
    """How edge i is related to edge j."""
    if i < j:
        return code[pair(k, i, j)]
    found = code[pair(k, j, i)]
    return EARLIER + LATER - found if found else APART


@njit(cache=True)
def _copy(values: np.ndarray, into: np.ndarray) -> None:
    """Copy; assigning to a slice takes the compiler ten times as long."""
    for i in range(len(values)):
        into[i] = values[i]


@njit(cache=True)
def _refine(code: np.ndarray, k: int, loose: np.ndarray, colour: np.ndarray, node: np.ndarray) -> int:
    """Refine colours of edges ``(k,)`` until they split no further; return how many there are.

    An edge's new colour mixes its own, those of its nodes (the sum of their edges' colours, by side where sides differ), and
    those of the other edges by their relation. (Relative starts are in the first colours.)
    """
    fresh = np.empty(k, np.int64)
    before = 0
    while True:
        distinct = 0
        for i in range(k):
            distinct += 1
            for j in range(i):
                if colour[j] == colour[i]:
                    distinct -= 1
                    break
        if distinct in (before, k):
            return distinct
        before = distinct
        for v in range(len(node)):
            node[v] = 0
        for i in range(k):
            side = 0 if loose[code[4 * i]] else 1
            node[code[4 * i + 1]] += mix(colour[i] + side)
            node[code[4 * i + 2]] += mix(colour[i] + 2 * side)
        for i in range(k):
            side = 0 if loose[code[4 * i]] else 1
            total = mix(node[code[4 * i + 1]] + side) + mix(node[code[4 * i + 2]] + 2 * side)
            if code[4 * i + 1] == code[4 * i + 2]:
                total += 7
            for j in range(k):
                if j != i:
                    total += mix(colour[j] ^ mix(relation(code, k, i, j) + 11))
            fresh[i] = mix(colour[i] + mix(total))
        _copy(fresh, colour)


@njit(cache=True)
def _twins(code: np.ndarray, k: int, x: int, y: int, loose: np.ndarray, image: np.ndarray) -> bool:
    """Whether exchanging edges x and y is an automorphism, so that only one of them need be tried."""
    if code[4 * x] != code[4 * y] or code[4 * x + 3] != code[4 * y + 3]:
        return False
    if relation(code, k, x, y) == EARLIER or relation(code, k, x, y) == LATER:
        return False
    for z in range(k):
        if z != x and z != y and relation(code, k, x, z) != relation(code, k, y, z):
            return False
    for crossed in range(2 if loose[code[4 * x]] else 1):
        # image is the exchange of nodes that maps x to y, if there is one; it has to leave every other edge in place.
        for v in range(len(image)):
            image[v] = v
        fits = True
        for side in (1, 2):
            p, q = code[4 * x + side], code[4 * y + (3 - side if crossed else side)]
            if (image[p] != p and image[p] != q) or (image[q] != p and image[q] != q):
                fits = False
                break
            image[p], image[q] = q, p
        if not fits:
            continue
        for z in range(k):
            a, b = image[code[4 * z + 1]], image[code[4 * z + 2]]
            other = y if z == x else x if z == y else z
            c, d = code[4 * other + 1], code[4 * other + 2]
            if not ((a == c and b == d) or (loose[code[4 * z]] and a == d and b == c)):
                fits = False
                break
        if fits:
            return True
    return False


@njit(cache=True)
def _later_node(code: np.ndarray, k: int, order: np.ndarray, loose: np.ndarray, u: int, v: int) -> bool:
    """Whether v comes before u: at the first edge, in order, to which they are tied differently, v is tied more closely."""
    for i in order:
        a, b = code[4 * i + 1], code[4 * i + 2]
        side = 1 if loose[code[4 * i]] else 2
        tied_u = side * (a == u) + (b == u)
        tied_v = side * (a == v) + (b == v)
        if tied_u != tied_v:
            return tied_v > tied_u
    return False


@njit(cache=True)
def write(code: np.ndarray, k: int, order: np.ndarray, loose: np.ndarray, number: np.ndarray, out: np.ndarray) -> None:
    """Write a code with its edges in another order, nodes numbered as they appear.

    Of an edge whose ends may change places, and both of whose nodes are new, that node comes first which is tied more closely
    to the first edge that tells the two apart; if none does, exchanging them is an automorphism.
    """
    for v in range(len(number)):
        number[v] = -1
    count = 0
    for place in range(k):
        i = order[place]
        a, b = code[4 * i + 1], code[4 * i + 2]
        if loose[code[4 * i]] and number[a] < 0 and number[b] < 0 and _later_node(code, k, order, loose, a, b):
            a, b = b, a
        for node in (a, b):
            if number[node] < 0:
                number[node] = count
                count += 1
        first, second = number[a], number[b]
        if loose[code[4 * i]] and first > second:
            first, second = second, first
        out[4 * place], out[4 * place + 1] = code[4 * i], first
        out[4 * place + 2], out[4 * place + 3] = second, code[4 * i + 3]
    for p in range(k):
        for q in range(p + 1, k):
            out[pair(k, p, q)] = relation(code, k, order[p], order[q])


@njit(cache=True)
def canonical(codes: np.ndarray, k: int, loose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the canonical codes of some patterns of k edges.

    Args:
        codes: Their codes ``(P, L)``, int64.
        k: Edges of each.
        loose: Classes whose ends may change places ``(C,)``.

    Returns:
        The canonical codes ``(P, L)``, and for each the places that its edges had ``(P, k)``.
    """
    length = codes.shape[1]
    best = np.empty((len(codes), length), np.int64)
    orders = np.empty((len(codes), k), np.int64)
    colour = np.empty((k + 1, k), np.int64)  # by depth of the search
    cell = np.empty((k + 1, k), np.int64)
    sizes, tried = np.empty(k + 1, np.int64), np.empty(k + 1, np.int64)
    node, number, image = np.empty(2 * k, np.int64), np.empty(2 * k, np.int64), np.empty(2 * k, np.int64)
    trial, order = np.empty(length, np.int64), np.empty(k, np.int64)
    for p in range(len(codes)):
        code = codes[p]
        for i in range(k):
            colour[0, i] = mix(code[4 * i] * 31 + mix(code[4 * i + 3]))
        depth, found = 0, False
        descend = True
        while depth >= 0:
            if descend:
                distinct = _refine(code, k, loose, colour[depth], node)
                for x in range(k):  # sort the edges by colour
                    y = x
                    while y > 0 and colour[depth, order[y - 1]] > colour[depth, x]:
                        order[y] = order[y - 1]
                        y -= 1
                    order[y] = x
                if distinct == k:
                    write(code, k, order, loose, number, trial)
                    smaller = not found
                    if found:
                        for x in range(length):
                            if trial[x] != best[p, x]:
                                smaller = trial[x] < best[p, x]
                                break
                    if smaller:
                        found = True
                        _copy(trial, best[p])
                        _copy(order, orders[p])
                    depth -= 1
                    descend = False
                    continue
                # Branch on the first colour that several edges have; twins of an edge that is tried are left out.
                place = 0
                while colour[depth, order[place]] != colour[depth, order[place + 1]]:
                    place += 1
                sizes[depth] = 0
                shared = colour[depth, order[place]]
                while place < k and colour[depth, order[place]] == shared:
                    again = False
                    for c in range(sizes[depth]):
                        if _twins(code, k, cell[depth, c], order[place], loose, image):
                            again = True
                            break
                    if not again:
                        cell[depth, sizes[depth]] = order[place]
                        sizes[depth] += 1
                    place += 1
                tried[depth] = 0
            if tried[depth] == sizes[depth]:
                depth -= 1
                descend = False
                continue
            chosen = cell[depth, tried[depth]]
            tried[depth] += 1
            _copy(colour[depth], colour[depth + 1])
            colour[depth + 1, chosen] = mix(colour[depth, chosen] + 1)
            depth += 1
            descend = True
    return best, orders
