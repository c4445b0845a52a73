"""Mean colours, and their nearest neighbours."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from foveate.results import Picture


def prepare(picture: Picture) -> np.ndarray:
    """Return the mean colour: float32 ``(3,)`` in [0, 1]."""
    return picture.colour().mean((0, 1))


class Nearest(ClassifierMixin, BaseEstimator):
    """The name that most of the nearest colours bear.

    Args:
        neighbours: How many have a say.
    """

    def __init__(self, neighbours: int = 3) -> None:
        self.neighbours = neighbours

    def fit(self, features: np.ndarray, names: np.ndarray) -> "Nearest":
        """Keep the colours ``(N, 3)`` and their names ``(N,)``."""
        self.features_, self.names_, self.classes_ = features, names, np.unique(names)
        return self

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return how far each name's nearest neighbours are on average: ``(N, names)``."""
        apart = np.linalg.norm(features[:, None] - self.features_[None], axis=2)
        nearest = [np.sort(apart[:, self.names_ == c], axis=1)[:, : self.neighbours].mean(1) for c in self.classes_]
        return np.stack(nearest, axis=1)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Name colours ``(N, 3)``."""
        return self.classes_[self.distances(features).argmin(1)]
