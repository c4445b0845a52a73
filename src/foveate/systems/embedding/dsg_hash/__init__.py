"""DSGHash learns binary codes from unlabelled pictures by cleaned and weighted pseudo-similarities (arXiv 2105.06125)."""

from foveate.systems.embedding.dsg_hash.guidance import Guidance, guide
from foveate.systems.embedding.dsg_hash.method import DSGHash, priority_loss

__all__ = ["DSGHash", "Guidance", "guide", "priority_loss"]
