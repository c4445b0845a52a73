"""Average precision, precision and recall, against loops over the definitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.retrieval import RetrievalMAP

from foveate.errors import InputError
from foveate.parts import retrieval
from foveate.parts.hashing import hamming, pack
from foveate.parts.retrieval import (
    average_precision,
    average_precision_by_score,
    average_precision_of_codes,
    map_by_score,
    mean_average_precision,
    precision_at,
    precision_recall_by_radius,
    precision_within,
    relevance,
)

seeds = st.integers(0, 2**31)


def slow_average_precision(relevant, k: int) -> float:
    """Walk down one ranking."""
    hits, total = 0, 0.0
    for rank, hit in enumerate(list(relevant)[:k], start=1):
        if hit:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def slow_rankings(distances, relevant, ties: str, seed: int = 0) -> list:
    """Rank every query by sorting tuples."""
    order = list(range(distances.shape[1]))
    if ties == "permuted":
        order = np.random.default_rng(seed).permutation(distances.shape[1]).tolist()
    return [
        [hits[item] for _, _, item in sorted((row[item], place, item) for place, item in enumerate(order))]
        for row, hits in zip(distances.tolist(), relevant.tolist(), strict=True)
    ]


def toy(seed: int, queries: int = 7, items: int = 60, bits: int = 8, classes: int = 4):
    """Make random codes and labels; few bits, so that ties are many."""
    rng = np.random.default_rng(seed)
    codes = [pack(rng.random((n, bits)) < 0.5) for n in (queries, items)]
    return *codes, rng.integers(0, classes, queries), rng.integers(0, classes, items)


@pytest.mark.parametrize(
    ("relevant", "k", "expected"), [([1, 0, 1, 1, 0, 0], 6, 0.80556), ([0, 1, 0, 0, 1], 4, 0.5), ([0, 0, 0, 1], 3, 0.0)]
)
def test_golden_rankings(relevant, k, expected):
    hits = np.array(relevant, bool)
    for ties in ("permuted", "expected", "stable"):
        for kind in (np.uint8, np.int64, np.float32):
            assert average_precision(np.arange(len(hits), dtype=kind), hits, k, ties=ties) == pytest.approx(
                [expected], abs=1e-5
            )


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([8, 16, 264]), st.integers(1, 70), st.sampled_from(["permuted", "stable"]))
def test_codes_are_ranked_as_by_a_double_loop(seed, bits, k, ties):
    queries, database, *labels = toy(seed, bits=bits)
    rankings = slow_rankings(hamming(queries, database), relevance(*labels), ties, seed)
    values = average_precision_of_codes(queries, database, *labels, k, ties=ties, seed=seed)
    assert values == pytest.approx([slow_average_precision(ranking, k) for ranking in rankings], abs=1e-12)
    assert mean_average_precision(queries, database, *labels, k, ties=ties, seed=seed) == pytest.approx(values.mean())
    shares = precision_at(queries, database, *labels, k, ties=ties, seed=seed)
    assert shares == pytest.approx([np.mean(ranking[:k]) for ranking in rankings])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(1, 6))
def test_expected_is_the_mean_over_every_order_of_the_ties(items, k):
    distances, relevant = np.array([d for d, _ in items]), np.array([hit for _, hit in items])
    ranked = [
        slow_average_precision([hit for _, hit in sorted(order, key=lambda item: item[0])], k) for order in permutations(items)
    ]
    for kind in (np.uint8, np.float64):
        assert average_precision(distances.astype(kind), relevant, k, ties="expected")[0] == pytest.approx(np.mean(ranked))


def test_expected_is_the_mean_of_permuted():
    queries, database, *labels = toy(3, queries=5, items=400, bits=8)
    for k in (10, 90, 400):
        drawn = [average_precision_of_codes(queries, database, *labels, k, seed=seed) for seed in range(600)]
        error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
        exact = average_precision_of_codes(queries, database, *labels, k, ties="expected")
        assert np.all(np.abs(np.mean(drawn, axis=0) - exact) < 4.5 * error + 1e-12)
        shares = np.mean([precision_at(queries, database, *labels, k, seed=seed) for seed in range(600)], axis=0)
        assert precision_at(queries, database, *labels, k, ties="expected") == pytest.approx(shares, abs=0.02)


def test_expected_of_codes_that_are_all_alike_does_not_overflow():
    # All of 50 000 items are tied, and the cut takes 5 000 of them: the hypergeometric terms span thousands of decades.
    database, labels = np.zeros((50_000, 8), np.uint8), np.arange(50_000) % 10
    values = average_precision_of_codes(database[:1], database, labels[:1], labels, 5000, ties="expected")
    assert values[0] == pytest.approx(0.1, abs=2e-3)


def test_ties_without_ties_make_no_difference():
    rng = np.random.default_rng(0)
    distances, relevant = rng.random((4, 50)), rng.random((4, 50)) < 0.3
    values = [average_precision(distances, relevant, 20, ties=ties) for ties in ("permuted", "expected", "stable")]
    np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-12)


def test_agrees_with_torchmetrics():
    # Any order of ties would do; without ties there is only one, so no two of a query's distances are alike here.
    rng = np.random.default_rng(1)
    distances = np.array([rng.permutation(65)[:40] for _ in range(30)])
    relevant = rng.random(distances.shape) < 0.1
    relevant[:3] = False  # a query with no hit counts 0
    indexes = torch.arange(30)[:, None].expand(30, 40)
    for k in (5, 40):
        metric = RetrievalMAP(top_k=k, empty_target_action="neg")
        # It leaves out scores that are not positive.
        metric.update(torch.from_numpy(64 + 1 - distances).float(), torch.from_numpy(relevant), indexes=indexes)
        assert float(metric.compute()) == pytest.approx(average_precision(distances, relevant, k).mean(), abs=1e-6)


@pytest.mark.parametrize("ties", ["permuted", "expected", "stable"])
def test_blocks_make_no_difference(monkeypatch, ties):
    queries, database, *labels = toy(5, queries=23)
    rng = np.random.default_rng(5)
    features = rng.standard_normal((23, 5)), rng.standard_normal((60, 5))

    def all_of_it():
        codes = queries, database, *labels
        curve = precision_recall_by_radius(*codes)
        return np.concatenate([
            average_precision_of_codes(*codes, 20, ties=ties),
            precision_at(*codes, 20, ties=ties),
            precision_within(*codes),
            curve.precision,
            curve.recall,
            average_precision_by_score(*features, *labels, 20, ties=ties),
        ])  # fmt: skip

    whole = all_of_it()
    monkeypatch.setattr(retrieval, "PAIRS", 5 * 60)
    np.testing.assert_allclose(all_of_it(), whole, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([3, 8, 21, 80]))
def test_sets_of_labels_are_relevant_if_they_share_one(seed, classes):
    rng = np.random.default_rng(seed)
    one, other = rng.random((6, classes)) < 0.2, rng.random((9, classes)) < 0.2
    expected = [[bool(set(np.flatnonzero(a)) & set(np.flatnonzero(b))) for b in other] for a in one]
    assert relevance(one, other).tolist() == expected
    assert relevance(one.astype(np.int64), other.astype(np.uint8)).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_precision_and_recall_by_radius(seed):
    queries, database, *labels = toy(seed, queries=5, items=20)
    distances, relevant = hamming(queries, database), relevance(*labels)
    curve, pooled = (precision_recall_by_radius(queries, database, *labels, average=a) for a in ("queries", "pairs"))
    assert curve.radius.tolist() == list(range(9))
    for radius in range(9):
        near = distances <= radius
        shares = [hits[inside].mean() if inside.any() else 0.0 for inside, hits in zip(near, relevant, strict=True)]
        assert precision_within(queries, database, *labels, radius) == pytest.approx(shares)
        assert curve.precision[radius] == pytest.approx(np.mean(shares))
        recalls = [hits[inside].sum() / hits.sum() for inside, hits in zip(near, relevant, strict=True) if hits.any()]
        assert curve.recall[radius] == pytest.approx(np.mean(recalls))
        assert curve.retrieved[radius] == pytest.approx(near.sum(1).mean())
        assert pooled.precision[radius] == pytest.approx(relevant[near].mean() if near.any() else 0)
        assert pooled.recall[radius] == pytest.approx(relevant[near].sum() / relevant.sum())


def test_recall_of_nothing_is_not_a_number():
    queries, database, *_ = toy(0)
    curve = precision_recall_by_radius(queries, database, np.zeros(7, int), np.ones(60, int))
    assert np.isnan(curve.recall).all()
    assert not curve.precision.any()


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 45))
def test_scores_are_ranked_by_cosine(seed, k):
    rng = np.random.default_rng(seed)
    queries, database = rng.standard_normal((4, 6)), rng.standard_normal((40, 6))
    queries[0], database[3], database[4] = 0, 0, 0
    labels = rng.integers(0, 3, 4), rng.integers(0, 3, 40)
    norms = [np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (queries, database)]
    cosines = ((queries / norms[0]) @ (database / norms[1]).T).astype(np.float32)
    rankings = slow_rankings(-cosines, relevance(*labels), "permuted", 1)
    values = average_precision_by_score(queries, database, *labels, k, seed=1)
    assert values == pytest.approx([slow_average_precision(ranking, k) for ranking in rankings])
    assert map_by_score(queries, database, *labels, k, seed=1) == pytest.approx(values.mean())


def test_cosine_of_signs_and_hamming_distance_are_one_ranking():
    queries, database, *labels = toy(2, bits=16)
    signs = [2.0 * np.unpackbits(codes, axis=1) - 1 for codes in (queries, database)]
    expected = average_precision_of_codes(queries, database, *labels, 25, ties="expected")
    # Cosines of 16 signs are multiples of 1/8, exact in single precision.
    assert average_precision_by_score(*signs, *labels, 25, ties="expected") == pytest.approx(expected)


def test_wrong_arguments_say_so():
    queries, database, ours, theirs = toy(0)
    for call in (
        lambda: mean_average_precision(queries, database, ours, theirs, 0),
        lambda: mean_average_precision(queries, database, ours, theirs, ties="random"),
        lambda: mean_average_precision(queries, database, ours, np.append(theirs, 0)),
        lambda: mean_average_precision(queries, database, ours[:-1], theirs),
        lambda: mean_average_precision(queries, database, ours, theirs[:, None] == np.arange(4)),
        lambda: mean_average_precision(queries, database, ours + 0.5, theirs),
        lambda: mean_average_precision(queries[:0], database, ours[:0], theirs),
        lambda: mean_average_precision(queries, database[:0], ours, theirs[:0]),
        lambda: mean_average_precision(np.hstack([queries, queries]), database, ours, theirs),
        lambda: precision_within(queries, database, ours, theirs, -1),
        lambda: precision_recall_by_radius(queries, database, ours, theirs, average="both"),
        lambda: average_precision(np.arange(4), np.ones(3, bool)),
        lambda: average_precision(np.array([0.0, np.nan]), np.ones(2, bool)),
        lambda: map_by_score(np.ones((7, 3)), np.full((60, 3), np.nan), ours, theirs),
        lambda: map_by_score(np.ones((7, 3)), np.ones((60, 4)), ours, theirs),
        lambda: relevance(np.array([[0, 2]]), np.array([[0, 1]])),
    ):
        with pytest.raises(InputError):
            call()
