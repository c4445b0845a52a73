"""Exact mining of frequent temporal patterns over constrained interval graphs, by growth from frequent pairs of edges.

The search (completeness by construction): every pattern has a first pair of adjacent edges in a fixed order of the frequent
pairs (the *seeds*, rare ones first), and is found from that pair by adding one adjacent edge at a time; support never grows on
the way, so what is infrequent is dropped. A pattern belongs to one seed, hence seeds are independent: each is finished, and
kept, by itself.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.interval_graphs import search
from foveate.systems.structures.interval_graphs.canonical import canonical
from foveate.systems.structures.interval_graphs.checkpoint import Checkpoint
from foveate.systems.structures.interval_graphs.database import Binning, Classes, Database, Iso, classify
from foveate.systems.structures.interval_graphs.growth import Count, Search, count, possible
from foveate.systems.structures.interval_graphs.search import Edges

Keep = Literal["all", "closed", "maximal"]
BLOCK, KEPT = 4096, 256  # pairs that are worked on together, and where finished ones are kept: seeds are put into such blocks
BYTES = 100  # about what one extension takes


class Pattern(NamedTuple):
    """One frequent pattern.

    Attributes:
        occurrence: One occurrence: its temporal edges, as indices into the database.
        networks: The networks that contain it, ascending; their number is its support.
        occurrences: Sets of temporal edges that are isomorphic to it, over all networks.
    """

    occurrence: tuple[int, ...]
    networks: tuple[int, ...]
    occurrences: int

    @property
    def support(self) -> int:
        """Number of networks that contain it."""
        return len(self.networks)


@dataclass
class Level:
    """The patterns of one size k.

    Attributes:
        codes: Canonical codes ``(P, L)``, ascending.
        rows: An occurrence of each ``(P, k)``, its edges in the code's order.
        occurrences: How often each occurs ``(P,)``.
        offset: Where each one's networks begin in `networks` ``(P + 1,)``.
        networks: Networks, ascending for each pattern.
    """

    codes: np.ndarray
    rows: np.ndarray
    occurrences: np.ndarray
    offset: np.ndarray
    networks: np.ndarray

    def __len__(self) -> int:
        """Count the patterns."""
        return len(self.rows)

    @property
    def support(self) -> np.ndarray:
        """In how many networks each occurs ``(P,)``."""
        return np.diff(self.offset)

    def pattern(self, i: int) -> Pattern:
        """Return one pattern."""
        networks = self.networks[self.offset[i] : self.offset[i + 1]]
        return Pattern(tuple(self.rows[i].tolist()), tuple(networks.tolist()), int(self.occurrences[i]))

    def only(self, keep: np.ndarray) -> Level:
        """Return the patterns of a mask."""
        counts = np.where(keep, self.support, 0)
        networks = self.networks[np.repeat(keep, self.support)]
        offset = np.concatenate([[0], np.cumsum(counts[keep])])
        return Level(self.codes[keep], self.rows[keep], self.occurrences[keep], offset, networks)


@dataclass
class Mined:
    """What was found.

    Attributes:
        levels: Patterns by size.
        classes: Classes of the temporal edges.
        least: Smallest support.
        seeds: Frequent pairs of adjacent edges.
        finished: How many of them were searched to the end.
        stopped: Why the search ended before the end, or nothing.
        tried: Sets of temporal edges that were looked at.
    """

    levels: dict[int, Level]
    classes: Classes
    least: int
    seeds: int = 0
    finished: int = 0
    stopped: str = ""
    tried: int = 0

    def __len__(self) -> int:
        """Count the patterns."""
        return sum(map(len, self.levels.values()))

    def __iter__(self) -> Iterator[Pattern]:
        """Go through the patterns: by size, then those in many networks first."""
        for level in self.levels.values():
            for i in np.argsort(-level.support, kind="stable"):
                yield level.pattern(int(i))


def threshold(supp: float, networks: int) -> int:
    """Turn a support into a number of networks: from 1 up a number, below a share, rounded up.

    Raises:
        InputError: If it is neither.

    Example:
        >>> threshold(3, 50), threshold(0.1, 28), threshold(0.1, 30)
        (3, 3, 3)
    """
    if not supp > 0 or (supp >= 1 and supp != int(supp)):
        raise InputError("supp", f"{supp}", "a number of networks, or a share of them between 0 and 1")
    return int(supp) if supp >= 1 else max(1, math.ceil(supp * networks - 1e-9))


def arrays(db: Database, classes: Classes, iso: Iso, open_ends: bool = False) -> Edges:
    """Put a database into the arrays of the search."""
    u, v = np.where(classes.swapped, db.v, db.u), np.where(classes.swapped, db.u, db.v)
    columns = (classes.of, u, v, db.start, db.end, db.net, ~classes.loose[classes.of])
    return Edges(np.stack(columns, axis=1).astype(np.int64), classes.loose, iso in ("es", "is"), open_ends)


def level(edges: Edges, parts: Sequence[Count], back: np.ndarray) -> Level:
    """Put patterns of one size together, ordered by their codes; ``back`` gives each edge's index in the database."""
    rows, occurrences, support, networks = (np.concatenate(column) for column in zip(*parts, strict=True))
    codes, spelled = search.spell(edges, rows)
    codes, places = canonical(codes, rows.shape[1], edges.loose)
    rows = np.take_along_axis(rows, np.take_along_axis(spelled, places, 1), 1)
    order = np.lexsort(codes.T[::-1])
    owner = np.repeat(np.argsort(order), support)
    offset = np.concatenate([[0], np.cumsum(support[order])])
    return Level(codes[order], back[rows[order]], occurrences[order], offset, networks[np.lexsort((networks, owner))])


