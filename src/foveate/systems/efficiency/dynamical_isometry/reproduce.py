"""The paper's claims as experiments: pruned networks, repaired or not, fine-tuned at a large and at a small rate."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from foveate.parts.caching import cached
from foveate.parts.cifar_networks import CIFARResNet
from foveate.parts.classifiers import IMAGENET_MEAN, IMAGENET_STD, Classifier
from foveate.parts.counting import parameters
from foveate.results import Curve
from foveate.systems.efficiency.dynamical_isometry import method, tuning
from foveate.systems.efficiency.dynamical_isometry.data import Sample, Shapes, Whole, statistics
from foveate.systems.efficiency.dynamical_isometry.method import Repair, SmallClassifier, Subject
from foveate.systems.efficiency.dynamical_isometry.networks import Small
from foveate.systems.efficiency.dynamical_isometry.train import FineTuner

Budget = Literal["quick", "full"]
VERSION = 1  # of the convolutional networks that are kept
RATES = {"large": 0.01, "small": 0.001}
RATIOS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
GOLDEN = {0.3: (11, 22, 44), 0.5: (8, 16, 32), 0.7: (4, 9, 19), 0.9: (1, 3, 6), 0.95: (1, 1, 3)}  # TPP's table 1


# ---------------------------------------------------------------------------------------------------------------------
# exact
# ---------------------------------------------------------------------------------------------------------------------


def exact(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Measure what OrthP makes of linear networks of seven layers, and whether it changes what is orthogonal (C1, C7)."""
    found = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        torch.manual_seed(seed)
        dense = SmallClassifier().to(dtype)
        x = torch.rand(4, 1, 32, 32, dtype=dtype)
        repaired = [method.recovered(dense, ratio, how="orthp") for ratio in RATIOS]
        each = [method.singular_values(cut.subject.network, method.normalised(cut.subject, x))[0] for cut in repaired]
        weights = [layer.weight.detach() for layer in method.layers(dense.network).values()]
        again = [
            float((method.orthogonalised(once, gain) - once).abs().max())
            for gain in (1.0, math.sqrt(2))
            for once in (method.orthogonalised(weight, gain) for weight in weights)
        ]
        found[name] = {"jsv_error": max(float((v - 1).abs().max()) for v in each), "repeat_error": max(again)}
    return found


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count parameters and multiply-accumulates of dense and of pruned networks."""
    small = SmallClassifier()
    found: dict[str, dict[str, float]] = {"mlp7": {"parameters": parameters(small)}}
    for ratio in (0.8, 0.9):
        found[f"mlp7_{ratio * 100:g}"] = {"parameters": parameters(method.recovered(small, ratio).subject)}
    found["lenet5"] = {"parameters": parameters(SmallClassifier("lenet5"))}
    dense = Classifier("resnet56_cifar")
    whole = method.cost(dense)
    found["resnet56"] = {"parameters": whole["parameters"]}
    for ratio, widths in GOLDEN.items():
        cut = method.recovered(dense, ratio).subject
        left = method.cost(cut)
        inner = [
            cut.network.get_submodule(f"layer{stage}.{block}.conv1").out_channels for stage in (1, 2, 3) for block in range(9)
        ]
        found[f"resnet56_{ratio * 100:g}"] = {
            "parameters": left["parameters"],
            "saved": round(100 * (1 - left["parameters"] / whole["parameters"]), 2),
            "faster": round(whole["macs"] / left["macs"], 2),
            "misfits": float(sum(a != b for a, b in zip(inner, np.repeat(widths, 9), strict=True))),
        }
    return found


# ---------------------------------------------------------------------------------------------------------------------
# multilayer perceptrons on digits
# ---------------------------------------------------------------------------------------------------------------------


def _digits(seed: int) -> Whole:
    data = Whole(Sample(seed=seed))
    data.setup("fit")
    return data


def _seen(data: Whole, count: int) -> Tensor:
    """Take training pictures at which Jacobians are measured."""
    return data.held["train"][0][:count]


def _dense(model: Small, data: Whole, seed: int, budget: Budget) -> SmallClassifier:
    """Train the dense network: 30 epochs at 0.01."""
    mean, std = statistics(data.held["train"][0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallClassifier(model, mean=mean, std=std)
    tuning.tune(FineTuner(network), data, {"quick": 4, "full": 30}[budget], _seen(data, 1), seed=seed, interval=100)
    return network


def _right(subject: Subject, data: Whole) -> list[float]:
    return tuning.right(subject, data.test_dataloader()).astype(float).tolist()


def ratio(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Prune MLP-7-Linear ever more, and look at once (C2)."""
    data = _digits(seed)
    dense = _dense("mlp7_linear", data, seed, budget)
    seen = _seen(data, 4)  # a linear network's Jacobian is the same everywhere
    found = {}
    for share in (0.0, *RATIOS):
        cut = method.recovered(dense, share).subject
        jsv = method.trainability(cut, seen)
        name = f"pruned_{share * 100:g}" if share else "dense"
        found[name] = {"jsv": jsv.mean, "log_jsv": math.log10(max(jsv.mean, 1e-12)), "accuracy": _right(cut, data)}
    return found


