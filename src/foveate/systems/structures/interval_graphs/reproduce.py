"""The claims as experiments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.interval_graphs import bruteforce, released, search
from foveate.systems.structures.interval_graphs.canonical import canonical
from foveate.systems.structures.interval_graphs.data import Example, example, planted, random_networks
from foveate.systems.structures.interval_graphs.database import Database, Iso, classify
from foveate.systems.structures.interval_graphs.graph import interval_graph, temporal_network
from foveate.systems.structures.interval_graphs.method import Mined, arrays, mine
from foveate.systems.structures.interval_graphs.search import Edges
from foveate.systems.structures.interval_graphs.snapshots import shown, snapshots

Budget = Literal["quick", "full"]
ISOS: tuple[Iso, ...] = ("e", "i", "es", "is")


def round_trip(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Turn random networks into graphs, and these into networks and graphs again (claim C1).

    ``without_nodes`` forgets which nodes meet, as the released labels do: it counts the undirected networks whose graph is then
    that of another network, too.
    """
    graph_errors = time_errors = 0
    blind: dict[tuple[bytes, ...], list[bytes]] = {}
    for i in range({"quick": 300, "full": 10_000}[budget]):
        made = random_networks(1_000_000 * seed + i)
        db = Database.of([row for row in made.rows() if row.network == "0"], ["0"], made.directed)
        if not len(db):
            continue
        graph = interval_graph(db)
        rows, component = temporal_network(graph)
        graph_errors += interval_graph(Database.of(rows, [""], db.directed)) != graph
        shift = np.array([int(row.start) for row in rows]) - db.start[np.argsort(db.row)]
        time_errors += any(len(np.unique(shift[component == c])) > 1 for c in range(component.max() + 1))
        if not db.directed and component.max() == 0:
            labels = np.concatenate([np.sort(graph.labels[:, [0, 2]], axis=1), graph.labels[:, [1, 3]]], axis=1)
            key = tuple(column.tobytes() for column in (labels, graph.pairs, graph.delta))
            blind.setdefault(key, []).extend(_codes(arrays(db, classify(db), "e"), [np.arange(len(db))]))
    return {
        "with_nodes": {"graph_errors": graph_errors, "time_errors": time_errors},
        "without_nodes": {"graph_errors": sum(len(codes) for codes in blind.values() if len(set(codes)) > 1)},
    }


