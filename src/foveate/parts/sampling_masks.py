"""Which samples of k-space are taken: lines and points, in all the usual patterns, with exactly the number that is asked for.

A mask is a bool array with DC in the middle, ``(W,)`` for lines along the readout (rows) and ``(H, W)`` for points;
`sampling_mask` makes any kind by its name, as ``(H, W)`` and with DC where it is wanted. The budget, round(N / acceleration),
includes the fully sampled centre; every kind but `fastmri_equispaced` keeps it exactly.

Note:
    deepinv draws line masks whose number of lines is right on average only, fastMRI's miss it by rounding, and sigpy's
    Poisson disc comes within a tolerance or gives up; comparisons at equal budgets need it exact. Hence these are written here;
    `fastmri_equispaced` reproduces fastMRI's public masks as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from foveate.errors import InputError
from foveate.parts.kspace import Place

Rng = np.random.Generator
Density = Literal["uniform", "gaussian", "polynomial"]
LineKind = Literal["uniform-lines", "random-lines", "gaussian-lines", "fastmri-lines"]
PointKind = Literal["random", "gaussian", "polynomial", "poisson", "radial"]
Kind = Literal[LineKind, PointKind]
LINES: tuple[LineKind, ...] = get_args(LineKind)
POINTS: tuple[PointKind, ...] = get_args(PointKind)

GOLDEN_ANGLE = 180 * (math.sqrt(5) - 1) / 2  # degrees: 111.25


def budget(count: int, acceleration: float, centre: int = 0) -> int:
    """Return how many of ``count`` samples are taken.

    Args:
        count: Lines or points of the grid.
        acceleration: At least 1.
        centre: How many of them are taken in any case.

    Raises:
        InputError: If the acceleration is below 1, leaves nothing, or leaves less than the centre.

    Example:
        >>> budget(128, 4), budget(320, 3)
        (32, 107)
    """
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise InputError("acceleration", f"is {acceleration}", "a number from 1")
    taken = math.floor(count / acceleration + 0.5)
    if taken < max(centre, 1):
        raise InputError(
            "acceleration",
            f"{acceleration:g} leaves {taken} of {count} samples, and the centre alone takes {centre}",
            "a lower acceleration or a smaller centre",
        )
    return taken


def centre_lines(width: int, count: int) -> np.ndarray:
    """Take the ``count`` lines around DC: of frequencies -count / 2 to count / 2 - 1 if even. Returns bool ``(W,)``.

    Note:
        With DC in the corner, that is half of them at each end. For odd widths and even counts fastMRI's block lies one line
        further on.
    """
    mask = np.zeros(width, bool)
    start = width // 2 - count // 2
    mask[max(start, 0) : start + count] = True
    return mask


def centre_square(size: tuple[int, int], side: int) -> np.ndarray:
    """Take the square of ``side`` x ``side`` points around DC. Returns bool ``(H, W)``."""
    return centre_lines(size[0], side)[:, None] & centre_lines(size[1], side)[None]


# ---------------------------------------------------------------------------------------------------------------------
# lines
# ---------------------------------------------------------------------------------------------------------------------


def random_lines(
    width: int, acceleration: float, centre: int, rng: Rng, density: Density = "uniform", spread: float | None = None
) -> np.ndarray:
    """Take the centre and random lines, without replacement.

    Args:
        width: Lines of the grid.
        acceleration: Lines over lines taken.
        centre: Lines around DC that are always taken.
        rng: Draws the others.
        density: ``uniform``; ``gaussian`` (Cartesian of variable density), see `gaussian_weights`; ``polynomial``, see
            `polynomial_density`.
        spread: Standard deviation of the Gaussian as a share of the width (0.1), or power of the polynomial (4).

    Returns:
        bool ``(W,)`` with exactly round(W / acceleration) lines.

    Raises:
        InputError: If the budget is impossible; see `budget`.
    """
    taken = centre_lines(width, centre)
    count = budget(width, acceleration, int(taken.sum()))
    return _drawn(taken[None], count, density, acceleration, spread, rng)[0]


def equispaced_lines(width: int, acceleration: float, centre: int, offset: float = 0.5) -> np.ndarray:
    """Take the centre, and lines that are evenly spaced among all others, rounded to the grid.

    Args:
        width: Lines of the grid.
        acceleration: Lines over lines taken. The spacing is wider where there is a centre.
        centre: Lines around DC that are always taken.
        offset: Of the first line, as a share of the spacing, from 0 to below 1.

    Returns:
        bool ``(W,)`` with exactly round(W / acceleration) lines.

    Raises:
        InputError: If the budget is impossible; see `budget`.

    Example:
        >>> equispaced_lines(12, 3, 2).astype(int).tolist()
        [0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0]
    """
    taken = centre_lines(width, centre)
    others = np.flatnonzero(~taken)
    count = budget(width, acceleration, int(taken.sum())) - int(taken.sum())
    # Of n things, count places (i + offset) * n / count are all different after rounding down, since n >= count.
    taken[others[np.floor((np.arange(count) + offset) * len(others) / max(count, 1)).astype(int)]] = True
    return taken


def fastmri_equispaced(
    width: int, acceleration: float, centre_fraction: float = 0.08, offset: int = 0, adjusted: bool = True
) -> np.ndarray:
    """Take the lines of fastMRI's public masks: evenly spaced ones, whether or not they fall into the centre.

    Args:
        width: Lines of the grid.
        acceleration: Wanted.
        centre_fraction: Share of the lines that is taken around DC; 0.08 goes with 4, 0.04 with 8.
        offset: Of the first line.
        adjusted: Space lines so that about W / acceleration are taken in all (``equispaced_fraction``, which misses it by a
            few); otherwise every acceleration-th is taken, and the centre on top (``equispaced``, as in GRAPPA).

    Returns:
        bool ``(W,)``.

    Raises:
        InputError: If the centre alone takes as much as the acceleration leaves.
    """
    centre = round(width * centre_fraction)
    mask = np.zeros(width, bool)
    start = (width - centre + 1) // 2
    mask[start : start + centre] = True
    if not adjusted:
        mask[offset :: round(acceleration)] = True
        return mask
    mask[np.around(np.arange(offset, width - 1, _fastmri_spacing(width, acceleration, centre))).astype(int)] = True
    return mask


def _fastmri_spacing(width: int, acceleration: float, centre: int) -> float:
    """Return the distance between lines with which about W / acceleration are taken, the centre included."""
    if acceleration * centre >= width:
        raise InputError("acceleration", f"{acceleration:g} leaves no line beside the centre of {centre}", "a smaller centre")
    return acceleration * (width - centre) / (width - acceleration * centre)


# ---------------------------------------------------------------------------------------------------------------------
# points
# ---------------------------------------------------------------------------------------------------------------------


def random_points(
    size: tuple[int, int],
    acceleration: float,
    centre: int,
    rng: Rng,
    density: Density = "uniform",
    spread: float | None = None,
) -> np.ndarray:
    """Take a square at the centre and random points, without replacement.

    Args:
        size: Height and width of the grid.
        acceleration: Points over points taken.
        centre: Side of the square of points around DC that are always taken.
        rng: Draws the others.
        density: ``uniform``; ``gaussian``, see `gaussian_weights`; ``polynomial``, see `polynomial_density`.
        spread: Standard deviation of the Gaussian as a share of the side (0.2), or power of the polynomial (4).

    Returns:
        bool ``(H, W)`` with exactly round(H W / acceleration) points.

    Raises:
        InputError: If the budget is impossible; see `budget`.
    """
    taken = centre_square(size, centre)
    count = budget(taken.size, acceleration, int(taken.sum()))
    return _drawn(taken, count, density, acceleration, spread, rng)


def gaussian_weights(size: tuple[int, int], acceleration: float = 4, spread: float | None = None) -> np.ndarray:
    """Weigh the points of a grid by a Gaussian around DC, lifted by 1 / (2 acceleration) so that all frequencies have a chance.

    Args:
        size: Height and width; a height of 1 for lines.
        acceleration: Samples over samples taken.
        spread: Standard deviation as a share of the side; 0.1 for lines (Schlemper et al. 2018) and 0.2 for points by default.

    Returns:
        float64 ``(H, W)``.
    """
    sigma = 2 * (spread if spread is not None else 0.1 if size[0] == 1 else 0.2)
    return np.exp(-(_radius(size) ** 2) / (2 * sigma**2)) + 1 / (2 * acceleration)


def polynomial_density(free: np.ndarray, count: int, power: float = 4) -> np.ndarray:
    """Return the probability of each sample to be taken, (1 - r)^power + c within 0 and 1 (Lustig, Donoho and Pauly 2007).

    Args:
        free: bool ``(H, W)``: those that are still to be had; a height of 1 for lines.
        count: What the probabilities add up to; sets c.
        power: The higher, the denser around DC.

    Returns:
        float64 ``(H, W)``, zero where nothing is free.
    """
    shape = np.clip(1 - _radius((free.shape[0], free.shape[1])), 0, 1) ** power
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if np.clip(shape + middle, 0, 1)[free].sum() > count else (middle, high)
    return np.where(free, np.clip(shape + high, 0, 1), 0)


def poisson_disc(size: tuple[int, int], acceleration: float, centre: int, rng: Rng) -> np.ndarray:
    """Take points at random that keep a distance from each other, which grows with the frequency.

    Around a point at distance r from DC no other is taken within 1 + s r u samples, where u is uniform from 0.5 to 1.5 (without
    it the grid would show as rings). s is searched so that the number of points comes near the budget; then random points
    outside the square are dropped or added until it is exact.

    Args:
        size: Height and width of the grid.
        acceleration: Points over points taken.
        centre: Side of the square of points around DC that are always taken.
        rng: Draws.

    Returns:
        bool ``(H, W)`` with exactly round(H W / acceleration) points.

    Raises:
        InputError: If the budget is impossible; see `budget`.
    """
    square = centre_square(size, centre)
    count = budget(square.size, acceleration, int(square.sum()))
    order = rng.permutation(np.flatnonzero(~square))
    radius = _radius(size) * rng.uniform(0.5, 1.5, size)
    low, high, slope = 0.0, math.inf, 2.0
    best = square | True
    for _ in range(24):
        mask = _darts(square, order, 1 + slope * radius)
        surplus = int(mask.sum()) - count
        if abs(surplus) < abs(int(best.sum()) - count):
            best = mask
        if abs(surplus) <= count // 200:
            break
        low, high = (slope, high) if surplus > 0 else (low, slope)
        slope = 2 * low if math.isinf(high) else (low + high) / 2
    outside = best & ~square
    surplus = int(best.sum()) - count
    if surplus > 0:
        best.ravel()[rng.choice(np.flatnonzero(outside), surplus, replace=False)] = False
    elif surplus < 0:
        best.ravel()[rng.choice(np.flatnonzero(~best), -surplus, replace=False)] = True
    return best


def _darts(square: np.ndarray, order: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Go through the points in an order; take each that none taken before keeps off."""
    width = square.shape[1]
    blocked, taken = square.copy(), square.copy()
    reach = math.ceil(float(radius.max()))
    squares = np.arange(-reach, reach + 1, dtype=np.float64) ** 2
    distance = squares[:, None] + squares[None]
    rows, columns = np.divmod(order, width)
    radii = radius.ravel()[order]
    for y, x, r in zip(rows.tolist(), columns.tolist(), radii.tolist(), strict=True):
        if blocked[y, x]:
            continue
        taken[y, x] = True
        n = min(math.ceil(r), reach)
        top, left = max(y - n, 0), max(x - n, 0)
        near = distance[reach + top - y : reach + n + 1, reach + left - x : reach + n + 1] < r * r
        window = blocked[top : y + n + 1, left : x + n + 1]
        window |= near[: window.shape[0], : window.shape[1]]
    return taken


