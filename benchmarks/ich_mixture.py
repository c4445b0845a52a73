"""Seconds for a head CT, and EM against scikit-learn's Gaussian mixture on the same voxels, components and iterations.

``python benchmarks/ich_mixture.py [--repeats 5] [--out benchmarks/ich_mixture.json]``

Times are medians after one run to warm up, on one thread. Both see position and intensity of the same points, start from the
components that the search has found, and do the same number of iterations; where ours have no place, in healthy tissue and
noise, scikit-learn's start as the Gaussian of all points. Log-likelihoods are per voxel, of position in mm and intensity in HU.
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
from threadpoolctl import threadpool_limits

ITERATIONS = 30
KINDS = (("intraparenchymal",), ("subdural",), ("intraventricular", "epidural"))


def median(work: Callable[[], object], repeats: int) -> float:
    """Time a function: the median of some runs after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def volume(values: np.ndarray, spacing: tuple[float, float, float], repeats: int) -> dict[str, float]:
    """Time a whole scan: finding the cavity, and the mixture with its search and decision."""
    from foveate.systems.dense.ich_mixture.segmentation import make_ready, segment

    ready = make_ready(values, spacing)
    found = segment(ready)
    return {
        "voxels": int(values.size),
        "points": len(ready.points),
        "clusters": found.found.fit.mixture.clusters,
        "em_iterations": found.found.iterations,
        "cavity_seconds": median(lambda: make_ready(values, spacing), repeats),
        "mixture_seconds": median(lambda: segment(ready), repeats),
    }


def against_sklearn(values: np.ndarray, spacing: tuple[float, float, float], repeats: int) -> dict[str, float]:
    """Time the same number of iterations on the same points from the same components."""
    from sklearn.mixture import GaussianMixture

    from foveate.systems.dense.ich_mixture.method import iterate
    from foveate.systems.dense.ich_mixture.search import search
    from foveate.systems.dense.ich_mixture.segmentation import make_ready

    points = make_ready(values, spacing).points
    start = search(points).fit.mixture
    features = np.column_stack([points.position, points.intensity])

    def ours() -> float:
        mixture = start
        for _ in range(ITERATIONS):
            mixture, _ = iterate(points, mixture)
        return iterate(points, mixture)[1] / len(points)

    # As many components: the noise's place is taken by a wide Gaussian.
    count = len(start.weight) + 1
    weight = np.append(start.weight, start.noise)
    means = np.column_stack([start.centre, start.mean])
    means = np.vstack([means, [*features[:, :3].mean(axis=0), 50.0]])
    spread = np.tile(np.cov(features.T) * 0.999, (count, 1, 1))
    for c in range(count):
        spread[c, 3, :3] = spread[c, :3, 3] = 0
        spread[c, 3, 3] = start.variance[c] if c < count - 1 else 1600.0
        if c < count - 1 and start.spatial[c]:
            spread[c, :3, :3] = start.scatter[c]

    def theirs() -> float:
        model = GaussianMixture(
            count, max_iter=ITERATIONS, tol=0.0, weights_init=weight / weight.sum(), means_init=means,
            precisions_init=np.linalg.inv(spread), init_params="random", random_state=0, reg_covar=1e-3,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged, which nobody asked for
            return float(model.fit(features).score(features))

    found = {"points": len(points), "components": count, "iterations": ITERATIONS}
    found |= {"log_likelihood": ours(), "sklearn_log_likelihood": theirs()}
    found |= {"seconds": median(ours, repeats), "sklearn_seconds": median(theirs, max(1, repeats // 2))}
    return {**found, "times_faster": found["sklearn_seconds"] / found["seconds"]}


def main() -> None:
    """Run everything and print and write the table."""
    from foveate.samples.head_ct import head_ct

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {"scan": {}, "em": {}}
    for number, kinds in enumerate(KINDS):
        made, name = head_ct([50_000, number], kinds), " and ".join(kinds)
        table["scan"][f"{name}, 96 x 112 x 30"] = volume(made.values, made.spacing, options.repeats)
        table["em"][name] = against_sklearn(made.values, made.spacing, options.repeats)
    # As large as a scanner's: the same head on voxels of 0.4 mm.
    made = head_ct([50_000, 0], KINDS[0])
    large = np.repeat(np.repeat(made.values, 5, axis=0), 5, axis=1)[:, 24:-24]
    table["scan"]["intraparenchymal, 480 x 512 x 30"] = volume(large, (0.4, 0.4, 5.0), 1)
    for part, rows in table.items():
        print(part)
        for name, row in rows.items():
            print(f"  {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()))
    options.out.write_text(json.dumps({k: rounded(v) for k, v in table.items()}, indent=1) + "\n")


def rounded(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Round to four digits."""
    return {name: {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for name, row in rows.items()}


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
