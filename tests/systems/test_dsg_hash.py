"""What only DSGHash must do: the sharp checks of its sheet."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.counting import parameters
from foveate.parts.hashing import Codes, pack
from foveate.parts.retrieval import mean_average_precision
from foveate.parts.training import Draw, fit
from foveate.readers.pictures import read_picture, write_as
from foveate.results import Picture
from foveate.samples.glyphs import collection
from foveate.systems.embedding.dsg_hash import data as sources
from foveate.systems.embedding.dsg_hash import reproduce
from foveate.systems.embedding.dsg_hash.data import Features, Folder, GuidedSet, Sample
from foveate.systems.embedding.dsg_hash.guidance import (
    Guidance,
    HalfGaussians,
    cluster,
    confidence,
    directions,
    distilled_by_neighbours,
    fit_features,
    fit_half_gaussians,
    guide,
    quality,
)
from foveate.systems.embedding.dsg_hash.method import DSGHash, prepare, priority_loss, quantisation_loss, random_view
from foveate.systems.embedding.dsg_hash.train import Hasher

HALVES = HalfGaussians(0.6, 0.08, 0.15, 0.0, 2.0, np.zeros(100), 2.0)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def drawn():
    """Features of the embedded pictures, few and small, and their labels."""
    return reproduce.collection(0, "quick")


def normal(count=120, width=6, seed=0):
    """Features around four centres."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=count)
    return 3 * rng.standard_normal((4, width))[labels] + rng.standard_normal((count, width)), labels


def dense(guidance):
    """The signals and weights of all pairs as matrices."""
    signal, weight = np.zeros((2, len(guidance), len(guidance)))
    for i, j, s, w in zip(guidance.i, guidance.j, guidance.s, guidance.w, strict=True):
        signal[i, j] = signal[j, i] = s
        weight[i, j] = weight[j, i] = w
    return signal, weight


# --- steps 1 and 2: half Gaussians and confidence --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_halves_are_recovered_from_a_million_distances(seed):
    rng = np.random.default_rng(seed)
    left = rng.random(10**6) < 0.06 / (0.06 + 0.09)  # so that the density is continuous at the mode
    spread = np.abs(rng.standard_normal(10**6))
    distances = 0.5 + np.where(left, -0.06 * spread, 0.09 * spread)
    halves = fit_half_gaussians(np.array_split(distances, 7))
    assert abs(halves.mode - 0.5) <= 0.01
    assert halves.left == pytest.approx(0.06, rel=0.05)
    assert halves.right == pytest.approx(0.09, rel=0.05)
    assert halves.counts.sum() == 10**6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), wide=st.booleans())
def test_the_fit_is_the_one_written_down(seed, wide):
    """Mode: the middle of the fullest of 100 bins. Deviations: of each half mirrored about it. No picture with itself."""
    features = np.random.default_rng(seed).normal(0 if wide else 2, 1, (40, 3 if wide else 8))
    unit = directions(features)
    distances = np.array([1 - float(unit[i] @ unit[j]) for i in range(40) for j in range(i)]).clip(0, 2)
    top = max(1.0, distances.max())
    counts, edges = np.histogram(distances, 100, (0, top))
    mode = (edges[counts.argmax()] + edges[counts.argmax() + 1]) / 2
    halves = fit_features(unit, rows=7)
    assert halves.counts.sum() == 40 * 39 // 2
    assert halves.mode == pytest.approx(mode)
    for told, part in ((halves.left, distances[distances <= mode]), (halves.right, distances[distances > mode])):
        mirrored = np.concatenate([part, 2 * mode - part])
        assert told == pytest.approx(mirrored.std() if len(part) else 0, rel=1e-5, abs=1e-6)


