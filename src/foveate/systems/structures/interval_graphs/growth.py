"""Growth: from occurrences to frequent patterns, and from these to occurrences of one edge more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from foveate.systems.structures.interval_graphs import search
from foveate.systems.structures.interval_graphs.canonical import canonical
from foveate.systems.structures.interval_graphs.search import Edges

CHUNK = 1 << 17  # occurrences whose codes are held at once


def patterns_of(edges: Edges, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the pattern of each occurrence ``(n, k)``.

    Returns:
        Number of its pattern ``(n,)``, and the patterns' canonical codes ``(P, L)``.
    """
    k = rows.shape[1]
    numbers, found, count = [], [], 0
    for first in range(0, len(rows), CHUNK):
        codes, _ = search.spell(edges, rows[first : first + CHUNK])
        number, firsts = search.group(codes)
        numbers.append(number + count)
        found.append(codes[firsts])
        count += len(firsts)
    if not found:
        return np.zeros(0, np.int32), np.zeros((0, 4 * k + k * (k - 1) // 2), np.int64)
    distinct, firsts = search.group(np.concatenate(found))
    codes, _ = canonical(np.concatenate(found)[firsts], k, edges.loose)
    same, firsts = search.group(codes)
    return same[distinct][np.concatenate(numbers)], codes[firsts]


class Count(NamedTuple):
    """The frequent patterns among some occurrences.

    Attributes:
        rows: First occurrence of each pattern ``(P, k)``.
        occurrences: How often it occurs ``(P,)``.
        support: In how many networks ``(P,)``.
        networks: These, pattern by pattern.
    """

    rows: np.ndarray
    occurrences: np.ndarray
    support: np.ndarray
    networks: np.ndarray


def count(edges: Edges, rows: np.ndarray, least: int) -> tuple[Count, np.ndarray]:
    """Find the frequent patterns of occurrences ``(n, k)``, whose networks ascend.

    Returns:
        The patterns, and each occurrence's pattern, -1 where it is infrequent ``(n,)``.
    """
    numbers, codes = patterns_of(edges, rows)
    net = edges.table[rows[:, 0], search.NET]
    support, occurrences, new = search.support(numbers, net, len(codes))
    frequent = support >= least
    first = np.full(len(codes), len(rows))
    np.minimum.at(first, numbers, np.arange(len(rows)))
    new &= frequent[numbers]
    networks = net[new][np.argsort(numbers[new], kind="stable")]
    number = np.where(frequent, np.cumsum(frequent) - 1, -1)
    return Count(rows[first[frequent]], occurrences[frequent], support[frequent], networks), number[numbers]


def possible(hashed: np.ndarray, net: np.ndarray, least: int) -> np.ndarray:
    """Mark the occurrences ``(n,)`` that may belong to a frequent pattern, by their sketches and (ascending) networks.

    A sketch that is in too few networks rules out all patterns that share it, before any code is written.
    """
    numbers, firsts = search.group(hashed[:, None])
    support, _, _ = search.support(numbers, net, len(firsts))
    return support[numbers] >= least


@dataclass
class Search:
    """Growth from frequent pairs of edges, within limits.

    Attributes:
        edges: The temporal edges.
        pairs: Their frequent pairs ``(P, 2)``, ordered by seed.
        least: Smallest support.
        max_edges: Largest pattern, or 0.
        limit: Most extensions held at once.
        deadline: When to stop, on the monotonic clock.
        tried: Extensions that were looked at.
    """

    edges: Edges
    pairs: np.ndarray
    least: int
    max_edges: int
    limit: int
    deadline: float
    tried: int = 0

    def __post_init__(self) -> None:
        """Make the adjacency lists."""
        self.lists = search.neighbours(self.pairs, len(self.edges.table))

    def grow(self, first: int, last: int) -> tuple[dict[int, Count], str]:
        """Find the patterns of more than two edges whose first pair is one of ``first`` to ``last``.

        Returns:
            Patterns by size, and why it stopped before the end: ``time``, ``memory`` or nothing.
        """
        edges, net = self.edges, self.edges.table[:, search.NET]
        root = np.arange(first, last, dtype=np.int32)
        root = root[np.argsort(net[self.pairs[root, 0]], kind="stable")]
        rows, via = self.pairs[root], np.zeros(len(root), np.int32)
        hashed = search.sketch(edges, rows)
        found: dict[int, Count] = {}
        while len(rows) and rows.shape[1] != self.max_edges:
            if time.monotonic() > self.deadline:
                return found, "time"
            parent, added, via, hashed = search.extend(edges, self.lists, rows, root, via, hashed, self.limit)
            if len(parent) > self.limit:
                return found, "memory"
            self.tried += len(parent)
            keep = possible(hashed, net[rows[parent, 0]], self.least)
            parent, via, hashed = parent[keep], via[keep], hashed[keep]
            rows, root = np.concatenate([rows[parent], added[keep][:, None]], axis=1), root[parent]
            counted, numbers = count(edges, rows, self.least)
            if len(counted.rows):
                found[rows.shape[1]] = counted
            keep = numbers >= 0
            rows, root, via, hashed = rows[keep], root[keep], via[keep], hashed[keep]
        return found, ""
