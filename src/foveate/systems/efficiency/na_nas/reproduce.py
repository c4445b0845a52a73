"""na_nas's claims as experiments: on the stored table of 125 cells, and with small supernets on digits."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from foveate.parts.training import fit
from foveate.results import Curve
from foveate.systems.efficiency.na_nas.data import Digits
from foveate.systems.efficiency.na_nas.fitting import score
from foveate.systems.efficiency.na_nas.method import CellNetwork, Supernet
from foveate.systems.efficiency.na_nas.neighbourhood import Aggregate, Neighbourhood, architecture_step, moved
from foveate.systems.efficiency.na_nas.search import Found, Scores, search
from foveate.systems.efficiency.na_nas.spaces import SPACES, Cell, Space
from foveate.systems.efficiency.na_nas.table import Tabular, disturbed, read_table
from foveate.systems.efficiency.na_nas.train import Final, Searching

Budget = Literal["quick", "full"]
AGGREGATES: tuple[Aggregate, ...] = ("mean", "median", "worst", "mean-std")

# ---------------------------------------------------------------------------------------------------------------------
# the spaces (C1)
# ---------------------------------------------------------------------------------------------------------------------


def neighbourhoods(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Enumerate cells and the neighbours of one cell, and count them by their Hamming distance (claim C1)."""
    found = {}
    for name, space in SPACES.items():
        cell = space.draw(np.random.default_rng(seed))
        reach = 3 if name == "nano" else 2 if space.inputs == 1 else 1
        around = set(space.neighbours(cell, reach))
        apart = [sum(a != b for a, b in zip(cell, other, strict=True)) for other in around]
        found[name] = {"edges": float(space.edges)} | {f"at_{d}": float(apart.count(d)) for d in range(1, reach + 1)}
        found[name]["ball"] = float(len(around | {cell}))
        if space.inputs == 1:
            every = list(space.every())
            found[name] |= {"cells": float(len(every)), "unconnected": float(sum(not space.connected(c) for c in every))}
    return found


# ---------------------------------------------------------------------------------------------------------------------
# the relaxation (C5, C6)
# ---------------------------------------------------------------------------------------------------------------------