def complete(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Search small random databases, and compare with trying everything (claim C2).

    An error is a pattern that is missing, spurious or miscounted. ``released`` counts what the released package's labels and
    search make of the undirected ones.
    """
    wrong = {"search": 0, "released": 0}
    for i in range({"quick": 15, "full": 500}[budget]):
        db = random_networks(1_000_000 * seed + i)
        for iso in ISOS:
            found = mine(db, 2, iso)
            wrong["search"] += bruteforce.unmatched(bruteforce.Definitions(db, iso), found, bruteforce.mine(db, 2, iso))
            if not db.directed:
                try:
                    spurious, missed = released.difference(db, found, released.mine(db, 2, iso), iso)
                except InputError:  # it would have stopped
                    continue
                wrong["released"] += len(spurious) + len(missed)
    return {arm: {"errors": errors} for arm, errors in wrong.items()}


# Example file, isomorphism, theta, and patterns by size that an exhaustive search finds in both networks.
EXPECTED: tuple[tuple[Example, Iso, float, list[int]], ...] = (
    ("exact", "e", 0.05, [4, 5, 4, 1]),
    ("inexact", "i", 0.05, [4, 5, 4, 1]),
    ("seq_exact", "es", 0.05, [4, 5, 4, 1]),
    ("seq_inexact", "is", 0.05, [4, 5, 4, 1]),
    ("seq_inexact", "is", 0.5, [4, 5, 4, 1]),
    ("inexact", "e", 0.05, []),
    ("seq_exact", "e", 0.05, [4]),
    ("seq_inexact", "es", 0.05, []),
)


def files(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count the patterns of the released package's example files (claim C3)."""
    wrong = 0
    for name, iso, theta, sizes in EXPECTED:
        found = mine(example(name), 2, iso, theta=theta)
        wrong += abs(len(found) - sum(sizes)) + sum(
            len(level) != n for level, n in zip(found.levels.values(), sizes, strict=False)
        )
    return {"search": {"errors": wrong}}


def noise(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Plant patterns whose copies vary in duration, or in duration and start, and look for them (claim C3)."""
    size = {"quick": {"networks": 20, "edges": 60}, "full": {"networks": 50, "edges": 200}}[budget]
    found = {}
    for varied, jitter in (("nothing varies", (0, 0)), ("durations vary", (0, 0.03)), ("both vary", (1.5, 0.03))):
        made = planted(seed, **size, start_jitter=jitter[0], duration_jitter=jitter[1])
        for iso in ISOS:
            mined = mine(made.db, 0.3, iso, max_edges=6)
            recall, precision = _scores(made.db, mined, iso, made.copies)
            found[f"{iso}, {varied}"] = {"recall": recall, "precision": precision}
    return found


def trade_off(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Look for planted patterns in intervals and in sequences of snapshots, with the same search (claim C4).

    Snapshots get every advantage: sequences are as long as the longest template and begin at each window in which an edge does.
    """
    size = {"quick": {"networks": 10, "edges": 40}, "full": {"networks": 50, "edges": 200}}[budget]
    made = planted(seed, **size)
    horizon = max(int(np.ptp(made.db.start[copy])) for copies in made.copies for copy in copies) + 1
    mine(example("exact"), 2)  # compiled before the clock starts
    found = {"intervals": _timed(made.db, made.copies)}
    for width in (1, 5, 20):
        cut = snapshots(made.db, width, horizon)
        found[f"snapshots of {width}"] = _timed(cut.db, [shown(cut, copies) for copies in made.copies])
    return found


def _timed(db: Database, copies: Sequence[Sequence[np.ndarray]]) -> dict[str, float]:
    """Mine a database, and score what comes out."""
    begun = time.perf_counter()
    mined = mine(db, 0.3, "e", max_edges=6)
    seconds = time.perf_counter() - begun
    recall, precision = _scores(db, mined, "e", copies)
    return {"recall": recall, "precision": precision, "seconds": seconds, "patterns": len(mined)}


def _scores(db: Database, mined: Mined, iso: Iso, copies: Sequence[Sequence[np.ndarray]]) -> tuple[float, float]:
    """Score patterns against planted ones.

    Args:
        db: The database.
        mined: What was found in it.
        iso: Isomorphism.
        copies: For each template the edges of each of its copies.

    Returns:
        Recall: share of the templates of which a copy is an occurrence of a reported pattern. Precision: share of the reported
        patterns of three edges or more that are part of a copy; 1 if there are none.
    """
    edges = arrays(db, mined.classes, iso)
    reported = {code.tobytes() for level in mined.levels.values() for code in level.codes}
    whole = [_codes(edges, listed) for listed in copies]
    recall = float(np.mean([not reported.isdisjoint(codes) for codes in whole]))
    large = {code.tobytes() for k, level in mined.levels.items() if k >= 3 for code in level.codes}
    pieces = {
        tuple(sorted(piece))
        for listed in copies
        for copy in listed
        for k in range(3, len(copy) + 1)
        for piece in combinations(copy.tolist(), k)
    }
    planted_ = set(_codes(edges, [np.array(piece) for piece in pieces]))
    return recall, len(large & planted_) / len(large) if large else 1.0


def _codes(edges: Edges, sets: Sequence[np.ndarray]) -> list[bytes]:
    """Return the canonical codes of sets of edges."""
    codes: list[bytes] = [b""] * len(sets)
    for k in {len(members) for members in sets}:
        places = [i for i, members in enumerate(sets) if len(members) == k]
        spelled, _ = search.spell(edges, np.array([sets[i] for i in places], np.int32))
        found, _ = canonical(spelled, k, edges.loose)
        for i, code in zip(places, found, strict=True):
            codes[i] = code.tobytes()
    return codes