def test_weights_of_the_sheet():
    assert HALVES.thresholds(2, 2) == pytest.approx((0.44, 0.9))
    weights = confidence(np.array([0.2, 0.4, 0.43, 0.92, 1.0]), HALVES)
    assert weights == pytest.approx([0.99999, 0.72705, 0.26184, 0.27698, 0.83163], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    mode=st.floats(0.3, 1.2),
    left=st.floats(0.01, 0.1),
    right=st.floats(0.01, 0.2),
    alpha=st.floats(0, 2.9),
    beta=st.floats(0, 3),
)
def test_weights_are_smooth(mode, left, right, alpha, beta):
    """Continuous and monotone on a grid, 0 at the thresholds, 1 at the ends; the formula, where it can be computed."""
    halves = HalfGaussians(mode, left, right, 0.0, 2.0, np.zeros(100), 2.0)
    lower, upper = halves.thresholds(alpha, beta)
    grid = np.linspace(0, 2, 20001)
    weights = confidence(grid, halves, alpha, beta)
    assert confidence(np.array([lower, upper]), halves, alpha, beta) == pytest.approx([0, 0], abs=1e-6)
    assert weights[[0, -1]].tolist() == [1, 1]
    signed = np.where(grid < lower, weights, -weights)
    assert (np.diff(signed) <= 1e-12).all()
    assert np.abs(np.diff(signed)).max() < 1.1e-4 * (np.exp(-alpha) / left + np.exp(-beta) / right) * 40
    phi = norm(mode, left).cdf
    near = grid[grid < lower]
    written = (phi(lower) - phi(near)) / (phi(lower) - phi(0))
    np.testing.assert_allclose(weights[grid < lower], written, atol=1e-6)
    tail = norm(mode, right).sf
    far = grid[grid > upper]
    np.testing.assert_allclose(weights[grid > upper], (tail(upper) - tail(far)) / (tail(upper) - tail(2)), atol=1e-6)


def test_negatives_of_features_that_are_never_negative_can_be_certain():
    assert confidence(np.array([1.0, 1.3]), HALVES, d_max=1).tolist() == [1, 1]
    assert confidence(np.array([1.0]), HALVES)[0] < 0.84
    with pytest.raises(InputError, match=r"beta: .*below 2.67"):
        confidence(np.array([1.0]), HALVES, beta=3, d_max=1)
    with pytest.raises(InputError, match=r"alpha: .*below 7.5"):
        confidence(np.array([1.0]), HALVES, alpha=8)


# --- step 3 and the whole --------------------------------------------------------------------------------------------


def test_guidance_is_what_the_three_steps_say():
    """Against loops over all pairs."""
    features, _ = normal()
    guidance = guide(features, alpha=1.5, beta=1, clusters=7)
    unit = directions(features)
    halves = fit_features(unit)
    lower, upper = halves.mode - 1.5 * halves.left, halves.mode + halves.right
    left, right = norm(halves.mode, halves.left), norm(halves.mode, halves.right)
    clusters = cluster(unit, 7)
    signal, weight = dense(guidance)
    found = removed = 0
    for i in range(len(features)):
        assert signal[i, i] == 0
        for j in range(i):
            d = 1 - float(unit[i] @ unit[j])
            s = 1 if d < lower else -1 if d > upper else 0
            c = 1 if clusters[i] == clusters[j] else -1
            found += s != 0
            removed += s * c == -1
            assert signal[i, j] == (s if s * c == 1 else 0)
            if s * c == 1:
                if s == 1:
                    w = (left.cdf(lower) - left.cdf(d)) / (left.cdf(lower) - left.cdf(0))
                else:
                    w = (right.cdf(d) - right.cdf(upper)) / (right.cdf(2) - right.cdf(upper))
                assert weight[i, j] == pytest.approx(w, abs=2e-5)
    assert removed > 0
    told = guidance.report
    assert sum(told[k]["found"] for k in ("positive", "negative")) == found
    assert sum(told[k]["removed"] for k in ("positive", "negative")) == removed
    assert len(guidance.i) == found - removed == told["signals"]


