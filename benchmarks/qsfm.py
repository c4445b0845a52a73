"""QSFM against L1-norm pruning by torch-pruning's own pruner, at equal multiply-accumulates.

``python benchmarks/qsfm.py [--seeds 3] [--keep 0.5] [--steps 90] [--out benchmarks/qsfm.json]``

All prune the same trained networks (ResNet-14 on the embedded shapes, one for each seed) to the same share of
multiply-accumulates. torch-pruning removes channels of residual sums, too, which QSFM leaves alone; that is its way and stays
as it is. Both are judged at once and after the same fine-tuning, on pictures that none has seen. Seconds are those to choose
and to remove filters.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from pathlib import Path

import torch
import torch_pruning

from foveate.evidence import machine, versions
from foveate.parts.classification import correct, evaluate
from foveate.parts.classifiers import Classifier
from foveate.parts.latency import latency
from foveate.systems.efficiency.qsfm import Settings, Study
from foveate.systems.efficiency.qsfm.reproduce import base
from foveate.systems.efficiency.qsfm.train import fine_tuned

SEARCHES = 13  # runs of torch-pruning's pruner that find the rate for a share of the multiply-accumulates
QSFM = {
    "qsfm, uniform, no merge": Settings(ratio="uniform", merge="off"),
    "qsfm, uniform": Settings(ratio="uniform"),
    "qsfm": Settings(),
    "qsfm, psnr": Settings("psnr"),
}


def by_torch_pruning(network: Classifier, keep: float, whole: bool) -> Classifier:
    """Prune by L1 norm with torch-pruning's pruner, one rate for all layers or one ranking of all filters."""
    example = torch.zeros(1, 3, network.side, network.side)

    def pruned(ratio: float) -> Classifier:
        bare = copy.deepcopy(network.network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = torch_pruning.pruner.MagnitudePruner(
                bare, example, torch_pruning.importance.MagnitudeImportance(p=1), pruning_ratio=ratio, global_pruning=whole,
                max_pruning_ratio=0.95, ignored_layers=[bare.fc],
            )  # fmt: skip
            pruner.step()
        return network.with_network(bare)

    low, high = 0.0, 0.95
    for _ in range(SEARCHES - 1):
        middle = (low + high) / 2
        low, high = (low, middle) if pruned(middle).macs() <= keep * network.macs() else (middle, high)
    return pruned(high)


def measure(seed: int, keep: float, steps: int) -> dict[str, dict[str, float]]:
    """Prune one network in every way, and judge."""
    network, data = base(seed, "full")
    images = data.tensors("train")[0]
    made: dict[str, tuple[Classifier, float]] = {}
    for name, settings in QSFM.items():
        start = time.perf_counter()
        study = Study(network, images[:128], settings)
        pruned = study.pruned(study.counts(keep, held_out=images[128:256])).network
        made[name] = pruned, time.perf_counter() - start
    for name, whole in (("torch-pruning L1, uniform", False), ("torch-pruning L1, global", True)):
        start = time.perf_counter()
        pruned = by_torch_pruning(network, keep, whole)
        made[name] = pruned, (time.perf_counter() - start) / SEARCHES
    tested, labels = data.tensors("test")

    def top1(judged: Classifier) -> float:
        return float(correct(evaluate(judged, tested), labels).mean())

    found = {"whole network": {"macs_left": 1.0, "parameters_left": 1.0, "top1": top1(network)}}
    for name, (pruned, seconds) in made.items():
        found[name] = {
            "macs_left": pruned.macs() / network.macs(),
            "parameters_left": pruned.parameters_in_all() / network.parameters_in_all(),
            "top1": top1(pruned),
            "top1_fine_tuned": top1(fine_tuned(pruned, data, steps, seed=seed)),
            "seconds": seconds,
        }
    networks = {"whole network": network, **{name: pruned for name, (pruned, _) in made.items()}}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(20):  # in turns: a machine that is busy for a while slows all alike
        for name, one in networks.items():
            times[name] += latency(one.eval(), [tested[:1]] * 10, 3).tolist()
    for name, values in times.items():
        found[name]["latency_ms"] = float(statistics.median(values))
    return found


def main() -> None:
    """Measure all seeds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    runs = [measure(seed, options.keep, options.steps) for seed in range(options.seeds)]
    table = {
        name: {key: statistics.mean(run[name][key] for run in runs) for key in runs[0][name]} for name in runs[0]
    }  # fmt: skip
    print(f"{options.keep:.0%} of the multiply-accumulates, {options.seeds} networks, {options.steps} steps of fine-tuning")
    for name, row in table.items():
        shares = f"{100 * row['macs_left']:5.1f} % MACs {100 * row['parameters_left']:5.1f} % parameters"
        tuned = f", fine-tuned {100 * row['top1_fine_tuned']:5.1f} %, {row['seconds']:5.1f} s" if "seconds" in row else ""
        print(f"{name:<28} {shares} {row['latency_ms']:6.2f} ms  top-1 {100 * row['top1']:5.1f} %{tuned}")
    content = {
        "keep": options.keep, "seeds": options.seeds, "steps": options.steps, "means": table, "runs": runs,
        "machine": machine(), "versions": versions(),
    }  # fmt: skip
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
