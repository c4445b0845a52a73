"""Monte Carlo cross-validation: a fresh model for each of many random splits, all scored alike (paper section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from foveate.errors import InputError
from foveate.parts.training import fit
from foveate.systems.structures.genesis.astronet import Astronet
from foveate.systems.structures.genesis.data import Augment, InMemory
from foveate.systems.structures.genesis.method import Ensemble, Genesis
from foveate.systems.structures.genesis.records import Views
from foveate.systems.structures.genesis.train import Vetter, probabilities, scores

Model = Literal["genesis", "astronet", "astronet_global", "logistic", "forest"]

# What each network was trained with: Genesis's rate is ours, Astronet's that of its paper.
RATES = {"genesis": 1e-3, "astronet": 1e-5, "astronet_global": 1e-5}


@dataclass(frozen=True)
class Settings:
    """How a model is trained.

    Attributes:
        members: Networks in the ensemble.
        epochs: Most epochs of each.
        patience: Epochs without a lower validation loss after which it stops.
        augment: See `foveate.systems.structures.genesis.data.Augmented`.
        batch_size: Views per step.
        lr: Learning rate; by default the one of `RATES`.
        network: More arguments of the network.
    """

    members: int = 1
    epochs: int = 125
    patience: int = 50
    augment: Augment = "flip+noise"
    batch_size: int = 64
    lr: float | None = None
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one split gave.

    Attributes:
        planet: Probability of a planet for each test event, ``(n,)``.
        label: 1 or 0 for each, ``(n,)``.
        chosen: Indices of the events of each part.
        history: Of a network: step, validation loss and area under the curve after each epoch.
    """

    planet: np.ndarray
    label: np.ndarray
    chosen: Mapping[str, np.ndarray]
    history: tuple[tuple[int, float, float], ...] = ()

    def scores(self) -> dict[str, float]:
        """Return the metrics on the test part."""
        return scores(self.label, self.planet)


def evaluate(model: Model, views: Views, chosen: Mapping[str, np.ndarray], seed: int, settings: Settings) -> Outcome:
    """Train a fresh model on a split's training part and let it judge the test part.

    Args:
        model: Which.
        views: All events.
        chosen: Indices of the events of each part.
        seed: Seed of weights, order and dropout.
        settings: How it is trained; the estimators of scikit-learn take none of it.

    Raises:
        InputError: If a part is empty, or there is no such model.
    """
    for part in ("train", "val", "test"):
        if not len(chosen[part]):
            raise InputError("split", f"{len(views)} events leave none for the part {part}", "at least 10 events")
    test = views.take(chosen["test"])
    if model in ("logistic", "forest"):
        train = views.take(chosen["train"])
        planet = classic(model, seed).fit(train.view[:, 0], train.label).predict_proba(test.view[:, 0])[:, 1]
        return Outcome(planet, test.label, chosen)
    torch.manual_seed(seed)
    network = build(model, views, settings)
    data = InMemory(views, dict(chosen), settings.augment, settings.batch_size, seed)
    module = Vetter(network, settings.epochs, settings.patience, lr=settings.lr or RATES[model])
    fit(module, data, -1, seed=seed, limit_val_batches=0)
    return Outcome(probabilities(network, test), test.label, chosen, tuple(module.history))


def build(model: Model, views: Views, settings: Settings) -> Ensemble:
    """Build an untrained network for views of their lengths."""
    bins, local_bins = views.view.shape[2], views.local.shape[2]
    if model == "genesis":
        return Genesis(bins=bins, members=settings.members, **settings.network)
    if model not in ("astronet", "astronet_global"):
        raise InputError("model", f"there is no {model!r}", "genesis, astronet, astronet_global, logistic or forest")
    return Astronet(bins, local_bins if model == "astronet" else 0, settings.members, **settings.network)


def classic(model: Literal["logistic", "forest"], seed: int) -> Any:
    """Build a classical estimator on the bins of the global view."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if model == "forest":
        return RandomForestClassifier(300, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