def _tuned(
    dense: Subject,
    how: Repair,
    rate: float,
    share: float,
    data: Whole,
    epochs: int,
    samples: int,
    seed: int,
    gain: float | Literal["auto"] = "auto",
) -> dict[str, Any]:
    """Prune, repair and fine-tune once, and say how it went."""
    module = FineTuner(dense, rate, ratio=share, repair=how, gain=gain, seed=seed)
    # 7 and 11 of the 15 epochs that the digits take, which are half and three quarters of any number.
    module.milestones = (7 / 15, 11 / 15)
    rows = tuning.tune(module, data, epochs, _seen(data, samples), seed=seed)
    told = tuning.told(rows)
    jsv = [max(row["jsv_mean"], 1e-12) for row in rows]
    early = np.log10(jsv[1 : 1 + min(10, epochs)])
    return {
        "accuracy": _right(module.network, data),
        "best": told["best"],
        "trainability": told["trainability"],
        "jsv_before": told["jsv_before"],
        "jsv_last": told["jsv_last"],
        "jsv_early": float(early.mean()),
        "epochs_to_jsv": float(told["epochs_to_jsv"]),
        "curve": Curve([row["epoch"] for row in rows], jsv, "mean singular value of the Jacobian", "epoch"),
    }


def _gap(large: dict[str, Any], small: dict[str, Any]) -> float:
    """Return by how many points of accuracy the two rates differ: a small rate far ahead is no vanished gap either."""
    return 100 * abs(float(np.mean(large["accuracy"]) - np.mean(small["accuracy"])))


