"""What the released package reports: its labels, its search, its table of patterns. To tell its results from the exact ones.

Vertices of its graph are temporal edges, labelled by node labels, edge label and duration; edges are labelled by the
difference of starts. Which node two temporal edges share is lost, and a pattern counts as known if the sorted labels of its
graph, each with the out-degree of its vertex, were seen before. Growth adds tree edges only, on a right-most path, and stops
after an incoming edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.interval_graphs import search
from foveate.systems.structures.interval_graphs.canonical import canonical
from foveate.systems.structures.interval_graphs.database import Database, Iso, classify
from foveate.systems.structures.interval_graphs.method import Mined, Pattern, arrays, threshold

Member = tuple[int, ...]  # an occurrence: the temporal edge of each vertex of the code


class Step(NamedTuple):
    """One edge of a code: from and to vertex, and the numbers of the labels of the first, of the edge and of the second."""

    tail: int
    head: int
    labels: tuple[int, int, int]


@dataclass
class _Release:
    """The state of the search.

    Attributes:
        db: The networks.
        label: Node label, edge label, duration and node label that each number of a vertex label stands for.
        shift: Difference of starts that each number of an edge label stands for.
        least: Smallest support.
        steps: Occurrences (tail, head) of each frequent labelled edge, by network.
        known: Sorted labels of the patterns that were reported.
        reported: The patterns.
    """

    db: Database
    label: list[tuple[str, str, int, str]]
    shift: list[int]
    least: int
    steps: dict[tuple[int, int, int], dict[int, list[tuple[int, int]]]] = field(default_factory=dict)
    known: set[tuple[str, ...]] = field(default_factory=set)
    reported: list[Pattern] = field(default_factory=list)

    def entry(self, code: tuple[Step, ...], member: Member) -> tuple[str, ...]:
        """Rebuild the pattern's graph from its code and one occurrence, and list its labels."""
        ties: dict[int, list[tuple[int, int]]] = {}
        label: dict[int, tuple[str, str, int, str]] = {}
        for step in code:
            # The code's labels, the last one where they disagree: see `grow`.
            label[step.tail], label[step.head] = self.label[step.labels[0]], self.label[step.labels[2]]
            shift = self.shift[step.labels[1]]
            ties.setdefault(step.tail, []).append((step.head, shift))
            ties.setdefault(step.head, []).append((step.tail, -shift))
        starts, stack, visited = {code[0].tail: 0}, [code[0].tail], set()
        listed = [code[0].tail]
        while stack:
            vertex = stack.pop()
            if vertex in visited:
                continue
            visited.add(vertex)
            for other, shift in ties[vertex]:
                if other not in visited:
                    starts[other] = starts[vertex] + shift
                    listed.append(other)
                    stack.append(other)
        # By start, then by the rest as text.
        listed.sort(key=lambda v: (starts[v], str(label[v][2]), *(label[v][i] for i in (0, 1, 3))))
        entries = []
        for at, one in enumerate(listed):
            i = member[one]
            low, name, duration, high = label[one]
            later = []
            for two in listed[at + 1 :]:
                j = member[two]
                shares = {int(self.db.u[i]), int(self.db.v[i])} & {int(self.db.u[j]), int(self.db.v[j])}
                if shares and starts[two] <= starts[one] + duration:
                    later.append(starts[two] - starts[one])
            text = f"{min(low, high)}-{name}-{duration}-{max(low, high)}{len(later)}"
            entries += [f"{text}-{shift}" for shift in later]
        return tuple(sorted(entries))

    def report(self, code: tuple[Step, ...], members: dict[int, list[Member]]) -> bool:
        """Report a pattern unless its labels are known."""
        key = self.entry(code, next(iter(members.values()))[0])
        if key in self.known:
            return False
        self.known.add(key)
        self.add(members)
        return True

    def add(self, members: dict[int, list[Member]]) -> None:
        """Note a pattern: it is shown by its first occurrence."""
        first = next(iter(members.values()))[0]
        count = len({frozenset(m) for listed in members.values() for m in listed})
        self.reported.append(Pattern(tuple(sorted(first)), tuple(sorted(members)), count))

    def grow(self, code: tuple[Step, ...], path: tuple[Step, ...], members: dict[int, list[Member]]) -> None:
        """Extend a code on its right-most path."""
        if code[-1].tail > code[-1].head:
            return  # nothing follows an incoming edge
        for at in range(len(path) - 1, -2, -1):
            step, end = (path[at], 1) if at >= 0 else (path[0], 0)
            vertex, label = step[end], step.labels[2 * end]
            # The code's edge at the path's place is not always the path's edge: that is how it is released.
            attach = code[max(at, 0)][end]
            for labels, found in list(self.steps.items()):
                fresh = len(next(iter(members.values()))[0])
                if labels[0] == label:
                    new = Step(attach, fresh, labels)
                    if any(s.tail == attach and s.labels > labels for s in code):
                        continue
                elif labels[2] == label:
                    new = Step(fresh, attach, labels)
                    if attach != code[-1].head or any(s.head == attach and s.labels > labels for s in code):
                        continue
                else:
                    continue
                grown = _extend(members, found, vertex, labels[0] == label)
                if len(grown) >= self.least and self.report((*code, new), grown):
                    self.grow((*code, new), (*path[: at + 1], new), grown)


