"""How well a ranking finds what is relevant: average precision, precision and recall, for binary codes and for features.

Average precision as the hashing literature computes it: the database is ranked by distance and cut after k items, and the
precision at each relevant item *within the cut* is averaged over those; a query with none scores 0. (Dividing by all relevant
items of the database gives much lower figures, which cannot be compared.)

Hamming distances take few values, so that most items are tied, and the figure depends on how ties are broken:

- ``permuted``: in the order of one random permutation of the database, drawn from the seed; what the field does, made fair
  and repeatable. The permutation depends on nothing else, so that methods are compared under the same one.
- ``expected``: the exact expectation over all orders of the tied items (after McSherry and Najork, ECIR 2008).
- ``stable``: by position. Fair only if positions have nothing to do with relevance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from foveate.errors import InputError
from foveate.parts.hashing import check_packed, hamming_blocks, words

Ties = Literal["permuted", "expected", "stable"]
"""How items at equal distance are ordered; see the module."""

PAIRS = 2**23
"""Pairs of query and item that are ranked at a time: what bounds the memory, to about a hundred megabytes."""


def relevance(query_labels: np.ndarray, database_labels: np.ndarray) -> np.ndarray:
    """Say which items are relevant to which queries: those with the same label, or with at least one label in common.

    Args:
        query_labels: Integers ``(Q,)``, or ``(Q, C)`` bool or 0/1, a column for each label.
        database_labels: Alike, for N items.

    Returns:
        bool ``(Q, N)``.

    Raises:
        InputError: If the two are not of one kind.
    """
    return _shared(*_encoded(query_labels, database_labels))


def _encoded(query_labels: np.ndarray, database_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and bring them into the form ``(words, items)``: sets of labels as bits, single labels as they are."""
    pair = np.asarray(query_labels), np.asarray(database_labels)
    encoded = []
    for where, labels in zip(("query labels", "database labels"), pair, strict=True):
        if labels.ndim == 2 and labels.shape[1] and labels.dtype.kind in "biu" and ((labels == 0) | (labels == 1)).all():
            encoded.append(words(np.packbits(labels.astype(bool), axis=1)))
        elif labels.ndim == 1 and labels.dtype.kind in "iu":
            encoded.append(labels[None])
        else:
            wrong = f"{labels.dtype} array of shape {labels.shape}"
            raise InputError(where, wrong, "one integer for each item, or a row of 0 and 1 for each item")
    if pair[0].shape[1:] != pair[1].shape[1:]:
        wrong = f"shape {pair[0].shape}, but those of the database {pair[1].shape}"
        raise InputError("query labels", wrong, "the same labels for both")
    if pair[0].ndim == 2:
        return encoded[0], encoded[1]
    # Single labels are told from sets by their dtype: signed, where the words of sets are not.
    return encoded[0].astype(np.int64), encoded[1].astype(np.int64)