def mine(
    db: Database,
    supp: float = 0.1,
    iso: Iso = "e",
    *,
    theta: float = 0.05,
    binning: Binning = "gap",
    nbins: int = 10,
    open_ends: bool = False,
    max_edges: int = 0,
    seconds: float = 0,
    megabytes: int = 4096,
    keep: Keep = "all",
    checkpoint: Path | None = None,
    tick: Callable[..., None] = lambda done, more=0: None,
) -> Mined:
    """Find every connected pattern that occurs in at least ``supp`` networks.

    Args:
        db: The networks.
        supp: Smallest support: a number of networks, or a share of them below 1.
        iso: When two patterns are the same: ``e`` equal durations and relative starts, ``i`` durations of one bin and equal
            relative starts, ``es`` and ``is`` likewise with only the order of the starts of adjacent edges.
        theta: See `foveate.systems.structures.interval_graphs.database.classify`.
        binning: Likewise.
        nbins: Likewise.
        open_ends: Whether edges that only touch in time do not overlap.
        max_edges: Largest pattern; 0 sets no limit.
        seconds: Stop after about so long and return what was found: right supports, but not all patterns; 0 sets no limit.
        megabytes: Memory that occurrences may take at once; seeds that need more are left unfinished.
        keep: ``closed`` leaves out patterns that a larger one of the same support contains, ``maximal`` those that any
            larger frequent one contains. At `max_edges` there is none larger.
        checkpoint: Folder in which finished seeds are kept; the same call later goes on from there.
        tick: Told how many pairs were done, and how many more there are.

    Raises:
        InputError: If an argument is out of range, or the checkpoint stems from another call.
    """
    if max_edges < 0 or seconds < 0 or megabytes < 1:
        raise InputError("max_edges, seconds, megabytes", f"{max_edges}, {seconds}, {megabytes}", "no negative numbers")
    deadline = time.monotonic() + seconds if seconds else math.inf
    least = threshold(supp, len(db.networks))
    classes = classify(db, iso, theta, binning, nbins)
    whole = arrays(db, classes, iso, open_ends)
    mined = Mined({}, classes, least)
    singles, numbers = count(whole, np.arange(len(db), dtype=np.int32)[:, None], least)
    back = np.flatnonzero(numbers >= 0)
    edges = whole.of(back)
    found = {1: [singles._replace(rows=np.searchsorted(back, singles.rows).astype(np.int32))]}
    if max_edges != 1:
        limit = min(int(megabytes * 2**20 // BYTES), 2**31 - 2)  # rows are numbered by 32 bits
        pairs = np.stack(search.interval_graph(edges, len(db.nodes), limit), axis=1)
        if len(pairs) > limit:
            wrong = f"are too few for the interval graph, which has more than {limit} edges"
            raise InputError("megabytes", f"{megabytes} {wrong}", "more, or a smaller part of the data")
        tried = len(pairs)
        pairs = pairs[possible(search.sketch(edges, pairs), edges.table[pairs[:, 0], search.NET], least)]
        doubles, numbers = count(edges, pairs, least)
        found[2] = [doubles]
        # Rare seeds first: what comes later is searched without them.
        seed = np.argsort(np.argsort(doubles.occurrences, kind="stable"))[numbers[numbers >= 0]]
        order = np.argsort(seed, kind="stable")
        begins = np.concatenate([[0], np.cumsum(np.bincount(seed, minlength=len(doubles.rows)))])
        grown = Search(edges, pairs[numbers >= 0][order], least, max_edges, limit, deadline, tried)
        # The limits change what is finished, but not what a finished seed gives.
        store = Checkpoint(checkpoint, whole, {"least": least, "max_edges": max_edges, "networks": len(db.networks)})
        _seed_by_seed(grown, begins, store, mined, found, tick)
    mined.levels = {k: level(edges, parts, back) for k, parts in sorted(found.items()) if sum(len(p.rows) for p in parts)}
    if keep != "all":
        _filter(mined, whole, keep)
    return mined


def _seed_by_seed(
    grown: Search, begins: np.ndarray, store: Checkpoint, mined: Mined, found: dict[int, list[Count]], tick: Callable[..., None]
) -> None:
    """Search all seeds, in blocks; ``begins`` tells where each seed's pairs begin."""
    mined.seeds = len(begins) - 1
    blocks = _blocks(begins, BLOCK if store.folder is None else KEPT)
    tick(0, int(begins[-1]))
    while blocks:
        first, last = blocks.popleft()
        kept, why = store.load(first, last), ""
        if kept is None:
            kept, why = grown.grow(int(begins[first]), int(begins[last]))
            if why == "memory" and last - first > 1:
                blocks.extendleft((s, s + 1) for s in reversed(range(first, last)))
                continue
            if not why:
                store.save(first, last, kept)
        for k, counted in kept.items():
            found.setdefault(k, []).append(counted)
        mined.stopped = why or mined.stopped
        mined.finished += 0 if why else last - first
        tick(int(begins[last] - begins[first]))
        if why == "time":
            break
    mined.tried = grown.tried


def _blocks(begins: np.ndarray, size: int) -> deque[tuple[int, int]]:
    """Put consecutive seeds into blocks of about so many pairs."""
    blocks: deque[tuple[int, int]] = deque()
    first = 0
    for last in range(1, len(begins)):
        if begins[last] - begins[first] >= size or last == len(begins) - 1:
            blocks.append((first, last))
            first = last
    return blocks


def _filter(mined: Mined, edges: Edges, keep: Keep) -> None:
    """Leave only closed or maximal patterns.

    A pattern that any larger frequent one contains, one of one edge more contains, and with the larger one's support if it has
    that: so only what is left of each pattern without one of its edges needs to be looked up.
    """
    inner = {k: np.ones(len(lv), bool) for k, lv in mined.levels.items()}
    for k, larger in mined.levels.items():
        if k == 1:
            continue
        smaller = mined.levels[k - 1]
        places = {code.tobytes(): i for i, code in enumerate(smaller.codes)}
        for gone in range(k):
            rows = np.delete(larger.rows, gone, axis=1).astype(np.int32)
            codes, _ = search.spell(edges, rows)
            codes, _ = canonical(codes, k - 1, edges.loose)
            # What is left may have fallen apart; then it is no pattern.
            for i, code in enumerate(codes):
                place = places.get(code.tobytes())
                if place is not None and (keep == "maximal" or smaller.support[place] == larger.support[i]):
                    inner[k - 1][place] = False
    mined.levels = {k: lv.only(inner[k]) for k, lv in mined.levels.items()}
