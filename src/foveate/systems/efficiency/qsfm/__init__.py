"""QSFM removes filters whose feature maps are like those of others (arXiv 2105.06052)."""

from foveate.systems.efficiency.qsfm.method import Pruned, Settings, Study, prune

__all__ = ["Pruned", "Settings", "Study", "prune"]