def _shared(queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Compare encoded labels ``(words, Q)`` and ``(words, N)``: bool ``(Q, N)``."""
    if queries.dtype == np.int64:
        return queries[0, :, None] == database[0]
    shared = np.zeros((queries.shape[1], database.shape[1]), bool)
    for one, other in zip(queries, database, strict=True):
        shared |= (one[:, None] & other) != 0
    return shared


def average_precision(
    distances: np.ndarray, relevant: np.ndarray, k: int | None = None, *, ties: Ties = "permuted", seed: int = 0
) -> np.ndarray:
    """Compute the average precision of rankings that are given as distances.

    Args:
        distances: Of any real type, ``(Q, N)``, or ``(N,)`` for one query; small is near.
        relevant: bool of the same shape.
        k: Items after which the ranking is cut; all by default, and never more than there are.
        ties: How items at equal distance are ordered; see the module.
        seed: Of the permutation.

    Returns:
        float64 ``(Q,)`` in [0, 1].

    Raises:
        InputError: If the arrays do not fit together, or an argument is out of range.

    Example:
        >>> average_precision(np.arange(6), np.array([1, 0, 1, 1, 0, 0], bool)).round(5)
        array([0.80556])
    """
    distances, relevant = np.atleast_2d(distances), np.atleast_2d(relevant)
    if distances.shape != relevant.shape or distances.ndim != 2 or relevant.dtype != bool or distances.dtype.kind not in "fiu":
        wrong = f"{distances.dtype} {distances.shape} and {relevant.dtype} {relevant.shape}"
        raise InputError("distances and relevance", wrong, "real numbers (Q, N) and bool (Q, N)")
    if distances.dtype.kind == "f" and np.isnan(distances).any():
        raise InputError("distances", "hold NaN", "numbers that can be ordered")
    k, order = _plan(distances.shape[1], k, ties, seed)
    return _average_precision(distances[:, order], relevant[:, order], k, ties)


def average_precision_of_codes(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int | None = None,
    *,
    ties: Ties = "permuted",
    seed: int = 0,
) -> np.ndarray:
    """Compute the average precision of each query when packed codes are ranked by Hamming distance.

    Args:
        queries: Packed codes, uint8 ``(Q, K/8)``.
        database: Packed codes, uint8 ``(N, K/8)``.
        query_labels: Integers ``(Q,)``, or ``(Q, C)`` bool or 0/1: relevant is what shares at least one label.
        database_labels: Alike, for N items.
        k: Items after which the ranking is cut; all by default, and never more than there are.
        ties: How items at equal distance are ordered; see the module.
        seed: Of the permutation.

    Returns:
        float64 ``(Q,)`` in [0, 1].

    Raises:
        InputError: If codes and labels do not fit together, or an argument is out of range.
    """
    k, order = _plan(len(database), k, ties, seed)
    values = [
        _average_precision(distances, relevant, k, ties)
        for distances, relevant in _blocks(queries, database, query_labels, database_labels, order)
    ]
    return np.concatenate(values)


def mean_average_precision(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int | None = None,
    *,
    ties: Ties = "permuted",
    seed: int = 0,
) -> float:
    """Compute MAP@k of packed codes: the mean of `average_precision_of_codes`, whose arguments it takes."""
    return float(average_precision_of_codes(queries, database, query_labels, database_labels, k, ties=ties, seed=seed).mean())


def precision_at(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int,
    *,
    ties: Ties = "permuted",
    seed: int = 0,
) -> np.ndarray:
    """Compute the share of relevant items among the k nearest of each query.

    Args:
        queries: Packed codes, as all that follow: see `average_precision_of_codes`.
        database: Packed codes.
        query_labels: Labels of the queries.
        database_labels: Labels of the database.
        k: Items; never more than there are.
        ties: How items at equal distance are ordered; see the module.
        seed: Of the permutation.

    Returns:
        float64 ``(Q,)`` in [0, 1].

    Raises:
        InputError: If codes and labels do not fit together, or an argument is out of range.
    """
    k, order = _plan(len(database), k, ties, seed)
    values = []
    for distances, relevant in _blocks(queries, database, query_labels, database_labels, order):
        if ties == "expected":
            counts, hits = _groups(distances, relevant, 8 * queries.shape[1])
            before = counts.cumsum(1) - counts
            places = np.clip(k - before, 0, counts)
            values.append((places * hits / np.maximum(counts, 1)).sum(1) / k)
        else:
            values.append(_first(distances, relevant, k).mean(1))
    return np.concatenate(values)


def precision_within(
    queries: np.ndarray, database: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray, radius: int = 2
) -> np.ndarray:
    """Compute the share of relevant items among those within a Hamming radius of each query.

    Args:
        queries: Packed codes, as all that follow: see `average_precision_of_codes`.
        database: Packed codes.
        query_labels: Labels of the queries.
        database_labels: Labels of the database.
        radius: Bits that may differ.

    Returns:
        float64 ``(Q,)`` in [0, 1]; 0 for a query with nothing within the radius.

    Raises:
        InputError: If codes and labels do not fit together, or the radius is negative.
    """
    if radius < 0:
        raise InputError("radius", f"is {radius}", "0 or more")
    values = []
    for distances, relevant in _blocks(queries, database, query_labels, database_labels):
        near = distances <= radius
        values.append((near & relevant).sum(1) / np.maximum(near.sum(1), 1))
    return np.concatenate(values)


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall by Hamming radius.

    Attributes:
        radius: int64 ``(K + 1,)``: 0 to K.
        precision: float64 ``(K + 1,)``.
        recall: float64 ``(K + 1,)``; NaN if nothing is relevant to any query.
        retrieved: float64 ``(K + 1,)``, items within the radius, mean over the queries.
    """

    radius: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    retrieved: np.ndarray


def precision_recall_by_radius(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    average: Literal["queries", "pairs"] = "queries",
) -> PrecisionRecall:
    """Compute the curve of precision and recall over every Hamming radius.

    Args:
        queries: Packed codes, as all that follow: see `average_precision_of_codes`.
        database: Packed codes.
        query_labels: Labels of the queries.
        database_labels: Labels of the database.
        average: ``queries`` takes the mean over queries, where one with nothing within the radius has precision 0, as in
            `precision_within`, and one to which nothing is relevant has no recall; ``pairs`` pools the pairs of all queries.

    Returns:
        The curve.

    Raises:
        InputError: If codes and labels do not fit together, or ``average`` is neither.
    """
    if average not in ("queries", "pairs"):
        raise InputError("average", f"is {average!r}", "queries or pairs")
    parts = [
        _groups(distances, relevant, 8 * queries.shape[1])
        for distances, relevant in _blocks(queries, database, query_labels, database_labels)
    ]
    found = np.concatenate([counts for counts, _ in parts]).cumsum(1)
    hits = np.concatenate([hits for _, hits in parts]).cumsum(1)
    retrieved = found.mean(0)
    if average == "pairs":
        found, hits = found.sum(0, keepdims=True), hits.sum(0, keepdims=True)
    asked = hits[hits[:, -1] > 0]
    recall = (asked / asked[:, -1:]).mean(0) if len(asked) else np.full(hits.shape[1], np.nan)
    return PrecisionRecall(np.arange(hits.shape[1]), (hits / np.maximum(found, 1)).mean(0), recall, retrieved)


def average_precision_by_score(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int | None = None,
    *,
    ties: Ties = "permuted",
    seed: int = 0,
) -> np.ndarray:
    """Compute the average precision of each query when features are ranked by cosine similarity.

    Args:
        queries: Features, real ``(Q, D)``; one of length 0 is similar to nothing.
        database: Features, real ``(N, D)``.
        query_labels: Integers ``(Q,)``, or ``(Q, C)`` bool or 0/1: relevant is what shares at least one label.
        database_labels: Alike, for N items.
        k: Items after which the ranking is cut; all by default, and never more than there are.
        ties: How items at equal similarity, in single precision, are ordered; see the module.
        seed: Of the permutation.

    Returns:
        float64 ``(Q,)`` in [0, 1].

    Raises:
        InputError: If features and labels do not fit together, or an argument is out of range.
    """
    k, order = _plan(len(database), k, ties, seed)
    asked, sought = _directions(queries, "queries"), _directions(database, "database")
    if asked.shape[1] != sought.shape[1]:
        raise InputError("queries", f"have width {asked.shape[1]}", f"width {sought.shape[1]}, as the database")
    one, other = _labels_for(len(asked), len(sought), query_labels, database_labels)
    sought, other = sought[order], other[:, order]
    rows = max(1, PAIRS // len(sought))
    values = []
    for start in range(0, len(asked), rows):
        block = slice(start, start + rows)
        values.append(_average_precision(-(asked[block] @ sought.T), _shared(one[:, block], other), k, ties))
    return np.concatenate(values)


def map_by_score(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int | None = None,
    *,
    ties: Ties = "permuted",
    seed: int = 0,
) -> float:
    """Compute MAP@k of features by cosine: the mean of `average_precision_by_score`, whose arguments it takes."""
    return float(average_precision_by_score(queries, database, query_labels, database_labels, k, ties=ties, seed=seed).mean())


def _plan(count: int, k: int | None, ties: str, seed: int) -> tuple[int, np.ndarray | slice]:
    """Check what all rankings take: the cut, and the order in which the database is looked at."""
    if ties not in get_args(Ties):
        raise InputError("ties", f"is {ties!r}", ", ".join(get_args(Ties)))
    if k is not None and k < 1:
        raise InputError("k", f"is {k}", "at least 1")
    if not count:
        raise InputError("database", "is empty", "at least one item")
    order = np.random.default_rng(seed).permutation(count) if ties == "permuted" else slice(None)
    return min(k or count, count), order


def _labels_for(queries: int, database: int, query_labels: np.ndarray, database_labels: np.ndarray) -> list[np.ndarray]:
    """Encode labels, having checked that there are any, and one for each code."""
    encoded = list(_encoded(query_labels, database_labels))
    for where, labels, count in zip(("queries", "database"), encoded, (queries, database), strict=True):
        if not count:
            raise InputError(where, "are none", "at least one")
        if labels.shape[1] != count:
            raise InputError(f"labels of the {where}", f"{labels.shape[1]} for {count} items", "one for each")
    return encoded


def _blocks(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    order: np.ndarray | slice = slice(None),
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield Hamming distances, unsigned ``(q, N)``, and relevance, bool ``(q, N)``, for some queries at a time.

    The columns stand for the database in the given order.
    """
    check_packed(database, where="database")
    check_packed(queries, 8 * database.shape[1], "queries")
    one, other = _labels_for(len(queries), len(database), query_labels, database_labels)
    database, other = database[order], other[:, order]
    for block, distances in hamming_blocks(queries, database, max(1, PAIRS // len(database))):
        yield distances, _shared(one[:, block], other)


def _directions(features: np.ndarray, where: str) -> np.ndarray:
    """Scale features to length 1, float32; zero stays zero."""
    if features.ndim != 2 or features.dtype.kind not in "fiu" or not np.isfinite(features).all():
        raise InputError(where, f"{features.dtype} array of shape {features.shape}", "finite real numbers (N, D)")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _first(distances: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return the relevance, bool ``(q, k)``, of the first k items by distance, ties by position."""
    if (distances.dtype.kind == "u" and distances.dtype.itemsize <= 2) or k == distances.shape[1]:
        # Of small integers this is a radix sort, which takes linear time.
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(relevant, order, 1)
    last = np.partition(distances, k - 1, axis=1)[:, k - 1]
    first = np.empty((len(distances), k), bool)
    for row, limit in enumerate(last):
        near = np.flatnonzero(distances[row] <= limit)
        first[row] = relevant[row, near[np.argsort(distances[row, near], kind="stable")[:k]]]
    return first


def _groups(distances: np.ndarray, relevant: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Count items, and relevant items, at each distance 0 ... ``most``: int64 ``(q, most + 1)`` both."""
    pairs = zip(distances, relevant, strict=True)
    counts = [(np.bincount(row, minlength=most + 1), np.bincount(row[hit], minlength=most + 1)) for row, hit in pairs]
    return np.array([c for c, _ in counts]), np.array([h for _, h in counts])


def _average_precision(distances: np.ndarray, relevant: np.ndarray, k: int, ties: Ties) -> np.ndarray:
    """Compute average precision ``(q,)`` of distances ``(q, N)`` that are in the order in which ties are to be broken."""
    if ties == "expected":
        # Distances become ranks among the distinct ones: few if they were of codes, up to N otherwise.
        small = distances.dtype.kind == "u" and distances.dtype.itemsize <= 2
        harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, k + 1, dtype=np.longdouble))])
        values = []
        for row, hit in zip(distances, relevant, strict=True):
            ranks = row if small else np.unique(row, return_inverse=True)[1]
            counts = np.bincount(ranks)
            values.append(expected_average_precision(counts, np.bincount(ranks[hit], minlength=len(counts)), k, harmonic))
        return np.array(values)
    first = _first(distances, relevant, k)
    hits = first.cumsum(1)
    return (first * hits / np.arange(1, k + 1)).sum(1) / np.maximum(hits[:, -1], 1)


def expected_average_precision(counts: np.ndarray, hits: np.ndarray, k: int, harmonic: np.ndarray | None = None) -> float:
    """Compute the exact expectation of AP@k over all orders of the items within groups of equal distance.

    In a group of n items, r relevant, after s items with H hits, the item in place j is relevant with probability r/n, and
    each place before it in the group then is with (r - 1)/(n - 1), so that the group adds

        r/n [(H + 1) Σ 1/(s + j) + (r - 1)/(n - 1) Σ (j - 1)/(s + j)],   j = 1 ... n

    (McSherry and Najork, 2008). Where the cut leaves only m places of a group, the number x of relevant items that get
    one, which also stands in the denominator H + x, is hypergeometric; given x, the same formula holds with x and m for r
    and n. The sum over x has no closed form, and is taken term by term.

    Args:
        counts: int ``(G,)``, items in each group, nearest group first.
        hits: int ``(G,)``, relevant ones among them.
        k: Items after which the ranking is cut.
        harmonic: The harmonic numbers 0 ... k, if they are at hand.

    Returns:
        Expected average precision in [0, 1].
    """
    if harmonic is None:
        harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, k + 1, dtype=np.longdouble))])
    before, hits_before = counts.cumsum() - counts, hits.cumsum() - hits
    reached = (before < k) & (counts > 0)
    counts, hits, before, hits_before = counts[reached], hits[reached], before[reached], hits_before[reached]
    places = np.minimum(counts, k - before)
    # Extended precision, because the second sum is a difference of large numbers.
    reciprocals = harmonic[before + places] - harmonic[before]
    known = ((hits_before + 1) * reciprocals).astype(float)
    others = ((places - (before + 1) * reciprocals) / np.maximum(places - 1, 1)).astype(float)

    whole = places == counts
    shares = hits * (known + (hits - 1) * others) / counts
    total, found = float(shares[whole].sum()), int(hits[whole].sum())
    if whole.all():
        return total / found if found else 0.0

    n, r, m = int(counts[-1]), int(hits[-1]), int(places[-1])
    x = np.arange(max(0, m - (n - r)), min(r, m) + 1)
    # Ratios of neighbouring terms of the hypergeometric distribution: no factorials, so nothing overflows.
    ratios = (r - x[:-1]) * (m - x[:-1]) / ((x[:-1] + 1) * (n - r - m + x[:-1] + 1))
    logarithms = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    chances = np.exp(logarithms - logarithms.max())
    averages = (total + x / m * (known[-1] + (x - 1) * others[-1])) / np.maximum(found + x, 1)
    return float(chances @ averages / chances.sum())