def radial(size: tuple[int, int], acceleration: float, start: float = 0.0, step: float = GOLDEN_ANGLE) -> np.ndarray:
    """Take spokes through DC on the grid, each turned by the golden angle from the one before.

    The last spoke is filled from the centre outwards until the budget is reached: whole spokes would miss it by some per cent.

    Args:
        size: Height and width of the grid.
        acceleration: Points over points taken.
        start: Angle of the first spoke in degrees.
        step: Angle between spokes in degrees.

    Returns:
        bool ``(H, W)`` with exactly round(H W / acceleration) points.

    Raises:
        InputError: If the budget is impossible; see `budget`.
    """
    height, width = size
    mask = np.zeros(size, bool)
    left = budget(mask.size, acceleration)
    # In steps of a sample to the border of the grid, on both sides in turn. Angles are of frequencies relative to the borders'.
    along = 2 * np.arange(max(size) // 2 + 1) / max(size)
    for spoke in range(8 * (height + width)):
        angle = math.radians(start + spoke * step)
        direction = np.array([math.sin(angle), math.cos(angle)])
        reach = along / np.abs(direction).max()
        points = np.stack([reach, -reach], axis=1).reshape(-1, 1) * direction * (np.array(size) / 2)
        rows, columns = (np.array(size) // 2 + np.rint(points)).astype(int).T
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        flat = rows[inside] * width + columns[inside]
        _, first = np.unique(flat, return_index=True)
        flat = flat[np.sort(first)]
        new = flat[~mask.ravel()[flat]][:left]
        mask.ravel()[new] = True
        left -= len(new)
        if left == 0:
            return mask
    # Nearly everything is wanted, and spokes hardly find what is missing.
    free = np.flatnonzero(~mask)
    mask.ravel()[free[np.argsort(_radius(size).ravel()[free], kind="stable")[:left]]] = True
    return mask


def spectrum(power: np.ndarray, acceleration: float, centre: int = 0) -> np.ndarray:
    """Take the samples that carry the most power in training data, and the centre.

    Args:
        power: Mean of the squared magnitudes of k-space, DC in the middle: ``(H, W)`` for points, ``(W,)`` for lines.
        acceleration: Samples over samples taken.
        centre: Side of the square, or number of the lines, around DC that are always taken.

    Returns:
        bool of the shape of ``power`` with exactly the budget.

    Raises:
        InputError: If the budget is impossible; see `budget`.
    """
    taken = centre_lines(len(power), centre) if power.ndim == 1 else centre_square((power.shape[0], power.shape[1]), centre)
    count = budget(power.size, acceleration, int(taken.sum()))
    order = np.argsort(np.where(taken, np.inf, power).ravel(), kind="stable")[::-1]
    taken.ravel()[order[:count]] = True
    return taken


# ---------------------------------------------------------------------------------------------------------------------
# any of them
# ---------------------------------------------------------------------------------------------------------------------


def sampling_mask(
    kind: Kind, size: tuple[int, int], acceleration: float, centre: int | None = None, seed: int = 0, dc: Place = "corner"
) -> np.ndarray:
    """Make a mask by its name.

    Args:
        kind: ``uniform-lines`` (equispaced), ``random-lines``, ``gaussian-lines`` (variable density), ``fastmri-lines``; or
            ``random``, ``gaussian``, ``polynomial``, ``poisson``, ``radial``.
        size: Height and width of k-space. Lines run along the height.
        acceleration: Samples over samples taken.
        centre: Lines around DC, or side of the square, that are always taken; by default 8 % of the lines or of the shorter
            side (4 % from an acceleration of 8), but no more than half of the budget. ``radial`` has none.
        seed: Of what is drawn: of ``uniform-lines`` the offset, of ``radial`` the angle of the first spoke.
        dc: Where DC lies in the result.

    Returns:
        bool ``(H, W)``.

    Raises:
        InputError: If there is no such kind, or the budget is impossible.

    Example:
        >>> sampling_mask("radial", (64, 64), 5).sum() == round(64 * 64 / 5)
        np.True_
    """
    height, width = size
    rng = np.random.default_rng(seed)
    share = 0.04 if acceleration >= 8 else 0.08
    mask: np.ndarray
    if kind in LINES:
        middle = min(round(share * width), budget(width, acceleration) // 2) if centre is None else centre
        lines: dict[str, Callable[[], np.ndarray]] = {
            "uniform-lines": lambda: equispaced_lines(width, acceleration, middle, float(rng.random())),
            "random-lines": lambda: random_lines(width, acceleration, middle, rng),
            "gaussian-lines": lambda: random_lines(width, acceleration, middle, rng, "gaussian"),
            "fastmri-lines": lambda: fastmri_equispaced(
                width, acceleration, middle / width, int(rng.integers(round(_fastmri_spacing(width, acceleration, middle))))
            ),
        }
        mask = np.broadcast_to(lines[kind](), size).copy()
    elif kind in POINTS:
        largest = math.isqrt(budget(height * width, acceleration) // 2)
        middle = min(round(share * min(size)), largest) if centre is None else centre
        if kind == "radial":
            mask = radial(size, acceleration, float(rng.uniform(0, 180)))
        elif kind == "poisson":
            mask = poisson_disc(size, acceleration, middle, rng)
        else:
            mask = random_points(size, acceleration, middle, rng, "uniform" if kind == "random" else kind)
    else:
        raise InputError("mask", f"there is no kind {kind!r}", ", ".join((*LINES, *POINTS)))
    return np.fft.ifftshift(mask) if dc == "corner" else mask


def _radius(size: tuple[int, int]) -> np.ndarray:
    """Return the distance to DC ``(H, W)``, of which 1 is the middle of a border; an axis of length 1 does not count."""
    squares = [((np.arange(n) - n // 2) / max(n / 2, 1)) ** 2 for n in size]
    return np.sqrt(squares[0][:, None] + squares[1][None])


def _drawn(taken: np.ndarray, count: int, density: Density, acceleration: float, spread: float | None, rng: Rng) -> np.ndarray:
    """Add random samples to ``(H, W)`` until there are ``count``."""
    missing = count - int(taken.sum())
    if density == "polynomial":
        # Systematic sampling: ticks of distance 1 along the sums of the probabilities, in random order.
        order = rng.permutation(taken.size)
        sums = np.cumsum(polynomial_density(~taken, missing, 4 if spread is None else spread).ravel()[order])
        ticks = (np.arange(missing) + rng.random()) * (sums[-1] / max(missing, 1))
        chosen = order[np.searchsorted(sums, ticks, side="right")]
    else:
        # One after the other by weight among those that are left: the largest of log-weights plus Gumbel noise.
        keys = rng.gumbel(size=taken.shape)
        if density == "gaussian":
            keys += np.log(gaussian_weights((taken.shape[0], taken.shape[1]), acceleration, spread))
        chosen = np.argsort(np.where(taken, -np.inf, keys), axis=None, kind="stable")[taken.size - missing :]
    mask = taken.copy()
    mask.ravel()[chosen] = True
    return mask
