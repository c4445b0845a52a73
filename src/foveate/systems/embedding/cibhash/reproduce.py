"""CIBHash's claims as experiments."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from foveate.parts.classical_hashing import ITQ, LSH, PCASign, SpectralHashing
from foveate.parts.counting import parameters
from foveate.parts.hashing import bit_balance, pack
from foveate.parts.retrieval import average_precision_by_score, mean_average_precision
from foveate.parts.training import History, fit
from foveate.results import Curve
from foveate.systems.embedding.cibhash.data import Sample
from foveate.systems.embedding.cibhash.method import CIBHash, binarise
from foveate.systems.embedding.cibhash.train import Hasher

Budget = Literal["quick", "full"]

LENGTHS = (16, 32, 64)
CUT = 1000  # k of MAP@k
ARMS: dict[str, dict[str, Any]] = {
    "cib": {},
    "no_kl": {"kl_weight": 0},
    "naive_cl": {"objective": "naive_cl"},
    "reconstruct": {"objective": "reconstruct"},
    "deterministic": {"binary_layer": "deterministic"},
    "tanh": {"binary_layer": "none"},
}
CLASSICAL = {"lsh": LSH, "pca_sign": PCASign, "itq": ITQ, "spectral": SpectralHashing}


def sample(seed: int, budget: Budget) -> Sample:
    """Return the embedded pictures of a seed, each seed its own, as features of the packaged backbone."""
    size: dict[str, Any] = {"quick": {"copies": 8, "views": 2, "side": 96}, "full": {"copies": 40, "views": 4}}[budget]
    return Sample(draw=seed, seed=seed, **size)


def objectives(
    seed: int,
    budget: Budget,
    group: Literal["cib", "no_kl", "naive_cl", "reconstruct", "deterministic", "tanh", "classical"],
) -> dict[str, dict[str, Any]]:
    """Learn codes of three lengths with one switch turned, and search with them (claims h2 to h4 and h1-here).

    All arms see the same features of the same pictures. Those that learn by gradient have the same head, data, order and number
    of epochs (42, and a third more for 16 bits, as released). Queries stand on other photographs than what is searched; nothing
    is chosen by them. Two variants of the binary layer, of which nothing is claimed, are learned with 32 bits only.
    """
    data = sample(seed, budget)
    labels = {part: data.parts()[part].labels for part in ("query", "database")}
    features = {part: data.features(part) for part in labels}
    if group == "classical":
        found = {}
        for name, kind in CLASSICAL.items():
            hashers = {bits: kind(bits=bits, seed=seed).fit(features["database"]) for bits in LENGTHS}
            found[name] = _scores(
                {bits: {p: h.transform(f) for p, f in features.items()} for bits, h in hashers.items()}, labels
            )
        cosine = average_precision_by_score(features["query"], features["database"], *labels.values(), CUT)
        return {**found, "cosine_of_features": {"map": float(cosine.mean())}}
    codes, curve = {}, None
    for bits in LENGTHS if group not in ("deterministic", "tanh") else (32,):
        network, noted = learn(data, bits, seed, budget, **ARMS[group])
        codes[bits] = {part: encode(network, f) for part, f in features.items()}
        curve = noted if bits == 32 else curve
    return {group: {**_scores(codes, labels), "curve": curve}}


def learn(data: Sample, bits: int, seed: int, budget: Budget, **options: Any) -> tuple[CIBHash, Curve]:
    """Train a head on the views of a sample."""
    torch.manual_seed(seed)
    network = CIBHash("", bits=bits, width=data.features("train").shape[1])
    epochs = {"quick": 10, "full": 56 if bits == 16 else 42}[budget]
    steps = epochs * -(-len(data.parts()["train"]) // data.batch_size)
    history = History("val_map")
    fit(Hasher(network, **options), data, steps, seed=seed, callbacks=(history,), val_check_interval=max(1, steps // 6),
        check_val_every_n_epoch=None, accelerator="cpu")  # fmt: skip
    return network.eval(), history.curve("validation MAP, 32 bits")


@torch.inference_mode()
def encode(network: CIBHash, features: np.ndarray) -> np.ndarray:
    """Turn features into codes, bool ``(N, K)``."""
    return (network(torch.from_numpy(features)) >= 0).numpy()


def _scores(codes: dict[int, dict[str, np.ndarray]], labels: dict[str, np.ndarray]) -> dict[str, float]:
    """Measure MAP of each length, and count the bits that are the same in the whole database."""
    found, constant = {}, 0
    for bits, parts in codes.items():
        packed = {part: pack(code) for part, code in parts.items()}
        found[f"map_{bits}"] = mean_average_precision(packed["query"], packed["database"], *labels.values(), CUT)
        balance = bit_balance(packed["database"])
        constant += int(((balance == 0) | (balance == 1)).sum())
    return {**found, "map": float(np.mean(list(found.values()))), "constant": constant}


def layer(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Check what passes the binary layer, forwards and backwards, in float64 (claim h5)."""
    logits = torch.randn(64, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    torch.manual_seed(seed)
    code = binarise(logits)
    weights = torch.randn(code.shape, dtype=torch.float64)
    (code * weights).sum().backward()
    p = torch.sigmoid(logits.detach())
    return {
        "codes": {"error": float((code.detach().abs() - 1).abs().max())},
        "gradient": {"error": float((logits.grad - weights * p * (1 - p)).abs().max())},
    }


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count what is trained at the paper's sizes, and what codes take (claims h6 and h7)."""
    found: dict[str, dict[str, float]] = {}
    with torch.device("meta"):
        for bits in LENGTHS:
            network = CIBHash(bits=bits)
            found[f"head_{bits}"] = {"parameters": sum(p.numel() for p in network.parameters() if p.requires_grad)}
        found["vgg16"] = {"parameters": parameters(network.backbone)}
    codes: Tensor = torch.rand(10_000, 32, generator=torch.Generator().manual_seed(seed)) < 0.5
    return {**found, "codes": {"bytes": pack(codes.numpy()).nbytes}}


def bits(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count bits that the learned codes leave unused: the same in all pictures (claim h8)."""
    data = sample(seed, budget)
    network, _ = learn(data, 32, seed, budget)
    balance = bit_balance(pack(encode(network, data.features("database"))))
    return {"cib": {"constant": int(((balance == 0) | (balance == 1)).sum())}}
