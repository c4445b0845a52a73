"""Items with labels: what readers of data sets return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures, or rows of features, with their labels.

    Attributes:
        items: Picture files, or an array: uint8 ``(N, H, W, 3)`` or ``(N, H, W)`` pictures or float32 ``(N, D)`` features.
        labels: int64 ``(N,)``, one class for each; or bool ``(N, C)``, any number of labels for each; or None.
        classes: What the labels stand for, if it is known.
        names: What items that are no files are called, if it is known.
    """

    items: Sequence[Path] | np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def take(self, index: np.ndarray) -> Labelled:
        """Return the items of some places, an int array, in that order."""
        items = self.items[index] if isinstance(self.items, np.ndarray) else [self.items[i] for i in index]
        labels = None if self.labels is None else self.labels[index]
        return Labelled(items, labels, self.classes, tuple(self.names[i] for i in index) if self.names else ())
