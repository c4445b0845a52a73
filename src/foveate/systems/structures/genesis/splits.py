"""Which events train, validate and test: the fixed split that earlier work reports on, and Monte Carlo cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Split = Literal["fixed", "mccv", "mccv_by_star"]
PARTS = ("train", "val", "test")
ENDS = (0.8, 0.9)  # where the training and the validation part end


def fixed(count: int) -> dict[str, np.ndarray]:
    """Split as the released pipeline does: one permutation of the table's rows, seeded 123, cut at 80 and 90 %.

    Example:
        >>> [len(part) for part in fixed(15737).values()]
        [12589, 1574, 1574]
    """
    order = np.random.RandomState(123).permutation(count)  # NumPy's old generator, as released
    return dict(zip(PARTS, np.split(order, [int(end * count) for end in ENDS]), strict=True))


def monte_carlo(labels: Sequence[int] | np.ndarray, groups: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Split at random, with as many planets in every part as in all (paper section 3: 80, 10 and 10 %).

    Args:
        labels: Of each event.
        groups: What must not be torn apart: of each event its star, or its own name.
        seed: Seed of the split.

    Returns:
        Indices of the events of each part, in no order.
    """
    rng = np.random.default_rng(seed)
    labels, (names, group) = np.asarray(labels), np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(group)
    stratum = np.full(len(names), labels.min(initial=0))
    np.maximum.at(stratum, group, labels)
    part = np.empty(len(names), int)
    for label in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == label))
        # A group belongs where its middle event falls.
        place = (np.cumsum(sizes[members]) - sizes[members] / 2) / sizes[members].sum()
        part[members] = np.searchsorted(ENDS, place, side="right")
    return {name: rng.permutation(np.flatnonzero(part[group] == i)) for i, name in enumerate(PARTS)}


def split(
    kind: Split, labels: Sequence[int] | np.ndarray, ids: Sequence[str], stars: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Split events: ``fixed``, ``mccv`` (at random, by event) or ``mccv_by_star`` (no star in two parts)."""
    if kind == "fixed":
        return fixed(len(ids))
    return monte_carlo(labels, stars if kind == "mccv_by_star" else [str(i) for i in range(len(ids))], seed)
