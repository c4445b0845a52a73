"""Simulated stars: Kepler-like light curves with planets, eclipsing binaries and noise that looks like an event.

No package ships enough light curves to train on. A star has white noise, spots that rotate, a slow drift in each quarter,
outliers and gaps; planets cross a limb-darkened disk; a binary's eclipses are diluted, V-shaped, followed by a secondary, or
of two depths when folded at half their period; the rest is no eclipse at all. The shares of the kinds are those of Kepler's
DR24 table.

The transit is integrated here, and not by batman, whose licence (GPL) this package's (MIT) cannot take over; the tests compare
the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from foveate.systems.structures.genesis.views import Ephemeris, LightCurve, fold

Kind = Literal["PC", "AFP", "NTP"]
SHARES: dict[Kind, float] = {"PC": 0.23, "AFP": 0.61, "NTP": 0.16}
CADENCE = 29.4 / 1440  # days between two points; the exposure is as long
QUARTER, PAUSE = 90.0, 3.0  # days
START = 131.5  # first time, as Kepler's
SUN = 4.2066  # distance over stellar radius of a planet with a period of one day around a star of the Sun's density


@dataclass(frozen=True)
class SimulatedEvent:
    """One event of a simulated star.

    Attributes:
        kind: ``PC`` (planet candidate), ``AFP`` (astrophysical false positive) or ``NTP`` (no eclipse).
        ephemeris: When it happens, as a search would report it.
    """

    kind: Kind
    ephemeris: Ephemeris


# ---------------------------------------------------------------------------------------------------------------------
# transits
# ---------------------------------------------------------------------------------------------------------------------


def blocked(z: np.ndarray, ratio: float, limb: tuple[float, float], nodes: int = 96) -> np.ndarray:
    """Return the share of a star's light that a dark disk in front of it takes away.

    The star's brightness falls from its centre as ``1 - u1 (1 - m) - u2 (1 - m)^2`` with m the cosine of the angle to the line
    of sight. The integral goes over rings of the star, each covered over an angle that is known; the nodes stand as the sines
    of equal angles do, so that the square roots at both ends cost nothing.

    Args:
        z: Distance of the centres in stellar radii, any shape.
        ratio: Radius of the disk over that of the star, 0 to 1.
        limb: u1 and u2.
        nodes: Rings.

    Example:
        >>> float(blocked(np.array(0.0), 0.1, (0.0, 0.0)).round(6))  # a uniform star: the ratio squared
        0.01
    """
    u1, u2 = limb
    z = np.abs(np.asarray(z, np.float64))[..., None]
    whole = np.pi * (1 - u1 / 3 - u2 / 6)
    # Rings closer to the centre than this are covered all around.
    inner = np.clip(ratio - z, 0, None)
    low, high = np.abs(z - ratio), np.minimum(z + ratio, 1.0)
    angle = (np.arange(nodes) + 0.5) * np.pi / nodes
    half = np.clip(high - low, 0, None) / 2
    r = low + half * (1 - np.cos(angle))
    m = np.sqrt(np.clip(1 - r * r, 0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (r * r + z * z - ratio * ratio) / (2 * r * z)
    covered = np.where(half > 0, np.arccos(np.clip(np.nan_to_num(cosine, nan=1.0), -1, 1)), 0.0)
    light = 1 - u1 * (1 - m) - u2 * (1 - m) ** 2
    ring = (light * 2 * r * covered * half * np.sin(angle)).sum(-1) * np.pi / nodes
    # The disk of radius ``inner`` in closed form.
    c = inner[..., 0]
    n = np.sqrt(1 - c * c)
    disk = np.pi * c * c * (1 - u1 - u2) + 2 * np.pi * ((u1 + 2 * u2) * (1 - n**3) / 3 - u2 * (1 - n**4) / 4)
    return (ring + disk) / whole


@dataclass(frozen=True)
class Orbit:
    """A circular orbit of a dark disk in front of a star.

    Attributes:
        period: Days.
        ratio: Radius of the disk over that of the star.
        impact: Smallest distance of the centres, in stellar radii.
        distance: Radius of the orbit in stellar radii.
        limb: The star's limb darkening, u1 and u2.
    """

    period: float
    ratio: float
    impact: float
    distance: float
    limb: tuple[float, float]

    @property
    def duration(self) -> float:
        """Days from first to last contact."""
        across = (1 + self.ratio) ** 2 - self.impact**2
        tilt = self.distance**2 - self.impact**2
        return self.period / math.pi * math.asin(min(1.0, math.sqrt(max(across, 0.0) / tilt))) if tilt > 0 else math.nan

    @cached_property
    def profile(self) -> tuple[np.ndarray, np.ndarray]:
        """Times from mid-transit in days, and the share of light that is lost then, averaged over an exposure."""
        # Half of the nodes lie where the disk crosses the star's edge.
        edge = 1 - self.ratio
        apart = np.concatenate([np.linspace(0, edge, 96, endpoint=False), np.linspace(edge, 1 + self.ratio, 97)])
        lost = blocked(apart, self.ratio, self.limb, nodes=48)
        time = np.linspace(0, self.duration / 2 + CADENCE, 257)
        turn = 2 * np.pi * (time[:, None] + (np.arange(15) - 7) * CADENCE / 15) / self.period
        z = self.distance * np.sqrt(np.sin(turn) ** 2 + (self.impact / self.distance * np.cos(turn)) ** 2)
        return time, np.interp(z, apart, lost).mean(1)

    def depth(self, phase: np.ndarray) -> np.ndarray:
        """Return the share of light that is lost at times from mid-transit: days ``(n,)``, in [-period / 2, period / 2)."""
        time, lost = self.profile
        away = np.abs(phase)
        near = away < time[-1]
        loss = np.zeros(len(phase))
        loss[near] = np.interp(away[near], time, lost)
        return loss

    def snr(self, points: int, noise: float) -> float:
        """Return the depth over the white noise, times the root of the number of points in transit.

        Args:
            points: Points in the light curve.
            noise: Standard deviation of one.
        """
        return float(self.profile[1][0]) / noise * math.sqrt(points * self.duration / self.period)


# ---------------------------------------------------------------------------------------------------------------------
# stars and their events
# ---------------------------------------------------------------------------------------------------------------------


def plan(events: int, seed: int) -> list[tuple[int, Kind]]:
    """Decide how many events of which kind there are, and which share a star.

    Returns:
        (star, kind) of each event, in an order without meaning. The kinds have Kepler's shares, rounded; a third of the planets
        have a sister, so that splits by event and by star differ.
    """
    rng = np.random.default_rng((seed, 0))
    planets = round(SHARES["PC"] * events)
    others = round(SHARES["NTP"] * events)
    kinds: list[Kind] = ["PC"] * planets + ["NTP"] * others + ["AFP"] * (events - planets - others)
    star, found = 0, []
    for i, kind in enumerate(kinds):
        found.append((star, kind))
        sister = kind == "PC" and i + 1 < planets and i % 6 == 0
        star += not sister
    return [found[i] for i in rng.permutation(events)]


def simulate(star: int, kinds: Sequence[Kind], seed: int, quarters: int = 4) -> tuple[LightCurve, list[SimulatedEvent]]:
    """Simulate a star's light curve with its events.

    Args:
        star: Number of the star; it and the seed decide all that is drawn.
        kinds: What its events are.
        seed: Seed of the set of stars.
        quarters: Quarters of 90 days, each with a gap of 3 days.

    Returns:
        The light curve, time in days of Kepler's count, and the events in the order of ``kinds``.
    """
    rng = np.random.default_rng((seed, 1, star))
    pieces = [_times(q, rng) for q in range(quarters)]
    time = np.concatenate(pieces)
    noise = 10 ** rng.uniform(math.log10(30e-6), math.log10(600e-6))
    density = 10 ** rng.uniform(math.log10(0.3), math.log10(3))
    limb = (float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.05, 0.35)))
    light, events = np.ones(len(time)), []
    for kind in kinds:
        if kind == "PC":
            loss, event = _planet(time, noise, density, limb, rng)
        elif kind == "AFP":
            loss, event = _binary(time, noise, density, limb, rng)
        else:
            loss, event = _nothing(time, pieces, noise, rng)
        light *= 1 - loss
        events.append(event)
    light *= _star(time, pieces, rng)
    light += noise * rng.standard_normal(len(time))
    strays = rng.random(len(time)) < 0.001
    light[strays] += noise * rng.normal(0, 8, strays.sum())
    light *= 10 ** rng.uniform(3, 5)  # electrons per second
    bounds = np.cumsum([len(piece) for piece in pieces])[:-1]
    curve = LightCurve(tuple(zip(pieces, np.split(light, bounds), strict=True)), f"star {star}", 2454833.0)
    return curve, events


def _times(quarter: int, rng: np.random.Generator) -> np.ndarray:
    """List when a quarter's points were taken: all but a pause in its midst and some that were lost."""
    time = START + QUARTER * quarter + np.arange(0, QUARTER - 1, CADENCE)
    pause = START + QUARTER * quarter + rng.uniform(25, 60)
    kept = ((time < pause) | (time > pause + PAUSE)) & (rng.random(len(time)) > 0.01)
    return time[kept]


