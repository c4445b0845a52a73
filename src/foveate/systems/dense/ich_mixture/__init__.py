"""A mixture model that finds haemorrhages in head CT without training data (arXiv 2105.05891). Not a medical device."""

from foveate.systems.dense.ich_mixture.method import Mixture
from foveate.systems.dense.ich_mixture.search import Settings
from foveate.systems.dense.ich_mixture.segmentation import Segmentation, make_ready, segment

__all__ = ["Mixture", "Segmentation", "Settings", "make_ready", "segment"]
