"""Genesis's claims as experiments, on simulated stars."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from foveate.parts import weights
from foveate.parts.counting import macs, parameters
from foveate.results import Curve
from foveate.systems.structures.genesis.astronet import Astronet
from foveate.systems.structures.genesis.data import Sample
from foveate.systems.structures.genesis.mccv import Model, Outcome, Settings, classic, evaluate
from foveate.systems.structures.genesis.method import Genesis
from foveate.systems.structures.genesis.records import Views
from foveate.systems.structures.genesis.splits import fixed, monte_carlo
from foveate.systems.structures.genesis.train import probabilities, scores

Budget = Literal["quick", "full"]


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count parameters and multiply-accumulates (claims C1 and C5)."""
    with torch.device("meta"):  # only shapes count
        variants = {
            "genesis": (Genesis(), (2001,)),
            "genesis_sigmoid": (Genesis(output="sigmoid1"), (2001,)),
            "genesis_valid": (Genesis(padding="valid"), (2001,)),
            "genesis_501": (Genesis(501), (501,)),
            "genesis_4001": (Genesis(4001), (4001,)),
            "astronet": (Astronet(), (2001, 201)),
            "astronet_global": (Astronet(local_bins=0), (2001,)),
            "astronet_501": (Astronet(501), (501, 201)),
            "astronet_4001": (Astronet(4001, 401), (4001, 401)),
        }
    whole = parameters(variants["astronet"][0])
    work = macs(variants["astronet"][0], (1, 1, 2001), (1, 1, 201))
    found = {}
    for name, (network, bins) in variants.items():
        done = macs(network, *((1, 1, n) for n in bins))
        count = parameters(network)
        found[name] = {"parameters": count, "saved": 1 - count / whole, "mmacs": done / 1e6, "work": done / work}
    return found


# ---------------------------------------------------------------------------------------------------------------------
# training on many splits
# ---------------------------------------------------------------------------------------------------------------------

# Stars, bins (of the global and the local view) and training at each budget; "double" has twice the bins of both views.
# Astronet's rate is that of its released configuration: at its paper's 1e-5 so few steps lead nowhere.
SCALES: dict[Budget, dict[str, Any]] = {
    "quick": {"events": 60, "quarters": 1, "bins": (129, 21), "epochs": 2, "network": {"channels": 8, "pool": 8, "hidden": 16}},
    "full": {"events": 2500, "quarters": 4, "bins": (301, 201), "epochs": 8, "network": {}},
}
SHIPPED_EVENTS = 4000  # simulated for the shipped weights
WORLD = 1  # the stars of the experiments; the shipped weights saw those of world 0


def _views(budget: Budget, double: bool = False) -> Views:
    scale = SCALES[budget]
    bins, local = (2 * n - 1 if double else n for n in scale["bins"])
    return Sample(scale["events"], scale["quarters"], WORLD, bins=bins, local_bins=local).views()


def resampling(
    seed: int,
    budget: Budget,
    group: Literal["genesis", "genesis_fixed", "genesis_double", "astronet", "astronet_global", "classical"],
) -> dict[str, dict[str, Any]]:
    """Train on Monte Carlo splits, and on the fixed one, and judge the test events (claims C2, C3, C4).

    Each seed is a split. All arms of a seed but ``genesis_fixed`` have the same events in each part; all networks see each
    training view and its reversal in time once an epoch, and the epoch of the lowest validation loss is kept. The double
    resolution has twice the bins (an odd number, so that one is centred on the event) and nothing else. Logistic regression
    and the random forest learn from the bins of the same global views.
    """
    scale = SCALES[budget]
    found = _views(budget, double=group == "genesis_double")
    chosen = fixed(len(found)) if group == "genesis_fixed" else monte_carlo(found.label, found.id, seed)
    settings = Settings(epochs=scale["epochs"], augment="flip", batch_size=32)
    if group == "classical":
        arms: tuple[Model, ...] = ("logistic", "forest")
        return {name: _told(evaluate(name, found, chosen, seed, settings)) for name in arms}
    model: Model = group if group in ("astronet", "astronet_global") else "genesis"  # type: ignore[assignment]
    changed = {"lr": 1e-3, "network": scale["network"]} if model == "genesis" else {"lr": 2e-4}
    return {group: _told(evaluate(model, found, chosen, seed, Settings(**{**vars(settings), **changed})))}


def _told(outcome: Outcome) -> dict[str, Any]:
    """Put what a split gave into metrics and, of a network, the curve that shows whether it was starved."""
    told: dict[str, Any] = dict(outcome.scores())
    if outcome.history:
        steps, _, areas = zip(*outcome.history, strict=True)
        told["curve"] = Curve(steps, areas, "validation AUC")
    return told


# ---------------------------------------------------------------------------------------------------------------------
# the shipped weights
# ---------------------------------------------------------------------------------------------------------------------


def demo(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Let the shipped ensemble, its members, and classical methods that learned from the same stars judge fresh stars.

    Each seed is another set of stars. The members' scores are averaged (claims D1, D2).
    """
    network = weights.load(Genesis, Path(__file__).with_name("weights.safetensors"))
    bins = network.arguments["bins"]
    events, learned = (40, 60) if budget == "quick" else (500, SHIPPED_EVENTS)
    test = Sample(events, world=100 + seed, bins=bins).views()
    known = Sample(SHIPPED_EVENTS, world=0, bins=bins)
    listed = known.events()
    train = known.views([listed[i] for i in fixed(len(listed))["train"][:learned]])
    arms = {"shipped": scores(test.label, probabilities(network, test))}
    alone = []
    for member in network.members:
        single = Genesis(**{**network.arguments, "members": 1})
        single.members[0] = member
        alone.append(scores(test.label, probabilities(single, test)))
    arms["members"] = {name: float(np.mean([s[name] for s in alone])) for name in alone[0]}
    names: tuple[Literal["logistic", "forest"], ...] = ("logistic", "forest")
    for name in names:
        fitted = classic(name, seed).fit(train.view[:, 0], train.label)
        arms[name] = scores(test.label, fitted.predict_proba(test.view[:, 0])[:, 1])
    return arms
