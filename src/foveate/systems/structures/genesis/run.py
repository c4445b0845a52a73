"""Vet events from the command line or from Python, and estimate honestly how well that works."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.caching import cache_folder
from foveate.parts.progress import bar
from foveate.results import Record, Result, Table, write_atomically
from foveate.systems.structures.genesis import astronet, method, tables, train
from foveate.systems.structures.genesis import mccv as cross
from foveate.systems.structures.genesis.curves import read_star, same_star
from foveate.systems.structures.genesis.data import Augment, Events, Kepler, Own, TFRecords, detrended
from foveate.systems.structures.genesis.picture import draw
from foveate.systems.structures.genesis.records import Views, read_views
from foveate.systems.structures.genesis.splits import split
from foveate.systems.structures.genesis.views import Ephemeris, Flat, fold

SHIPPED = Path(__file__).with_name("weights.safetensors")
DEMO = "demo weights: a small ensemble trained on simulated light curves; train on Kepler's before you believe it"
FAINT = 9.0  # signal-to-noise ratio under which a found period is as likely noise


def vet(
    curves: list[Path],
    period: float | None = None,
    epoch: float | None = None,
    duration: float | None = None,
    weights: Path | None = None,
    model: Literal["genesis", "astronet"] = "genesis",
    flux: str = "",
    stitch: bool = False,
    mask_transits: bool = False,
) -> Iterator[Result | InputError]:
    """Say how likely a periodic dip in a light curve is a planet, and draw it.

    Args:
        curves: FITS of Kepler, K2 or TESS, or CSV with columns time (days) and flux.
        period: Period in days. Without period, epoch and duration the strongest dip is searched for.
        epoch: Centre of one of the events, in the file's own time (Kepler: BKJD).
        duration: Duration of an event in hours.
        weights: Weights to use: what `foveate train genesis` wrote.
        model: What the weights are of.
        flux: Column of the flux; by default PDCSAP_FLUX, FLUX or SAP_FLUX, the first that is there.
        stitch: Join the star's other quarters, campaigns or sectors that lie beside the file under the archive's names.
        mask_transits: Keep the event out of the spline that follows the star, so that shallow, long transits keep their depth.

    Returns:
        For each light curve the probability with its spread over the ensemble, the ephemeris, and a picture of the folded
        curve.
    """
    given = (period, epoch, duration)
    if any(v is not None for v in given) and None in given:
        raise InputError("period, epoch, duration", "some are given and some are not", "all three, or none to search for them")
    network = _network(weights, model)
    wanted = None if period is None or epoch is None or duration is None else Ephemeris(period, epoch, duration / 24)
    for path in curves:
        try:
            yield _vetted(path, wanted, network, flux, stitch, mask_transits, () if weights else (DEMO,))
        except InputError as error:
            yield error


def _network(weights: Path | None, model: Literal["genesis", "astronet"]) -> method.Ensemble:
    if weights is None and model != "genesis":
        raise InputError("model", f"no weights of {model} are shipped", "--weights FILE, from foveate train genesis")
    return files.load(method.Genesis if model == "genesis" else astronet.Astronet, weights or SHIPPED)


def _vetted(
    path: Path, wanted: Ephemeris | None, network: method.Ensemble, flux: str, stitch: bool, mask: bool, notes: tuple[str, ...]
) -> Result:
    """Vet one light curve."""
    paths = same_star(path) if stitch and path.is_file() else [path]
    curve = read_star(paths, flux)
    flat, ephemeris, found = _told(path, detrended, curve, wanted, mask)
    inputs = _inputs(network, flat, ephemeris)
    (verdict,) = method.finish(network.each(*(x[None] for x in inputs)))
    measured = _measured(flat, ephemeris)
    if wanted is None and found < FAINT:
        notes += (f"no convincing dip: the strongest has a signal-to-noise ratio of {found:.1f}",)
    if not inputs[0].any():
        notes += ("the folded light curve is flat: there is nothing to judge",)
    count, seen = measured["events"], measured["events_seen"]
    if count < 2:
        notes += (f"{count} events lie in the data; the period is not seen to repeat",)
    elif 4 * seen < 3 * count and measured["snr"] > 6 * math.sqrt(count):
        notes += (f"only {seen} of {count} events show a dip, though each should: the period may be wrong",)
    values = {
        "event": path.name, "planet": verdict.planet, "spread": verdict.spread, "members": len(network.members),
        "period_days": ephemeris.period, "epoch": ephemeris.t0, "duration_hours": 24 * ephemeris.duration,
        "ephemeris": "searched" if wanted is None else "given", "search_snr": found, **measured,
        "spline_days": flat.spacing, "files": [p.name for p in paths], "weights": "demo" if notes[:1] == (DEMO,) else "given",
    }  # fmt: skip
    fall = method.occlusion(network, *inputs)
    title = (
        f"{path.name}: planet {verdict.planet:.2f} ± {verdict.spread:.2f}   period {ephemeris.period:.6g} d, "
        f"duration {24 * ephemeris.duration:.3g} h, depth {measured['depth_ppm']:.0f} ppm"
    )
    return Result({"verdict": Record(values), "folded": draw(flat, ephemeris, inputs[0][0].numpy(), fall, title)}, notes)


def _told(path: Path, function: Any, *arguments: Any) -> Any:
    """Call a function whose errors name a light curve, and let them name its file."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(path, error.wrong, error.expected) from error


