"""A picture of an event: the folded light curve, the view that the network sees, and what its verdict rests on."""

from __future__ import annotations

import numpy as np

from foveate.results import Picture
from foveate.systems.structures.genesis.views import Ephemeris, Flat, binned, fold

MAX_DOTS = 20_000


def draw(flat: Flat, ephemeris: Ephemeris, view: np.ndarray, fall: np.ndarray, title: str, seed: int = 0) -> Picture:
    """Draw an event.

    Args:
        flat: The detrended light curve.
        ephemeris: When the event happens.
        view: The global view, ``(bins,)``.
        fall: By how much the log-odds of a planet fall where a bin is covered, ``(bins,)``.
        title: Line above.
        seed: Seed of the choice of dots, where there are too many.

    Returns:
        RGB, 1,100 x 640 pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    phase = fold(flat.time, ephemeris.period, ephemeris.t0)
    order = np.argsort(phase)
    phase, parts = phase[order], 1e6 * (flat.flux[order] - 1)
    shown = np.arange(len(phase))
    if len(phase) > MAX_DOTS:
        shown = np.sort(np.random.default_rng(seed).choice(len(phase), MAX_DOTS, replace=False))
    near = min(ephemeris.period / 2, 4 * ephemeris.duration)
    low, high = _range(parts, phase, ephemeris)
    figure = Figure(figsize=(11, 6.4), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
    panels = (("whole period", ephemeris.period / 2, "days", 1.0, 200), ("near the event", near, "hours", 24.0, 60))
    for column, (name, half, unit, scale, bins) in enumerate(panels):
        axes = figure.add_subplot(grid[0, column])
        axes.plot(scale * phase[shown], parts[shown], ".", markersize=1.2, color="0.7", rasterized=True)
        middle, counts = binned(phase, parts, bins, 2 * half / bins, -half, half)
        centres = -half + (np.arange(bins) + 0.5) * 2 * half / bins
        axes.plot(scale * centres[counts > 0], middle[counts > 0], ".", markersize=4, color="C0")
        axes.set(xlim=(-scale * half, scale * half), ylim=(low, high), title=name, xlabel=f"from the event [{unit}]")
        if column == 0:
            axes.set_ylabel("flux [parts per million]")
    axes = figure.add_subplot(grid[1, :])
    x = (np.arange(len(view)) + 0.5) / len(view) - 0.5
    axes.plot(x, view, drawstyle="steps-mid", linewidth=0.8, color="black")
    axes.set(xlim=(-0.5, 0.5), xlabel="phase", ylabel="the network's view", ylim=(-1.15, max(0.3, 1.1 * float(view.max()))))
    largest = float(np.abs(fall).max()) or 1.0
    strip = axes.imshow(
        fall[None], extent=(-0.5, 0.5, *axes.get_ylim()), aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest, alpha=0.6
    )
    bar = figure.colorbar(strip, ax=axes, pad=0.01)
    bar.set_label("log-odds of a planet\nlost if covered", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def _range(parts: np.ndarray, phase: np.ndarray, ephemeris: Ephemeris) -> tuple[float, float]:
    """Choose limits that hold the noise and the event, but not every outlier."""
    inside = parts[np.abs(phase) < ephemeris.duration / 2]
    scatter = 1.4826 * float(np.median(np.abs(parts - np.median(parts)))) or 1.0
    bottom = min(-6 * scatter, 1.2 * float(np.percentile(inside, 2)) if len(inside) else 0.0)
    return bottom, max(6 * scatter, 0.15 * -bottom)