def linear(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Fine-tune MLP-7-Linear, four fifths of it pruned, with and without repair, at both rates (C3, C4, and scratch).

    All arms have the same kept units, data and order of data, and 15 epochs but for ``_x2`` and ``_x4``, which have twice and
    four times as many. ``gap_...`` is by how many points the two rates differ.
    """
    data = _digits(seed)
    dense = _dense("mlp7_linear", data, seed, budget)
    epochs = {"quick": 3, "full": 15}[budget]

    def arm(how: Repair, rate: str, times: int = 1) -> dict[str, Any]:
        return _tuned(dense, how, RATES[rate], 0.8, data, times * epochs, 4, seed)

    repairs: dict[str, Repair] = {"none": "none", "orthp": "orthp", "scratch": "reset"}
    found = {f"{name}_{rate}": arm(how, rate) for name, how in repairs.items() for rate in RATES}
    longer = {f"none_small_x{times}": arm("none", "small", times) for times in (2, 4)}
    # Drawn beside the others, curves of other lengths would be no mean over equal epochs.
    found |= {name: {k: v for k, v in measured.items() if k != "curve"} for name, measured in longer.items()}
    without = _gap(found["none_large"], found["none_small"])
    gaps = {
        "gap_none": without,
        "gap_quarter": without / 4,
        "gap_half": without / 2,
        "gap_orthp": _gap(found["orthp_large"], found["orthp_small"]),
        "gap_none_x4": _gap(found["none_large"], found["none_small_x4"]),
    }
    return {**found, **{name: {"gap": value} for name, value in gaps.items()}}


def relu(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Do the same with MLP-7-ReLU, seven tenths of it pruned: isometry is no longer exact (C4 beyond linear networks).

    ``orthp`` has the gain of the authors' code, √2 in all seven layers, and ``orthp_gain1`` none.
    """
    data = _digits(seed)
    dense = _dense("mlp7_relu", data, seed, budget)
    epochs = {"quick": 3, "full": 15}[budget]
    arms: dict[str, tuple[Repair, float | Literal["auto"]]] = {
        "none": ("none", "auto"), "orthp": ("orthp", "auto"), "orthp_gain1": ("orthp", 1.0)
    }  # fmt: skip
    found = {
        f"{name}_{rate}": _tuned(dense, how, RATES[rate], 0.7, data, epochs, 16, seed, gain)
        for name, (how, gain) in arms.items()
        for rate in RATES
    }
    gaps = {f"gap_{name}": _gap(found[f"{name}_large"], found[f"{name}_small"]) for name in arms}
    gaps["gap_quarter"] = gaps["gap_none"] / 4
    return {**found, **{name: {"gap": value} for name, value in gaps.items()}}


# ---------------------------------------------------------------------------------------------------------------------
# a convolutional network on shapes
# ---------------------------------------------------------------------------------------------------------------------

SIDE = 24
DEPTH, WIDTHS = 14, (8, 16, 32)


def _shapes(seed: int, budget: Budget) -> Whole:
    count, held_out = {"quick": (128, 64), "full": (3000, 1000)}[budget]
    data = Whole(Shapes(count, held_out, draw=seed, noisy=False, side=SIDE, batch_size=64, shift=2, seed=seed))
    data.setup("fit")
    return data


def _residual() -> Classifier:
    return Classifier.of(CIFARResNet(DEPTH, WIDTHS), 10, SIDE, IMAGENET_MEAN, IMAGENET_STD, name="resnet14, half as wide")


def _dense_residual(data: Whole, seed: int, budget: Budget) -> Classifier:
    """Train ResNet-14 of half the usual width on 24 x 24 pixels, once for each seed: 15 epochs, up to 0.1 and down again."""
    epochs = {"quick": 1, "full": 15}[budget]

    def make() -> dict[str, np.ndarray]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _residual()
        module = FineTuner(network, lr=0.1)
        module.schedule = "one-cycle"
        tuning.tune(module, data, epochs, _seen(data, 1), seed=seed, interval=100)
        return {name: value.numpy() for name, value in network.network.state_dict().items()}

    key = [VERSION, seed, epochs, SIDE, DEPTH, WIDTHS, len(data.held["train"][1]), torch.__version__]
    network = _residual()
    state = cached("dynamical_isometry", key, make)
    network.network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return network.eval()


def convnet(seed: int, budget: Budget, group: Literal["none", "orthp", "scratch"]) -> dict[str, dict[str, Any]]:
    """Fine-tune a pruned residual network with batch norm at both rates, repaired, not repaired, or begun afresh (C5, C6).

    ``scratch_large_b`` has so many more epochs that its training costs what the dense network's would in the others' epochs.
    """
    data = _shapes(seed, budget)
    dense = _dense_residual(data, seed, budget)
    repairs: dict[str, Repair] = {"none": "none", "orthp": "orthp", "scratch": "kaiming"}
    epochs = {"quick": 1, "full": 8}[budget]
    found = {
        f"{group}_{name}": _tuned(dense, repairs[group], rate, 0.7, data, epochs, 16, seed) for name, rate in RATES.items()
    }
    if group == "none":
        found["dense"] = {"accuracy": _right(dense, data), "jsv_before": method.trainability(dense, _seen(data, 16)).mean}
    if group == "scratch":
        share = method.cost(dense)["macs"] / method.cost(method.recovered(dense, 0.7).subject)["macs"]
        longer = _tuned(dense, "kaiming", RATES["large"], 0.7, data, round(share * epochs), 16, seed)
        found["scratch_large_b"] = {name: value for name, value in longer.items() if name != "curve"}
    return found
