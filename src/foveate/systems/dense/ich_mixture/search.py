"""How many haemorrhages there are: clusters are added where the healthy mixture explains least, as long as that pays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foveate.systems.dense.ich_mixture.cavity import LEVELS, Points
from foveate.systems.dense.ich_mixture.method import (
    BLOOD,
    BLOOD_SD,
    BOX,
    START,
    Fit,
    HealthyForm,
    Mixture,
    fit,
    healthy_mixture,
    posterior,
)

SEED_SD, SEED_SPREAD, SEED_WEIGHT = 6.0, 8.0, 0.005  # mm, HU, and the share of a new cluster
ALIKE = 0.3  # Bhattacharyya distance below which two clusters may be one


@dataclass(frozen=True)
class Settings:
    """How a mixture is fitted; the defaults are the method, the others its ablations.

    Attributes:
        healthy_form: Whether healthy tissue is anywhere in the cavity, or each tissue a Gaussian in space.
        spatial: Whether haemorrhages are Gaussians in space, too; if not, the mixture is one of intensities.
        noise_component: Whether there is a uniform component.
        clusters: How many haemorrhages; 0 to let the data tell.
        most: Most haemorrhages, if the data tell.
        patience: Failures in a row after which the search ends.
        least_ml: Least volume of a haemorrhage in millilitres.
        purity: Least mean posterior in a haemorrhage.
        apart: Millimetres around a failed seed in which no other is tried.
        box: Half side of a Gaussian's box in standard deviations; 0 for none.
    """

    healthy_form: HealthyForm = "uniform_position"
    spatial: bool = True
    noise_component: bool = True
    clusters: int = 0
    most: int = 12
    patience: int = 3
    least_ml: float = 0.5
    purity: float = 0.6
    apart: float = 12.0
    box: float = BOX


DEFAULT = Settings()


@dataclass(frozen=True)
class Found:
    """What the search gave.

    Attributes:
        fit: The mixture and its log-likelihood.
        healthy: Fit of healthy tissue alone.
        trace: What was tried, in order, and why it was kept or not.
        iterations: Iterations of EM in all.
    """

    fit: Fit
    healthy: Fit
    trace: list[dict[str, Any]] = field(default_factory=list)
    iterations: int = 0


def search(points: Points, settings: Settings = DEFAULT, start: Mapping[str, Any] = START) -> Found:
    """Fit a mixture with as many haemorrhages as the data bear.

    Args:
        points: The voxels.
        settings: The switches.
        start: Weights, means and standard deviations of healthy tissue to start from.
    """
    healthy = fit(points, healthy_mixture(points, settings.healthy_form, settings.noise_component, start), settings.box)
    # The floor is taken once: if it moved with the fit, the likelihood could fall.
    now = Fit(replace(healthy.mixture, floor=healthy.mixture.healthy_limit), healthy.likelihood, healthy.iterations)
    surprise = _surprise(now.mixture)[points.level]
    barred = np.zeros(len(points), bool)
    trace: list[dict[str, Any]] = []
    spent = healthy.iterations
    failures = 0
    wanted = settings.clusters or settings.most
    while now.mixture.clusters < wanted and (settings.clusters or failures < settings.patience):
        owned = posterior(points.position, points.level, now.mixture, settings.box)[0]
        open_ = (owned < 0.5) & ~barred
        if not open_.any():
            break
        # What a cluster explains is not smoothed over to its neighbours, which would be tried in vain.
        rest = points.smoothed(surprise * (1 - owned), 3.0)
        seed = int(np.argmax(np.where(open_, rest, -1)))
        tried = fit(points, _seeded(points, now.mixture, seed, settings.spatial), settings.box)
        spent += tried.iterations
        verdict = _judge(points, now, tried, settings)
        accepted = bool(settings.clusters) or not verdict["why"]
        place = [round(float(v), 2) for v in points.position[seed]]
        trace.append({"step": "add", "seed_mm": place, "accepted": accepted, "iterations": tried.iterations, **verdict})
        if accepted:
            now, failures = tried, 0
        else:
            failures += 1
        if not accepted or settings.clusters:
            away = ((points.position - points.position[seed]) ** 2).sum(axis=1)
            barred |= away < settings.apart**2
    if not settings.clusters:
        now, more = _tidied(points, now, settings, trace)
        spent += more
    return Found(now, healthy, trace, spent)


def _surprise(mixture: Mixture) -> np.ndarray:
    """Return the log-ratio of blood's expected intensities to healthy tissue's at each bin, clipped to [0, 20]."""
    share, mean, variance = (getattr(mixture, n)[: mixture.healthy, None] for n in ("weight", "mean", "variance"))
    logs = np.log(share / share.sum()) - 0.5 * (LEVELS - mean) ** 2 / variance - 0.5 * np.log(2 * math.pi * variance)
    blood = -0.5 * ((LEVELS - BLOOD) / BLOOD_SD) ** 2 - math.log(BLOOD_SD * math.sqrt(2 * math.pi))
    return np.clip(blood - np.logaddexp.reduce(logs, axis=0), 0, 20)


def _seeded(points: Points, mixture: Mixture, seed: int, spatial: bool) -> Mixture:
    """Add a cluster at a point: of 6 mm, with the mean of what is bright around it."""
    centre = points.position[seed]
    near = np.exp(-((points.position - centre) ** 2).sum(axis=1) / (2 * SEED_SD**2))
    near *= points.intensity > mixture.floor
    mean = float(near @ points.intensity / near.sum()) if near.sum() > 1e-6 else BLOOD
    return mixture.with_cluster(SEED_WEIGHT, mean, SEED_SPREAD**2, centre, SEED_SD**2 * np.eye(3), spatial)


def gain(points: Points, without: Fit, with_: Fit, parameters: int) -> float:
    """Return by how much a model with more parameters lowers the BIC; positive if it is worth them.

    Both terms count independent points, not voxels: neighbouring voxels say much the same.
    """
    worth = points.effective
    return 2 * (with_.likelihood - without.likelihood) * worth / len(points) - parameters * math.log(worth)


def parameters(settings: Settings) -> int:
    """Count a cluster's parameters: mean, variance and weight; and centre and covariance if it is spatial."""
    return 12 if settings.spatial else 3


