"""DSG's claims as experiments."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from foveate.parts import weights
from foveate.parts.classical_hashing import ITQ, LSH, PCASign
from foveate.parts.counting import parameters
from foveate.parts.hashing import pack
from foveate.parts.retrieval import average_precision_by_score, average_precision_of_codes
from foveate.parts.training import History, fit
from foveate.readers.labelled import Labelled
from foveate.results import Curve
from foveate.systems.embedding.dsg_hash.data import Features, Sample
from foveate.systems.embedding.dsg_hash.guidance import Guidance, HalfGaussians, confidence, fit_features, guide, quality
from foveate.systems.embedding.dsg_hash.method import DSGHash
from foveate.systems.embedding.dsg_hash.train import Hasher

Budget = Literal["quick", "full"]

LENGTHS = (16, 32, 64, 128)
# One switch apart from the first; the last three say what other guidance makes of the same training: -1 for every pair that
# is not called alike, a rival's, and the true labels.
ARMS: dict[str, dict[str, Any]] = {
    "dsg": {},
    "no_weights": {"weights": "hard"},
    "no_distill": {"distill": "off"},
    "ssdh": {"guidance": "ssdh"},
    "noisy": {"guidance": "noisy"},
    "distillhash": {"guidance": "distillhash"},
    "oracle": {"guidance": "oracle"},
}
CLASSICAL = {"itq": ITQ, "pca_sign": PCASign, "lsh": LSH}


class Known(Features):
    """Features that are at hand, with labels to measure by.

    Args:
        found: Parts by name.
        **options: Of `foveate.systems.embedding.dsg_hash.data.Guided`.
    """

    def __init__(self, found: dict[str, Labelled], **options: Any) -> None:
        super().__init__(**options)
        self.known = found

    def parts(self) -> dict[str, Labelled]:
        """Return them."""
        return self.known


def collection(seed: int, budget: Budget) -> dict[str, Labelled]:
    """Make the features of the embedded pictures of a seed, each seed its own, as they are and with their labels."""
    size: dict[str, Any] = {"quick": {"copies": 8, "side": 96}, "full": {"copies": 40}}[budget]
    sample = Sample(draw=seed, **size)
    return {part: Labelled(sample.features(part), found.labels) for part, found in sample.parts().items()}


def learn(
    found: dict[str, Labelled], bits: int, seed: int, budget: Budget, callbacks: tuple[History, ...] = (), **options: Any
) -> DSGHash:
    """Train the paper's head, a linear layer, on features by a guidance; seeds draw clusters, weights and batches."""
    steps = {"quick": 60, "full": 200}[budget]
    data = Known(found, batch_size=256, clusters=20, partners=False, seed=seed, **options)
    torch.manual_seed(seed)
    network = DSGHash("", bits=bits, width=data.features("train").shape[1])
    often = {"val_check_interval": steps // 5, "check_val_every_n_epoch": None} if callbacks else {"limit_val_batches": 0}
    fit(Hasher(network, optimizer="adam"), data, steps, seed=seed, callbacks=callbacks, **often)
    return network.eval().cpu()


def encode(network: DSGHash, features: np.ndarray) -> np.ndarray:
    """Make packed codes of features."""
    with torch.inference_mode():
        return pack((network(torch.from_numpy(features)) >= 0).numpy())


def ablation(
    seed: int,
    budget: Budget,
    group: Literal["dsg", "no_weights", "no_distill", "ssdh", "noisy", "distillhash", "oracle", "classical"],
) -> dict[str, dict[str, Any]]:
    """Learn codes of four lengths by a guidance with one switch turned, and search with them (claims d1-here to d4).

    All arms see the same features of the same pictures and train with the same head, batches, steps and rate; DistillHash
    first trains as long on noisy signals, as it must. Queries stand on other photographs than what is searched, and nothing
    is chosen by them: the whole database counts, in every metric.
    """
    found = collection(seed, budget)
    query, database = found["query"], found["database"]
    codes: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    rest: dict[str, dict[str, Any]] = {}
    for bits in LENGTHS:
        if group == "classical":
            for name, kind in CLASSICAL.items():
                hasher = kind(bits=bits, seed=seed).fit(database.items)
                codes.setdefault(name, {})[bits] = tuple(pack(hasher.transform(p.items)) for p in (query, database))
            rng = np.random.default_rng((seed, bits))
            drawn = tuple(pack(rng.random((len(p), bits)) < 0.5) for p in (query, database))
            codes.setdefault("random", {})[bits] = drawn
            continue
        history = History("val_map")
        network = _learned(found, bits, seed, budget, history, **ARMS[group])
        codes.setdefault(group, {})[bits] = tuple(encode(network, p.items) for p in (query, database))
        if bits == 32:
            rest[group] = {"curve": history.curve("validation MAP, 32 bits")}
    scores = {arm: _scores(made, query.labels, database.labels) | rest.get(arm, {}) for arm, made in codes.items()}
    if group == "classical":
        cosine = average_precision_by_score(query.items, database.items, query.labels, database.labels)
        scores["cosine_of_features"] = {"map": cosine.tolist()}
    return scores


def _learned(found: dict[str, Labelled], bits: int, seed: int, budget: Budget, history: History, **options: Any) -> DSGHash:
    """Train one arm."""
    if options.get("guidance") != "distillhash":
        return learn(found, bits, seed, budget, (history,), **options)
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "noisy.safetensors"
        weights.save(learn(found, bits, seed, budget, guidance="noisy"), first)
        return learn(found, bits, seed, budget, (history,), **options, first=str(first))


def _scores(
    codes: dict[int, tuple[np.ndarray, np.ndarray]], query_labels: np.ndarray, database_labels: np.ndarray
) -> dict[str, list[float]]:
    """Measure the average precision of each query, at each length and in the mean over them."""
    each = {f"map_{bits}": average_precision_of_codes(*made, query_labels, database_labels) for bits, made in codes.items()}
    return {name: values.tolist() for name, values in (each | {"map": np.mean(list(each.values()), axis=0)}).items()}


def signals(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Measure how right the signals of the embedded pictures are, by labels that their making did not see (claim d5)."""
    found = collection(seed, budget)["train"]
    return _signals(np.asarray(found.items), found.labels, 20, seed)


def mixture(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Do the same on Gaussians of which two overlap, where distances are all that there is to go by (claim d5-mixture)."""
    features, labels, _ = overlapping_gaussians({"quick": 300, "full": 2000}[budget], seed)
    return _signals(features, labels, len(MEANS), seed)


def _signals(features: np.ndarray, labels: np.ndarray, clusters: int, seed: int) -> dict[str, dict[str, Any]]:
    """Measure signals with and without each step."""
    made = {
        "all_signals": guide(features, distill="off"),
        "distilled": guide(features, clusters=clusters, seed=seed),
        "distilled_spectral": guide(features, clusters=clusters, distill="spectral", seed=seed),
        "distilled_shuffled": _shuffled(features, clusters, seed),
    }
    found: dict[str, dict[str, Any]] = {}
    for arm, guidance in made.items():
        told = quality(guidance, labels)
        tenths = told.pop("deciles")
        found[arm] = told | {
            "curve": Curve(range(1, 11), tenths, "precision of S = +1", "tenth of the signals, by rising weight")
        }
        if arm == "all_signals":
            found["lowest_tenth"], found["highest_tenth"] = ({"precision_positive": tenths[k]} for k in (0, -1))
    return found


def _shuffled(features: np.ndarray, clusters: int, seed: int) -> Guidance:
    """Remove as many signals of each kind as distillation does, but by chance."""
    every, kept = guide(features, distill="off"), guide(features, clusters=clusters, seed=seed)
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(every.s == k), int((kept.s == k).sum()), replace=False) for k in (1, -1)]
    rows = np.sort(np.concatenate(chosen))
    return Guidance(every.i[rows], every.j[rows], every.s[rows], every.w[rows], every.names, {})


