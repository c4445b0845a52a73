"""The contest as experiments: all arms on the same pictures and features, with the same optimiser and number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foveate.parts.classical_hashing import ITQ, LSH, PCASign
from foveate.parts.hash_network import HashNetwork
from foveate.parts.hash_training import HashModule
from foveate.parts.hashing import pack
from foveate.parts.retrieval import average_precision_by_score, mean_average_precision
from foveate.parts.training import Draw, fit
from foveate.readers.retrieval_data import Item, RetrievalData
from foveate.results import Curve
from foveate.systems.embedding.cibhash import data as cib_data
from foveate.systems.embedding.cibhash import train as cib_train
from foveate.systems.embedding.cibhash.method import CIBHash
from foveate.systems.embedding.dsg_hash import data as dsg_data
from foveate.systems.embedding.dsg_hash import train as dsg_train
from foveate.systems.embedding.dsg_hash.method import DSGHash

Budget = Literal["quick", "full"]
Arm = Literal["cibhash", "cibhash_released", "cibhash_linear", "dsg_hash", "contrastive", "classical"]

LENGTHS = (16, 32, 64, 128)
CUT = 1000  # k of MAP@k
VECTORS = 128  # that the head sees in a step: two views of 64 pictures, or one of 128
CLASSICAL = {"itq": ITQ, "pca_sign": PCASign, "lsh": LSH}


def faint(seed: int, budget: Budget, group: Arm) -> dict[str, dict[str, Any]]:
    """Search pictures with faint backgrounds: a quarter of the photographs' contrast."""
    return _contest(seed, budget, group, 0.25)


def busy(seed: int, budget: Budget, group: Arm) -> dict[str, dict[str, Any]]:
    """Search pictures with busy backgrounds: half of the photographs' contrast."""
    return _contest(seed, budget, group, 0.5)


def _contest(seed: int, budget: Budget, group: Arm, clutter: float) -> dict[str, dict[str, Any]]:
    """Learn or compute codes of each length, and search with them.

    The pictures differ from seed to seed. The arms that learn see features of the same four augmented views of each picture,
    centred and scaled alike; Adam runs for as many steps, at the same rate, on as many vectors. Each rival has the head of its
    paper, two layers for CIBHash (and for the plain contrastive loss) and one for DSG; ``cibhash_linear`` has DSG's.
    ``cibhash_released`` takes the likelier bit in training, as the authors' code does, where the paper draws. Nothing is chosen
    by the queries, which stand on photographs of their own.
    """
    size: dict[str, Any] = {"quick": {"copies": 8, "views": 2, "side": 96}, "full": {"copies": 40, "views": 4}}[budget]
    steps = {"quick": 20, "full": 400}[budget]
    shared = cib_data.Sample(draw=seed, seed=seed, clutter=clutter, batch_size=VECTORS // 2, **size)
    features = {part: shared.features(part) for part in ("query", "database")}
    labels = [shared.parts()[part].labels for part in features]
    codes: dict[str, dict[int, list[np.ndarray]]] = {}
    for bits in LENGTHS if budget == "full" else LENGTHS[:2]:
        if group == "classical":
            for name, kind in CLASSICAL.items():
                hasher = kind(bits=bits, seed=seed).fit(features["database"])
                codes.setdefault(name, {})[bits] = [hasher.transform(f) for f in features.values()]
        else:
            codes.setdefault(group, {})[bits] = _learned(group, bits, shared, features, seed, steps)
    found: dict[str, dict[str, Any]] = {}
    for name, lengths in codes.items():
        maps = [mean_average_precision(*map(pack, made), *labels, CUT) for made in lengths.values()]
        found[name] = {"map": float(np.mean(maps)), "curve": Curve(list(lengths), maps, f"MAP@{CUT}", "bits")}
        found[name] |= {f"map_{bits}": value for bits, value in zip(lengths, maps, strict=True)}
    if group == "classical":
        cosine = average_precision_by_score(features["query"], features["database"], *labels, CUT)
        found["cosine_of_features"] = {"map": float(cosine.mean())}
    return found


def _learned(
    group: Arm, bits: int, shared: cib_data.Sample, features: dict[str, np.ndarray], seed: int, steps: int
) -> list[np.ndarray]:
    """Train a head, and encode queries and database: bool ``(N, bits)`` each."""
    width = features["database"].shape[1]
    torch.manual_seed(seed)
    if group == "dsg_hash":
        network: HashNetwork = DSGHash("", bits=bits, width=width)
        module: HashModule = dsg_train.Hasher(network, optimizer="adam", lr=1e-3, weight_decay=0)
        data: RetrievalData = SameFeatures(shared)
    else:
        network = CIBHash("", bits=bits, hidden=0 if group == "cibhash_linear" else 1024, width=width)
        network.standardise(features["database"])
        module = cib_train.Hasher(
            network,
            objective="naive_cl" if group == "contrastive" else "cib",
            binary_layer="deterministic" if group == "cibhash_released" else "bernoulli",
        )
        data = shared
    fit(module, data, steps, seed=seed, accelerator="cpu", limit_val_batches=0)
    network.eval()
    with torch.inference_mode():
        return [(network(torch.from_numpy(f)) >= 0).numpy() for f in features.values()]


class SameFeatures(dsg_data.Sample):
    """DSG's guidance and batches on the features, and the augmented views, that another sample has made.

    Args:
        shared: The other sample.
    """

    def __init__(self, shared: cib_data.Sample) -> None:
        super().__init__(
            copies=shared.copies, clutter=shared.clutter, draw=shared.draw, side=shared.side, views=shared.views,
            seed=shared.seed, batch_size=VECTORS,
        )  # fmt: skip
        self.shared = shared

    def features(self, part: str) -> np.ndarray:
        """Take the features of pictures as they are."""
        return self.shared.features(part)

    def train_set(self, items: Sequence[Item]) -> Dataset:
        """Take one of the augmented views of a picture in each step."""
        views = torch.from_numpy(self.shared.feature_views(items))

        def make(draw: Draw) -> Tensor:
            return views[draw.generator().integers(len(views)), draw.index]

        return dsg_data.GuidedSet(len(items), make)
