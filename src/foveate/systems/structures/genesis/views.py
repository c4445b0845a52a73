"""From a star's light curve to the view that a network sees: detrend with splines, fold, bin (paper section 2).

The paper takes its inputs from Astronet (Shallue and Vanderburg, "Identifying Exoplanets with Deep Learning", AJ 155:94, 2018,
section 3); facts about the released pipeline refer to google-research/exoplanet-ml.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from foveate.errors import InputError

GAP = 0.75  # days without data at which a light curve is split
SPACINGS = np.geomspace(0.5, 20, 20)  # distances between spline knots to choose from, in days
ROUNDS = 5
CUT = 3.0  # robust standard deviations from the median residual at which a point is left out of the next round
WEAK = 1e-6  # share of the largest pivot under which a coefficient of a spline counts as undetermined
FLAT = 1e-9  # dips below a thousandth of a part per million are rounding errors


@dataclass(frozen=True)
class Ephemeris:
    """When an event happens.

    Attributes:
        period: Days.
        t0: Centre of one of the events, in the light curve's own time.
        duration: Days from first to last contact.
    """

    period: float
    t0: float
    duration: float


@dataclass(frozen=True)
class LightCurve:
    """A star's brightness over time, in the pieces in which it was observed.

    Attributes:
        pieces: (time, flux) of each quarter, campaign or sector, float64 of equal length, finite and in order of time. Time is
            in days; flux in any unit that is proportional to the star's light.
        name: What to call it: its file's name.
        reference: Julian date at which the time counts from, or 0 if that is not known.
    """

    pieces: tuple[tuple[np.ndarray, np.ndarray], ...]
    name: str = ""
    reference: float = 0.0

    @property
    def time(self) -> np.ndarray:
        """All times."""
        return np.concatenate([time for time, _ in self.pieces])

    @property
    def flux(self) -> np.ndarray:
        """All fluxes."""
        return np.concatenate([flux for _, flux in self.pieces])


@dataclass(frozen=True)
class Flat:
    """A light curve whose slow changes were divided out.

    Attributes:
        time: Days, ``(n,)``.
        flux: Near 1, ``(n,)``.
        spacing: Distance between the spline's knots that was chosen, in days; NaN if no spline could be fitted.
    """

    time: np.ndarray
    flux: np.ndarray
    spacing: float = math.nan


# ---------------------------------------------------------------------------------------------------------------------
# splines
# ---------------------------------------------------------------------------------------------------------------------


def segments(curve: LightCurve, gap: float = GAP) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split the pieces where no data were taken for longer than ``gap`` days."""
    found = []
    for time, flux in curve.pieces:
        cuts = np.flatnonzero(np.diff(time) > gap) + 1
        found += [(t, f) for t, f in zip(np.split(time, cuts), np.split(flux, cuts), strict=True) if len(t)]
    return found


def flatten(
    curve: LightCurve, masked: Ephemeris | None = None, spacings: Sequence[float] | np.ndarray = SPACINGS, gap: float = GAP
) -> Flat:
    """Divide a light curve by a spline that follows the star but not its transits.

    Every segment gets a least-squares cubic B-spline with uniform knots, fitted up to five times, each time to the points that
    lie within three robust standard deviations of the last fit. One distance between knots serves the whole star: that of the
    least Bayesian information criterion ``n ln(2 pi s^2) + SSR / s^2 + p ln n``, where s is taken from neighbouring points.

    Args:
        curve: The light curve.
        masked: Leave this event's transits out of the fit (an option of ours: the released pipeline does not, since the cut
            removes deep ones; a shallow, long transit keeps more of its depth with it).
        spacings: Distances between knots to choose from, in days.
        gap: See `segments`.

    Raises:
        InputError: If no spline could be fitted.

    Note:
        The released pipeline fits with pydl, which rejects points beyond five times the light curve's own deviation and drops
        knots without data; here a distance that leaves a coefficient undetermined is passed over.
    """
    pieces = segments(curve, gap)
    bounds = np.cumsum([0, *(len(time) for time, _ in pieces)])
    time = np.concatenate([t for t, _ in pieces]).astype(np.float64)
    flux = np.concatenate([f for _, f in pieces]).astype(np.float64)
    allowed = np.ones(len(time), bool)
    if masked is not None:
        allowed = np.abs(fold(time, masked.period, masked.t0)) > 0.75 * masked.duration
    trend, chosen = _trend(time, flux, bounds, allowed, np.asarray(spacings, np.float64), ROUNDS, CUT)
    fitted = np.isfinite(trend) & (trend != 0)
    if not fitted.any():
        raise InputError(curve.name, f"no spline could be fitted to its {len(time)} points", "a light curve with fewer gaps")
    return Flat(time[fitted], flux[fitted] / trend[fitted], float(chosen))


