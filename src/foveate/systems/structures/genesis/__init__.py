"""Genesis tells planet candidates from false positives in folded light curves (arXiv 2105.06292)."""

from foveate.systems.structures.genesis.astronet import Astronet
from foveate.systems.structures.genesis.fourier import PaddedConv1d
from foveate.systems.structures.genesis.method import Genesis

__all__ = ["Astronet", "Genesis", "PaddedConv1d"]