def _star(time: np.ndarray, pieces: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw the star's own changes: spots that rotate and change, and the telescope's drift in each quarter."""
    period, size = 10 ** rng.uniform(math.log10(3), math.log10(30)), rng.uniform(0, 2000e-6)
    angle = 2 * np.pi * (time / period + rng.random())
    grown = 1 + 0.3 * np.sin(2 * np.pi * (time / rng.uniform(60, 200) + rng.random()))
    light = 1 + size * grown * (np.sin(angle) + rng.uniform(0, 0.5) * np.sin(2 * angle + rng.uniform(0, 2 * np.pi)))
    drift = []
    for piece in pieces:
        x = (piece - piece[0]) / QUARTER
        bend, slope, level = rng.normal(0, 1, 3) * (2e-3, 2e-3, 5e-3)
        drift.append(1 + level + slope * x + bend * x * x + 5e-4 * rng.normal() * np.exp(-x * QUARTER / 2))
    return light * np.concatenate(drift)


def _reported(time: np.ndarray, period: float, t0: float, duration: float, rng: np.random.Generator) -> Ephemeris:
    """Report an ephemeris as a search would, a little off."""
    first = time[0] + (t0 - time[0]) % period
    centre = first + rng.normal(0, 0.03) * duration
    return Ephemeris(period, float(np.clip(centre, time[0], time[-1])), duration * float(np.exp(rng.normal(0, 0.1))))


def _planet(
    time: np.ndarray, noise: float, density: float, limb: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, SimulatedEvent]:
    """Draw a planet whose transits a search would find: signal-to-noise ratio 10 to 200."""
    while True:
        period = 10 ** rng.uniform(math.log10(0.5), math.log10(20))
        ratio, impact = 10 ** rng.uniform(-2, math.log10(0.12)), rng.uniform(0, 0.9)
        orbit = Orbit(period, ratio, impact, SUN * (density * period**2) ** (1 / 3), limb)
        if orbit.distance < 1.5 or not 0.04 < orbit.duration < 0.3 * period:
            continue
        if 10 <= orbit.snr(len(time), noise) <= 200:
            t0 = time[0] + rng.random() * period
            return orbit.depth(fold(time, period, t0)), SimulatedEvent("PC", _reported(time, period, t0, orbit.duration, rng))


def _binary(
    time: np.ndarray, noise: float, density: float, limb: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, SimulatedEvent]:
    """Draw an eclipsing binary, perhaps in the background: signal-to-noise ratio 20 to 1,000.

    Half of them show a secondary eclipse at phase 0.5; of the others half were found at half their period, so that eclipses of
    two depths fall on each other, and half tell by their shape alone.
    """
    look = rng.choice(["secondary", "secondary", "half period", "shape"])
    while True:
        period = 10 ** rng.uniform(math.log10(0.5), math.log10(20)) * (2 if look == "half period" else 1)
        ratio = rng.uniform(0.1, 0.9)
        impact = rng.uniform(0, 0.95 * (1 + ratio))
        orbit = Orbit(period, ratio, impact, SUN * (density * (1 + ratio**3) * period**2) ** (1 / 3), limb)
        found = period / 2 if look == "half period" else period
        if orbit.distance < 1.05 * (1 + ratio) or not 0.04 < orbit.duration < 0.3 * found:
            continue
        diluted = 10 ** rng.uniform(-2, 0)
        if not 20 <= diluted * orbit.snr(len(time), noise) <= 1000:
            continue
        t0 = time[0] + rng.random() * period
        loss = orbit.depth(fold(time, period, t0))
        if look != "shape":
            loss = loss + rng.uniform(0.05, 0.8) * orbit.depth(fold(time, period, t0 + period / 2))
        return loss * diluted, SimulatedEvent("AFP", _reported(time, found, t0, orbit.duration, rng))


def _nothing(
    time: np.ndarray, pieces: Sequence[np.ndarray], noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, SimulatedEvent]:
    """Draw what a search may take for an event: a wave at its period, a step after a gap, outliers that happen to line up."""
    look = rng.choice(["wave", "step", "outliers"])
    if look == "wave":
        period = 10 ** rng.uniform(math.log10(0.5), math.log10(3))
        t0 = time[0] + rng.random() * period
        loss = noise * rng.uniform(0.3, 3) * np.cos(2 * np.pi * (time - t0) / period)
        return loss, SimulatedEvent("NTP", _reported(time, period, t0, rng.uniform(0.1, 0.28) * period, rng))
    period, duration = 10 ** rng.uniform(0.3, math.log10(20)), rng.uniform(0.1, 0.5)
    starts = np.array([piece[0] for piece in pieces] + [t for p in pieces for t in p[1:][np.diff(p) > 1]])
    loss = np.zeros(len(time))
    if look == "step":
        t0 = float(rng.choice(starts)) + duration / 2
        since = time - t0 + duration / 2
        inside = (since >= 0) & (since < 4 * duration)
        loss[inside] = noise * rng.uniform(3, 30) * np.exp(-since[inside] / duration)
    else:
        t0 = float(rng.choice(time))
        turns = np.arange(math.ceil((time[0] - t0) / period), math.floor((time[-1] - t0) / period) + 1)
        for turn in rng.choice(turns, min(len(turns), int(rng.integers(1, 4))), replace=False):
            inside = np.abs(time - t0 - turn * period) < duration / 2
            loss[inside] += noise * rng.uniform(2, 15) * rng.random(inside.sum())
    return loss, SimulatedEvent("NTP", _reported(time, period, t0, duration, rng))