def relaxation(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Compare relaxed neighbours of a one-hot cell with discrete ones, and gradients with finite differences (claim C5)."""
    errors = []
    for name in ("nb201", "nano6", "darts"):
        torch.manual_seed(seed)
        supernet = Supernet(name, 4, 3 if name == "darts" else 1)
        rng = np.random.default_rng(seed)
        cell = supernet.space.draw(rng)
        pictures = torch.rand(4, 3, 16, 16)
        with torch.no_grad():
            supernet.alpha.copy_(50 * functional.one_hot(torch.tensor(cell), len(supernet.space.operations)).float())
            for change in supernet.space.draw_changes(6, 2, rng):
                relaxed = supernet(pictures, moved(supernet.probabilities(), change))
                errors.append(float((relaxed - supernet(pictures, supernet.space.changed(cell, change))).abs().max()))
    return {"neighbours": {"error": max(errors)}, "gradient": {"error": _gradient_error(seed)}}


def _gradient_error(seed: int) -> float:
    """Compare slopes along random directions with finite differences in float64; return the largest relative error."""
    torch.manual_seed(seed)
    supernet = Supernet("nano6", 2, 1, 3).double()
    with torch.no_grad():
        supernet.alpha.mul_(500)
    batch = torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.arange(6) % 3
    worst = 0.0
    for aggregate in AGGREGATES:
        around = Neighbourhood(aggregate, d=2, neighbours=4)
        gradient = architecture_step(supernet, batch, around, np.random.default_rng(seed)).gradient
        for _ in range(2):
            direction = functional.normalize(torch.randn_like(gradient).flatten(), dim=0).view_as(gradient)
            values = []
            for step in (1e-7, -2e-7):
                with torch.no_grad():
                    supernet.alpha += step * direction
                values.append(architecture_step(supernet, batch, around, np.random.default_rng(seed)).value)
            with torch.no_grad():
                supernet.alpha += 1e-7 * direction
            error = abs(float((gradient * direction).sum()) - (values[0] - values[1]) / 2e-7)
            worst = max(worst, error / float(gradient.norm()))
    return worst


def plain(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Search without neighbours, and by DARTS's two alternating steps written out; count alphas that differ (claim C6)."""
    steps = {"quick": 12, "full": 30}[budget]  # an epoch has 10
    data = small_sample(seed, halves=True)
    arms = {"self": {"aggregate": "self"}, "k0": {"aggregate": "mean", "k": 0}, "na": {"aggregate": "mean", "k": 2}}
    expected = _written_out(seed, data, steps)
    found = {}
    for name, options in arms.items():
        module = _supernet(seed, **options)
        fit(module, data, 2 * steps, seed=seed, limit_val_batches=0)
        found[name] = {"differing": float((module.network.alpha.detach() != expected).sum())}
    return found


def _written_out(seed: int, data: Digits, steps: int) -> Tensor:
    """DARTS at first order, with nothing of `Searching` but its first weights."""
    module = _supernet(seed, aggregate="self")
    network = module.network.train()
    of_alpha, of_weights = module.configure_optimizers()
    data.setup("fit")
    loader = data.train_dataloader()
    batches = iter(loader)  # without an end: the sampler goes on with the next epoch
    for step in range(steps):
        of_weights.param_groups[0]["lr"] = 0.001 + 0.024 * (1 + math.cos(math.pi * (step // len(loader)) / 15)) / 2
        batch = next(batches)
        loss = functional.cross_entropy(network(batch["other_image"]), batch["other_label"])
        of_alpha.zero_grad()
        loss.backward()
        of_alpha.step()
        of_weights.zero_grad()
        functional.cross_entropy(network(batch["image"]), batch["label"]).backward()
        torch.nn.utils.clip_grad_norm_(network.weights(), 5)
        of_weights.step()
    return network.alpha.detach()


def cost(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Time the architecture step without and with four neighbours, alternately, in processor seconds; medians."""
    torch.manual_seed(seed)
    supernet = Supernet("nano6", 8, 1)
    batch = torch.rand(50, 3, 16, 16), torch.arange(50) % 10
    arms = {"darts": Neighbourhood("self"), "na_darts": Neighbourhood("mean", neighbours=4)}
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range({"quick": 4, "full": 25}[budget]):
        for name, around in arms.items():
            started = time.process_time()
            architecture_step(supernet, batch, around, np.random.default_rng(0))
            taken[name].append(time.process_time() - started)
    medians = {name: float(np.median(values)) for name, values in taken.items()}
    return {name: {"milliseconds": 1000 * m, "times": m / medians["darts"]} for name, m in medians.items()}


# ---------------------------------------------------------------------------------------------------------------------
# the table (C2, C3)
# ---------------------------------------------------------------------------------------------------------------------


def resampled(table: Tabular, seed: int) -> np.ndarray:
    """Draw the trainings of the search setting anew, with replacement: the mean error of each cell, float64 ``(cells,)``."""
    trainings = table.search.shape[1]
    chosen = np.random.default_rng((seed, 5)).integers(0, trainings, table.search.shape)
    return 1 - np.take_along_axis(table.search, chosen, 1).mean(1)


def settings(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Compare the two settings of the table: a guard against a search that is trivial or hopeless."""
    table = read_table()
    kept = table.connected
    search_mean, test_mean = table.search.mean(1), table.test.mean(1)
    return {
        "table": {
            "rank_correlation": table.rank_correlation(),
            "kendall": float(stats.kendalltau(search_mean[kept], test_mean[kept]).statistic),
            "best": float(test_mean.max()),
            "mean": float(test_mean.mean()),
            "functions": float(len(np.unique(table.functions))),
        }
    }


CANDIDATES = 20


def regret(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Search the table by RS and NA-RS many times, and compare what the returned cells lack in the test setting (claim C2).

    Each seed draws the search setting's trainings anew; within it a repeat has one stream of candidates for all arms. ``rs``
    has the candidates of ``na_rs``; ``rs_more`` goes on until it has scored as many cells. Interval and Wilcoxon's p are
    over the repeats: on one fixed table they tell the luck of the sampler, and not how another table would come out.
    """
    table = read_table()
    errors, test = resampled(table, seed), table.test.mean(1)
    repeats = {"quick": 30, "full": 1000}[budget]
    lookup = [float(e) for e in errors]
    best = float(test.max())
    taken: dict[str, list[tuple[float, float]]] = {}

    def note(arm: str, found: Found) -> None:
        taken.setdefault(arm, []).append((best - float(test[table.row(found.best.cell)]), len(found.scores.known)))

    def run(repeat: int, around: Neighbourhood, **options: Any) -> Found:
        rng = np.random.default_rng((seed, repeat))
        return search(table.space, Scores(lambda cell: lookup[table.row(cell)]), around, rng=rng, **options)

    alone = Neighbourhood("self")
    for repeat in range(repeats):
        for candidates, suffix in ((CANDIDATES, ""), (5, "_5")):
            found = run(repeat, Neighbourhood("mean", neighbours=12), candidates=candidates)
            note("na_rs" + suffix, found)
            note("rs" + suffix, run(repeat, alone, candidates=candidates))
            note("rs_more" + suffix, run(repeat, alone, evaluations=len(found.scores.known)))
        if repeat < repeats // 5:
            for aggregate in AGGREGATES[1:]:
                note(f"na_rs_{aggregate}", run(repeat, Neighbourhood(aggregate, neighbours=12), candidates=CANDIDATES))
            evolved = run(repeat, Neighbourhood("mean", neighbours=12), method="evolution", candidates=CANDIDATES)
            note("na_evo", evolved)
            note("evo_more", run(repeat, alone, method="evolution", evaluations=len(evolved.scores.known)))
    arms = {}
    for arm, pairs in taken.items():
        lost, scored = np.array(pairs).T
        arms[arm] = {"regret": float(lost.mean()), "accuracy": best - float(lost.mean()), "evaluations": float(scored.mean())}
        ours = np.array(taken["na_rs_5" if arm.endswith("_5") else "na_rs"])[: len(lost), 0]
        if arm.startswith("rs"):
            arms[arm] |= _paired(lost - ours)
    return arms


def _paired(advantage: np.ndarray) -> dict[str, float]:
    """Tell by how much NA-RS's regret is lower: mean, 95 % interval over repeats, and Wilcoxon's p."""
    half = float(stats.t.ppf(0.975, len(advantage) - 1) * advantage.std(ddof=1) / np.sqrt(len(advantage)))
    mean = float(advantage.mean())
    p = float(stats.wilcoxon(advantage, zero_method="zsplit").pvalue) if advantage.any() else 1.0
    return {"advantage": mean, "advantage_low": mean - half, "advantage_high": mean + half, "p": p}


def flatness(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Correlate the spread of the neighbours with the drop from search to test, given the search score (claim C3).

    Connected cells; the interval is a bootstrap over cells and over the trainings of the search setting.
    """
    table = read_table()
    around = table.around(1)
    test = table.test.mean(1)
    rng = np.random.default_rng(seed)

    def partial(errors: np.ndarray, rows: np.ndarray, connected_only: bool) -> float:
        near = errors[around]
        kept = table.connected[around] if connected_only else np.ones_like(around, bool)
        mean = (near * kept).sum(1) / kept.sum(1)
        spread = np.sqrt((kept * (near - mean[:, None]) ** 2).sum(1) / kept.sum(1))
        drop = (1 - errors) - test
        return partial_correlation(spread[rows], drop[rows], errors[rows])

    cells = np.flatnonzero(table.connected)
    found = {}
    for name, connected_only in (("all", False), ("connected", True)):
        drawn = [
            partial(resampled(table, 1000 + i), rng.choice(cells, len(cells)), connected_only)
            for i in range({"quick": 100, "full": 2000}[budget])
        ]
        low, high = np.percentile(drawn, [2.5, 97.5])
        central = partial(1 - table.search.mean(1), cells, connected_only)
        found[name] = {"partial": central, "partial_low": float(low), "partial_high": float(high)}
    return found


def partial_correlation(one: np.ndarray, other: np.ndarray, given: np.ndarray) -> float:
    """Correlate the ranks of two quantities after a linear fit on the ranks of a third is taken off."""
    ranks = [stats.rankdata(v) for v in (one, other, given)]
    design = np.stack([np.ones(len(given)), ranks[2]], 1)
    rests = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    size = np.linalg.norm(rests[0]) * np.linalg.norm(rests[1])
    return float(rests[0] @ rests[1] / size) if size > 0 else 0.0


# ---------------------------------------------------------------------------------------------------------------------
# small supernets (C4)
# ---------------------------------------------------------------------------------------------------------------------

K = 4
SPACE, WIDTH = "nb201", 8
SIZES: dict[Budget, dict[str, int]] = {
    "quick": {"epochs": 1, "final": 1},
    "full": {"epochs": 10, "final": 15},
}


def small_sample(seed: int, halves: bool = False) -> Digits:
    """Divide the digits, each seed in its own way."""
    return Digits(seed=seed, batch_size=50, halves=halves)


def _supernet(seed: int, epochs: int = 15, **options: Any) -> Searching:
    torch.manual_seed(seed)
    # So short a search needs a larger rate than DARTS's for alpha to leave its start; it is the same for all arms.
    return Searching(SPACE, WIDTH, 1, epochs=epochs, alpha_lr=0.02, seed=seed, **options)


def supernets(
    seed: int, budget: Budget, group: Literal["darts", "na_darts", "na_darts_unbiased", "darts_long", "random"]
) -> dict[str, dict[str, Any]]:
    """Search by DARTS and NA-DARTS, train the derived cell from scratch, and test it (claim C4).

    ``darts_long`` searches three times as many epochs, which takes the time of ``na_darts`` (its architecture step takes five
    times as long, its step of the weights as long). All derived cells are trained alike.
    """
    sizes = SIZES[budget]
    curve: Curve | None = None
    started = time.process_time()
    if group == "random":
        cell = _connected_draw(SPACES[SPACE], seed)
    else:
        options: dict[str, Any] = {
            "darts": {"aggregate": "self"}, "darts_long": {"aggregate": "self"}, "na_darts": {"k": K},
            "na_darts_unbiased": {"k": K, "expectation": "unbiased"},
        }[group]  # fmt: skip
        epochs = sizes["epochs"] * (3 if group == "darts_long" else 1)
        data = small_sample(seed, halves=True)
        module = _supernet(seed, epochs, **options)
        fit(module, data, 2 * epochs * len(data.train_dataloader()), seed=seed, limit_val_batches=0)
        cell = module.network.derived()
        history = module.history
        curve = Curve(
            [h["epoch"] for h in history], [h["architecture_loss"] for h in history], "loss of the architecture", "epoch"
        )
    seconds = time.process_time() - started
    found = {"seconds": seconds, **_worth(cell, seed, budget)}
    return {group: found if curve is None else {**found, "curve": curve}}


def _connected_draw(space: Space, seed: int) -> Cell:
    rng = np.random.default_rng((seed, 3))
    while not space.connected(cell := space.draw(rng)):
        pass
    return cell


def _worth(cell: Cell, seed: int, budget: Budget) -> dict[str, float]:
    """Train a cell from scratch and test it, on pictures like those of the training and on four disturbed copies."""
    space, sizes = SPACES[SPACE], SIZES[budget]
    data = small_sample(seed)
    torch.manual_seed(seed)
    network = CellNetwork(space.text(cell), SPACE, WIDTH, 1, side=data.side)
    module = Final(network, lr=0.1, weight_decay=5e-4, nesterov=True, drop_path=0.0)
    fit(module, data, sizes["final"] * len(data.train_dataloader()), seed=seed, limit_val_batches=0)
    network = network.cpu()
    pictures, labels = data.tensors("test")
    copies = [disturbed(pictures, 3, 0.15, 0.85, np.random.default_rng((seed, i))) for i in range(4)]
    return {
        "accuracy": score(network, pictures, labels),
        "accuracy_disturbed": score(network, torch.cat(copies), labels.repeat(4)),
        "skips": float(sum(space.operations[o] == "skip_connect" for o in cell)),
        "convolutions": float(sum("conv" in space.operations[o] for o in cell)),
    }