def _inputs(network: method.Ensemble, flat: Flat, ephemeris: Ephemeris) -> list[Any]:
    """Make the views that a network takes, each ``(1, bins)``."""
    bins = {"view": network.arguments["bins"], "local": network.arguments.get("local_bins", 0)}
    return [method.prepare(flat, ephemeris, bins[name], local=name == "local") for name in network.takes]


def _measured(flat: Flat, ephemeris: Ephemeris) -> dict[str, Any]:
    """Measure depth, signal-to-noise ratio and number of the events, and how many of them stand out by themselves."""
    phase = fold(flat.time, ephemeris.period, ephemeris.t0)
    inside = np.abs(phase) < ephemeris.duration / 2
    outside = flat.flux[np.abs(phase) > ephemeris.duration]
    level = float(np.median(outside)) if len(outside) else 1.0
    noise = 1.4826 * float(np.median(np.abs(outside - level))) if len(outside) else math.nan
    depth = level - float(np.mean(flat.flux[inside])) if inside.any() else 0.0
    turns, which = np.unique(np.round((flat.time[inside] - ephemeris.t0) / ephemeris.period), return_inverse=True)
    points = np.bincount(which)
    each = level - np.bincount(which, flat.flux[inside]) / np.maximum(points, 1)
    return {
        "depth_ppm": 1e6 * depth,
        "snr": depth / noise * math.sqrt(inside.sum()) if noise > 0 else math.nan,
        "events": len(turns),
        "events_seen": int((each * np.sqrt(points) > 3 * noise).sum()),
        "points": len(flat.time),
    }


# ---------------------------------------------------------------------------------------------------------------------
# many events
# ---------------------------------------------------------------------------------------------------------------------

COLUMNS = ("id", "star", "period_days", "epoch", "duration_hours", "planet", "spread", "label", "problem")


def classify(
    views: list[Path],
    weights: Path | None = None,
    model: Literal["genesis", "astronet"] = "genesis",
    mask_transits: bool = False,
) -> Iterator[Result | InputError]:
    """Judge many events at once: ready views, or a table of light curves and their ephemerides.

    Args:
        views: TFRecords of Astronet's pipeline, ``.npz`` with an array ``view``, or a CSV table with columns file, period
            (days), t0 (the file's own time) and duration (hours).
        weights: Weights to use: what `foveate train genesis` wrote.
        model: What the weights are of.
        mask_transits: With a table of light curves: keep each event out of the spline that follows its star.

    Returns:
        For each file a table with a row for each event, and how well the verdicts fit the labels if there are any.
    """
    network = _network(weights, model)
    for path in views:
        try:
            is_table = path.suffix.lower() == ".csv"
            rows, label, planet = _from_table(path, network, mask_transits) if is_table else _from_views(path, network)
            values: dict[str, Any] = {"events": len(rows), "labelled": int((label >= 0).sum())}
            if (label >= 0).any():
                values |= train.scores(label[label >= 0], planet[label >= 0])
            yield Result({"verdicts": Table(COLUMNS, rows), "summary": Record(values)}, () if weights else (DEMO,))
        except InputError as error:
            yield error


