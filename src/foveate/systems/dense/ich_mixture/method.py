"""The mixture: healthy tissue that is anywhere in the cavity, haemorrhages that are compact and bright, and noise; and its EM.

Of a voxel at p (mm) with h (HU) the density is ``sum_j pi_j / |V| N(h; mu_j, s_j^2) + sum_k rho_k N3(p; m_k, S_k) N(h; nu_k,
t_k^2) + eps / (|V| R_h)``. What does not depend on the position is computed once for each intensity bin and not for each voxel,
and each Gaussian in space only within its own box, so that an iteration costs little more than the haemorrhages' voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numba
import numpy as np

from foveate.systems.dense.ich_mixture.cavity import BINS, HIGH, LEVELS, LOW, Points

HealthyForm = Literal["uniform_position", "gaussian_position"]

TISSUES = ("fluid", "white", "grey")
START = {"weights": (0.10, 0.44, 0.45), "means": (8.0, 28.0, 36.0), "deviations": (5.0, 5.0, 5.0)}  # HU
NOISE = 0.01  # share of the noise component at first
BLOOD, BLOOD_SD = 65.0, 12.0  # HU: what a haemorrhage's mean is expected to be
MOST_BLOOD = 100.0  # HU
VARIANCES = (4.0, 144.0)  # HU^2
LEAST_AXIS = 1.5  # mm: smallest standard deviation of a haemorrhage along any direction
BOX = 4.5  # standard deviations; the box leaves out 2.1e-5 of a Gaussian at most
_TINY = 1e-300


@dataclass(frozen=True)
class Mixture:
    """A mixture's parameters: healthy components first, then haemorrhages, and the noise's weight.

    Attributes:
        weight: ``(C,)``.
        mean: ``(C,)`` in HU.
        variance: ``(C,)`` in HU^2.
        centre: ``(C, 3)`` in mm; of no meaning where not `spatial`.
        scatter: ``(C, 3, 3)`` in mm^2, covariances of the position.
        spatial: bool ``(C,)``: whether a component is a Gaussian in space, too.
        healthy: How many components are healthy tissue.
        noise: Weight of the uniform component; 0 if there is none.
        floor: Least mean of a haemorrhage in HU.
        volume: Of the cavity |V|, in mm^3.
    """

    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    centre: np.ndarray
    scatter: np.ndarray
    spatial: np.ndarray
    healthy: int
    noise: float
    floor: float
    volume: float

    @property
    def clusters(self) -> int:
        """Number of haemorrhage components K."""
        return len(self.weight) - self.healthy

    @property
    def healthy_limit(self) -> float:
        """Mean of grey matter plus two standard deviations, in HU."""
        return float(self.mean[self.healthy - 1] + 2 * math.sqrt(self.variance[self.healthy - 1]))

    def without(self, cluster: int) -> Mixture:
        """Drop a haemorrhage; the others share its weight in proportion."""
        kept = np.arange(len(self.weight)) != self.healthy + cluster
        rest = 1 - float(self.weight[self.healthy + cluster])
        chosen = {name: getattr(self, name)[kept] for name in ("weight", "mean", "variance", "centre", "scatter", "spatial")}
        return replace(self, **{**chosen, "weight": chosen["weight"] / rest}, noise=self.noise / rest)

    def with_cluster(
        self, weight: float, mean: float, variance: float, centre: np.ndarray, scatter: np.ndarray, spatial: bool = True
    ) -> Mixture:
        """Add a haemorrhage, whose weight is taken from the others in proportion."""
        rest = 1 - weight
        return replace(
            self,
            weight=np.append(self.weight * rest, weight),
            mean=np.append(self.mean, mean),
            variance=np.append(self.variance, variance),
            centre=np.concatenate([self.centre, np.reshape(centre, (1, 3))]),
            scatter=np.concatenate([self.scatter, np.reshape(scatter, (1, 3, 3))]),
            spatial=np.append(self.spatial, spatial),
            noise=self.noise * rest,
        )

    def log_prior(self) -> float:
        """Return the sum of the logarithms of the prior density of the haemorrhages' means."""
        away = (self.mean[self.healthy :] - BLOOD) / BLOOD_SD
        return float(-0.5 * (away**2).sum() - len(away) * math.log(BLOOD_SD * math.sqrt(2 * math.pi)))

    def record(self) -> dict[str, Any]:
        """Return the parameters as plain values; `from_record` reads them back exactly."""
        arrays = ("weight", "mean", "variance", "centre", "scatter", "spatial")
        return {
            **{name: getattr(self, name).tolist() for name in arrays},
            **{name: getattr(self, name) for name in ("healthy", "noise", "floor", "volume")},
        }

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Mixture:
        """Build a mixture of what `record` gave."""
        count = len(values["weight"])
        shapes = {"weight": (-1,), "mean": (-1,), "variance": (-1,), "centre": (count, 3), "scatter": (count, 3, 3)}
        arrays = {name: np.array(values[name], np.float64).reshape(shape) for name, shape in shapes.items()}
        plain = {name: values[name] for name in ("healthy", "noise", "floor", "volume")}
        return cls(**arrays, spatial=np.array(values["spatial"], bool), **plain)


