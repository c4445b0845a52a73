"""The claims as experiments: on heads that are made up, and on points drawn from the model itself."""

from __future__ import annotations

import math
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from foveate.readers.volumes import Nifti
from foveate.results import Curve, Picture
from foveate.samples.head_ct import BLEEDS, Bleed, HeadCT, cohort
from foveate.systems.dense.ich_mixture import unet
from foveate.systems.dense.ich_mixture.baselines import baselines, threshold
from foveate.systems.dense.ich_mixture.cavity import Points, scattered
from foveate.systems.dense.ich_mixture.data import phantom
from foveate.systems.dense.ich_mixture.method import Mixture, fit, healthy_mixture, iterate
from foveate.systems.dense.ich_mixture.metrics import dice, regions
from foveate.systems.dense.ich_mixture.montage import montage
from foveate.systems.dense.ich_mixture.search import DEFAULT, Settings, search
from foveate.systems.dense.ich_mixture.segmentation import Ready, make_ready, segment

Budget = Literal["quick", "full"]
Outcome = dict[str, dict[str, Any]]
# Worlds of made-up heads: those of the tests have nothing in common with those that baselines were tuned on (1000) or
# networks are trained on.
TEST_WORLD, TRAIN_WORLD, COUNT_WORLD = 10_000, 20_000, 30_000


@dataclass(frozen=True)
class Seen:
    """A made-up head, ready, with the truth."""

    made: HeadCT
    ready: Ready

    @property
    def truth(self) -> np.ndarray:
        """Blood: bool ``(X, Y, Z)``."""
        return self.made.labels > 0

    @classmethod
    def of(cls, world: int, case: int, bleeds: tuple[Bleed, ...] = ()) -> Seen:
        """Make one, or read it from the cache."""
        made = phantom(world, case, bleeds)
        return cls(made, make_ready(made.values, made.spacing))


def _heads(seed: int, kinds: tuple[Bleed, ...] = BLEEDS) -> list[Seen]:
    """Return a seed's test heads: one of each kind of bleed."""
    return [Seen.of(TEST_WORLD + seed, BLEEDS.index(kind), (kind,)) for kind in kinds]


def _mixture(settings: Settings = DEFAULT) -> Callable[[Ready], np.ndarray]:
    return lambda ready: segment(ready, settings).mask > 0


# ---------------------------------------------------------------------------------------------------------------------
# made-up heads
# ---------------------------------------------------------------------------------------------------------------------


def types(seed: int, budget: Budget) -> Outcome:
    """Segment heads with one kind of bleed each by the mixture and by what it is compared with (claim C3).

    Each kind weighs the same in the mean; a figure is one of a head, never of pooled voxels.
    """
    heads = _heads(seed)
    methods: dict[str, Callable[[Ready], np.ndarray]] = {"mixture": _mixture(), **baselines()}
    methods["threshold_tuned"] = lambda ready: threshold(ready, low=45, width=1, opening=0)
    outcome: Outcome = {}
    for name, method in methods.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn's, where a baseline does not converge
            masks = [method(head.ready) for head in heads]
        overlap = [dice(mask, head.truth) for mask, head in zip(masks, heads, strict=True)]
        volumes = [abs(int(m.sum()) - int(h.truth.sum())) * h.ready.voxel_ml for m, h in zip(masks, heads, strict=True)]
        outcome[name] = {"dice": overlap, "volume_error": volumes}
        outcome[name] |= {f"dice_{kind}": value for kind, value in zip(BLEEDS, overlap, strict=True)}
        if name in ("mixture", "threshold", "gmm_joint"):
            outcome[name]["picture"] = _shown(heads[1], masks[1])
    return outcome


def _shown(head: Seen, mask: np.ndarray) -> Picture:
    """Draw a mask in red over the truth in yellow, in the slices with most blood."""
    chosen = np.sort(np.argsort(head.truth.sum(axis=(0, 1)))[-4:])
    labels = np.where(mask, 1, 2 * head.truth)[:, :, chosen]
    return montage(head.made.values[:, :, chosen], labels, head.made.spacing)


def counts(seed: int, budget: Budget) -> Outcome:
    """Segment heads with 0 to 4 bleeds by an adaptive and by fixed numbers of clusters (claim C2)."""
    most = {"quick": 1, "full": 4}[budget]
    heads = [Seen.of(COUNT_WORLD + seed, n, ("intraparenchymal",) * n) for n in range(most + 1)]
    heads.append(Seen.of(COUNT_WORLD + seed, most + 1))
    outcome: Outcome = {}
    for name, clusters in {"adaptive": 0, "fixed 1": 1, "fixed 2": 2, "fixed 4": 4, "fixed 8": 8}.items():
        wrong, false, used = [], [], []
        for head in heads:
            found = segment(head.ready, Settings(clusters=clusters))
            unit = head.ready.voxel_ml
            wrong.append(abs(regions(found.mask > 0, unit) - regions(head.truth, unit)))
            used.append(found.found.fit.mixture.clusters)
            if not head.truth.any():
                false.append(float(found.mask.sum()) * unit)
        outcome[name] = {"region_error": wrong, "false_positive": false, "clusters": used}
    return outcome


