"""Training of classifiers to put AdapTTA around: a user's own, and those of the experiments. The paper takes trained ones."""

from __future__ import annotations

from foveate.parts.classification import Classifying, base_classifier
from foveate.systems.efficiency.adaptta.data import Sample
from foveate.systems.efficiency.adaptta.method import Classifier

__all__ = ["Classifying", "base"]

BATCH = 32
TRAINED_ON = 6000  # pictures


def base(model: str, seed: int = 0, epochs: float = 9, count: int = TRAINED_ON) -> Classifier:
    """Train a network for the experiments on clean embedded shapes, once: the next time it comes out of the cache.

    Args:
        model: Its name; see `foveate.parts.classifiers`.
        seed: Of weights, order and augmentation. The pictures are the same for all.
        epochs: Length of the training.
        count: Pictures to train on.
    """
    steps = max(1, round(epochs * count / BATCH))
    data = Sample(count, held_out=BATCH, batch_size=BATCH, seed=seed)
    return base_classifier(model, data, ["adaptta", count, BATCH, data.crop], steps, seed, lr=0.05, nesterov=True)
