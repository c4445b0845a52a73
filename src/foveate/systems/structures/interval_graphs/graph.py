"""The constrained interval graph of one temporal network, and the way back: the time of a network without snapshots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveate.systems.structures.interval_graphs import search
from foveate.systems.structures.interval_graphs.database import Database, Row, classify
from foveate.systems.structures.interval_graphs.method import arrays


@dataclass(frozen=True)
class IntervalGraph:
    """A constrained interval graph with N vertices, one for each temporal edge, and P edges.

    Attributes:
        labels: Labels of the first node, of the edge and of the second node, and the duration, of each vertex ``(N, 4)``.
        ends: Nodes of each vertex ``(N, 2)``, numbered as they appear. The released package leaves them out; without them the
            way back is not unique.
        pairs: Edges, from the earlier to the later start ``(P, 2)``.
        delta: Difference of their starts ``(P,)``, 0 or more.
        directed: Whether a vertex's ends are ordered.
    """

    labels: np.ndarray
    ends: np.ndarray
    pairs: np.ndarray
    delta: np.ndarray
    directed: bool = False

    def incidence(self, p: int) -> list[str]:
        """Tell which ends meet at an edge: ``12`` if the first of the earlier is the second of the later, and so on."""
        (a, b), (c, d) = self.ends[self.pairs[p]].tolist()
        return [code for code, one, other in (("11", a, c), ("12", a, d), ("21", b, c), ("22", b, d)) if one == other]

    def __eq__(self, other: object) -> bool:
        """Whether two graphs are the same, vertex by vertex."""
        columns = ("labels", "ends", "pairs", "delta")
        same = isinstance(other, IntervalGraph) and self.directed == other.directed
        return same and all(np.array_equal(getattr(self, c), getattr(other, c)) for c in columns)

    __hash__ = None


def interval_graph(db: Database, open_ends: bool = False) -> IntervalGraph:
    """Build the graph of a database that holds one network; vertices are in the order of its rows."""
    edges = arrays(db, classify(db), "e", open_ends)
    pairs = np.stack(search.interval_graph(edges, len(db.nodes), len(db) ** 2), axis=1)
    delta = db.start[pairs[:, 1]] - db.start[pairs[:, 0]]
    pairs = db.row[pairs]
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    back = np.argsort(db.row)
    labels = np.stack([db.u_label, db.label, db.v_label, db.duration], axis=1)[back]
    ends = np.stack([db.u, db.v], axis=1)[back]
    _, first, number = np.unique(ends, return_index=True, return_inverse=True)
    return IntervalGraph(labels, np.argsort(np.argsort(first))[number].reshape(-1, 2), pairs[order], delta[order], db.directed)


def temporal_network(graph: IntervalGraph) -> tuple[list[Row], np.ndarray]:
    """Build a temporal network that has a graph.

    The differences along any spanning tree fix all starts of a connected component up to a shift; components, which share no
    node while they share time, are put one after the other.

    Returns:
        The temporal edges in the order of the vertices, and the component of each ``(N,)``.
    """
    count = len(graph.labels)
    near: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for (i, j), delta in zip(graph.pairs.tolist(), graph.delta.tolist(), strict=True):
        near[i].append((j, delta))
        near[j].append((i, -delta))
    start, component = np.zeros(count, np.int64), np.full(count, -1)
    clock = 0
    for first in range(count):
        if component[first] >= 0:
            continue
        component[first], members, number = component.max() + 1, [first], component.max() + 1
        for i in members:
            for j, delta in near[i]:
                if component[j] < 0:
                    component[j], start[j] = number, start[i] + delta
                    members.append(j)
        start[members] += clock - start[members].min()
        clock = int((start[members] + graph.labels[members, 3]).max()) + 1
    rows = [
        Row("", str(u), str(v), str(a), str(b), str(label), int(s), int(s + d), f"vertex {i}")
        for i, ((u, v), (a, label, b, d), s) in enumerate(zip(graph.ends.tolist(), graph.labels.tolist(), start, strict=True))
    ]
    return rows, component
