"""Pictures of models: the cells where formulas hold, highlighted on the complex or in slices of a volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from foveate.results import Picture
from foveate.systems.structures.polylogica.complexes import Complex
from foveate.systems.structures.polylogica.models import Grid
from foveate.systems.structures.polylogica.output import outer_triangles

MOST_TRIANGLES = 400_000  # drawn in some ten seconds
MOST_PANELS = 9
FEW_CELLS = 6_000  # below which edges and points are drawn, too
PALE, LIT = np.array([0.80, 0.83, 0.87]), np.array([0.90, 0.35, 0.05])


def draw(whole: Complex, values: Mapping[str, np.ndarray], counts: bool = True) -> Picture | None:
    """Draw a complex once for each set, seen obliquely along its thinnest extent.

    Args:
        whole: A complex of dimension 3 at most is drawn by its points, edges and triangles.
        values: Name to bool, or to a whole number for each cell that chooses a colour, ``(n,)``. The first nine are drawn.
        counts: Whether to tell the number of cells in each set.

    Returns:
        None if there are more triangles than can be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    shown = dict(list(values.items())[:MOST_PANELS])
    if whole.dimension > 1 and np.count_nonzero(outer_triangles(whole)) > MOST_TRIANGLES:
        return None
    flat, depth, facing = _seen(whole, shown)
    span = flat.max(axis=0) - flat.min(axis=0)
    across = min(len(shown), 3)
    down = math.ceil(len(shown) / across)
    height = 4.2 * min(max(span[1] / max(span[0], 1e-9), 0.4), 1.6)
    figure = Figure(figsize=(4.2 * across, (height + 0.4) * down), dpi=100, layout="constrained")
    for axes, (name, cells) in zip(figure.subplots(down, across, squeeze=False).flat, shown.items(), strict=False):
        polygons, colours = _polygons(whole, cells, flat, depth, facing)
        axes.add_collection(PolyCollection(polygons, facecolors=colours, edgecolors=colours, linewidths=0.35))
        margin = 0.04 * max(*span, 1e-9)
        axes.set_xlim(flat[:, 0].min() - margin, flat[:, 0].max() + margin)
        axes.set_ylim(flat[:, 1].min() - margin, flat[:, 1].max() + margin)
        axes.set_aspect("equal")
        told = f"\n{np.count_nonzero(cells):,} of {whole.size:,} cells" if counts else ""
        axes.set_title((name if len(name) < 50 else name[:47] + "...").replace("$", r"\$") + told, fontsize=9)
    for axes in figure.axes:
        axes.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.array(canvas.buffer_rgba())[..., :3])