def _from_views(path: Path, network: method.Ensemble) -> tuple[list[tuple[Any, ...]], np.ndarray, np.ndarray]:
    """Judge ready views."""
    found = read_views(path)
    for name in network.takes:
        has, takes = getattr(found, name).shape[2], network.arguments["bins" if name == "view" else "local_bins"]
        if has != takes:
            raise InputError(path, f"its {name}s have {has} bins, the weights take {takes}", "views and weights of one length")
    verdicts = _ask(network, found)
    rows = [
        (name, star, "", "", "", _rounded(v.planet), _rounded(v.spread), label if label >= 0 else "", "")
        for name, star, label, v in zip(found.id, found.star, found.label.tolist(), verdicts, strict=True)
    ]
    return rows, found.label, np.array([v.planet for v in verdicts])


def _ask(network: method.Ensemble, found: Views, batch: int = 256) -> list[method.Verdict]:
    import torch

    verdicts: list[method.Verdict] = []
    with bar("judging") as tick, torch.inference_mode():
        tick(0, len(found))
        for start in range(0, len(found), batch):
            rows = [torch.from_numpy(getattr(found, name)[start : start + batch]) for name in network.takes]
            verdicts += method.finish(network.each(*rows))
            tick(len(rows[0]))
    return verdicts


def _from_table(path: Path, network: method.Ensemble, mask: bool) -> tuple[list[tuple[Any, ...]], np.ndarray, np.ndarray]:
    """Judge the light curves of a table; what is wrong with one of them stands in its row."""
    events = tables.read_events(path)
    rows, planets = [], []
    with bar("judging") as tick:
        tick(0, len(events))
        for event in events:
            label: Any = event.label if event.label >= 0 else ""
            try:
                flat, when, _ = detrended(read_star(event.files), event.ephemeris, mask)
                (verdict,) = method.finish(network.each(*(x[None] for x in _inputs(network, flat, when))))
                shown = (_rounded(when.period), _rounded(when.t0), _rounded(24 * when.duration))
                said = (_rounded(verdict.planet), _rounded(verdict.spread))
                rows.append((event.id, event.star, *shown, *said, label, ""))
                planets.append(verdict.planet)
            except InputError as error:
                rows.append((event.id, event.star, "", "", "", "", "", label, str(error)))
                planets.append(math.nan)
            tick(1)
    planet = np.array(planets)
    if np.isnan(planet).all():
        raise InputError(path, f"none of its {len(rows)} light curves can be judged; the first: {rows[0][-1]}", tables.OWN)
    return rows, np.where(np.isnan(planet), -1, [event.label for event in events]), planet


def _rounded(value: float) -> float:
    return float(f"{value:.8g}")


# ---------------------------------------------------------------------------------------------------------------------
# Monte Carlo cross-validation
# ---------------------------------------------------------------------------------------------------------------------


