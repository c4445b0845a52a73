"""Cells drawn: as a picture, and in the language of Graphviz."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import networkx as nx
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from foveate.results import Picture
from foveate.systems.efficiency.na_nas.spaces import Cell, Space

COLOURS = {"skip": "#777777", "max_": "#2a9d8f", "avg_": "#2a9d8f", "nor_": "#1d5fa8", "sep_": "#1d5fa8", "dil_": "#8e44ad"}


@dataclass(frozen=True)
class Dot:
    """A graph in the language of Graphviz."""

    text: str
    suffix: ClassVar[str] = ".dot"
    kind: ClassVar[str] = "graph"

    def write(self, path: Path) -> None:
        """Write it."""
        path.write_text(self.text, encoding="utf-8")


def graphs(space: Space, cell: Cell) -> dict[str, nx.DiGraph]:
    """Turn the kinds of a cell into graphs; edges that are ``none`` are left out.

    Returns:
        ``cell``, or ``normal`` and ``reduction``, to a graph whose edges have an ``operation``.
    """
    names = ("cell",) if space.kinds == 1 else ("normal", "reduction")
    made = {}
    for kind, name in enumerate(names):
        graph = nx.DiGraph()
        graph.add_nodes_from(range(space.nodes))
        for (source, target), operation in zip(space.pairs, space.half(cell, kind), strict=True):
            if operation:
                graph.add_edge(source, target, operation=space.operations[operation])
        if space.inputs > 1:  # all later nodes are joined
            graph.add_edges_from((node, space.nodes, {"operation": ""}) for node in range(space.inputs, space.nodes))
        made[name] = graph
    return made


def node_names(space: Space) -> dict[int, str]:
    """Name the nodes."""
    first = {0: "in"} if space.inputs == 1 else {0: "older", 1: "last", space.nodes: "out"}
    later = {node: str(node) for node in range(space.inputs, space.nodes)}
    return first | later | ({space.nodes - 1: "out"} if space.inputs == 1 else {})


def dot(space: Space, cell: Cell) -> Dot:
    """Describe a cell for Graphviz."""
    names = node_names(space)
    lines = ["digraph na_nas {", "  rankdir=LR;", "  node [shape=circle];"]
    for title, graph in graphs(space, cell).items():
        lines += [f"  subgraph cluster_{title} {{", f'    label="{title}";']
        lines += [f'    {title}{node} [label="{names[node]}"];' for node in graph]
        lines += [
            f'    {title}{source} -> {title}{target} [label="{operation}"];'
            for source, target, operation in graph.edges(data="operation")
        ]
        lines.append("  }")
    return Dot("\n".join([*lines, "}", ""]))


def draw(space: Space, cell: Cell, title: str) -> Picture:
    """Draw a cell: nodes from left to right, an arrow and a name for each operation."""
    made = graphs(space, cell)
    figure = Figure((9, 4.2 * len(made)), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, (name, graph) in zip(np.atleast_1d(figure.subplots(len(made), 1)), made.items(), strict=True):
        axes.set_title(name if len(made) > 1 else "", fontsize=10)
        names = node_names(space)
        # Inputs above each other, later nodes one after the other and a little up and down, so that few arrows cover others.
        places = {
            node: (0, 1.0 - 2 * node if space.inputs > 1 else 0) if node < space.inputs else (node - space.inputs + 1, 0)
            for node in graph
        }
        nx.draw_networkx_nodes(graph, places, ax=axes, node_size=900, node_color="#f2e9d8", edgecolors="#333333")
        nx.draw_networkx_labels(graph, places, names, ax=axes, font_size=9)
        for source, target, operation in graph.edges(data="operation"):
            span = places[target][0] - places[source][0]
            # An arrow over other nodes is bent around them; those of the upper input above, of the lower one below.
            above = source == 0 if source < space.inputs > 1 else (source + target) % 2
            bend = 0.0 if span <= 1 else -0.32 if above else 0.32
            style = f"arc3,rad={bend}"
            colour = COLOURS.get(operation[:4], "#bbbbbb")
            one = {"ax": axes, "edgelist": [(source, target)], "connectionstyle": style}
            nx.draw_networkx_edges(graph, places, edge_color=colour, node_size=900, arrowsize=14, width=1.6, **one)
            if operation:
                nx.draw_networkx_edge_labels(
                    graph, places, {(source, target): operation}, ax=axes, font_size=8, font_color=colour,
                    connectionstyle=style, rotate=False, node_size=900,
                )  # fmt: skip
        axes.margins(0.12, 0.35)
        axes.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