MEANS = np.array([[4.0, 0.0], [4.0, 1.2], [-4.0, 0.0], [0.0, -4.0]])  # the first two components overlap
DEVIATION, WIDTH = 0.6, 0.7


def overlapping_gaussians(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw from four round Gaussians in the plane, of which two overlap, and lift them to 64 dimensions.

    The lift is by the cosines and sines of 32 random waves (Rahimi and Recht, 2007), so that the cosine distance of two points
    depends on their difference alone, and the chance of a signal for two components can be computed.

    Returns:
        float32 ``(N, 64)`` of length 1, the component of each, int ``(N,)``, and the waves ``(2, 32)``.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(MEANS), size=count)
    points = MEANS[labels] + DEVIATION * rng.standard_normal((count, 2))
    waves = rng.standard_normal((2, 32)) / WIDTH
    phases = points @ waves
    return np.hstack([np.cos(phases), np.sin(phases)]).astype(np.float32) / np.float32(32**0.5), labels, waves


def pairs(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count the distances that guidance for 1,600 pictures looks at (claim d6)."""
    unit = np.random.default_rng(seed).random((1600, 16), np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return {"guidance": {"pairs": int(fit_features(unit).counts.sum())}}


def weighting(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Look at the weights at the thresholds and ends, and at what the switches make of SSDH (sheet's items 2 and 5)."""
    halves = HalfGaussians(0.6, 0.08, 0.15, 0, 2, np.zeros(100), 2)
    lower, upper = halves.thresholds(2, 2)
    near_threshold = confidence(np.array([lower, np.nextafter(lower, 0), upper, np.nextafter(upper, 2)]), halves)
    ends = confidence(np.array([0.0, 2.0]), halves)
    features, *_ = overlapping_gaussians(200, seed)
    one, other = guide(features, "ssdh").arrays(), guide(features, weights="hard", distill="off").arrays()
    apart = sum(not np.array_equal(one[name], other[name]) for name in ("i", "j", "s", "w"))
    return {
        "at_thresholds": {"error": float(near_threshold.max())},
        "at_ends": {"error": float(np.abs(ends - 1).max())},
        "ssdh": {"error": float(apart)},
    }


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count parameters at the paper's sizes."""
    with torch.device("meta"):
        network = DSGHash(bits=16)
        return {"vgg16": {"parameters": parameters(network.backbone)}, "head_16": {"parameters": parameters(network.head)}}
