"""Genesis's two halves: views per second against lightkurve, and networks per second against Astronet.

``python benchmarks/genesis.py [--stars 12] [--repeats 3] [--bins 2001] [--threads 1] [--out benchmarks/genesis.json]``

Views: every pipeline detrends, folds and bins the same simulated light curves of 4 quarters (about 17,000 points) into
``--bins`` medians. lightkurve flattens with its Savitzky-Golay filter, which is cheaper than choosing a spline; it is what a
person would use in its place. Networks: one forward pass, and one with gradients, of 32 views at ``--bins`` (Astronet: and
201); ``direct`` is the plain convolution of PyTorch, without which Genesis is the slower one (claim C5). Rounds alternate, so
that a busy machine slows all alike; medians are told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from foveate.systems.structures.genesis import fourier
from foveate.systems.structures.genesis.astronet import Astronet
from foveate.systems.structures.genesis.method import Genesis, prepare
from foveate.systems.structures.genesis.synthetic import simulate
from foveate.systems.structures.genesis.views import Ephemeris, LightCurve, flatten


def ours(curve: LightCurve, event: Ephemeris, bins: int) -> np.ndarray:
    """Choose and fit splines, fold, take medians."""
    return prepare(flatten(curve), event, bins).numpy()


def peer(curve: LightCurve, event: Ephemeris, bins: int) -> np.ndarray:
    """Flatten, fold and bin with lightkurve, as its tutorials do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightkurve

        light = lightkurve.LightCurve(time=curve.time, flux=curve.flux).flatten(window_length=101)
        folded = light.fold(period=event.period, epoch_time=event.t0)
        binned = folded.bin(time_bin_size=event.period / bins, aggregate_func=np.nanmedian)
        return np.asarray(binned.flux)


def pass_of(network: torch.nn.Module, views: list[torch.Tensor], trains: bool, direct: bool) -> Callable[[], None]:
    """Make one forward pass, with gradients if it trains."""

    def work() -> None:
        before = fourier.LONG
        fourier.LONG = 10**9 if direct else before
        try:
            with torch.set_grad_enabled(trains):
                said = network(*views)
                if trains:
                    said.sum().backward()
        finally:
            fourier.LONG = before

    return work


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Run all variants in turn and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bins", type=int, default=2001)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stars = [(curve, event.ephemeris) for curve, (event,) in (simulate(s, ["PC"], seed=8) for s in range(options.stars))]
    batch = [torch.randn(32, 1, options.bins), torch.randn(32, 1, 201)]
    genesis, rival = Genesis(options.bins), Astronet(options.bins)
    work: dict[str, tuple[int, Callable[[], object]]] = {
        f"views: {name}": (len(stars), lambda make=make: [make(*star, options.bins) for star in stars])
        for name, make in (("foveate", ours), ("lightkurve", peer))
    }
    for name, trains in (("inference", False), ("training", True)):
        work[f"{name}: genesis"] = (32, pass_of(genesis, batch[:1], trains, direct=False))
        work[f"{name}: genesis, direct"] = (32, pass_of(genesis, batch[:1], trains, direct=True))
        work[f"{name}: astronet"] = (32, pass_of(rival, batch, trains, direct=False))
    for _, warm in work.values():
        warm()
    rounds = [{name: count / seconds(one) for name, (count, one) in work.items()} for _ in range(options.repeats)]
    table = {name: statistics.median(r[name] for r in rounds) for name in work}
    print(f"{options.bins} bins, {options.threads} thread, medians of {options.repeats}")
    for name, rate in table.items():
        print(f"{name:<30} {rate:9.1f} per second")
    from foveate.evidence import machine, versions

    settings = {"bins": options.bins, "threads": options.threads, "stars": options.stars}
    content = {**settings, "per_second": table, "machine": machine(), "versions": versions()}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
