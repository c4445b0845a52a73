"""What a threshold costs and gains, drawn."""

from __future__ import annotations

import numpy as np

from foveate.results import Picture
from foveate.systems.efficiency.adaptta.policy import Curve


def draw(curve: Curve, single: float, static: float, point: tuple[float, float]) -> Picture:
    """Draw accuracy over mean passes for every threshold.

    Args:
        curve: The thresholds.
        single: Accuracy of one pass.
        static: Accuracy of all passes.
        point: Mean passes and accuracy of the policy.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.passes, 100 * curve.accuracy, color="C0", label="adaptive, every threshold")
    for accuracy, style, label in ((static, "--", "static: all passes"), (single, ":", "single: one pass")):
        axes.axhline(100 * accuracy, color="0.4", linestyle=style, label=label)
    axes.plot(point[0], 100 * point[1], "o", color="C3", label="policy")
    axes.set_xlabel("mean passes")
    axes.set_ylabel("accuracy [%]")
    axes.legend()
    axes.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