@njit(cache=True)
def _trend(
    time: np.ndarray,
    flux: np.ndarray,
    bounds: np.ndarray,
    allowed: np.ndarray,
    spacings: np.ndarray,
    rounds: int,
    cut: float,
) -> tuple[np.ndarray, float]:
    """Fit every segment with every spacing, and return the best spacing's splines: NaN where there is none."""
    best, chosen, lowest = np.full(len(time), np.nan), np.nan, np.inf
    sigma = _point_to_point(flux, bounds)
    if not sigma > 0:
        sigma = 1e-12 * max(1.0, np.abs(flux).max())  # noiseless: any residual counts
    for spacing in spacings:
        trend = np.full(len(time), np.nan)
        parameters, points, ssr, bad = 0, 0, 0.0, False
        for k in range(len(bounds) - 1):
            low, high = bounds[k], bounds[k + 1]
            x, y = time[low:high], flux[low:high]
            outcome, kept, squares = _segment(x, y, allowed[low:high], spacing, rounds, cut, trend[low:high])
            if outcome == 2:
                bad = True
                break
            if outcome == 0:
                # Intervals between knots, and the three that a cubic spline has beyond them.
                parameters += int((x[-1] - x[0]) / spacing) + 3
                points += kept
                ssr += squares
        if bad or points == 0:
            continue
        criterion = points * np.log(2 * np.pi * sigma**2) + ssr / sigma**2 + parameters * np.log(points)
        if criterion < lowest:
            best, chosen, lowest = trend, spacing, criterion
    return best, chosen


@njit(cache=True)
def _point_to_point(flux: np.ndarray, bounds: np.ndarray) -> float:
    """Estimate the white noise from the differences of neighbours, which the star's own changes hardly touch."""
    steps = np.empty(len(flux))
    count = 0
    for k in range(len(bounds) - 1):
        for i in range(bounds[k], bounds[k + 1] - 1):
            steps[count] = abs(flux[i + 1] - flux[i])
            count += 1
    return 1.48 * _median(steps[:count]) / np.sqrt(2.0) if count else 0.0


@njit(cache=True)
def _segment(
    x: np.ndarray, y: np.ndarray, allowed: np.ndarray, spacing: float, rounds: int, cut: float, trend: np.ndarray
) -> tuple[int, int, float]:
    """Fit one segment, write its spline into ``trend``.

    Returns:
        0 (fitted), 1 (too few points; the spline stays NaN) or 2 (the spacing does not work); points that were fitted; the sum
        of their squared residuals.
    """
    kept = allowed.copy()
    count = kept.sum()
    if count < 4 or x[-1] == x[0]:
        return 1, 0, 0.0
    spline = np.empty(len(x))
    for turn in range(rounds):
        if turn:
            fresh = _within(y - spline, allowed, cut)
            same = True
            for i in range(len(x)):
                if fresh[i] != kept[i]:
                    same = False
                    break
            if same:
                break
            kept = fresh
            count = kept.sum()
            if count < 4:
                return 1, 0, 0.0
        if not _fit(x, y, kept, spacing, spline):
            return 2, 0, 0.0
    squares = 0.0
    for i in range(len(x)):
        trend[i] = spline[i]
        if kept[i]:
            squares += (y[i] - spline[i]) ** 2
    return 0, count, squares