def healthy_mixture(
    points: Points, form: HealthyForm = "uniform_position", noise: bool = True, start: Mapping[str, Any] = START
) -> Mixture:
    """Return the mixture that EM starts from: healthy tissue and noise.

    Args:
        points: What it will be fitted to.
        form: Whether tissue is anywhere in the cavity (the paper's idea), or a Gaussian in space as haemorrhages are.
        noise: Whether there is a uniform component for what is neither.
        start: Weights, means and standard deviations of fluid, white and grey matter.
    """
    count = len(TISSUES)
    weight = np.array(start["weights"], float)
    spread = np.cov(points.position.T) if form == "gaussian_position" else np.eye(3)
    return Mixture(
        weight=weight / weight.sum() * (1 - NOISE * noise),
        mean=np.array(start["means"], float),
        variance=np.array(start["deviations"], float) ** 2,
        centre=np.tile(points.position.mean(axis=0), (count, 1)),
        scatter=np.tile(spread, (count, 1, 1)),
        spatial=np.full(count, form == "gaussian_position"),
        healthy=count,
        noise=NOISE * noise,
        floor=0.0,
        volume=points.volume * len(points),
    )


# ---------------------------------------------------------------------------------------------------------------------
# expectation
# ---------------------------------------------------------------------------------------------------------------------


def intensity_tables(mixture: Mixture) -> np.ndarray:
    """Return weight times N(h; mean, variance) of each component at each intensity bin: float64 ``(C, BINS)``."""
    spread = mixture.variance[:, None]
    density = np.exp(-0.5 * (LEVELS - mixture.mean[:, None]) ** 2 / spread) / np.sqrt(2 * math.pi * spread)
    return mixture.weight[:, None] * density


def _free_density(mixture: Mixture, tables: np.ndarray) -> np.ndarray:
    """Return |V| times the density of what does not depend on the position, at each intensity bin."""
    flat = mixture.noise / (HIGH - LOW)
    return np.maximum(tables[~mixture.spatial].sum(axis=0) + flat, _TINY)


