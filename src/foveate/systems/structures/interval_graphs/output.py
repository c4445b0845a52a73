"""What a user gets: patterns as JSON Lines, as GraphML, and drawn as time lines."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foveate.results import Picture, Table
from foveate.systems.structures.interval_graphs import search
from foveate.systems.structures.interval_graphs.canonical import EARLIER, LATER, pair
from foveate.systems.structures.interval_graphs.database import Database, Iso
from foveate.systems.structures.interval_graphs.method import Mined, Pattern, arrays


@dataclass(frozen=True)
class Lines:
    """JSON Lines: one value in each line."""

    values: Sequence[Mapping[str, Any]]
    suffix: ClassVar[str] = ".jsonl"
    kind: ClassVar[str] = "lines"

    def write(self, path: Path) -> None:
        """Write one line for each value."""
        with path.open("w", encoding="utf-8") as file:
            for value in self.values:
                file.write(json.dumps(value, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Archive:
    """Files in a ZIP archive, which is the same whenever they are."""

    files: Mapping[str, bytes]
    suffix: ClassVar[str] = ".zip"
    kind: ClassVar[str] = "archive"

    def write(self, path: Path) -> None:
        """Write the archive."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.files.items():
                archive.writestr(zipfile.ZipInfo(name, (2021, 5, 14, 0, 0, 0)), content)


def networks(db: Database) -> Table:
    """Put temporal networks into a table that `foveate.systems.structures.interval_graphs.formats.read` reads."""
    columns = ("network", "u", "v", "u_label", "v_label", "edge_label", "start", "end")
    return Table(columns, [tuple(row[:8]) for row in db.rows()])


def described(
    db: Database, mined: Mined, iso: Iso, patterns: Iterable[Pattern], open_ends: bool = False
) -> Iterator[dict[str, Any]]:
    """Describe patterns as plain values.

    Yields:
        ``id``, ``size``, ``support``, ``occurrences``, ``networks`` (names), ``nodes`` (label of each), ``edges`` in the order
        of their starts: ``nodes`` (two of them), ``label``, ``start`` from the pattern's first, ``duration`` or, of a bin,
        shortest and longest; for ``es`` and ``is`` ``order``, pairs of adjacent edges of which the first starts before the
        second or, in ``together``, with it (starts are then the occurrence's); ``occurrence``: its network, start, rows of the
        edges and names of the nodes.
    """
    edges = arrays(db, mined.classes, iso, open_ends)
    for number, pattern in enumerate(patterns, 1):
        rows = sorted(pattern.occurrence, key=lambda i: int(db.start[i]))
        first = int(db.start[rows[0]])
        nodes: dict[int, str] = {}
        listed = []
        for i in rows:
            ends = [(int(db.u[i]), int(db.u_label[i])), (int(db.v[i]), int(db.v_label[i]))]
            for node, label in ends:
                nodes.setdefault(node, db.node_labels[label])
            if not db.directed:
                ends.sort(key=lambda end: list(nodes).index(end[0]))
            shortest, longest = (db.time(t) for t in mined.classes.bins[mined.classes.labels[mined.classes.of[i], 3]])
            places = [list(nodes).index(node) for node, _ in ends]
            labels = [db.node_labels[label] for _, label in ends]
            edge = {"nodes": places, "label": db.edge_labels[db.label[i]], "start": db.time(int(db.start[i]) - first)}
            if labels != [nodes[node] for node, _ in ends]:
                edge["node_labels"] = labels  # a label that changed since the node's first edge
            edge["duration"] = db.time(int(db.duration[i])) if iso in ("e", "es") else [shortest, longest]
            listed.append(edge)
        found: dict[str, Any] = {
            "id": number,
            "size": len(rows),
            "support": pattern.support,
            "occurrences": pattern.occurrences,
            "networks": [db.networks[n] for n in pattern.networks],
            "nodes": list(nodes.values()),
            "edges": listed,
        }
        if iso in ("es", "is"):
            found |= _order(edges, rows)
        found["occurrence"] = {
            "network": db.networks[db.net[rows[0]]],
            "start": db.time(first),
            "edges": [int(db.row[i]) for i in rows],
            "nodes": [db.nodes[n] for n in nodes],
        }
        yield found


def _order(edges: search.Edges, rows: list[int]) -> dict[str, list[list[int]]]:
    """List which of an occurrence's adjacent edges start before which, and which together."""
    codes, places = search.spell(edges, np.array([rows], np.int32))
    order: list[list[int]] = []
    together: list[list[int]] = []
    k = len(rows)
    for i in range(k):
        for j in range(i + 1, k):
            related = int(codes[0, pair(k, i, j)])
            one, other = int(places[0, i]), int(places[0, j])
            if related == EARLIER:
                order.append([one, other])
            elif related == LATER:
                order.append([other, one])
            elif related:
                together.append(sorted([one, other]))
    return {"order": sorted(order), "together": sorted(together)}


