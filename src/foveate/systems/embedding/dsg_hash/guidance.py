"""Which pictures are alike, found without labels: signals from distances, weighted by confidence, cleaned by clusters.

Three steps, once, before the network learns:

1. Local structure. The cosine distances d of all pairs are histogrammed. Their mode m divides them; each half, mirrored about
   m, is a Gaussian, with deviation sigma_l or sigma_r. Pairs nearer than d_l = m - alpha sigma_l get the signal S = +1, pairs
   farther than d_r = m + beta sigma_r get -1, the others none (after SSDH, Yang et al., IJCAI 2018).
2. Smooth confidence. The weight of a signal grows with the share of its half Gaussian that lies between the threshold and d,
   from 0 at the threshold to 1 at d = 0 or d = 2.
3. Distillation by global structure. The features are clustered; a pair whose signal contradicts its clusters is removed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import log_ndtr

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.parts.retrieval import relevance

Source = Literal["dsg", "ssdh", "noisy", "distillhash", "oracle"]
Weights = Literal["smooth", "hard"]
Distill = Literal["kmeans", "spectral", "off"]
BINS = 100
ENTRIES = 2**24
"""Distances that are held at a time: what bounds the memory, to a few hundred megabytes."""


# Step 1: two half Gaussians
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HalfGaussians:
    """Distances as two halves of Gaussians that meet at the mode.

    Attributes:
        mode: m, the middle of the fullest bin.
        left: sigma_l, deviation about the mode of the distances up to it.
        right: sigma_r, of those above it.
        least: The smallest distance.
        most: The largest.
        counts: int64 ``(100,)``, distances in each bin of the histogram.
        top: Where the last bin ends; the first begins at 0.
    """

    mode: float
    left: float
    right: float
    least: float
    most: float
    counts: np.ndarray
    top: float

    def thresholds(self, alpha: float, beta: float) -> tuple[float, float]:
        """Return d_l and d_r."""
        return self.mode - alpha * self.left, self.mode + beta * self.right


def fit_half_gaussians(distances: Iterable[np.ndarray], top: float = 1.0) -> HalfGaussians:
    """Fit the two halves, in one pass.

    Args:
        distances: Arrays of distances in [0, top]; the diagonal (a picture and itself) must not be among them.
        top: End of the histogram's range: 1 or, if there are larger distances, the largest.

    Returns:
        The halves. Deviations are about the mode and not about the mean: those of the mirrored halves.

    Note:
        SSDH's code takes the bin's left edge for the mode and lets the zero diagonal into the left half.
    """
    # Half bins, so that the mode, the middle of a bin, divides none of them; a distance that equals it adds nothing to either.
    halves = 2 * BINS
    counts, sums, squares = np.zeros(halves, np.int64), np.zeros(halves), np.zeros(halves)
    least, most = np.inf, -np.inf
    for some in distances:
        if not some.size:
            continue
        values = some.astype(np.float64)
        place = np.minimum((values * (halves / top)).astype(np.int64), halves - 1)
        counts += np.bincount(place, minlength=halves)
        sums += np.bincount(place, values, halves)
        squares += np.bincount(place, values**2, halves)
        least, most = min(least, float(values.min())), max(most, float(values.max()))
    bins = counts.reshape(BINS, 2).sum(1)
    fullest = int(bins.argmax())
    mode = (fullest + 0.5) * top / BINS
    deviations = squares - 2 * mode * sums + mode**2 * counts
    sides = slice(2 * fullest + 1), slice(2 * fullest + 1, None)
    left, right = (float(np.sqrt(max(deviations[s].sum(), 0) / max(counts[s].sum(), 1))) for s in sides)
    return HalfGaussians(mode, left, right, least, most, bins, top)


def directions(features: np.ndarray) -> np.ndarray:
    """Scale features ``(N, D)`` to length 1, as float32.

    Raises:
        InputError: If they are not at least two finite vectors other than zero.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < 2:
        raise InputError("features", f"of shape {features.shape}", "a row for each of at least two pictures")
    if not np.isfinite(features).all():
        raise InputError("features", "hold NaN or infinity", "finite numbers")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if not lengths.all():
        raise InputError("features", f"those of picture {int(np.argmin(lengths))} are all 0", "features that say something")
    return (features / lengths).astype(np.float32)


