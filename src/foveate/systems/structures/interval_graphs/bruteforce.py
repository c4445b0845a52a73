"""The definitions taken at their word: every connected set of temporal edges, compared two by two. The search's slow oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from foveate.systems.structures.interval_graphs.database import Binning, Database, Iso, classify
from foveate.systems.structures.interval_graphs.method import Pattern, threshold


class Definitions:
    """When temporal edges are adjacent, and when two sets of them are the same pattern.

    Args:
        db: The networks.
        iso: Isomorphism.
        theta: See `foveate.systems.structures.interval_graphs.method.mine`.
        binning: Likewise.
        nbins: Likewise.
        open_ends: Likewise.
    """

    def __init__(
        self,
        db: Database,
        iso: Iso = "e",
        theta: float = 0.05,
        binning: Binning = "gap",
        nbins: int = 10,
        open_ends: bool = False,
    ) -> None:
        self.db, self.iso, self.open = db, iso, open_ends
        classes = classify(db, iso, theta, binning, nbins)
        self.bin = classes.labels[classes.of, 3].tolist() if len(db) else []
        self.ends = list(zip(db.u.tolist(), db.v.tolist(), strict=True))
        self.labels = list(zip(db.u_label.tolist(), db.v_label.tolist(), strict=True))
        self.label, self.start, self.end = db.label.tolist(), db.start.tolist(), db.end.tolist()

    def adjacent(self, i: int, j: int) -> bool:
        """Whether two edges of one network share a node and overlap in time."""
        if not set(self.ends[i]) & set(self.ends[j]):
            return False
        if self.open:
            return self.start[i] < self.end[j] and self.start[j] < self.end[i]
        return max(self.start[i], self.start[j]) <= min(self.end[i], self.end[j])

    def connected(self, largest: int) -> Iterator[frozenset[int]]:
        """Go through all sets of at most so many edges (0: any number) that are connected, each once."""
        for net in range(len(self.db.networks)):
            members = [i for i in range(len(self.db)) if self.db.net[i] == net]
            near: dict[int, set[int]] = {i: set() for i in members}
            for i, j in combinations(members, 2):
                if self.adjacent(i, j):
                    near[i].add(j)
                    near[j].add(i)
            sets = {frozenset([i]) for i in members}
            size = 1
            while sets:
                yield from sorted(sets, key=sorted)
                if size == largest:
                    break
                sets = {s | {j} for s in sets for i in s for j in near[i] - s}
                size += 1

    def same(self, one: frozenset[int], other: frozenset[int]) -> bool:
        """Whether a renaming of nodes and edges turns one set into the other."""
        return len(one) == len(other) and self._match(sorted(one), sorted(other), [], {}, {})

    def _match(
        self, left: list[int], right: list[int], done: list[tuple[int, int]], to: dict[int, int], back: dict[int, int]
    ) -> bool:
        """Match the edges that are left, when ``done`` are matched and nodes are renamed by ``to``, and ``back``."""
        if not left:
            return True
        i, *rest = left
        for j in right:
            if self.label[i] != self.label[j] or self.bin[i] != self.bin[j]:
                continue
            if not all(self._alike(i, a, j, b) for a, b in done):
                continue
            for turned in (False, True)[: 1 if self.db.directed else 2]:
                ends = self.ends[j][::-1] if turned else self.ends[j]
                labels = self.labels[j][::-1] if turned else self.labels[j]
                if labels != self.labels[i]:
                    continue
                forth, behind = dict(to), dict(back)
                renamed = zip(self.ends[i], ends, strict=True)
                if not all(forth.setdefault(p, q) == q and behind.setdefault(q, p) == p for p, q in renamed):
                    continue
                if self._match(rest, [x for x in right if x != j], [*done, (i, j)], forth, behind):
                    return True
        return False

    def _alike(self, i: int, a: int, j: int, b: int) -> bool:
        """Whether edges i and a are related in time as j and b are."""
        if self.adjacent(i, a) != self.adjacent(j, b):
            return False
        if not self.adjacent(i, a):
            return True
        one, other = self.start[i] - self.start[a], self.start[j] - self.start[b]
        if self.iso in ("e", "i"):
            return one == other
        return (one > 0) - (one < 0) == (other > 0) - (other < 0)


def mine(
    db: Database,
    supp: float,
    iso: Iso = "e",
    *,
    theta: float = 0.05,
    binning: Binning = "gap",
    nbins: int = 10,
    open_ends: bool = False,
    max_edges: int = 0,
) -> list[Pattern]:
    """Find what `foveate.systems.structures.interval_graphs.method.mine` finds, by trying everything: small networks only."""
    least, rules = threshold(supp, len(db.networks)), Definitions(db, iso, theta, binning, nbins, open_ends)
    kinds: dict[tuple, list[list[frozenset[int]]]] = {}
    for found in rules.connected(max_edges):
        key = tuple(sorted((rules.label[i], rules.bin[i], *sorted(rules.labels[i])) for i in found))
        for kind in kinds.setdefault(key, []):
            if rules.same(kind[0], found):
                kind.append(found)
                break
        else:
            kinds[key].append([found])
    patterns = []
    for kind in (k for several in kinds.values() for k in several):
        networks = sorted({int(db.net[min(s)]) for s in kind})
        if len(networks) >= least:
            patterns.append(Pattern(tuple(sorted(kind[0])), tuple(networks), len(kind)))
    return sorted(patterns, key=lambda p: len(p.occurrence))


def unmatched(rules: Definitions, one: Iterable[Pattern], other: Iterable[Pattern]) -> int:
    """Count the patterns that only one of two lists has, with the same networks and the same number of occurrences."""
    left = list(other)
    alone = 0
    for pattern in one:
        for i, candidate in enumerate(left):
            counted = (pattern.networks, pattern.occurrences) == (candidate.networks, candidate.occurrences)
            if counted and rules.same(frozenset(pattern.occurrence), frozenset(candidate.occurrence)):
                del left[i]
                break
        else:
            alone += 1
    return alone + len(left)
