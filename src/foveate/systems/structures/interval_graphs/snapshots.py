"""The baseline: time cut into windows of equal length, and static frequent subgraph mining over sequences of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from foveate.systems.structures.interval_graphs.database import Database, Row


class Snapshots(NamedTuple):
    """Sequences of snapshots as static graphs.

    Attributes:
        db: A database whose edges all share one instant, so that only nodes, labels and edges count: the same search is then a
            static miner of connected subgraphs. Sequences of one network are parts of one network, so support counts networks.
        place: Static edge of (temporal edge, first window of a sequence).
        window: Window in which each temporal edge starts ``(E,)``.
    """

    db: Database
    place: dict[tuple[int, int], int]
    window: np.ndarray


def snapshots(db: Database, width: int, horizon: int) -> Snapshots:
    """Cut time into windows, and make a static graph of each sequence of windows.

    A sequence begins at each window in which an edge starts, and spans the horizon. Its graph has one edge for each pair of
    nodes and label that starts in it, labelled by that label and by the windows of the sequence in which it is active: that is
    all a sequence of snapshots tells. Two copies of a pattern look the same only if windows cut them in the same places.

    Args:
        db: Temporal networks.
        width: Length of a window, in units of the database.
        horizon: Length of a sequence in units; it should hold the longest pattern.
    """
    length = -(-horizon // width)
    first, last = db.start // width, db.end // width
    rows: list[Row] = []
    keys: dict[tuple[int, int, int, int, str], list[int]] = {}
    for net in range(len(db.networks)):
        members = np.flatnonzero(db.net == net)
        for anchor in np.unique(first[members]).tolist():
            for i in members[(first[members] >= anchor) & (first[members] < anchor + length)].tolist():
                ends = (int(db.u[i]), int(db.v[i]))
                pair = ends if db.directed else tuple(sorted(ends))
                keys.setdefault((net, anchor, *pair, int(db.label[i])), []).append(i)
    place: dict[tuple[int, int], int] = {}
    for (net, anchor, u, v, label), members in keys.items():
        active = {w - anchor for i in members for w in range(int(first[i]), min(int(last[i]), anchor + length - 1) + 1)}
        shown = f"{label}|{sum(1 << w for w in active):x}"
        i = members[0]
        labels = {int(db.u[i]): int(db.u_label[i]), int(db.v[i]): int(db.v_label[i])}
        for i in members:
            place[i, anchor] = len(rows)
        rows.append(Row(str(net), f"{anchor}:{u}", f"{anchor}:{v}", str(labels[u]), str(labels[v]), shown, 0, 0, "snapshots"))
    static = Database.of(rows, [str(n) for n in range(len(db.networks))], db.directed)
    # The database orders edges by network; rows came network by network, so the order is kept.
    return Snapshots(static, place, first)


def shown(cut: Snapshots, copies: np.ndarray) -> list[np.ndarray]:
    """Give the static edges that copies ``(C, k)`` of a pattern have in the sequences that begin with them."""
    found = []
    for copy in copies.tolist():
        anchor = int(cut.window[copy].min())
        found.append(np.unique([cut.place[i, anchor] for i in copy if (i, anchor) in cut.place]).astype(np.int32))
    return found