def _geometry(mixture: Mixture, box: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precisions, |V| over the Gaussians' normalisers, and half side lengths of the boxes, of what is spatial."""
    scatter = mixture.scatter[mixture.spatial]
    scale = mixture.volume / np.sqrt((2 * math.pi) ** 3 * np.linalg.det(scatter))
    half = box * np.sqrt(np.diagonal(scatter, axis1=1, axis2=2)) if box else np.full((len(scatter), 3), np.inf)
    return np.linalg.inv(scatter), scale, half


@numba.njit(cache=True, nogil=True)
def _densities(position, level, tables, centre, precision, scale, half, total):  # noqa: ANN001, ANN202
    """Add up the spatial components' densities in ``total``; keep each one's, with the points that it reaches."""
    count = len(centre)
    first = np.empty(count + 1, np.int64)
    first[0] = 0
    slabs = np.empty((count, 2), np.int64)
    x = position[:, 0]
    for c in range(count):
        slabs[c, 0] = np.searchsorted(x, centre[c, 0] - half[c, 0])
        slabs[c, 1] = np.searchsorted(x, centre[c, 0] + half[c, 0], side="right")
        first[c + 1] = first[c] + slabs[c, 1] - slabs[c, 0]
    index = np.empty(first[count], np.int32)
    value = np.empty(first[count], np.float64)
    used = np.empty(count, np.int64)
    for c in range(count):
        at = first[c]
        p = precision[c]
        for i in range(slabs[c, 0], slabs[c, 1]):
            dy = position[i, 1] - centre[c, 1]
            dz = position[i, 2] - centre[c, 2]
            if abs(dy) <= half[c, 1] and abs(dz) <= half[c, 2]:
                dx = position[i, 0] - centre[c, 0]
                q = (
                    p[0, 0] * dx * dx + p[1, 1] * dy * dy + p[2, 2] * dz * dz
                    + 2.0 * (p[0, 1] * dx * dy + p[0, 2] * dx * dz + p[1, 2] * dy * dz)
                )  # fmt: skip
                density = scale[c] * tables[c, level[i]] * math.exp(-0.5 * q)
                total[i] += density
                index[at] = i
                value[at] = density
                at += 1
        used[c] = at
    return first, used, index, value


@numba.njit(cache=True, nogil=True)
def _expect(position, level, free, tables, centre, precision, scale, half):  # noqa: ANN001, ANN202
    """E step over all that spatial components reach.

    Returns:
        The logarithms' sum and, for each bin, the number and the sum of 1/density of the points that are reached; of each
        spatial component the sum of its responsibilities in each bin, and their first and second moments about its centre.
    """
    count, bins = tables.shape
    total = np.zeros(len(level))
    first, used, index, value = _densities(position, level, tables, centre, precision, scale, half, total)
    logarithms = 0.0
    reached = np.zeros(bins)
    inverse = np.zeros(bins)
    for i in range(len(level)):
        if total[i] > 0.0:
            b = level[i]
            density = free[b] + total[i]
            logarithms += math.log(density)
            total[i] = 1.0 / density
            reached[b] += 1.0
            inverse[b] += total[i]
    in_bin = np.zeros((count, bins))
    moments = np.zeros((count, 3))
    seconds = np.zeros((count, 3, 3))
    for c in range(count):
        for at in range(first[c], used[c]):
            i = index[at]
            r = value[at] * total[i]
            if r > 0.0:
                in_bin[c, level[i]] += r
                for a in range(3):
                    d = r * (position[i, a] - centre[c, a])
                    moments[c, a] += d
                    for b in range(a, 3):
                        seconds[c, a, b] += d * (position[i, b] - centre[c, b])
        for a in range(3):
            for b in range(a):
                seconds[c, a, b] = seconds[c, b, a]
    return logarithms, reached, inverse, in_bin, moments, seconds


# ---------------------------------------------------------------------------------------------------------------------
# maximisation
# ---------------------------------------------------------------------------------------------------------------------


def iterate(points: Points, mixture: Mixture, box: float = BOX, counts: np.ndarray | None = None) -> tuple[Mixture, float]:
    """Do one iteration of EM.

    Args:
        points: The voxels.
        mixture: The parameters.
        box: Half side of a Gaussian's box in standard deviations; 0 for none.
        counts: Number of points in each bin, if it is known.

    Returns:
        The next parameters, and the log-likelihood of the given ones (with |V| in mm^3).

    Note:
        Every update maximises over a fixed set, so that the log-likelihood plus `Mixture.log_prior` cannot fall (without
        boxes): eigenvalues of a covariance are raised to the smallest allowed, not added to, and the floor stays.
    """
    if counts is None:
        counts = np.bincount(points.level, minlength=BINS).astype(float)
    tables = intensity_tables(mixture)
    free = _free_density(mixture, tables)
    spatial = mixture.spatial
    precision, scale, half = _geometry(mixture, box)
    logarithms, reached, inverse, in_bin, moments, seconds = _expect(
        points.position, points.level, free, tables[spatial], mixture.centre[spatial], precision, scale, half
    )
    alone = counts - reached
    likelihood = logarithms + float(alone @ np.log(free)) - len(points) * math.log(mixture.volume)
    inverse += alone / free
    shares = np.empty_like(tables)
    shares[~spatial] = tables[~spatial] * inverse
    shares[spatial] = in_bin
    flat = mixture.noise / (HIGH - LOW)
    fitted = _maximise(mixture, shares, flat * float(inverse.sum()), len(points))
    return _place(fitted, shares.sum(axis=1), moments, seconds), likelihood


def _maximise(mixture: Mixture, shares: np.ndarray, noise: float, count: int) -> Mixture:
    """Update weights and intensities from each component's responsibility for each bin ``(C, BINS)``."""
    sums = shares.sum(axis=1)
    held = np.maximum(sums, 1e-12)
    mean = shares @ LEVELS / held
    blood = slice(mixture.healthy, None)
    trust = held[blood] / mixture.variance[blood]
    prior = 1 / BLOOD_SD**2
    mean[blood] = np.clip((trust * mean[blood] + prior * BLOOD) / (trust + prior), mixture.floor, MOST_BLOOD)
    variance = np.clip((shares * (LEVELS - mean[:, None]) ** 2).sum(axis=1) / held, *VARIANCES)
    # A component that has lost all its voxels stays where it was.
    lost = sums < 1e-9
    mean, variance = np.where(lost, mixture.mean, mean), np.where(lost, mixture.variance, variance)
    return replace(mixture, weight=sums / count, mean=mean, variance=variance, noise=noise / count)


def _place(mixture: Mixture, sums: np.ndarray, moments: np.ndarray, seconds: np.ndarray) -> Mixture:
    """Update the positions, and put fluid, white and grey matter into their order."""
    centre, scatter = mixture.centre.copy(), mixture.scatter.copy()
    for row, c in enumerate(np.flatnonzero(mixture.spatial)):
        if sums[c] < 1e-9:
            continue
        shift = moments[row] / sums[c]
        centre[c] += shift
        found = seconds[row] / sums[c] - np.outer(shift, shift)
        values, vectors = np.linalg.eigh(found)
        scatter[c] = (vectors * np.maximum(values, LEAST_AXIS**2)) @ vectors.T
    order = np.concatenate([np.argsort(mixture.mean[: mixture.healthy], kind="stable"), np.arange(mixture.healthy, len(sums))])
    return replace(
        mixture, weight=mixture.weight[order], mean=mixture.mean[order], variance=mixture.variance[order],
        centre=centre[order], scatter=scatter[order],
    )  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """What EM gave.

    Attributes:
        mixture: The parameters.
        likelihood: Their log-likelihood.
        iterations: How many it took.
    """

    mixture: Mixture
    likelihood: float
    iterations: int


def fit(points: Points, mixture: Mixture, box: float = BOX, most: int = 100, tolerance: float = 1e-6) -> Fit:
    """Run EM until the mean log-likelihood gains less than a share of itself.

    Args:
        points: The voxels.
        mixture: Where to start.
        box: Half side of a Gaussian's box in standard deviations; 0 for none.
        most: Most iterations.
        tolerance: The relative gain to stop at.
    """
    counts = np.bincount(points.level, minlength=BINS).astype(float)
    before = -math.inf
    for iteration in range(most + 1):
        following, likelihood = iterate(points, mixture, box, counts)
        # The gain of the log-likelihood alone may be negative, when the prior's is larger.
        if iteration == most or abs(likelihood - before) < tolerance * abs(likelihood):
            return Fit(mixture, likelihood, iteration)
        mixture, before = following, likelihood
    raise AssertionError("the loop returns")


# ---------------------------------------------------------------------------------------------------------------------
# posterior
# ---------------------------------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def _posterior(position, level, free, tables, centre, precision, scale, half, healthy):  # noqa: ANN001, ANN202
    """Return each point's posterior of all haemorrhages, and its largest haemorrhage's number, 1 up, or 0."""
    total = np.zeros(len(level))
    first, used, index, value = _densities(position, level, tables, centre, precision, scale, half, total)
    blood = np.zeros(len(level))
    largest = np.zeros(len(level))
    which = np.zeros(len(level), np.uint16)
    for c in range(healthy, len(centre)):
        for at in range(first[c], used[c]):
            i = index[at]
            blood[i] += value[at]
            if value[at] > largest[i]:
                largest[i] = value[at]
                which[i] = c - healthy + 1
    for i in range(len(level)):
        blood[i] /= free[level[i]] + total[i]
    return blood, which


def posterior(position: np.ndarray, level: np.ndarray, mixture: Mixture, box: float = BOX) -> tuple[np.ndarray, np.ndarray]:
    """Tell for points how likely each belongs to a haemorrhage, and to which.

    Args:
        position: float64 ``(N, 3)`` in mm, sorted by the first coordinate.
        level: int16 ``(N,)``: index into `LEVELS`.
        mixture: The parameters.
        box: Half side of a Gaussian's box in standard deviations; 0 for none.

    Returns:
        float64 ``(N,)`` in [0, 1], and uint16 ``(N,)``: the number of the likeliest haemorrhage, from 1 up, or 0 where
        none reaches.
    """
    tables = intensity_tables(mixture)
    free = _free_density(mixture, tables)
    spatial = mixture.spatial
    if mixture.clusters and not spatial[mixture.healthy]:  # an intensity-only mixture is a table
        blood = tables[mixture.healthy :]
        whole = free if not spatial.any() else _whole(position, level, mixture, tables, free, box)
        share = blood.sum(axis=0)[level] / (whole if spatial.any() else whole[level])
        return share, (1 + blood.argmax(axis=0)).astype(np.uint16)[level]
    precision, scale, half = _geometry(mixture, box)
    skipped = int(spatial[: mixture.healthy].sum())
    return _posterior(position, level, free, tables[spatial], mixture.centre[spatial], precision, scale, half, skipped)


def _whole(
    position: np.ndarray, level: np.ndarray, mixture: Mixture, tables: np.ndarray, free: np.ndarray, box: float
) -> np.ndarray:
    """Return the density of each point, spatial components included."""
    total = np.zeros(len(level))
    precision, scale, half = _geometry(mixture, box)
    chosen = mixture.spatial
    _densities(position, level, tables[chosen], mixture.centre[chosen], precision, scale, half, total)
    return free[level] + total
