"""What neighbours cost: time and memory of NA-DARTS's architecture step, and random searches per second on the stored table.

``python benchmarks/na_nas.py [--repeats 5] [--width 8] [--batch 32] [--out benchmarks/na_nas.json]``

A step is timed without and with neighbours, rounds of all variants alternating, and the quickest of each counts, since a busy
machine only ever adds. ``at once`` is what a reader of the paper would write: the mean of all losses, differentiated in one
go; it computes the same gradient and keeps all graphs. Peak memory is what a step takes beyond the start (Linux). What is to
be seen: time grows as K + 1, and memory does not grow with the neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from foveate.evidence import machine, versions
from foveate.systems.efficiency.na_nas.method import Supernet
from foveate.systems.efficiency.na_nas.neighbourhood import Neighbourhood, architecture_step, moved
from foveate.systems.efficiency.na_nas.search import Scores, search
from foveate.systems.efficiency.na_nas.table import read_table

COUNTS = (0, 1, 2, 4, 8)


def memory(what: str) -> float:
    """Read VmRSS (now) or VmHWM (peak) of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def at_once(supernet: Supernet, batch: Any, around: Neighbourhood) -> torch.Tensor:
    """Differentiate the mean of all losses in one go."""
    changes = around.draw(supernet.space, np.random.default_rng(0))
    losses = [
        functional.cross_entropy(supernet(batch[0], moved(supernet.probabilities(), change)), batch[1])
        for change in [(), *changes]
    ]
    return torch.autograd.grad(torch.stack(losses).mean(), supernet.alpha)[0]


def steps(space: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time the steps on one space."""
    torch.manual_seed(0)
    supernet = Supernet(space, options.width, 4 if space == "darts" else 1)
    batch = torch.rand(options.batch, 3, 16, 16), torch.arange(options.batch) % 10
    variants: dict[str, tuple[int, Any]] = {}
    for count in COUNTS:
        around = Neighbourhood("mean" if count else "self", neighbours=count)
        variants[f"K = {count}"] = (
            1 + count,
            lambda a=around: architecture_step(supernet, batch, a, np.random.default_rng(0)).gradient,
        )
    last = Neighbourhood("mean", neighbours=COUNTS[-1])
    variants[f"K = {COUNTS[-1]}, at once"] = (1 + COUNTS[-1], lambda: at_once(supernet, batch, last))
    if space == "nano6":
        whole = Neighbourhood("mean", expectation="exact")
        variants["exact"] = (1 + supernet.space.count(1), lambda: architecture_step(supernet, batch, whole, None).gradient)
    found: dict[str, dict[str, float]] = {}
    for _ in range(options.repeats):
        for name, (passes, step) in variants.items():
            before = memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
            started = time.perf_counter()
            step()
            taken = 1000 * (time.perf_counter() - started)
            peak = memory("VmHWM") - before
            row = found.setdefault(name, {"passes": passes, "ms": taken, "peak_mb": peak})
            row["ms"], row["peak_mb"] = min(row["ms"], taken), max(row["peak_mb"], peak)
    alone = found["K = 0"]["ms"]
    for row in found.values():
        row["times_of_K_0"] = row["ms"] / alone
    gap = variants[f"K = {COUNTS[-1]}"][1]() - variants[f"K = {COUNTS[-1]}, at once"][1]()
    found[f"K = {COUNTS[-1]}, at once"]["gradient_apart"] = float(gap.abs().max())
    return found


def searches(repeats: int) -> dict[str, dict[str, float]]:
    """Time random searches on the stored table."""
    table = read_table()
    errors = (1 - table.search.mean(1)).tolist()
    found = {}
    for name, around in (("rs", Neighbourhood("self")), ("na-rs", Neighbourhood("mean", neighbours=12))):
        started = time.perf_counter()
        for repeat in range(repeats):
            scores = Scores(lambda cell: errors[table.row(cell)])
            search(table.space, scores, around, rng=np.random.default_rng(repeat))
        seconds = time.perf_counter() - started
        found[name] = {"searches_per_second": repeats / seconds, "cells_scored_by_the_last": len(scores.known)}
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    by_space = {space: steps(space, options) for space in ("nano6", "nb201", "darts")}
    for space, rows in by_space.items():
        print(f"architecture step on {space}, width {options.width}, batch {options.batch}, one thread")
        for name, row in rows.items():
            told = f"{row['passes']:>4.0f} passes {row['ms']:>9.1f} ms {row['times_of_K_0']:>7.2f} x {row['peak_mb']:>8.0f} MB"
            print(f"  {name:<20}{told}")
    on_table = searches(options.searches)
    for name, row in on_table.items():
        print(f"{name:<8}{row['searches_per_second']:>9.1f} searches of 20 candidates per second")
    about = {k: v for k, v in vars(options).items() if k != "out"}
    about |= {"steps": by_space, "table": on_table, "load_at_start": load, "machine": machine(), "versions": versions()}
    options.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
