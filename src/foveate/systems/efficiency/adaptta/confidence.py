"""What the passes of a picture say together, and how sure that is: aggregation and confidence, two of the method's blocks.

Everything is written for any number of leading axes, so that the same lines run on one picture, on a batch, and on the cached
passes of a whole calibration set.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Criterion = Literal["margin", "maxprob", "entropy", "agreement"]
Aggregate = Literal["mean_prob", "mean_logit", "vote"]

TIE = np.float32(1e-3)  # weight of a vote's probabilities beside the vote, so that ties are not broken by the class's number


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits ``(..., C)`` into float32 probabilities."""
    shifted = np.exp(np.float32(logits) - np.max(logits, axis=-1, keepdims=True).astype(np.float32))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def contribution(logits: np.ndarray, aggregate: Aggregate = "mean_prob", temperature: float = 1.0) -> np.ndarray:
    """Return what a pass adds to the running sum.

    Args:
        logits: ``(..., C)``.
        aggregate: ``mean_prob`` averages probabilities (the default), ``mean_logit`` logits, ``vote`` the passes' winners.
        temperature: The logits are divided by it.

    Returns:
        float32 ``(..., C)``.
    """
    cooled = np.float32(logits) / np.float32(temperature)
    if aggregate == "mean_logit":
        return cooled
    p = softmax(cooled)
    if aggregate == "mean_prob":
        return p
    votes = np.zeros_like(p)
    np.put_along_axis(votes, p.argmax(axis=-1)[..., None], 1, axis=-1)
    return (votes + TIE * p) / (1 + TIE)


def together(mean: np.ndarray, aggregate: Aggregate = "mean_prob") -> np.ndarray:
    """Turn the mean contribution of some passes ``(..., C)`` into the distribution that they give together."""
    return softmax(mean) if aggregate == "mean_logit" else mean


def confidence(p: np.ndarray, criterion: Criterion = "margin", agreement: np.ndarray | float = 0.0) -> np.ndarray:
    """Score how sure a distribution is of its winner.

    Args:
        p: ``(..., C)``, of all passes so far together.
        criterion: ``margin`` is the first probability less the second, ``maxprob`` the first, ``entropy`` one less the
            entropy over its largest value, ``agreement`` the share of passes that, alone, have the same winner.
        agreement: That share ``(...)``, which `p` does not tell.

    Returns:
        ``(...)`` in [0, 1].
    """
    if criterion == "agreement":
        return np.broadcast_to(np.float32(agreement), p.shape[:-1])
    if criterion == "maxprob":
        return p.max(axis=-1)
    if criterion == "margin":
        top = np.partition(p, -2, axis=-1)
        return top[..., -1] - top[..., -2]
    # 0 log 0 is 0.
    h = -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
    return np.clip(1 - h / np.log(p.shape[-1]), 0, 1).astype(np.float32)


def least_passes(criterion: Criterion) -> int:
    """Return how many passes there are at least: one pass cannot disagree with itself."""
    return 2 if criterion == "agreement" else 1


def running(
    logits: np.ndarray, criterion: Criterion = "margin", aggregate: Aggregate = "mean_prob", temperature: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Say of cached passes what they give together after each of them, and how sure that is.

    Args:
        logits: ``(N, K, C)`` of K passes over N pictures, in order.
        criterion: See `confidence`.
        aggregate: See `contribution`.
        temperature: See `contribution`.

    Returns:
        float32 ``(N, K, C)`` distributions and ``(N, K)`` confidences. The sum runs in the passes' order, as it does on one
        picture, so that equal logits give equal bits.
    """
    count = logits.shape[1]
    sums = np.cumsum(contribution(logits, aggregate, temperature), axis=1, dtype=np.float32)
    p = together(sums / np.arange(1, count + 1, dtype=np.float32)[:, None], aggregate)
    alone, winner = logits.argmax(axis=-1), p.argmax(axis=-1)
    agreement = np.stack([(alone[:, : k + 1] == winner[:, k : k + 1]).mean(axis=1) for k in range(count)], axis=1)
    return p, confidence(p, criterion, agreement)