def _seen(whole: Complex, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project the points: ``(P, 2)`` in the picture, depth towards the eye ``(P,)``, and the direction to the eye."""
    points = whole.points - whole.points[whole.simplices[0][:, 0]].mean(axis=0)
    extent = np.ptp(points[whole.simplices[0][:, 0]], axis=0)
    axis = int(np.argmin(extent))
    up = 2 if axis != 2 else 1
    side = 3 - axis - up
    solid = extent[axis] > 1e-6 * extent.max()
    lit = np.concatenate([np.zeros(1), *(_centres(whole)[cells > 0, axis] for cells in values.values() if cells.dtype == bool)])
    # From the side that shows more of the sets; a flat complex is seen from above.
    sign = -1.0 if solid and lit.mean() < 0 else 1.0
    turn, tilt = (0.45, 0.35) if solid else (0.0, 0.0)
    eye, right, above = np.zeros((3, 3))
    eye[axis], right[side], above[up] = sign, sign * (1.0 if (axis, side) in ((2, 0), (0, 1)) else -1.0), 1.0
    eye, right = eye * math.cos(turn) + right * math.sin(turn), right * math.cos(turn) - eye * math.sin(turn)
    eye, above = eye * math.cos(tilt) + above * math.sin(tilt), above * math.cos(tilt) - eye * math.sin(tilt)
    return np.stack([points @ right, points @ above], axis=1), points @ eye, eye


def _centres(whole: Complex) -> np.ndarray:
    points = whole.points - whole.points[whole.simplices[0][:, 0]].mean(axis=0)
    return np.concatenate([points[s].mean(axis=1) for s in whole.simplices])


def _palette(cells: np.ndarray) -> np.ndarray:
    """Colour cells: lit or pale for a set, else by number, neighbours in number far apart in hue."""
    if cells.dtype == bool:
        return np.where(cells[:, None], LIT, PALE)
    from matplotlib.colors import hsv_to_rgb

    hue = cells * 0.61803398875 % 1.0
    return hsv_to_rgb(np.stack([hue, 0.45 + 0.4 * (cells * 0.37 % 1), 0.95 - 0.35 * (cells * 0.73 % 1)], axis=1))


def _polygons(
    whole: Complex, cells: np.ndarray, flat: np.ndarray, depth: np.ndarray, eye: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Make the polygons of a picture, the farthest first: points as octagons, edges as thin bars, triangles shaded."""
    colours = _palette(cells)
    lit = cells if cells.dtype == bool else np.ones(len(cells), bool)
    few = whole.size <= FEW_CELLS
    # What is not drawn as a triangle has to be drawn for itself.
    covered = whole.frame.closure(lit & (whole.dimensions == 2)) if whole.dimension > 1 else np.zeros(len(cells), bool)
    extent = float(np.ptp(flat, axis=0).max()) or 1.0
    length = extent
    if whole.dimension:
        a, b = whole.simplices[1].T
        length = float(np.median(np.linalg.norm(whole.points[a] - whole.points[b], axis=1)))
    width = min(0.006 * extent, 0.06 * length)
    polygons: list[np.ndarray] = []
    shades: list[np.ndarray] = []
    depths: list[np.ndarray] = []

    def add(shape: np.ndarray, colour: np.ndarray, alpha: np.ndarray | float, distance: np.ndarray) -> None:
        polygons.extend(shape)
        shades.append(np.column_stack([colour, np.broadcast_to(alpha, len(colour))]))
        depths.append(distance)

    if whole.dimension > 1:
        rows = whole.simplices[2]
        part = slice(whole.starts[2], whole.starts[3])
        solid = whole.dimension > 2
        chosen = outer_triangles(whole) | (lit[part] if solid and cells.dtype == bool else False)
        rows, colour, bright = rows[chosen], colours[part][chosen], lit[part][chosen]
        corners = whole.points[rows]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        shade = 0.45 + 0.55 * np.abs(normal @ eye) if np.ptp(depth) > 1e-6 * extent else np.ones(len(rows))
        alpha = np.where(bright, 1.0, 0.06) if solid else 1.0
        add(flat[rows], colour * shade[:, None], alpha, depth[rows].mean(axis=1))
    if whole.dimension:
        part = slice(whole.starts[1], whole.starts[2])
        chosen = np.full(len(whole.simplices[1]), few and whole.dimension < 3) | (lit & ~covered)[part]
        ends = flat[whole.simplices[1][chosen]]
        along = ends[:, 1] - ends[:, 0]
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-12) * width
        bars = np.stack([ends[:, 0] - across, ends[:, 1] - across, ends[:, 1] + across, ends[:, 0] + across], axis=1)
        add(bars, colours[part][chosen] * 0.8, 1.0, depth[whole.simplices[1][chosen]].mean(axis=1) + 2 * width)
    points = whole.simplices[0][:, 0]
    part = slice(0, len(points))
    chosen = np.full(len(points), few and whole.dimension < 3) | (lit & ~covered)[part]
    angle = np.arange(8) * math.pi / 4
    octagon = 2.2 * width * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    add(flat[points[chosen]][:, None] + octagon, colours[part][chosen] * 0.65, 1.0, depth[points[chosen]] + 4 * width)
    order = np.argsort(np.concatenate(depths), kind="stable")
    return [polygons[i] for i in order], np.concatenate(shades)[order]


def draw_slices(grid: Grid, values: Mapping[str, np.ndarray], legend: Sequence[str] = ("", "holds")) -> Picture:
    """Draw sets of pixels, or of voxels in the three slices through the middle of what is kept.

    Args:
        grid: The pixels or voxels.
        values: Name to a whole number for each kept one, ``(k,)``, that chooses one of four colours.
        legend: What the numbers mean; an empty text is not told.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    table = np.array([[1.0, 1.0, 1.0], PALE, LIT, [0.10, 0.45, 0.80], [0.55, 0.20, 0.55]])
    shown = dict(list(values.items())[:MOST_PANELS])
    across = 1 if grid.kept.ndim == 2 else 3
    figure = Figure(figsize=(3 * across, 3.2 * len(shown) + 0.4), dpi=100, layout="constrained")
    middle = [int(np.median(axis)) for axis in np.nonzero(grid.kept)]
    for row, (name, cells) in zip(figure.subplots(len(shown), across, squeeze=False), shown.items(), strict=True):
        image = np.zeros(grid.kept.shape, np.int64)
        image[grid.kept] = 1 + cells
        slices = [image] if across == 1 else [np.take(image, m, axis=axis).T[::-1] for axis, m in enumerate(middle)]
        for axes, pixels in zip(row, slices, strict=True):
            axes.imshow(table[pixels], interpolation="nearest")
        row[across // 2].set_title(name.replace("$", r"\$"), fontsize=10)
    for axes in figure.axes:
        axes.axis("off")
    patches = [Patch(color=colour, label=text) for colour, text in zip(table[1:], legend, strict=False) if text]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), fontsize=9, frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.array(canvas.buffer_rgba())[..., :3])