def _judge(points: Points, before: Fit, after: Fit, settings: Settings) -> dict[str, Any]:
    """Say of the last cluster what it brings, and why it is not accepted, if it is not."""
    share, which = posterior(points.position, points.level, after.mixture, settings.box)
    own = (which == after.mixture.clusters) & (share > 0.5)
    millilitres = float(own.sum()) * points.volume / 1000
    purity = float(share[own].mean()) if own.any() else 0.0
    better = gain(points, before, after, parameters(settings))
    reasons = {
        "the BIC does not fall": better <= 0,
        "too small": millilitres < settings.least_ml,
        "not pure": purity < settings.purity,
    }
    why = next((reason for reason, true in reasons.items() if true), "")
    return {"bic_gain": better, "ml": millilitres, "purity": purity, "why": why}


def _tidied(points: Points, now: Fit, settings: Settings, trace: list[dict[str, Any]]) -> tuple[Fit, int]:
    """Drop clusters without which the BIC is lower, and merge pairs that are better one."""
    spent = 0
    changed = True
    while changed and now.mixture.clusters > 1:
        changed = False
        for cluster in range(now.mixture.clusters):
            fewer = fit(points, now.mixture.without(cluster), settings.box)
            spent += fewer.iterations
            if gain(points, fewer, now, parameters(settings)) < 0:
                trace.append({"step": "drop", "cluster": cluster + 1})
                now, changed = fewer, True
                break
        if changed:
            continue
        for one, other in _pairs(now.mixture):
            merged = fit(points, _merged(now.mixture, one, other), settings.box)
            spent += merged.iterations
            if gain(points, merged, now, parameters(settings)) < 0:
                trace.append({"step": "merge", "clusters": [one + 1, other + 1]})
                now, changed = merged, True
                break
    return now, spent


def bhattacharyya(mixture: Mixture, one: int, other: int) -> float:
    """Return the Bhattacharyya distance of two haemorrhages, over position (if they have one) and intensity."""
    a, b = mixture.healthy + one, mixture.healthy + other
    mean = (mixture.variance[a] + mixture.variance[b]) / 2
    found = (mixture.mean[a] - mixture.mean[b]) ** 2 / mean / 8
    found += 0.5 * math.log(mean / math.sqrt(mixture.variance[a] * mixture.variance[b]))
    if mixture.spatial[a]:
        both = (mixture.scatter[a] + mixture.scatter[b]) / 2
        shift = mixture.centre[a] - mixture.centre[b]
        found += shift @ np.linalg.solve(both, shift) / 8
        determinants = np.linalg.det(mixture.scatter[[a, b]])
        found += 0.5 * math.log(np.linalg.det(both) / math.sqrt(determinants[0] * determinants[1]))
    return float(found)


def _pairs(mixture: Mixture) -> list[tuple[int, int]]:
    """List the pairs of haemorrhages that are much alike, the most alike first."""
    pairs = [(i, j) for j in range(mixture.clusters) for i in range(j)]
    apart = {pair: bhattacharyya(mixture, *pair) for pair in pairs}
    return sorted((pair for pair in pairs if apart[pair] < ALIKE), key=lambda pair: apart[pair])


def _merged(mixture: Mixture, one: int, other: int) -> Mixture:
    """Put one haemorrhage with the moments of both in the place of two."""
    a, b = mixture.healthy + one, mixture.healthy + other
    weight = mixture.weight[a] + mixture.weight[b]
    share = mixture.weight[[a, b]] / weight
    mean = share @ mixture.mean[[a, b]]
    variance = share @ (mixture.variance[[a, b]] + (mixture.mean[[a, b]] - mean) ** 2)
    centre = share @ mixture.centre[[a, b]]
    shift = mixture.centre[[a, b]] - centre
    scatter = np.einsum("c,cij->ij", share, mixture.scatter[[a, b]] + shift[:, :, None] * shift[:, None, :])
    rest = mixture.without(max(one, other)).without(min(one, other))
    return rest.with_cluster(float(weight), float(mean), float(variance), centre, scatter, bool(mixture.spatial[a]))