def mccv(
    data: Path,
    model: cross.Model = "genesis",
    splits: int = 10,
    by_star: bool = False,
    fixed_too: bool = True,
    members: int = 1,
    epochs: int = 30,
    patience: int = 50,
    augment: Augment = "flip",
    batch_size: int = 32,
    lr: float | None = None,
    bins: int | None = None,
    mask_transits: bool = False,
    partial: bool = False,
    jobs: int = 1,
    seed: int = 0,
) -> Result:
    """Estimate how good a model is on your data: a fresh one for each of many random splits.

    Splits that were done stay in the user's cache, so that a call that was interrupted goes on where it was.

    Args:
        data: Folder in one of the layouts that `foveate show genesis` lists.
        model: Network, or logistic regression or random forest on the same views.
        splits: Number of random splits into 80, 10 and 10 %, with as many planets in each part.
        by_star: Keep all events of a star in one part; else sisters of training events are tested on.
        fixed_too: Score the fixed split of earlier work as well, and say where it falls.
        members: Networks in each ensemble (the paper: 10).
        epochs: Most epochs of each (the paper: 125).
        patience: Epochs without a lower validation loss after which a network stops.
        augment: Variants of the training views (the paper: flip+noise).
        batch_size: Views per step (the paper: 64).
        lr: Learning rate; by default 1e-3 for Genesis, 1e-5 for Astronet.
        bins: Length of the views, where they are made of light curves; 501 by default (the paper: 2,001 and 4,001).
        mask_transits: Keep each event out of the spline that follows its star.
        partial: Leave out Kepler's stars whose light curves are not there.
        jobs: Processes that make views.
        seed: Seed of the first split; the others count on from it.

    Returns:
        A row for each split with its seed, its scores and the events that it was tested on, and mean, deviation and interval.
    """
    if splits < 1 or members < 1 or epochs < 1 or batch_size < 1 or jobs < 1:
        raise InputError("splits, members, epochs, batch_size, jobs", "one of them is less than 1", "whole numbers from 1 up")
    source = _source(data, bins, mask_transits, partial, jobs)
    events = source.events()
    found = source.views(events)
    settings = cross.Settings(members, epochs, patience, augment, batch_size, lr)
    kind: Literal["mccv", "mccv_by_star"] = "mccv_by_star" if by_star else "mccv"
    chosen = [(str(i), seed + i, split(kind, found.label, found.id, found.star, seed + i)) for i in range(splits)]
    if fixed_too:
        chosen.append(("fixed", seed, source.indices(events)))
    rows, scores = [], {}
    with bar(f"cross-validating {model}") as tick:
        tick(0, len(chosen))
        for name, number, parts in chosen:
            scores[name] = _told(data, _scored, model, found, parts, number, settings)
            tests = " ".join(found.id[i] for i in sorted(parts["test"]))
            sizes = [len(parts[part]) for part in ("train", "val", "test")]
            rows.append((name, number, *sizes, *map(_rounded, scores[name].values()), tests))
            tick(1)
    columns = ("split", "seed", "train", "val", "test", *next(iter(scores.values())), "test_events")
    once = scores.pop("fixed", None)
    summary = {"model": model, "splits": kind, "events": len(found), "planets": int(found.label.sum())}
    for metric in next(iter(scores.values())):
        values = [s[metric] for s in scores.values()]
        summary[metric] = _distribution(values) | (
            {"fixed": once[metric], "fixed_above": _above(values, once[metric])} if once else {}
        )
    return Result({"splits": Table(columns, rows), "summary": Record(summary)})


def _source(data: Path, bins: int | None, mask: bool, partial: bool, jobs: int) -> Events:
    """Find out which layout a folder has.

    Raises:
        InputError: If it has none.
    """
    if not data.is_dir():
        raise InputError(data, "is not a folder" if data.exists() else "there is no such folder", "the folder of a data set")
    made: dict[str, Any] = {"root": str(data), "bins": bins, "mask_transits": mask, "jobs": jobs}
    if any(data.glob("*-*-of-*")):
        return TFRecords(**made)
    if (data / "events.csv").is_file():
        return Own(**made)
    if any(data.glob("*.csv")):
        return Kepler(partial=partial, **made)
    raise InputError(data, "holds no events", "TFRecords, the DR24 table with light curves, or events.csv with your own")


def _scored(
    model: cross.Model, views: Views, parts: dict[str, np.ndarray], seed: int, settings: cross.Settings
) -> dict[str, float]:
    """Score one split, or take its scores from the cache."""
    digest = hashlib.sha256()
    for module in (method, train, cross):
        digest.update(Path(str(module.__file__)).read_bytes())
    for array in (views.view, views.local, views.label, *parts.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps([model, seed, str(settings)]).encode())
    path = cache_folder() / "genesis" / "mccv" / f"{digest.hexdigest()[:32]}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass  # not there yet, or broken: it is made anew
    found = cross.evaluate(model, views, parts, seed, settings).scores()
    write_atomically(path, json.dumps(found))
    return found


def _distribution(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation and the mean's 95 % interval (Student's t)."""
    from scipy import stats

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, count - 1)) * sd / math.sqrt(count)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def _above(values: Sequence[float], value: float) -> float:
    """Return the share of splits that a value lies above, ties counted half."""
    return float(np.mean(np.sign(value - np.asarray(values)) + 1) / 2)