def graphml(described: Iterable[Mapping[str, Any]], directed: bool) -> Archive:
    """Put patterns into GraphML files, one each, that `networkx.read_graphml` and graph editors read."""
    import networkx as nx

    files = {}
    for pattern in described:
        graph = nx.MultiDiGraph() if directed else nx.MultiGraph()
        graph.graph.update({name: pattern[name] for name in ("support", "occurrences")})
        for node, label in enumerate(pattern["nodes"]):
            graph.add_node(node, label=label)
        for edge in pattern["edges"]:
            low, high = edge["duration"] if isinstance(edge["duration"], list) else (edge["duration"],) * 2
            times = {"start": edge["start"], "duration": low} | ({"longest": high} if high != low else {})
            graph.add_edge(*edge["nodes"], label=edge["label"], **{name: float(value) for name, value in times.items()})
        buffer = io.BytesIO()
        nx.write_graphml_xml(graph, buffer)
        files[f"pattern_{pattern['id']:05d}.graphml"] = buffer.getvalue()
    return Archive(files)


def timelines(described: Sequence[Mapping[str, Any]]) -> Picture:
    """Draw patterns: the nodes of each on the left, its temporal edges as bars over time on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [0.9 + 0.32 * max(2, p["size"]) for p in described]
    figure = Figure(figsize=(9, 0.2 + sum(heights)), layout="constrained", dpi=110)
    grid = figure.add_gridspec(len(described), 2, width_ratios=(1, 2.6), height_ratios=heights)
    for row, pattern in enumerate(described):
        _draw_nodes(figure.add_subplot(grid[row, 0]), pattern)
        axes = figure.add_subplot(grid[row, 1])
        for i, edge in enumerate(pattern["edges"]):
            low, high = edge["duration"] if isinstance(edge["duration"], list) else (edge["duration"],) * 2
            colour = f"C{i % 10}"
            axes.barh(i, low, left=edge["start"], height=0.55, color=colour)
            if high > low:  # as long as it may be in this bin
                axes.barh(i, high - low, left=edge["start"] + low, height=0.55, color=colour, alpha=0.3)
            axes.plot([edge["start"]], [i], "|", color="black", markersize=9)
        names = [f"{a}-{b}" + (f"  [{e['label']}]" if e["label"] else "") for e in pattern["edges"] for a, b in [e["nodes"]]]
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        times = f"{pattern['occurrences']} occurrence{'s' if pattern['occurrences'] > 1 else ''}"
        only = ", starts of one occurrence" if "order" in pattern else ""
        axes.set_title(f"pattern {pattern['id']}: in {pattern['support']} networks, {times}{only}", fontsize=9, loc="left")
    figure.axes[-1].set_xlabel("time since the pattern's first start", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    # The layout's solver goes by memory addresses, so that its last digits differ from call to call.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(x, 4) for x in axes.get_position(original=True).bounds])
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _draw_nodes(axes: Any, pattern: Mapping[str, Any]) -> None:
    """Draw the nodes on a circle and the edges in the colours of their bars; parallel ones are bent apart."""
    from matplotlib.patches import FancyArrowPatch

    count = len(pattern["nodes"])
    angles = np.pi / 2 + 2 * np.pi * np.arange(count) / count
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    seen: dict[tuple[int, ...], int] = {}
    for i, edge in enumerate(pattern["edges"]):
        key = tuple(sorted(edge["nodes"]))
        bend = 0.25 * seen.get(key, 0)
        seen[key] = seen.get(key, 0) + 1
        a, b = edge["nodes"]
        if a == b:
            axes.plot(*points[a] * 1.2, "o", color=f"C{i % 10}", markersize=20, fillstyle="none")
            continue
        bend = bend if a < b else -bend  # parallel edges bend to one side, whichever way they are written
        line = FancyArrowPatch(
            points[a], points[b], connectionstyle=f"arc3,rad={bend}", arrowstyle="-", color=f"C{i % 10}", linewidth=2
        )
        axes.add_patch(line)
    axes.plot(*points.T, "o", color="white", markeredgecolor="0.2", markersize=13)
    for node, (point, label) in enumerate(zip(points, pattern["nodes"], strict=True)):
        axes.annotate(str(node), point, ha="center", va="center", fontsize=7)
        if label:
            axes.annotate(label, point * 1.45, ha="center", va="center", fontsize=7, color="0.4")
    axes.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal")
    axes.axis("off")
