"""Pictures of a run: accuracy and mean singular value against the epoch on two axes, and the spectrum of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foveate.results import Picture
from foveate.systems.efficiency.dynamical_isometry.tuning import Row

FLOOR = 1e-8  # on a logarithmic axis 0 has no place


def trajectories(runs: Mapping[str, Sequence[Row]], title: str) -> Picture:
    """Draw runs over their epochs: test accuracy on the left axis, mean singular value of the Jacobian on the right.

    Args:
        runs: Name to log; see `tuning.tune`.
        title: Line above.

    Returns:
        RGB, 1,000 x 560 pixels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), dpi=100, layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for i, (name, rows) in enumerate(runs.items()):
        colour = f"C{i % 10}"
        looked = [row for row in rows if "jsv_mean" in row]
        left.plot([row["epoch"] for row in rows], [row["test_accuracy"] for row in rows], color=colour, marker=".", label=name)
        values = np.maximum([row["jsv_mean"] for row in looked], FLOOR)
        right.plot([row["epoch"] for row in looked], values, color=colour, linestyle="--", alpha=0.8)
    right.axhline(1, color="0.6", linewidth=0.8)
    right.set_yscale("log")
    # Less than a decade would show small changes as large ones.
    low, high = right.get_ylim()
    right.set_ylim(min(low, 0.3), max(high, 3))
    left.set(xlabel="epoch of fine-tuning", ylabel="test accuracy (line)", ylim=(0, 1.02), title=title)
    right.set_ylabel("mean singular value of the Jacobian (dashes); 1 is isometry")
    left.grid(alpha=0.3)
    left.legend(fontsize=8, loc="lower right")
    return _drawn(figure)


def spectrum(values: np.ndarray, title: str) -> Picture:
    """Draw how singular values are distributed, on a logarithmic axis.

    Args:
        values: ``(B, K)`` in descending order.
        title: Line above.

    Returns:
        RGB, 1,000 x 400 pixels: all values, and each rank's median and range over the samples.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes, ranks = figure.subplots(1, 2)
    logs = np.log10(np.maximum(values, FLOOR))
    axes.hist(logs.ravel(), bins=40, color="C0")
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set(xlabel="log10 of the singular value; 0 is isometry", ylabel="values")
    at = np.arange(1, values.shape[1] + 1)
    ranks.fill_between(at, 10 ** logs.min(0), 10 ** logs.max(0), alpha=0.3)
    ranks.plot(at, 10 ** np.median(logs, 0), marker="." if len(at) < 20 else "")
    ranks.axhline(1, color="0.5", linewidth=0.8)
    ranks.set(xlabel="rank", ylabel="singular value: median and range", yscale="log")
    return _drawn(figure)


def _drawn(figure: Any) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
