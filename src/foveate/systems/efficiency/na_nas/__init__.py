"""na_nas seeks network cells that are good together with their neighbours (arXiv 2105.06369)."""

from foveate.systems.efficiency.na_nas.method import CellNetwork, Supernet
from foveate.systems.efficiency.na_nas.neighbourhood import Neighbourhood, architecture_step, moved
from foveate.systems.efficiency.na_nas.search import search
from foveate.systems.efficiency.na_nas.spaces import SPACES, Space

__all__ = ["SPACES", "CellNetwork", "Neighbourhood", "Space", "Supernet", "architecture_step", "moved", "search"]
