"""Time and memory of measuring Jacobians' singular values, of repairs, and of the commands.

``python benchmarks/dynamical_isometry.py [--repeats 3] [--out benchmarks/dynamical_isometry.json]``

Each line is a process of its own. Peers are what a user would write with PyTorch alone: `torch.func.jacrev` under
`torch.func.vmap`, and `torch.autograd.functional.jacobian` sample by sample, both with `torch.linalg.svdvals`. ``apart`` is the
largest difference of a singular value from ours, in units of the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn


def memory(field: str) -> float:
    """Read this process's memory in MB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def network(classes: int) -> nn.Module:
    """Build a ResNet-18 with random weights."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(num_classes=classes).eval()


def ours(net: nn.Module, x: Tensor) -> Tensor:
    """Measure as the system does; of more than 64 outputs in 64 directions."""
    from foveate.systems.efficiency.dynamical_isometry.jacobian import singular_values

    return singular_values(net, x)[0]


def by_vmap(net: nn.Module, x: Tensor) -> Tensor:
    """Differentiate all outputs and samples at once."""
    found = torch.func.vmap(torch.func.jacrev(lambda one: net(one[None])[0]))(x)
    return torch.linalg.svdvals(found.flatten(2).double()).detach()


def one_by_one(net: nn.Module, x: Tensor) -> Tensor:
    """Differentiate sample by sample."""
    found = [torch.autograd.functional.jacobian(lambda one: net(one[None])[0], sample).flatten(1) for sample in x]
    return torch.stack([torch.linalg.svdvals(j.double()) for j in found])


MEASURES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {"ours": ours, "vmap": by_vmap, "one by one": one_by_one}
SETTINGS = {"10 classes, 32 x 32, 32 samples": (10, 32, 32), "1,000 classes, 224 x 224, 2 samples": (1000, 224, 2)}


def measure(setting: str, name: str) -> dict[str, float]:
    """Time one way of measuring, with its peak of memory over what was there before."""
    classes, side, samples = SETTINGS[setting]
    net, x = network(classes), torch.rand(samples, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net(x[:1])
    before, start = memory("VmRSS"), time.perf_counter()
    values = MEASURES[name](net, x)
    found = {"seconds": time.perf_counter() - start, "peak_mb": memory("VmHWM") - before}
    if classes <= 64 and name != "ours":
        exact = ours(net, x)
        found["apart"] = float((values - exact).abs().max() / exact.max())
    return found


def repairs() -> dict[str, dict[str, float]]:
    """Time each repair of a ResNet-56 pruned by half, and tell how isometric its layers' weights are afterwards."""
    from foveate.parts.classifiers import Classifier
    from foveate.systems.efficiency.dynamical_isometry import method
    from foveate.systems.efficiency.dynamical_isometry.repairs import away_from_isometry, layers, repair

    torch.manual_seed(0)
    dense = Classifier("resnet56_cifar")
    found = {}
    for how in ("none", "orthp", "orth_scratch", "delta_orth", "approx_isometry", "rescale", "kaiming"):
        cut = method.recovered(dense, 0.5).subject
        start = time.perf_counter()
        repair(cut.network, how)
        seconds = time.perf_counter() - start
        away = [away_from_isometry(layer.weight) for layer in layers(cut.network).values()]
        found[how] = {"seconds": seconds, "away": statistics.mean(away)}
    return found


def commands(folder: Path) -> dict[str, float]:
    """Time the commands as a user types them, start of Python included."""
    places = {**os.environ, "FOVEATE_CACHE": str(folder / "cache")}
    calls = {
        "diagnose": ["diagnose", "torchvision/resnet18", "--side", "32", "--classes", "10"],
        "prune": ["prune", "mlp7_linear", "--ratio", "0.8", "--repair", "orthp", "--ft_lr", "0.001"],
        "prune again (the dense network is there)": ["prune", "mlp7_linear", "--ratio", "0.8", "--repair", "none"],
    }
    found = {}
    for name, call in calls.items():
        start = time.perf_counter()
        whole = [sys.executable, "-m", "foveate.cli", "run", "dynamical_isometry", *call, "--out", str(folder / "out")]
        subprocess.run(whole, check=True, capture_output=True, env=places)
        found[name] = time.perf_counter() - start
    return found


def main() -> None:
    """Run all in turn, and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one", nargs=2, metavar=("SETTING", "MEASURE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return

    def fresh(setting: str, name: str) -> dict[str, float]:
        call = [sys.executable, __file__, "--one", setting, name]
        return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    table: dict[str, dict[str, dict[str, float]]] = {}
    for setting, (classes, *_) in SETTINGS.items():
        names = list(MEASURES) if classes <= 64 else ["ours", "one by one"]
        rounds = [{name: fresh(setting, name) for name in names} for _ in range(options.repeats if classes <= 64 else 1)]
        table[setting] = {n: {k: statistics.median(r[n][k] for r in rounds) for k in rounds[0][n]} for n in names}
        for name, row in table[setting].items():
            print(f"{setting:<40} {name:<12} {row['seconds']:8.2f} s {row['peak_mb']:8.0f} MB  apart {row.get('apart', 0):.1g}")
    repaired = repairs()
    for name, row in repaired.items():
        print(f"repair of ResNet-56, half pruned: {name:<16} {row['seconds']:8.2f} s  mean((WW' - 1)²) {row['away']:.3g}")
    with tempfile.TemporaryDirectory() as folder:
        typed = commands(Path(folder))
    for name, seconds in typed.items():
        print(f"foveate run dynamical_isometry {name:<42} {seconds:6.1f} s")
    from foveate.evidence import machine, versions

    found = {"measures": table, "repairs": repaired, "commands": typed, "machine": machine(), "versions": versions()}
    options.out.write_text(json.dumps(found | {"threads": torch.get_num_threads()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
