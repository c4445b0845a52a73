"""Frequent patterns of continuous-time temporal networks, mined exactly under four isomorphisms (arXiv 2105.06399)."""

from foveate.systems.structures.interval_graphs.method import Database, Mined, Pattern, mine

__all__ = ["Database", "Mined", "Pattern", "mine"]