def test_without_clusters_nothing_is_removed_and_ssdh_is_hard_and_whole():
    features, _ = normal()
    everything = guide(features, distill="off", alpha=1.5, beta=1)
    assert len(everything.i) == sum(everything.report[k]["found"] for k in ("positive", "negative"))
    assert 0 < everything.w.min() + 1e-9 < everything.w.max()
    ssdh, switched = (
        guide(features, **o, alpha=1.5, beta=1) for o in ({"guidance": "ssdh"}, {"weights": "hard", "distill": "off"})
    )
    for name in "ijsw":
        assert np.array_equal(getattr(ssdh, name), getattr(switched, name))
    assert np.array_equal(ssdh.s, everything.s)
    assert set(ssdh.w) == {1.0}
    noisy = guide(features, "noisy", alpha=1.5, beta=1)
    assert len(noisy.i) == noisy.report["pairs"] == 120 * 119 // 2
    assert (noisy.s == 1).sum() == (ssdh.s == 1).sum()


def test_thresholds_may_meet_and_leave_no_pair_unknown():
    features, _ = normal()
    halves = fit_features(directions(features))
    guidance = guide(features, alpha=1.5, beta=-1.5 * halves.left / halves.right, distill="off")
    assert len(guidance.i) >= guidance.report["pairs"] - 1
    assert guidance.report["lower"] == pytest.approx(guidance.report["upper"])
    assert 0 <= guidance.w.min() < 0.05


def test_blocks_say_what_the_whole_matrix_says():
    features, *_ = reproduce.overlapping_gaussians(2000, 0)
    whole, blocks = (guide(features, clusters=4, rows=rows) for rows in (2000, 257))
    for name in "ijs":
        assert np.array_equal(getattr(whole, name), getattr(blocks, name))
    np.testing.assert_allclose(whole.w, blocks.w, atol=1e-5)
    assert whole.report["mode"] == blocks.report["mode"]
    labels = np.arange(2000) % 3
    one, other = (guide(features, "oracle", labels=labels, rows=rows) for rows in (2000, 257))
    assert np.array_equal(one.s, other.s)


def test_oracle_follows_labels_one_or_several():
    several = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], bool)
    assert guide(np.zeros((3, 1)), "oracle", labels=several).s.tolist() == [1, -1, -1]
    assert guide(np.zeros((3, 1)), "oracle", labels=np.array([4, 2, 4])).s.tolist() == [-1, 1, -1]


@pytest.mark.parametrize("rows", [None, 7])
def test_distillhash_selects_as_a_loop_over_neighbours_does(rows):
    features, labels = normal(40)
    rng = np.random.default_rng(1)
    codes = np.tanh(np.eye(4)[labels] @ rng.standard_normal((4, 12)) + 0.3 * rng.standard_normal((40, 12)))
    unit = directions(features)
    p = 1 / (1 + np.exp(-codes @ codes.T / 2))
    near = np.argsort(1 - unit @ unit.T, axis=1, kind="stable")[:, :5]
    expected = {}
    for i in range(40):
        for j in range(i + 1, 40):
            block = p[np.ix_(near[i], near[j])]
            if p[i, j] > (1 + block.min()) / 2:
                expected[i, j] = 1
            elif p[i, j] < (1 - (1 - block).min()) / 2:
                expected[i, j] = -1
    blocks = [zip(i, j, s, strict=True) for i, j, s, _ in distilled_by_neighbours(unit, codes, 5, rows)]
    assert {(int(i), int(j)): int(s) for block in blocks for i, j, s in block} == expected
    assert set(expected.values()) == {1, -1}