def _extend(
    members: dict[int, list[Member]], found: dict[int, list[tuple[int, int]]], vertex: int, outgoing: bool
) -> dict[int, list[Member]]:
    grown: dict[int, list[Member]] = {}
    for net, listed in members.items():
        by: dict[int, list[int]] = {}
        for tail, head in found.get(net, ()):
            by.setdefault(tail if outgoing else head, []).append(head if outgoing else tail)
        for member in listed:
            for other in by.get(member[vertex], ()):
                if other not in member:
                    grown.setdefault(net, []).append((*member, other))
    return grown


def durations(db: Database, iso: Iso, theta: float) -> np.ndarray:
    """Return the durations as the release labels them ``(E,)``: those of ``i`` and ``is`` by the middle of their bin.

    Raises:
        InputError: If the release stops with an error on them.
    """
    if iso in ("e", "es") or not len(db):
        return db.duration
    ordered = np.sort(db.duration)
    cuts = ordered[1:][np.diff(ordered) > theta * ordered[:-1]]
    last = (cuts[-1] if len(cuts) == 1 else ordered[-1]) * (1 + theta) if len(cuts) else -1
    if ordered[-1] > last:
        raise InputError("compat", "the released package stops with an error on these durations", "another theta, or e or es")
    low, high = np.concatenate([[0], cuts]), np.concatenate([cuts - 1e-6, [last]])
    return ((low + high) / 2).astype(np.int64)[np.searchsorted(cuts, db.duration, side="right")]


def mine(db: Database, supp: float, iso: Iso = "e", theta: float = 0.05) -> list[Pattern]:
    """Find what the released package reports.

    A pattern's occurrence is the one that it shows; its networks and count are those that its search gathered.

    Args:
        db: Undirected networks.
        supp: Smallest support.
        iso: Isomorphism.
        theta: Where durations are cut into bins.

    Raises:
        InputError: If the networks are directed, or the release stops with an error on them.
    """
    if db.directed or (db.u == db.v).any():
        raise InputError("compat", "the released package mines undirected networks without loops", "such a file")
    classes = durations(db, iso, theta).tolist()
    ends = [sorted((int(a), int(b))) for a, b in zip(db.u_label, db.v_label, strict=True)]
    label = [
        (db.node_labels[low], db.edge_labels[el], d, db.node_labels[high])
        for (low, high), el, d in zip(ends, db.label, classes, strict=True)
    ]
    edges = arrays(db, classify(db, "e"), "e")
    pairs = sorted(zip(*(x.tolist() for x in search.interval_graph(edges, len(db.nodes), len(db) ** 2)), strict=True))
    shift = [1 if iso in ("es", "is") else int(db.start[j] - db.start[i]) for i, j in pairs]
    number = _numbered([(label[i], int(n)) for i, n in enumerate(db.net)])
    shifts = _numbered([(d, int(db.net[i])) for d, (i, _) in zip(shift, pairs, strict=True)])
    release = _Release(db, list(number), list(shifts), threshold(supp, len(db.networks)))
    single: dict[int, dict[int, list[Member]]] = {}
    for i, n in enumerate(db.net.tolist()):
        single.setdefault(number[label[i]], {}).setdefault(n, []).append((i,))
    for members in single.values():
        if len(members) >= release.least:
            release.add(members)
    steps: dict[tuple[int, int, int], dict[int, list[tuple[int, int]]]] = {}
    for (i, j), d in zip(pairs, shift, strict=True):
        labels = (number[label[i]], shifts[d], number[label[j]])
        steps.setdefault(labels, {}).setdefault(int(db.net[i]), []).append((i, j))
    release.steps = {labels: found for labels, found in steps.items() if len(found) >= release.least}
    for labels in sorted(release.steps):
        step = Step(0, 1, labels)
        if release.report((step,), release.steps[labels]):
            release.grow((step,), (step,), release.steps[labels])
            del release.steps[labels]
    return release.reported


def _numbered(found: list[tuple[Any, int]]) -> dict[Any, int]:
    """Number labels by decreasing support, equal ones as they come."""
    networks: dict[Any, set[int]] = {}
    for name, net in found:
        networks.setdefault(name, set()).add(net)
    ordered = sorted(networks, key=lambda name: -len(networks[name]))
    return {name: i for i, name in enumerate(ordered)}


def difference(db: Database, exact: Mined, reported: list[Pattern], iso: Iso) -> tuple[list[int], list[tuple[int, int]]]:
    """Tell what the release reports wrongly.

    Args:
        db: The networks.
        exact: All true patterns.
        reported: What the release reports.
        iso: Isomorphism.

    Returns:
        Spurious: those of `reported` that are infrequent, or the same as an earlier one. Missed: true patterns, by size and
        place.
    """
    edges = arrays(db, exact.classes, iso)
    places = {k: {code.tobytes(): i for i, code in enumerate(level.codes)} for k, level in exact.levels.items()}
    missed = {(k, i) for k, level in exact.levels.items() for i in range(len(level))}
    spurious = []
    for r, pattern in enumerate(reported):
        rows = np.array([pattern.occurrence], np.int32)
        codes, _ = search.spell(edges, rows)
        codes, _ = canonical(codes, rows.shape[1], edges.loose)
        place = (rows.shape[1], places.get(rows.shape[1], {}).get(codes[0].tobytes(), -1))
        if place in missed:
            missed.remove(place)
        else:
            spurious.append(r)
    return spurious, sorted(missed)