def forms(seed: int, budget: Budget) -> Outcome:
    """Turn one part of the mixture off at a time (claim C5), on heads with each kind of bleed and on two healthy ones."""
    heads = _heads(seed, BLEEDS if budget == "full" else BLEEDS[2:3])
    heads += [Seen.of(COUNT_WORLD + seed, 5 + i) for i in range(2 if budget == "full" else 1)]
    variants = {
        "mixture": Settings(),
        "gaussian_position": Settings(healthy_form="gaussian_position"),
        "no_space": Settings(spatial=False),
        "no_noise": Settings(noise_component=False),
    }
    outcome: Outcome = {}
    for name, settings in variants.items():
        masks = [_mixture(settings)(head.ready) for head in heads]
        outcome[name] = {
            "dice": [dice(m, h.truth) for m, h in zip(masks, heads, strict=True) if h.truth.any()],
            "false_positive": [float((m & ~h.truth).sum()) * h.ready.voxel_ml for m, h in zip(masks, heads, strict=True)],
        }
    return outcome


def supervised(seed: int, budget: Budget, group: Literal["mixture", "2", "5", "10", "20"]) -> Outcome:
    """Train a U-Net on a number of labelled heads, and compare on heads of each kind of bleed (claim C4).

    The heads to train on are drawn as a cohort is: a quarter healthy, some with two kinds. All networks have the same steps.
    """
    heads = _heads(seed, BLEEDS if budget == "full" else BLEEDS[2:3])
    if group == "mixture":
        return {"mixture": {"dice": [dice(_mixture()(h.ready), h.truth) for h in heads]}}
    count = int(group) if budget == "full" else 2
    cases = cohort(40, seed)
    # The first head that is trained on bleeds; a few heads should not all be healthy.
    order = sorted(range(len(cases)), key=lambda case: (case >= 20, not cases[case] and case < 2, case))[:count]
    scans = [(seen.ready, seen.truth) for seen in (Seen.of(TRAIN_WORLD + seed, case, cases[case]) for case in order)]
    network, losses = unet.train(scans, {"quick": 6, "full": 240}[budget], seed)
    steps, values = zip(*losses, strict=True)
    found = [dice(unet.predict(network, h.ready), h.truth) for h in heads]
    return {f"unet {group}": {"dice": found, "curve": Curve(steps, values, "training loss")}}


# ---------------------------------------------------------------------------------------------------------------------
# points drawn from the model
# ---------------------------------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, clusters: int, count: int = 30_000) -> tuple[Points, Mixture]:
    """Draw points from a mixture: a brain-sized ellipsoid, clusters of 1 % each, 1 % of noise.

    Returns:
        The points, and the mixture that they stem from.
    """
    axes = np.array([70.0, 85.0, 60.0])
    volume = 4 / 3 * math.pi * float(np.prod(axes))
    while True:
        centres = _in_ball(rng, clusters) * 0.75 * axes
        turns = Rotation.random(max(clusters, 1), rng=rng).as_matrix()[:clusters]
        sides = rng.uniform(4, 12, (clusters, 1)) * rng.uniform(0.7, 1.4, (clusters, 3))
        scatters = np.einsum("kij,kj,klj->kil", turns, sides**2, turns)
        apart = [
            (d := centres[i] - centres[j]) @ np.linalg.solve((scatters[i] + scatters[j]) / 2, d)
            for i in range(clusters)
            for j in range(i)
        ]
        if all(value > 36 for value in apart):
            break
    rest = 1 - 0.01 - 0.01 * clusters
    truth = Mixture(
        weight=np.concatenate([np.array([0.1, 0.45, 0.45]) * rest, np.full(clusters, 0.01)]),
        mean=np.concatenate([[8.0, 28.0, 37.0], rng.uniform(58, 75, clusters)]),
        variance=np.concatenate([[16.0, 16.0, 16.0], rng.uniform(4, 7, clusters) ** 2]),
        centre=np.concatenate([np.zeros((3, 3)), centres]),
        scatter=np.concatenate([np.tile(np.eye(3), (3, 1, 1)), scatters]),
        spatial=np.arange(3 + clusters) >= 3,
        healthy=3,
        noise=0.01,
        floor=45.0,
        volume=volume,
    )
    kind = rng.choice(4 + clusters, count, p=np.append(truth.weight, truth.noise) / (truth.weight.sum() + truth.noise))
    position = _in_ball(rng, count) * axes
    intensity = rng.uniform(-20, 120, count)
    for c in range(3 + clusters):
        own = kind == c
        intensity[own] = rng.normal(truth.mean[c], math.sqrt(truth.variance[c]), own.sum())
        if c >= 3:
            position[own] = rng.multivariate_normal(truth.centre[c], truth.scatter[c], own.sum())
    return scattered(position, intensity, volume / count), truth