def distance_blocks(unit: np.ndarray, rows: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Compute cosine distances 1 - cos a few rows at a time.

    Args:
        unit: float32 ``(N, D)`` of length 1.
        rows: Rows of a block; by default so many that a block has some 16 million distances.

    Yields:
        The block's first row s, and distances ``(rows, N - s)`` in [0, 2]: entry (a, c) is of the pair (s + a, s + c), and
        counts if a < c.
    """
    rows = rows or max(1, ENTRIES // len(unit))
    for start in range(0, len(unit), rows):
        block = 1 - unit[start : start + rows] @ unit[start:].T
        yield start, np.clip(block, 0, 2, out=block)


def _above_diagonal(block: np.ndarray) -> np.ndarray:
    return ~np.tri(*block.shape, dtype=bool)


def fit_features(unit: np.ndarray, rows: int | None = None) -> HalfGaussians:
    """Fit the distances of all pairs of unit features ``(N, D)``; see `fit_half_gaussians`."""
    top = 1.0
    if unit.min() < 0:  # else no distance exceeds 1
        top = max(1.0, max(float(d[_above_diagonal(d)].max(initial=0)) for _, d in distance_blocks(unit, rows)))
    return fit_half_gaussians((d[_above_diagonal(d)] for _, d in distance_blocks(unit, rows)), top)


# Step 2: smooth confidence
# ---------------------------------------------------------------------------------------------------------------------


def confidence(
    distances: np.ndarray, halves: HalfGaussians, alpha: float = 2.0, beta: float = 2.0, d_max: float = 2.0
) -> np.ndarray:
    """Compute the weights of signals.

    Args:
        distances: In [0, 2], of any shape.
        halves: The fit.
        alpha: Sets d_l.
        beta: Sets d_r.
        d_max: The distance at which a negative signal is certain. Features that are never negative have none above 1.

    Returns:
        float64 in [0, 1]: 0 between the thresholds, 1 at d = 0 and from ``d_max`` on, monotone and continuous.

    Raises:
        InputError: If d_l is not above 0, or d_r not below ``d_max``.
    """
    lower, upper = halves.thresholds(alpha, beta)
    if lower <= 0:
        raise InputError("alpha", f"{alpha:g} puts the lower threshold at {lower:.4g}", _below(halves.mode, halves.left))
    if upper >= d_max:
        wrong = f"{beta:g} puts the upper threshold at {upper:.4g}, and d_max is {d_max:g}"
        raise InputError("beta", wrong, _below(d_max - halves.mode, halves.right))
    near = (lower - np.asarray(distances, np.float64)) / _positive(halves.left)
    far = (np.asarray(distances, np.float64) - upper) / _positive(halves.right)
    positive = _share(near, alpha, lower / _positive(halves.left))
    negative = _share(far, beta, (d_max - upper) / _positive(halves.right))
    return np.maximum(positive, negative)


def _share(beyond: np.ndarray, threshold: float, certain: float) -> np.ndarray:
    """Compute which share of a Gaussian's tail beyond the threshold is left behind: 0 at the threshold, 1 where it is certain.

    All arguments are in deviations, the first and the last one counted from the threshold. The tail may be as thin as it likes,
    since logarithms are subtracted.
    """
    edge = log_ndtr(-threshold)
    passed = log_ndtr(-threshold - np.clip(beyond, 0, certain)) - edge
    return np.expm1(passed) / np.expm1(log_ndtr(-threshold - certain) - edge)


def _positive(deviation: float) -> float:
    return max(deviation, 1e-12)


def _below(room: float, deviation: float) -> str:
    """Say which threshold would work."""
    if deviation > 0 and room > 0:
        return f"below {room / deviation:.3g}"
    return "more pictures, some of them alike and some not"


# Step 3: distillation
# ---------------------------------------------------------------------------------------------------------------------


def cluster(unit: np.ndarray, clusters: int, method: Literal["kmeans", "spectral"] = "kmeans", seed: int = 0) -> np.ndarray:
    """Divide pictures into clusters by their features.

    Args:
        unit: float32 ``(N, D)`` of length 1.
        clusters: c; the number of classes that one expects.
        method: K-means, the best of ten starts; or spectral clustering, whose similarity exp(-2 d) takes N² numbers.
        seed: Of the starts.

    Returns:
        int ``(N,)``, 0 to c - 1.

    Raises:
        InputError: If there are fewer pictures than clusters, or fewer than two clusters.
    """
    from sklearn.cluster import KMeans, SpectralClustering

    if not 2 <= clusters <= len(unit):
        raise InputError("clusters", f"{clusters} of {len(unit)} pictures", f"2 to {len(unit)}")
    if method == "kmeans":
        return KMeans(clusters, n_init=10, random_state=seed).fit_predict(unit)
    return SpectralClustering(clusters, random_state=seed, assign_labels="discretize").fit_predict(unit.astype(np.float64))


# The signals
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Guidance:
    """Signals of pairs, written as ``.npz``: ``i``, ``j``, ``s``, ``w``, ``names`` and ``report`` (JSON).

    Attributes:
        i: int32 ``(P,)``, the first picture of each pair; pairs are ordered by i and then j.
        j: int32 ``(P,)``, the second; i < j.
        s: int8 ``(P,)``, +1 alike, -1 not.
        w: float32 ``(P,)`` in [0, 1], the confidence.
        names: What each of the N pictures is called; usually file names.
        report: How the signals came about: thresholds, counts.
    """

    i: np.ndarray
    j: np.ndarray
    s: np.ndarray
    w: np.ndarray
    names: Sequence[str]
    report: Mapping[str, Any]
    suffix: ClassVar[str] = ".npz"
    kind: ClassVar[str] = "guidance"

    def __post_init__(self) -> None:
        """Refuse what does not fit together, and number the pairs."""
        dtypes = {"i": np.int32, "j": np.int32, "s": np.int8, "w": np.float32}
        for name, dtype in dtypes.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != (len(self.i),):
                wrong = f"{name} is {array.dtype} of shape {array.shape}"
                raise InputError("guidance", wrong, f"{np.dtype(dtype)} of one dimension, as long as the others")
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        keys = self.i.astype(np.int64) * len(self) + self.j
        if len(keys) and not (self.i.min() >= 0 and (self.i < self.j).all() and self.j.max() < len(self)):
            raise InputError("guidance", "pairs are not of two of its pictures, i < j", f"0 <= i < j < {len(self)}")
        if not (np.diff(keys) > 0).all():
            raise InputError("guidance", "pairs stand twice or out of order", "pairs ordered by i and j")
        if not np.isin(self.s, (-1, 1)).all() or not ((self.w >= 0) & (self.w <= 1)).all():
            raise InputError("guidance", "signals or weights are out of range", "s of -1 and 1, w in [0, 1]")
        object.__setattr__(self, "_keys", keys)

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.names)

    def among(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up the pairs within a batch.

        Args:
            pictures: int ``(B,)``; may hold one twice, which makes no pair with itself.

        Returns:
            Signals int8 and weights float32, both ``(B, B)``, symmetric and 0 where nothing is known.
        """
        order = np.argsort(pictures, kind="stable")
        wanted = np.asarray(pictures, np.int64)[order]
        above = np.triu_indices(len(wanted), 1)
        # Keys that ascend are searched for quickly.
        keys = wanted[above[0]] * len(self) + wanted[above[1]]
        place = np.searchsorted(self._keys, keys)  # type: ignore[attr-defined]
        known = np.flatnonzero(place < len(self.i))
        known = known[self._keys[place[known]] == keys[known]]  # type: ignore[attr-defined]
        rows, columns, place = order[above[0][known]], order[above[1][known]], place[known]
        signal = np.zeros((len(wanted), len(wanted)), np.int8)
        weight = np.zeros(signal.shape, np.float32)
        signal[rows, columns] = signal[columns, rows] = self.s[place]
        weight[rows, columns] = weight[columns, rows] = self.w[place]
        return signal, weight

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a file of it holds."""
        report = np.array(json.dumps(self.report, sort_keys=True), np.str_)
        return {"i": self.i, "j": self.j, "s": self.s, "w": self.w, "names": np.array(self.names, np.str_), "report": report}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Guidance:
        """Undo `arrays`."""
        four = (arrays[name] for name in ("i", "j", "s", "w"))
        return cls(*four, arrays["names"].tolist(), json.loads(str(arrays["report"])))

    def write(self, path: Path) -> None:
        """Write the ``.npz``; same signals, same bytes."""
        with path.open("wb") as file:
            np.savez_compressed(file, **self.arrays())

    @classmethod
    def read(cls, path: Path, limit: int = 2**33) -> Guidance:
        """Read guidance from a file that `write` or somebody else made.

        Args:
            path: A ``.npz``.
            limit: Bytes that it may unpack to.

        Raises:
            InputError: If the file is missing, no such archive, too large, or its arrays do not fit together.
        """
        good = "an .npz with i and j (int32), s (int8), w (float32), names and report, as the action guidance writes"
        if not path.is_file():
            raise InputError(path, "does not exist or is no file", good)
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > limit:
                raise InputError(path, f"unpacks to {size} bytes", f"at most {limit}")
            with np.load(path, allow_pickle=False) as file:
                return cls.of({name: file[name] for name in ("i", "j", "s", "w", "names", "report")})
        except InputError as error:
            raise InputError(path, error.wrong, error.expected) from error
        except Exception as error:  # zipfile, zlib, json and numpy each have their own for a damaged file
            raise InputError(path, f"cannot be read: {error or type(error).__name__}", good) from error


def guide(
    features: np.ndarray,
    guidance: Source = "dsg",
    weights: Weights = "smooth",
    distill: Distill = "kmeans",
    alpha: float = 2.0,
    beta: float = 2.0,
    clusters: int = 70,
    d_max: float = 2.0,
    *,
    labels: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    neighbours: int = 20,
    seed: int = 0,
    rows: int | None = None,
    names: Sequence[str] | None = None,
) -> Guidance:
    """Find signals for pairs of pictures.

    Args:
        features: ``(N, D)``, of pictures that were not augmented.
        guidance: Where the signals come from. ``dsg``: the three steps. ``ssdh``: the first alone, that is ``dsg`` with hard
            weights and without distillation. ``noisy``: the first with -1 wherever it does not say +1. ``distillhash``: what a
            network that learned from ``noisy`` is sure of; see `distilled_by_neighbours`. ``oracle``: the true labels, an
            upper bound.
        weights: ``smooth`` or ``hard`` (all 1), for ``dsg``.
        distill: How clusters are found, or ``off``, for ``dsg``.
        alpha: Of the lower threshold.
        beta: Of the upper threshold; negative, it moves that below the mode, at the most to the lower one.
        clusters: c.
        d_max: The distance at which a negative signal is certain; 1 suits features that are never negative.
        labels: For ``oracle``: int ``(N,)``, or bool ``(N, C)`` for several labels.
        codes: For ``distillhash``: the first network's values, ``(N, K)`` in (-1, 1).
        neighbours: For ``distillhash``: size of a picture's neighbourhood, itself included.
        seed: Of the clustering.
        rows: Pictures whose distances are held at a time; bounded memory by default. It does not change the outcome.
        names: What the pictures are called; numbers by default.

    Raises:
        InputError: If no pair gets a signal of one of the two kinds, or labels or codes are missing.
    """
    names = tuple(map(str, range(len(features)) if names is None else names))
    if guidance == "oracle":
        if labels is None:
            raise InputError("guidance", "oracle needs labels, and the data set has none", "a data set with labels")
        return _gathered(_by_labels(np.asarray(labels), rows), names, {"guidance": guidance})
    unit = directions(features)
    if guidance == "distillhash":
        if codes is None or len(codes) != len(unit):
            raise InputError("guidance", "distillhash needs a first network's codes", "a network that learned from noisy")
        pairs = distilled_by_neighbours(unit, codes, neighbours, rows)
        return _gathered(pairs, names, {"guidance": guidance, "neighbours": neighbours})

    halves = fit_features(unit, rows)
    lower, upper = halves.thresholds(alpha, beta)
    if upper < lower - 1e-9:
        raise InputError("beta", f"{beta:g} puts the upper threshold below the lower one", "a larger one, or a larger alpha")
    if halves.least >= lower:
        wrong = f"{alpha:g}: no pair is nearer than {lower:.4g}, the nearest are {halves.least:.4g} apart"
        raise InputError("alpha", wrong, _below(halves.mode - halves.least, halves.left))
    if halves.most <= upper and guidance != "noisy":
        wrong = f"{beta:g}: no pair is farther apart than {upper:.4g}, the farthest are {halves.most:.4g}"
        raise InputError("beta", wrong, _below(halves.most - halves.mode, halves.right))
    clustered = cluster(unit, clusters, distill, seed) if guidance == "dsg" and distill != "off" else None
    smooth = guidance == "dsg" and weights == "smooth"
    found = {1: 0, -1: 0}

    def pairs() -> Iterator[tuple[np.ndarray, ...]]:
        with bar("guidance") as tick:
            tick(0, len(unit))
            for start, d in distance_blocks(unit, rows):
                signal = (d < lower).astype(np.int8)
                signal -= (d >= lower) if guidance == "noisy" else (d > upper)
                signal *= _above_diagonal(d)
                for kind in found:
                    found[kind] += int((signal == kind).sum())
                if clustered is not None:
                    same = clustered[start : start + len(d), None] == clustered[start:]
                    signal *= (signal > 0) == same
                a, c = np.nonzero(signal)
                weight = confidence(d[a, c], halves, alpha, beta, d_max) if smooth else np.ones(len(a))
                yield a + start, c + start, signal[a, c], weight
                tick(len(d))

    made = _gathered(pairs(), names, {})
    report = {
        "guidance": guidance,
        "weights": "smooth" if smooth else "hard",
        "distill": distill if clustered is not None else "off",
        "alpha": alpha,
        "beta": beta,
        "clusters": None if clustered is None else clusters,
        "d_max": d_max,
        "mode": halves.mode,
        "sigma_left": halves.left,
        "sigma_right": halves.right,
        "lower": lower,
        "upper": upper,
        "nearest": halves.least,
        "farthest": halves.most,
        "histogram": {"top": halves.top, "counts": halves.counts.tolist()},
    }
    for kind, name in ((1, "positive"), (-1, "negative")):
        kept = int((made.s == kind).sum())
        report[name] = {"found": found[kind], "kept": kept, "removed": found[kind] - kept}
        if not kept:
            wrong = f"{clusters}: the clusters contradict all {found[kind]} {name} signals"
            raise InputError("clusters", wrong, "another number, or distill=off")
    return Guidance(made.i, made.j, made.s, made.w, names, report | made.report)


def _gathered(pairs: Iterable[tuple[np.ndarray, ...]], names: Sequence[str], report: dict[str, Any]) -> Guidance:
    """Put blocks of pairs together."""
    blocks = [(i.astype(np.int32), j.astype(np.int32), s.astype(np.int8), w.astype(np.float32)) for i, j, s, w in pairs]
    i, j, s, w = (np.concatenate(column) for column in zip(*blocks, strict=True))
    count = {"pictures": len(names), "pairs": len(names) * (len(names) - 1) // 2}
    weights = {
        f"mean_weight_{name}": float(w[s == k].mean()) for k, name in ((1, "positive"), (-1, "negative")) if (s == k).any()
    }
    return Guidance(i, j, s, w, names, report | count | {"signals": len(i)} | weights)


def _by_labels(labels: np.ndarray, rows: int | None) -> Iterator[tuple[np.ndarray, ...]]:
    """Give every pair the true signal: +1 if the two share a label."""
    rows = rows or max(1, ENTRIES // len(labels))
    for start in range(0, len(labels), rows):
        alike = relevance(labels[start : start + rows], labels[start:])
        a, c = np.nonzero(_above_diagonal(alike))
        yield a + start, c + start, np.where(alike[a, c], 1, -1), np.ones(len(a))


def distilled_by_neighbours(
    unit: np.ndarray, codes: np.ndarray, neighbours: int = 20, rows: int | None = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Select the pairs of which a network that learned from noisy signals is sure (DistillHash, Yang et al., CVPR 2019).

    Let p = sigmoid(h_i·h_j / 2) be what that network thinks of a pair, and let the rates of wrong signals change little within
    neighbourhoods. Then the rate r- at which pairs that are not alike were called so is at most the least p among the pairs of
    i's and j's neighbours, and r+ at most the least 1 - p. A Bayes optimal classifier says +1 where p > (1 + r-) / 2, and -1
    where p < (1 - r+) / 2; the other pairs are left out.

    Args:
        unit: Features ``(N, D)`` of length 1, which say who is whose neighbour.
        codes: The network's values ``(N, K)`` in (-1, 1).
        neighbours: Size of a neighbourhood, itself included.
        rows: Rows of a block.

    Yields:
        Blocks of pairs: i, j, signal, weight 1.

    Note:
        The authors' code takes the least value over j's neighbours paired with themselves, not with i's.
    """
    size = min(neighbours, len(unit))
    rows = rows or max(1, ENTRIES // (len(unit) * size))
    near = np.concatenate(
        [
            np.argpartition(1 - unit[start : start + rows] @ unit.T, size - 1, axis=1)[:, :size]
            for start in range(0, len(unit), rows)
        ]
    )
    codes = np.asarray(codes, np.float32)
    for start in range(0, len(unit), rows):
        block = near[start : start + rows]
        product = (codes[block].reshape(-1, codes.shape[1]) @ codes.T / 2).reshape(*block.shape, -1)
        # The extreme over pairs of neighbours is taken over i's first, and over j's then.
        least, most = product.min(1), product.max(1)
        least, most = (
            extreme([side[:, near[:, k]] for k in range(size)], axis=0) for extreme, side in ((np.min, least), (np.max, most))
        )
        p = _sigmoid(codes[start : start + rows] @ codes.T / 2)
        signal = (p > (1 + _sigmoid(least)) / 2).astype(np.int8) - (p < (1 - _sigmoid(-most)) / 2)
        signal[:, start:] *= _above_diagonal(signal[:, start:])
        signal[:, :start] = 0
        a, j = np.nonzero(signal)
        yield a + start, j, signal[a, j], np.ones(len(a))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(values)


# How right they are
# ---------------------------------------------------------------------------------------------------------------------


def quality(guidance: Guidance, labels: np.ndarray) -> dict[str, Any]:
    """Measure signals against labels that their making did not see.

    Args:
        guidance: The signals.
        labels: int ``(N,)``, or bool ``(N, C)``: alike is what shares a label.

    Returns:
        ``precision_positive`` and ``precision_negative`` (the share of signals that are right), ``recall_positive`` and
        ``recall_negative`` (the share of all such pairs that have the signal), ``share`` (of pairs that have any),
        ``deciles`` (the precision of positive signals in tenths of them, by rising weight; the same ten times if all weights
        are equal) and ``spearman`` (its rank correlation with the number of the tenth; 0 if all are equal).
    """
    labels = np.asarray(labels)
    right = labels[guidance.i] == labels[guidance.j] if labels.ndim == 1 else (labels[guidance.i] & labels[guidance.j]).any(1)
    pairs = len(guidance) * (len(guidance) - 1) // 2
    rows = max(1, ENTRIES // len(labels))
    alike = sum(int(relevance(labels[k : k + rows], labels).sum()) for k in range(0, len(labels), rows))
    alike = (alike - int((labels if labels.ndim == 2 else np.ones((len(labels), 1), bool)).any(1).sum())) // 2
    positive = guidance.s == 1
    found = {"share": len(guidance.s) / pairs}
    for name, chosen, all_such in (("positive", positive, alike), ("negative", ~positive, pairs - alike)):
        hits = int((right[chosen] == (name == "positive")).sum())
        found[f"precision_{name}"] = hits / max(int(chosen.sum()), 1)
        found[f"recall_{name}"] = hits / max(all_such, 1)
    tenths = [found["precision_positive"]] * 10
    weights = guidance.w[positive]
    if len(weights) >= 10 and np.ptp(weights) > 0:
        order = np.argsort(weights, kind="stable")
        tenths = [float(tenth.mean()) for tenth in np.array_split(right[positive][order], 10)]
    return found | {"deciles": tenths, "spearman": _rank_correlation(tenths)}


def _rank_correlation(values: Sequence[float]) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(values)
    return float(np.corrcoef(np.arange(len(ranks)), ranks)[0, 1]) if np.ptp(ranks) > 0 else 0.0
