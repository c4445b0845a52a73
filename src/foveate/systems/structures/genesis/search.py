"""A search for periodic dips by box least squares (Kovacs, Zucker and Mazeh 2002), where no ephemeris is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.systems.structures.genesis.views import Ephemeris, Flat

DURATIONS = (0.06, 0.1, 0.16, 0.25, 0.4)  # days that the box may last
SHORTEST = 0.5  # days of period
MAX_POINTS = 20_000  # more are averaged in time before the search
CHUNK = 2_000  # periods between two moves of the bar


@dataclass(frozen=True)
class Found:
    """The best box of a search.

    Attributes:
        ephemeris: When the dips happen.
        depth: Their depth, as a share of the star's light.
        snr: Depth over its uncertainty, were the noise white.
    """

    ephemeris: Ephemeris
    depth: float
    snr: float


def search(flat: Flat, name: str = "", shortest: float = SHORTEST, longest: float = 0.0) -> Found:
    """Look for the most significant periodic dip.

    The periods lie so close that an event drifts by no more than half its duration over the whole light curve; the
    neighbourhood of the best is then searched more finely.

    Args:
        flat: The light curve without the star's own changes.
        name: What to call it in errors.
        shortest: Shortest period in days.
        longest: Longest; by default a half of the light curve's span and at most 60 days.

    Raises:
        InputError: If the light curve is too short to hold two events.
    """
    from astropy.timeseries import BoxLeastSquares

    time, flux = _averaged(flat.time, flat.flux)
    span = float(time[-1] - time[0]) if len(time) else 0.0
    longest = longest or min(span / 2, 60.0)
    if not SHORTEST <= shortest < longest or longest > span:
        said = f"spans {span:.3g} days: no periods from {shortest:g} to {longest:.3g} days can be searched"
        raise InputError(name, said, "a longer light curve, or --period, --epoch and --duration")
    durations = [d for d in DURATIONS if d < shortest]
    # A frequency step f moves an event by span * f * period over the light curve.
    count = int(2 * span / durations[0] * np.log(longest / shortest)) + 2
    periods = np.geomspace(shortest, longest, count)
    white = 1.4826 * float(np.median(np.abs(flux - np.median(flux)))) or 1.0
    model = BoxLeastSquares(time, flux, white)
    best = (-np.inf, 0.0, 0.0, 0.0)
    with bar("searching for a period") as tick:
        tick(0, count)
        for low in range(0, count, CHUNK):
            best = max(best, _strongest(model, periods[low : low + CHUNK], durations))
            tick(min(CHUNK, count - low))
    step = periods[1] / periods[0] - 1
    fine = best[1] * (1 + np.linspace(-2, 2, 161) * step)
    _, period, t0, duration = max(best, _strongest(model, fine[fine > max(durations)], durations))
    stats = model.compute_stats(period, duration, t0)
    depth, error = (float(v) for v in stats["depth"])
    first = float(flat.time[0])
    centre = first + (t0 - first) % period
    return Found(Ephemeris(period, centre, duration), depth, depth / error if error > 0 else 0.0)


def _strongest(model: object, periods: np.ndarray, durations: list[float]) -> tuple[float, float, float, float]:
    """Return the signal-to-noise ratio, period, epoch and duration of the best box."""
    if not len(periods):
        return (-np.inf, 0.0, 0.0, 0.0)
    found = model.power(periods, durations, objective="snr")  # type: ignore[attr-defined]
    # A box that brightens the star is none.
    power = np.where(np.isfinite(found.power) & (found.depth > 0), found.power, -np.inf)
    i = int(np.argmax(power))
    return float(power[i]), float(found.period[i]), float(found.transit_time[i]), float(found.duration[i])


def _averaged(time: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours, where there are more points than the search needs, but not over more than 15 minutes."""
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    group = min(-(-len(time) // MAX_POINTS), max(int(0.0104 / step), 1))
    if group == 1:
        return time, flux
    whole = len(time) // group * group
    together = time[:whole].reshape(-1, group)
    close = np.ptp(together, axis=1) < 2 * group * step  # none over a gap
    return together.mean(1)[close], flux[:whole].reshape(-1, group).mean(1)[close]
