"""How trainable a network is after pruning, by its Jacobian, and how that is brought back (arXiv 2105.05916)."""

from foveate.systems.efficiency.dynamical_isometry.jacobian import Isometry, isometry, jacobian
from foveate.systems.efficiency.dynamical_isometry.method import SmallClassifier
from foveate.systems.efficiency.dynamical_isometry.repairs import orthogonalised, repair

__all__ = ["Isometry", "SmallClassifier", "isometry", "jacobian", "orthogonalised", "repair"]
