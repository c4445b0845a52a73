"""PolyLogicA checks spatial logic on meshes and volumes: for every cell, whether a formula holds there (arXiv 2105.06194)."""

from foveate.systems.structures.polylogica.bisimulation import minimise
from foveate.systems.structures.polylogica.complexes import Complex
from foveate.systems.structures.polylogica.imgql import Specification
from foveate.systems.structures.polylogica.method import Checker, Formulas, Frame

__all__ = ["Checker", "Complex", "Formulas", "Frame", "Specification", "minimise"]