def _in_ball(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw points in the unit ball: ``(count, 3)``."""
    away = rng.standard_normal((count, 3))
    return away / np.linalg.norm(away, axis=1, keepdims=True) * rng.random((count, 1)) ** (1 / 3)


def falls(rng: np.random.Generator, starts: int, iterations: int, count: int = 8000) -> int:
    """Count how often the objective falls in EM from random starts, without boxes; by more than 1e-9 for each point."""
    found = 0
    for _ in range(starts):
        points, _ = drawn(rng, 2, count)
        mixture = healthy_mixture(points)
        for _ in range(rng.integers(1, 5)):
            centre = points.position[rng.integers(len(points))]
            mixture = mixture.with_cluster(0.02, rng.uniform(50, 90), 64.0, centre, np.diag(rng.uniform(2, 15, 3) ** 2))
        mixture = _with_floor(mixture, float(rng.uniform(40, 50)))
        before = -math.inf
        for _ in range(iterations):
            prior = mixture.log_prior()
            mixture, likelihood = iterate(points, mixture, box=0)
            found += likelihood + prior < before - 1e-9 * len(points)
            before = likelihood + prior
    return found


def _with_floor(mixture: Mixture, floor: float) -> Mixture:
    """Set the floor, and start haemorrhages above it, so that each update's set holds what it starts from."""
    values = mixture.record()
    mean = mixture.mean.copy()
    mean[mixture.healthy :] = np.maximum(mean[mixture.healthy :], floor)
    return Mixture.from_record({**values, "mean": mean.tolist(), "floor": floor})


def recovered(rng: np.random.Generator, draws: int, count: int = 100_000) -> tuple[float, float]:
    """Tell how far found parameters are from the true ones at worst: centres in standard errors, means in HU."""
    centres, means = 0.0, 0.0
    for _ in range(draws):
        points, truth = drawn(rng, 4, count)
        found = search(points).fit.mixture
        if found.clusters != 4:
            return math.inf, math.inf
        found = fit(points, found, tolerance=1e-9, most=300).mixture
        away = np.linalg.norm(found.centre[3:, None] - truth.centre[None, 3:], axis=2)
        rows, columns = linear_sum_assignment(away)
        for one, other in zip(rows + 3, columns + 3, strict=True):
            error = np.sqrt(np.diag(truth.scatter[other]) / (truth.weight[other] * count))
            centres = max(centres, float(np.max(np.abs(found.centre[one] - truth.centre[other]) / error)))
            means = max(means, float(abs(found.mean[one] - truth.mean[other])))
    return centres, means


def correctness(seed: int, budget: Budget) -> Outcome:
    """Check EM and the search on points drawn from the model and on healthy heads (claims C1, C6, D1, D2)."""
    rng = np.random.default_rng(seed)
    full = budget == "full"
    fallen = falls(rng, 20 if full else 3, 60 if full else 20)
    wanted = [clusters for clusters in range(5) for _ in range(10 if full else 1)]
    right = [search(drawn(rng, clusters)[0]).fit.mixture.clusters == clusters for clusters in wanted]
    centre_error, mean_error = recovered(rng, 4 if full else 1)
    volumes = []
    for case in range(10 if full else 1):
        volumes.append(segment(Seen.of(TEST_WORLD + 500, case).ready))
    return {
        "mixture": {
            "falls": fallen,
            "exact": float(np.mean(right)),
            "centre_error": centre_error,
            "mean_error": mean_error,
            "healthy_clean": float(np.mean([found.found.fit.mixture.clusters == 0 for found in volumes])),
            "false_positive": max(float(found.mask.sum()) * found.ready.voxel_ml for found in volumes),
            "labels": labels_read(),
        }
    }


_watched: dict[str, list[str]] = {}


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str):
        for folder, opened in _watched.items():
            if arguments[0].startswith(folder):
                opened.append(Path(arguments[0]).name)


def labels_read() -> int:
    """Segment a scan that lies beside its mask, and count how often the interpreter opens the mask."""
    from foveate.systems.dense.ich_mixture.run import segment as action

    made = phantom(TEST_WORLD, 0, ("epidural",))
    if not _watched:
        sys.addaudithook(_note)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, values in (("head.nii.gz", made.values), ("mask.nii.gz", made.labels)):
            Nifti(values, np.diag([*made.spacing, 1.0])).write(folder / file)
        _watched[name] = []
        try:
            action(folder / "head.nii.gz")
            opened = list(_watched[name])
        finally:
            _watched.pop(name)
    if "head.nii.gz" not in opened:
        raise AssertionError("the hook does not see what is read")
    return opened.count("mask.nii.gz")