def test_errors_on_a_mixture_are_those_that_can_be_computed():
    """A pair's distance depends on the difference of its points, a Gaussian: the chance of S = +1 is an integral."""
    features, labels, waves = reproduce.overlapping_gaussians(3000, 0)
    guidance = guide(features, distill="off")
    axis = np.linspace(-6, 6, 241)
    steps = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    called = 1 - np.cos(steps @ waves).mean(1) < guidance.report["lower"]
    positive = guidance.s == 1
    for a, b in ((0, 0), (0, 1), (1, 1), (0, 3), (2, 2)):
        gap = reproduce.MEANS[a] - reproduce.MEANS[b]
        chance = np.exp(-((steps - gap) ** 2).sum(1) / (4 * reproduce.DEVIATION**2)) / (4 * np.pi * reproduce.DEVIATION**2)
        expected = (chance * called).sum() * (axis[1] - axis[0]) ** 2
        count = (labels == a).sum() * (labels == b).sum() if a != b else (labels == a).sum() * ((labels == a).sum() - 1) / 2
        of_pair = [{labels[i], labels[j]} == {a, b} for i, j in zip(guidance.i[positive], guidance.j[positive], strict=True)]
        assert np.sum(of_pair) / count == pytest.approx(expected, abs=0.02)
    assert 0.6 < quality(guidance, labels)["precision_positive"] < 0.9


