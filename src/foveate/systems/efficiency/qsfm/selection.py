"""Which filters go first: by the similarity of their feature maps, and by the criteria that it is compared with."""

from __future__ import annotations

from typing import Literal

import numpy as np

from foveate.systems.efficiency.qsfm.similarity import Alikeness

Criterion = Literal["qsfm", "l1", "random", "fpgm", "hrank", "most_dissimilar"]
Drop = Literal["pair", "rank"]

_TIE = 1e-9  # relative difference below which two sums of similarities are taken for equal


def removal_order(
    criterion: Criterion, filters: np.ndarray, alikeness: Alikeness, drop: Drop = "pair", seed: int = 0
) -> np.ndarray:
    """Order a layer's channels: the first is removed first.

    To remove k channels is to remove the first k, whatever k is.

    Args:
        criterion: ``qsfm`` (see `by_pairs` and `by_rank`); ``most_dissimilar``, the same on negated similarities; ``l1``, small
            filters first (Li et al. 2017); ``fpgm``, filters near the geometric median of all (He et al. 2019); ``hrank``, maps
            of low rank (Lin et al. 2020); ``random``.
        filters: The convolution's weights ``(C, in, k, k)``.
        alikeness: What the pictures told of the layer.
        drop: ``pair`` or ``rank``, of the two criteria that go by similarity.
        seed: Of ``random``.

    Returns:
        int64 ``(C,)``, a permutation.
    """
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    norms = np.abs(flat).sum(1)
    if criterion == "qsfm":
        return (by_pairs if drop == "pair" else by_rank)(alikeness.similarity, norms, alikeness.dead)
    if criterion == "most_dissimilar":
        # The opposite in every choice: the least similar pair, and of it the one that is less like all others.
        return (by_pairs if drop == "pair" else by_rank)(-alikeness.similarity, norms)
    if criterion == "random":
        return np.random.default_rng(seed).permutation(len(filters))
    if criterion == "hrank":
        if alikeness.ranks is None:
            raise ValueError("the maps' ranks were not measured")
        return np.argsort(alikeness.ranks, kind="stable")
    if criterion == "fpgm":
        norms = np.linalg.norm(flat[:, None] - flat[None], axis=2).sum(1) if flat.size < 1e6 else _distances(flat)
    return np.argsort(norms, kind="stable")


def _distances(flat: np.ndarray) -> np.ndarray:
    """Sum each filter's Euclidean distances to all others, row by row."""
    return np.array([np.linalg.norm(flat - row, axis=1).sum() for row in flat])


def by_pairs(similarity: np.ndarray, norms: np.ndarray, dead: np.ndarray | None = None) -> np.ndarray:
    """Take the most similar pair that is left, remove one of the two, and start again.

    Removed is the one whose similarities to all others that are left sum to more; if both sums are equal, the one with the
    smaller filter, and then the one with the larger index. Channels that are zero on all pictures go before all pairs: whatever
    is kept, they can be expressed by it.

    Args:
        similarity: Symmetric ``(C, C)``.
        norms: L1 norms of the filters ``(C,)``.
        dead: bool ``(C,)``.

    Returns:
        int64 ``(C,)``.
    """
    channels = len(similarity)
    q = similarity.astype(np.float64)
    np.fill_diagonal(q, 0)
    left = np.ones(channels, bool)
    sums = q.sum(1)
    order = []

    def remove(channel: int) -> None:
        order.append(channel)
        left[channel] = False
        sums[:] -= q[:, channel]

    for channel in np.flatnonzero(dead)[::-1] if dead is not None else ():
        remove(int(channel))
    pairs = np.where(left[:, None] & left, q, -np.inf)
    np.fill_diagonal(pairs, -np.inf)
    best = pairs.argmax(1)
    while left.sum() > 1:
        i = int(np.argmax(pairs[np.arange(channels), best]))
        j = int(best[i])
        gone = _of_pair(i, j, sums, norms)
        remove(gone)
        pairs[gone] = pairs[:, gone] = -np.inf
        stale = np.flatnonzero(best == gone)
        best[stale] = pairs[stale].argmax(1)
    return np.array([*order, *np.flatnonzero(left)], np.int64)


def _of_pair(i: int, j: int, sums: np.ndarray, norms: np.ndarray) -> int:
    if abs(sums[i] - sums[j]) > _TIE * max(1.0, abs(sums[i]), abs(sums[j])):
        return i if sums[i] > sums[j] else j
    if norms[i] != norms[j]:
        return i if norms[i] < norms[j] else j
    return max(i, j)


def by_rank(similarity: np.ndarray, norms: np.ndarray, dead: np.ndarray | None = None) -> np.ndarray:
    """Order by the similarity to all others, summed once: what is most like the others goes first; arguments of `by_pairs`."""
    sums = similarity.sum(1) - similarity.diagonal()
    return np.lexsort((norms, -sums, ~dead if dead is not None else np.ones(len(sums), bool))).astype(np.int64)


def twins(similarity: np.ndarray, kept: np.ndarray) -> dict[int, int]:
    """Tell for every removed channel the kept one that is most like it.

    For a channel that `by_pairs` removed, that is the other one of its pair if it is still there: no other was more like it.

    Args:
        similarity: Symmetric ``(C, C)``.
        kept: Indices.
    """
    removed = np.setdiff1d(np.arange(len(similarity)), kept)
    return {int(j): int(kept[np.argmax(similarity[j, kept])]) for j in removed}