@njit(cache=True)
def _within(residual: np.ndarray, allowed: np.ndarray, cut: float) -> np.ndarray:
    """Tell which points lie within ``cut`` robust deviations of the median.

    The deviation comes first from the median absolute one, then from the points that this keeps, made up for what was cut off
    (the released pipeline's two steps).
    """
    work = residual[allowed]
    centre = _median(work.copy())
    distance = np.abs(residual - centre)
    sigma = 1.4826 * _median(np.abs(work - centre))
    if sigma < 1e-24:
        sigma = 1.253 * np.abs(work - centre).mean()
    total, squares, count = 0.0, 0.0, 0
    for i in range(len(residual)):
        if allowed[i] and distance[i] <= cut * sigma:
            offset = residual[i] - centre
            total += offset
            squares += offset * offset
            count += 1
    mean = total / count
    sigma = np.sqrt(max(squares / count - mean * mean, 0.0))
    if cut <= 4.5:
        c = max(cut, 1.0)
        sigma /= -0.15405 + 0.90723 * c - 0.23584 * c**2 + 0.020142 * c**3
    return allowed & (distance <= cut * sigma)


@njit(cache=True)
def _median(values: np.ndarray) -> float:
    """Return the median of an array, which is left in another order (Hoare's selection)."""
    n = len(values)
    k = n // 2
    low, high = 0, n - 1
    while low < high:
        # The middle of three keeps sorted input from being slow.
        middle = (low + high) // 2
        a, b, c = values[low], values[middle], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    if n % 2:
        return values[k]
    below = values[0]
    for i in range(1, k):
        below = max(below, values[i])
    return (below + values[k]) / 2


@njit(cache=True)
def _fit(x: np.ndarray, y: np.ndarray, kept: np.ndarray, spacing: float, spline: np.ndarray) -> bool:
    """Fit a cubic B-spline with uniform knots to the kept points and evaluate it at all; False if they leave it undetermined.

    The knots span the kept points and go on beyond them, so that all basis functions have one shape. The normal equations have
    three bands beside the diagonal and are solved by Cholesky's method.
    """
    first, last = -1, -1
    for i in range(len(x)):
        if kept[i]:
            first = i if first < 0 else first
            last = i
    span = x[last] - x[first]
    if span <= 0:
        return False
    intervals = max(int(span / spacing), 1)
    scale = intervals / span
    size = intervals + 3
    bands, right = np.zeros((size, 4)), np.zeros(size)
    weights = np.empty((len(x), 4))
    starts = np.empty(len(x), np.int64)
    for i in range(len(x)):
        place = (x[i] - x[first]) * scale
        j = min(max(int(np.floor(place)), 0), intervals - 1)
        u = place - j
        v = 1 - u
        starts[i] = j
        weights[i, 0] = v * v * v / 6
        weights[i, 1] = (3 * u * u * u - 6 * u * u + 4) / 6
        weights[i, 2] = (3 * v * v * v - 6 * v * v + 4) / 6
        weights[i, 3] = u * u * u / 6
    # The level is taken out first, for the sake of precision.
    level, count = 0.0, 0
    for i in range(len(x)):
        if kept[i]:
            level += y[i]
            count += 1
    level /= count
    for i in range(len(x)):
        if kept[i]:
            j = starts[i]
            for a in range(4):
                right[j + a] += weights[i, a] * (y[i] - level)
                for b in range(a + 1):
                    bands[j + a, a - b] += weights[i, a] * weights[i, b]
    largest = bands[:, 0].max()
    for i in range(size):
        for d in range(min(3, i), -1, -1):
            total = bands[i, d]
            for e in range(d + 1, min(3, i) + 1):
                total -= bands[i, e] * bands[i - d, e - d]
            if d:
                bands[i, d] = total / bands[i - d, 0]
            else:
                if total <= WEAK * largest:
                    return False
                bands[i, 0] = np.sqrt(total)
    for i in range(size):
        for d in range(1, min(3, i) + 1):
            right[i] -= bands[i, d] * right[i - d]
        right[i] /= bands[i, 0]
    for i in range(size - 1, -1, -1):
        for d in range(1, min(3, size - 1 - i) + 1):
            right[i] -= bands[i + d, d] * right[i + d]
        right[i] /= bands[i, 0]
    for i in range(len(x)):
        j = starts[i]
        spline[i] = level
        for a in range(4):
            spline[i] += weights[i, a] * right[j + a]
    return True