def test_quality_counts_as_a_loop_does():
    features, labels = normal(60)
    guidance = guide(features, alpha=1.5, beta=1, clusters=4)
    told = quality(guidance, labels)
    signal, weight = dense(guidance)
    pairs = [(i, j) for i in range(60) for j in range(i)]
    for kind, name in ((1, "positive"), (-1, "negative")):
        chosen = [(labels[i] == labels[j]) == (kind == 1) for i, j in pairs if signal[i, j] == kind]
        such = sum((labels[i] == labels[j]) == (kind == 1) for i, j in pairs)
        assert told[f"precision_{name}"] == pytest.approx(np.mean(chosen))
        assert told[f"recall_{name}"] == pytest.approx(np.sum(chosen) / such)
    assert told == quality(guidance, np.eye(4, dtype=bool)[labels])
    ranked = sorted((weight[i, j], labels[i] == labels[j]) for i, j in pairs if signal[i, j] == 1)
    assert told["deciles"][0] == pytest.approx(np.mean([r for _, r in ranked[: -(-len(ranked) // 10)]]), abs=0.1)


@pytest.mark.parametrize("alpha", [5.0, 50.0])
def test_thresholds_without_pairs_say_what_would_work(alpha):
    features, _ = normal()
    with pytest.raises(InputError, match=r"^alpha: .*no pair is nearer") as caught:
        guide(features, alpha=alpha, beta=1, clusters=4)
    better = float(caught.value.expected.removeprefix("below "))
    assert len(guide(features, alpha=0.98 * better, beta=1, distill="off").i)
    with pytest.raises(InputError, match=r"^beta: .*no pair is farther") as caught:
        guide(features, alpha=1, beta=alpha, clusters=4)
    better = float(caught.value.expected.removeprefix("below "))
    assert len(guide(features, alpha=1, beta=0.98 * better, distill="off").i)


@pytest.mark.parametrize(
    ("features", "options", "says"),
    [
        (np.ones((9, 3)), {}, "no pair is nearer"),
        (np.zeros((9, 3)), {}, "picture 0 are all 0"),
        (np.full((9, 3), np.nan), {}, "NaN"),
        (np.ones((1, 3)), {}, "at least two pictures"),
        (normal()[0], {"clusters": 121, "beta": 1}, "121 of 120"),
        (normal()[0], {"alpha": 1, "beta": -9}, "below the lower one"),
        (normal()[0], {"guidance": "oracle"}, "needs labels"),
        (normal()[0], {"guidance": "distillhash"}, "first network"),
    ],
)
def test_what_gives_no_guidance_is_refused(features, options, says):
    with pytest.raises(InputError, match=says):
        guide(features, **options)


# --- the file, and batches -------------------------------------------------------------------------------------------


def test_guidance_survives_its_file(tmp_path):
    guidance = guide(normal()[0], alpha=1.5, beta=1, clusters=4, names=[f"ä{i}.png" for i in range(120)])
    guidance.write(tmp_path / "a.npz")
    again = Guidance.read(tmp_path / "a.npz")
    again.write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert again.names == guidance.names
    assert again.report == guidance.report
    with np.load(tmp_path / "a.npz") as file:
        assert [file[n].dtype for n in "ijsw"] == [np.int32, np.int32, np.int8, np.float32]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"j": np.array([1, 9], np.int32)}, "of two of its pictures"),
        ({"i": np.array([1, 0], np.int32), "j": np.array([2, 1], np.int32)}, "out of order"),
        ({"s": np.array([1, 0], np.int8)}, "out of range"),
        ({"w": np.array([1, np.nan], np.float32)}, "out of range"),
        ({"w": np.ones(2)}, "w is float64"),
        ({"report": np.array("{")}, "cannot be read"),
        ({"names": None}, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, change, says):
    arrays = guide(np.zeros((3, 1)), "oracle", labels=np.array([0, 0, 1])).arrays()
    arrays = {k: v[:2] if k in "ijsw" else v for k, v in arrays.items()} | change
    np.savez(tmp_path / "bad.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(InputError, match=rf"bad.npz: .*{says}"):
        Guidance.read(tmp_path / "bad.npz")
    with pytest.raises(InputError, match=r"unpacks"):
        Guidance.read(tmp_path / "bad.npz", limit=10)


@settings(max_examples=25, deadline=None)
@given(pictures=st.lists(st.integers(0, 59), min_size=1, max_size=30))
def test_a_batch_looks_its_pairs_up(pictures):
    guidance = guide(normal(60)[0], alpha=1.5, beta=1, clusters=4)
    signal, weight = guidance.among(np.array(pictures))
    expected = [m[np.ix_(pictures, pictures)] for m in dense(guidance)]
    assert np.array_equal(signal, expected[0])
    assert np.array_equal(weight, expected[1].astype(np.float32))


def test_small_batches_hold_known_positives():
    guidance = guide(normal()[0], alpha=1.5, beta=1, clusters=4)
    pictures = GuidedSet(120, lambda draw: torch.tensor(draw.index))
    plain = [item["index"] for item in pictures.__getitems__([Draw(i, 0, 0) for i in range(0, 120, 5)])]
    assert plain == list(range(0, 120, 5))
    pictures.know(guidance)
    batch = [item["index"] for item in pictures.__getitems__([Draw(i, 0, 0) for i in range(0, 120, 5)])]
    assert batch == [item["index"] for item in pictures.__getitems__([Draw(i, 0, 0) for i in range(0, 120, 5)])]
    assert batch[::2] == plain[::2]
    signal, _ = guidance.among(np.array(batch))
    known = {*guidance.i[guidance.s == 1], *guidance.j[guidance.s == 1]}
    pairs = [(k, k + 1) for k in range(0, 24, 2) if batch[k] in known]
    assert len(pairs) > 6
    assert all(signal[pair] == 1 for pair in pairs)


def test_guidance_is_found_once_for_the_same_pictures(tmp_path, monkeypatch):
    features, _ = normal()
    np.savez(tmp_path / "f.npz", features=features.astype(np.float32))
    options = {"alpha": 1.5, "beta": 1, "clusters": 4}
    first = Features(str(tmp_path / "f.npz"), **options).guide()

    def fail(*_, **__):
        raise AssertionError("found again")

    with monkeypatch.context() as patch:
        patch.setattr(sources, "guide", fail)
        again = Features(str(tmp_path / "f.npz"), **options).guide()
        with pytest.raises(AssertionError, match="found again"):
            Features(str(tmp_path / "f.npz"), **{**options, "alpha": 1.4}).guide()
    assert np.array_equal(first.w, again.w)
    assert first.report == again.report


# --- step 4: the network and the loss --------------------------------------------------------------------------------


def test_sizes_are_the_papers():
    with torch.device("meta"):
        network = DSGHash(bits=16)
        assert (parameters(network.backbone), parameters(network.head)) == (134_260_544, 65_552)
        assert all(p.requires_grad for p in network.parameters())
        assert parameters(DSGHash("", bits=16, hidden=1024, width=1280)) == 1_328_144


def test_values_are_tanh_of_a_linear_layer_on_rectified_features():
    network = DSGHash("", bits=8, width=4)
    features = torch.randn(5, 4)
    expected = torch.tanh(torch.relu(features) @ network.head[0].weight.T + network.head[0].bias)
    torch.testing.assert_close(network(features), expected)


def signals_of_a_batch(size=9, seed=0):
    rng = np.random.default_rng(seed)
    above = np.triu(rng.integers(-1, 2, (size, size)), 1)
    weights = np.triu(rng.random((size, size)), 1)
    values = torch.from_numpy(np.tanh(rng.standard_normal((size, 16)))).requires_grad_()
    return values, *(torch.from_numpy(m + m.T) for m in (above, weights * (above != 0)))


@pytest.mark.parametrize("form", ["ls", "pce"])
def test_the_loss_is_a_mean_over_pairs_with_a_signal(form):
    values, signal, weight = signals_of_a_batch()
    errors = []
    for i in range(len(values)):
        for j in range(len(values)):
            if i != j and signal[i, j] != 0:
                theta, s = float((values[i] @ values[j]).detach()), float(signal[i, j])
                if form == "ls":
                    error = (theta / 16 - s) ** 2
                else:
                    t, p = (s + 1) / 2, 1 / (1 + np.exp(-theta / 2))
                    error = -(t * np.log(p) + (1 - t) * np.log(1 - p))
                errors.append(float(weight[i, j]) * error)
    assert float(priority_loss(values, signal, weight, form).detach()) == pytest.approx(np.mean(errors))
    with_diagonal = signal + torch.eye(len(signal))
    assert float(priority_loss(values, with_diagonal, weight + torch.eye(len(signal)), form).detach()) == pytest.approx(
        np.mean(errors)
    )
    nothing = priority_loss(values, torch.zeros_like(signal), weight, form)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not values.grad.any()


def test_hard_whole_guidance_gives_ssdhs_loss_but_for_its_diagonal():
    values, signal, _ = signals_of_a_batch()
    signal = signal.double()
    ours = priority_loss(values, signal, signal.abs())
    with_diagonal = signal + torch.eye(len(signal))
    product = values @ values.T / 16
    ssdh = (with_diagonal.abs() * (product - with_diagonal) ** 2).sum() / len(signal) ** 2
    diagonal = ((values**2).sum(1) / 16 - 1).square().sum()
    assert float((len(signal) ** 2 * ssdh - diagonal - signal.abs().sum() * ours).detach()) == pytest.approx(0, abs=1e-6)


def test_quantisation_pulls_to_the_corners():
    assert float(quantisation_loss(torch.tensor([[1.0, -1.0]]))) == 0
    assert float(quantisation_loss(torch.tensor([[0.5, -1.0]]))) == pytest.approx(0.125)


# --- what it comes to ------------------------------------------------------------------------------------------------


def test_distillation_and_weights_make_signals_righter(drawn):
    found = reproduce.signals(0, "quick")
    precision = {arm: values["precision_positive"] for arm, values in found.items()}
    assert precision["distilled"] > precision["all_signals"] + 0.05
    assert precision["distilled"] > precision["distilled_shuffled"] + 0.05
    assert precision["highest_tenth"] > precision["lowest_tenth"] + 0.2
    assert found["all_signals"]["spearman"] > 0.8
    assert found["distilled"]["precision_negative"] > 0.98


def test_true_labels_teach_nearly_perfect_codes_and_guidance_better_than_chance(drawn):
    labels = drawn["query"].labels, drawn["database"].labels
    scores = {}
    for guidance in ("oracle", "dsg"):
        network = reproduce.learn(drawn, 32, 0, "quick", guidance=guidance)
        codes = [reproduce.encode(network, drawn[part].items) for part in ("query", "database")]
        scores[guidance] = mean_average_precision(*codes, *labels)
    drawn_by_chance = [pack(np.random.default_rng(0).random((len(part), 32)) < 0.5) for part in labels]
    assert scores["oracle"] > 0.9
    assert scores["oracle"] > scores["dsg"] > mean_average_precision(*drawn_by_chance, *labels) + 0.3


@pytest.mark.parametrize(
    "options", [{"loss": "pce"}, {"quant_weight": 0.1}, {"optimizer": "adam", "lr": 1e-2}, {"optimizer": "sgd", "lr": 0.1}]
)
def test_every_switch_trains(drawn, options):
    data = reproduce.Known(drawn, batch_size=64, clusters=20, views=1)
    module = Hasher(DSGHash("", bits=16, width=1280), **options)
    losses = []
    module.log = lambda _, value, **__: losses.append(float(value.detach()))
    module.log_dict = lambda *_, **__: None
    fit(module, data, 30, limit_val_batches=0)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert module.network.centre.any()


def codes_of(network, features):
    with torch.inference_mode():
        return network(torch.from_numpy(features)).numpy()


def test_distillhash_learns_from_what_a_first_network_is_sure_of(drawn, tmp_path):
    """On features here, on pictures with a backbone alike."""
    with pytest.raises(InputError, match="first: distillhash needs"):
        reproduce.Known(drawn, guidance="distillhash").guide()
    first = tmp_path / "noisy.safetensors"
    weights.save(reproduce.learn(drawn, 32, 0, "quick", guidance="noisy"), first)
    made = reproduce.Known(drawn, guidance="distillhash", first=str(first)).guide()
    again = guide(drawn["train"].items, "distillhash", codes=codes_of(weights.load(DSGHash, first), drawn["train"].items))
    assert np.array_equal(made.s, again.s)
    assert 0 < len(made.i) < made.report["pairs"]
    options = {"copies": 1, "side": 32, "backbone": "test_efficientnet", "pretrained": "no"}
    weights.save(DSGHash("test_efficientnet", bits=8, side=32), tmp_path / "of_pictures.safetensors")
    data = Sample(guidance="distillhash", first=str(tmp_path / "of_pictures.safetensors"), **options)
    assert len(data.guide()) == 20


def test_augmented_views_stand_beside_the_plain_ones():
    options = {"copies": 1, "side": 32, "batch_size": 4, "clusters": 5, "alpha": 1, "beta": 1, "backbone": "test_efficientnet"}
    data = Sample(views=3, pretrained="no", **options)
    data.setup("fit")
    seen = torch.stack([data.train[Draw(0, 0, epoch)]["image"] for epoch in range(20)])
    assert len({tuple(row.tolist()) for row in seen}) == 3
    assert any(torch.equal(row, torch.from_numpy(data.features("train")[0])) for row in seen)


def test_views_are_drawn_from_the_generator_alone():
    picture = Picture(collection("query", 1).pixels[0])
    one, same, other = (random_view(picture, np.random.default_rng(seed), 64) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (3, 64, 64)
    assert random_view(Picture(np.zeros((2, 900), np.uint8)), np.random.default_rng(0), 32).shape == (3, 32, 32)


def test_the_middle_of_any_picture_is_cut_out():
    pixels = np.zeros((64, 256), np.uint8)
    pixels[:, 96:160] = 255
    seen = prepare(Picture(pixels), 56)  # the short side is scaled to 64
    assert seen.shape == (3, 56, 56)
    assert float(seen.min()) > 0.99


# --- as a user -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of sixty pictures of twenty things."""
    folder = tmp_path_factory.mktemp("photos")
    for i, pixels in enumerate(collection("query", 3, 0.25).pixels):
        write_as(Picture(pixels[::2, ::2]), folder / f"{i:02}.{'png' if i % 2 else 'jpg'}")
    return folder


def test_guidance_of_a_folder_can_be_looked_at(photos, tmp_path, capsys):
    assert main(["run", "dsg_hash", "guidance", str(photos), "--side", "96", "--out", str(tmp_path)]) == 0
    assert "60 pictures, 1770 pairs" in capsys.readouterr().err
    name = photos.name
    guidance = Guidance.read(tmp_path / f"{name}_guidance.npz")
    report = json.loads((tmp_path / f"{name}_thresholds.json").read_text())
    assert report["positive"]["kept"] == (guidance.s == 1).sum() > 0
    assert report["clusters"] == 6
    assert len(guidance.names) == 60
    assert guidance.names[0].endswith("00.jpg")
    assert read_picture(tmp_path / f"{name}_distances.png").size[0] > 300
    assert main(["run", "dsg_hash", "guidance", str(photos), "--side", "96", "--alpha", "9", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "alpha: 9" in line
    assert "below" in line


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_train_on_a_folder_then_index_and_search(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        "--model.network.init_args.backbone=test_efficientnet", "--model.network.init_args.bits=16",
        "--model.network.init_args.side=48", "--data.init_args.side=48", "--data.init_args.batch_size=8",
        "--data.init_args.alpha=1", "--data.init_args.beta=1", "--trainer.max_steps=3", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1", "--checkpoint.every_n_train_steps=2",
    ]  # fmt: skip
    command = ["train", "dsg_hash", "--data", "Folder", "--data.root", str(photos), *small]
    main(command)
    (checkpoint,) = tmp_path.glob("runs/dsg_hash/hasher/version_0/checkpoints/last.ckpt")
    main([*command, "--trainer.max_steps=4", "--ckpt_path", str(checkpoint)])
    (resumed,) = tmp_path.glob("runs/dsg_hash/hasher/version_1/checkpoints/last.ckpt")
    assert torch.load(resumed, weights_only=True)["global_step"] == 4
    assert main(["run", "dsg_hash", "index", str(photos), "--weights", str(resumed), "--out", str(tmp_path)]) == 0
    codes = tmp_path / f"{photos.name}_codes.npz"
    assert Codes.read(codes).packed.shape == (60, 2)
    made = ["--index", str(codes), "--weights", str(resumed), "--nearest", "60", "--out", str(tmp_path)]
    assert main(["run", "dsg_hash", "search", str(photos / "00.jpg"), *made]) == 0
    rows = list(csv.DictReader((tmp_path / "00_matches.csv").read_text().splitlines()))
    (own,) = (row for row in rows if row["file"].endswith("00.jpg"))
    assert int(own["hamming"]) <= 1  # so few steps leave values at the brink of 0, which batches of other sizes may tip


def test_a_photograph_finds_itself(photos, tmp_path, capsys):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(photos.iterdir())[:8]:
        shutil.copy(path, folder)
    assert main(["run", "dsg_hash", str(folder), "--out", str(tmp_path)]) == 0
    query = ["search", str(folder / "03.png"), "--index", str(tmp_path / "few_codes.npz"), "--nearest", "3"]
    assert main(["run", "dsg_hash", *query, "--out", str(tmp_path)]) == 0
    first, *_ = csv.DictReader((tmp_path / "03_matches.csv").read_text().splitlines())
    assert (first["rank"], first["hamming"], first["file"].rpartition("/")[2]) == ("1", "0", "03.png")
    assert "demo weights" in capsys.readouterr().err


def test_shipped_weights_find_the_same_thing_on_another_photograph():
    network = foveate.load("dsg_hash")
    seen = {part: collection(part, 2, 0.25, seed=5) for part in ("database", "query")}
    with torch.inference_mode():
        codes = {
            part: pack((network(torch.stack([prepare(Picture(p), network.side) for p in c.pixels])) >= 0).numpy())
            for part, c in seen.items()
        }
    assert network.bits == 64
    found = mean_average_precision(codes["query"], codes["database"], seen["query"].labels, seen["database"].labels)
    assert found > 0.4  # by chance 0.13


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        Folder(str(tmp_path)).setup("fit")
