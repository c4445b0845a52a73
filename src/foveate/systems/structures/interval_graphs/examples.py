"""What the contract feeds the system: two networks of four temporal edges in each format."""

from __future__ import annotations

from pathlib import Path

from foveate.systems.structures.interval_graphs.data import example as networks


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write two networks that are the same: in formats without networks, one after the other."""
    path = folder / f"networks.{suffix}"
    rows = networks("exact").rows()
    if suffix == "txt":
        edges = [f"e {r.u} {r.v} {r.u_label} {r.label} {r.v_label} {r.start} {r.end - r.start}" for r in rows]
        lines = ["t # 0", *edges[:4], "t # 1", *edges[4:]]
        path.write_text("\n".join(lines) + "\n")
    elif suffix == "csv":
        lines = [f"{r.network},{r.u},{r.v},{r.u_label},{r.v_label},{r.label},{r.start},{r.end}" for r in rows]
        path.write_text("\n".join(["network,u,v,u_label,v_label,edge_label,start,end", *lines]) + "\n")
    elif suffix == "graphml":
        import networkx as nx

        graph = nx.MultiGraph()
        for r in rows:
            ends = (f"{r.network}/{r.u}", f"{r.network}/{r.v}")
            graph.add_edge(*ends, network=r.network, label=r.label, start=int(r.start), end=int(r.end))
        nx.write_graphml_xml(graph, path)
    else:
        # A contact list: a contact every 20 s while the interval lasts.
        moments = [(t, r.u, r.v) for r in rows if r.network == "0" for t in range(int(r.start), int(r.end) + 1, 20)]
        path.write_text("".join(f"{t}\t{u}\t{v}\n" for t, u, v in sorted(moments)))
    return path