# ---------------------------------------------------------------------------------------------------------------------
# folding and binning
# ---------------------------------------------------------------------------------------------------------------------


def fold(time: np.ndarray, period: float, t0: float) -> np.ndarray:
    """Return the time from the nearest event, in [-period / 2, period / 2).

    Example:
        >>> fold(np.array([1.0, 2.0, 3.0, 4.5]), period=2.0, t0=1.0)
        array([ 0. , -1. ,  0. , -0.5])
    """
    return np.mod(time + (period / 2 - t0), period) - period / 2


def binned(x: np.ndarray, y: np.ndarray, bins: int, width: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Take medians in half-open intervals ``[a, a + width)`` whose left ends run evenly from ``low`` to ``high - width``.

    Args:
        x: In ascending order, ``(n,)``.
        y: ``(n,)``.
        bins: Number of intervals, at least 2; they overlap if ``width`` is larger than the distance of their ends.
        width: Width of each.
        low: Left end of the first.
        high: Right end of the last.

    Returns:
        The medians (0 where an interval is empty) and the number of points in each, both ``(bins,)``.

    Example:
        >>> binned(np.arange(-6, 7.0), np.arange(1, 14.0), bins=5, width=2, low=-5, high=5)[0]
        array([ 2.5,  4.5,  6.5,  8.5, 10.5])
    """
    if bins < 2 or not 0 < width < high - low:
        raise InputError("bins", f"{bins} of width {width:g} in {low:g} to {high:g}", "at least 2, narrower than the range")
    return _binned(np.asarray(x, np.float64), np.asarray(y, np.float64), bins, float(width), float(low), float(high))


@njit(cache=True)
def _binned(x: np.ndarray, y: np.ndarray, bins: int, width: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    values, counts = np.zeros(bins), np.zeros(bins, np.int64)
    step = (high - low - width) / (bins - 1)
    start = stop = 0
    for i in range(bins):
        left = low + i * step
        while start < len(x) and x[start] < left:
            start += 1
        while stop < len(x) and x[stop] < left + width:
            stop += 1
        if stop > start:
            values[i] = _median(y[start:stop].copy())
            counts[i] = stop - start
    return values, counts


def view(phase: np.ndarray, flux: np.ndarray, bins: int, width: float, low: float, high: float) -> np.ndarray:
    """Bin a folded light curve and bring its median to 0 and its lowest bin to -1.

    Args:
        phase: Time from the nearest event in ascending order, ``(n,)``.
        flux: ``(n,)``.
        bins: See `binned`.
        width: See `binned`.
        low: See `binned`.
        high: See `binned`.

    Returns:
        float64 ``(bins,)``; zeros if the light curve is flat. Empty bins take the median of all points.
    """
    values, counts = binned(phase, flux, bins, width, low, high)
    values = np.where(counts > 0, values, np.median(flux))
    values -= np.median(values)
    depth = abs(values.min())
    return values / depth if depth > FLAT else np.zeros(bins)


def global_view(flat: Flat, ephemeris: Ephemeris, bins: int = 2001) -> np.ndarray:
    """View one whole period, the event in the middle, in bins that lie side by side."""
    phase, flux = _folded(flat, ephemeris)
    half = ephemeris.period / 2
    return view(phase, flux, bins, ephemeris.period / bins, -half, half)


def local_view(flat: Flat, ephemeris: Ephemeris, bins: int = 201) -> np.ndarray:
    """View the event and four durations on either side of it, in overlapping bins of 0.16 durations."""
    phase, flux = _folded(flat, ephemeris)
    half = min(ephemeris.period / 2, 4 * ephemeris.duration)
    return view(phase, flux, bins, 0.16 * ephemeris.duration, -half, half)


def _folded(flat: Flat, ephemeris: Ephemeris) -> tuple[np.ndarray, np.ndarray]:
    phase = fold(flat.time, ephemeris.period, ephemeris.t0)
    order = np.argsort(phase)
    return phase[order], flat.flux[order]


# ---------------------------------------------------------------------------------------------------------------------
# checks
# ---------------------------------------------------------------------------------------------------------------------


def check_curve(curve: LightCurve) -> None:
    """Refuse what is no light curve in flux over days.

    Raises:
        InputError: If there are too few points, or the flux has no level of its own.
    """
    time, flux = curve.time, curve.flux
    if len(time) < 100:
        raise InputError(curve.name, f"has {len(time)} usable points (finite time and flux)", "a light curve of at least 100")
    middle = float(np.median(flux))
    scatter = 1.4826 * float(np.median(np.abs(flux - middle)))
    if middle <= 0 or middle < 2 * scatter:
        said = f"its flux has no level to divide by (median {middle:.4g}, scatter {scatter:.3g})"
        raise InputError(curve.name, said, "flux in proportion to the star's light; add 1 to a relative flux")
    span = float(time[-1] - time[0])
    step = float(np.median(np.diff(time)))
    if step > 0.5 or not 0 < span < 50_000:
        said = f"its times are {step:.4g} apart and span {span:.4g}"
        raise InputError(curve.name, said, "times in days, taken at least twice a day")


def check_ephemeris(curve: LightCurve, ephemeris: Ephemeris) -> None:
    """Refuse an ephemeris that cannot belong to a light curve: wrong units, another zero of time.

    Raises:
        InputError: With the curve's name, what is wrong, and what would be right.
    """
    period, t0, duration = ephemeris.period, ephemeris.t0, ephemeris.duration
    first, last = float(curve.time.min()), float(curve.time.max())
    step = float(np.median(np.diff(curve.time)))
    hours = 24 * duration
    if not (math.isfinite(period) and period > 2 * step):
        raise InputError(curve.name, f"a period of {period:g} days", f"days, more than two cadences of {step:.3g}")
    if not (math.isfinite(duration) and duration > 0):
        raise InputError(curve.name, f"a duration of {hours:g} hours", "hours, more than 0")
    if duration >= period:
        said = f"the event lasts {hours:g} hours, as long as its period of {period:g} days or longer"
        raise InputError(curve.name, said, "the duration in hours and the period in days")
    if 2 * duration < step:
        said = f"the event lasts {hours:g} hours, less than half of the {24 * step:.3g} hours between two points"
        raise InputError(curve.name, said, f"the duration in hours, not in days ({24 * hours:g} hours?)")
    if not math.isfinite(t0) or not first <= t0 <= last:
        shifted = t0 - curve.reference
        wanted = f"the centre of an event between {first:.6g} and {last:.6g}, in the file's own time"
        if curve.reference and first <= shifted <= last:
            wanted += f": {shifted:.8g}, as the file counts from {curve.reference:.10g}"
        elif math.isfinite(t0) and abs(t0 - first) < 1e5 and period < last - first:
            wanted += f", such as {first + (t0 - first) % period:.8g}"
        raise InputError(curve.name, f"the epoch {t0:.10g} lies outside of the data", wanted)
