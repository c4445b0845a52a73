"""Find haemorrhages in head CT, from the command line or from Python. Not a medical device."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError
from foveate.parts.caching import cached
from foveate.parts.progress import bar
from foveate.readers.volumes import Nifti, Volume, read_volume
from foveate.results import Record, Result, Table
from foveate.samples.head_ct import BLEEDS, Bleed
from foveate.systems.dense.ich_mixture.baselines import Baseline, baselines
from foveate.systems.dense.ich_mixture.cavity import BINS, EXPECTED, LEVELS, Smooth, scattered
from foveate.systems.dense.ich_mixture.data import phantom, read_layout, scans_in
from foveate.systems.dense.ich_mixture.method import START, TISSUES, HealthyForm, fit, healthy_mixture
from foveate.systems.dense.ich_mixture.metrics import scores
from foveate.systems.dense.ich_mixture.montage import montage
from foveate.systems.dense.ich_mixture.search import Settings
from foveate.systems.dense.ich_mixture.segmentation import Segmentation, clusters_table, make_ready
from foveate.systems.dense.ich_mixture.segmentation import segment as find

DISCLAIMER = "not a medical device: for research, never for diagnosis"


def segment(
    scan: Path,
    spacing: list[float] | None = None,
    prior: Path | None = None,
    clusters: int = 0,
    least_ml: float = 0.5,
    margin: float = 1.5,
    smooth: Smooth = "median",
    healthy_form: HealthyForm = "uniform_position",
    spatial: bool = True,
    noise_component: bool = True,
    most: int = 12,
    patience: int = 3,
) -> Result:
    """Find haemorrhages in a head CT without contrast agent. Not a medical device.

    Args:
        scan: NIfTI, or a NumPy array with a spacing, in Hounsfield units.
        spacing: Side lengths of a NumPy array's voxels in millimetres, as [0.5,0.5,5].
        prior: What `fit_prior` wrote: healthy tissue's intensities to start from.
        clusters: Number of haemorrhage clusters; 0 lets the data tell.
        least_ml: Least volume of a haemorrhage in millilitres.
        margin: Width in millimetres of the rim inside the skull that the mixture is not fitted to.
        smooth: How noise is taken away: a median over 3 x 3 voxels, total variation, or not at all.
        healthy_form: Healthy tissue anywhere in the cavity (the paper's idea), or Gaussians in space.
        spatial: Whether haemorrhages are compact in space; if not, the mixture is one of intensities.
        noise_component: Whether what fits nowhere may be noise.
        most: Most clusters, if the data tell.
        patience: Failed attempts in a row after which no more clusters are tried.

    Returns:
        Mask, posterior and clusters on the scan's own grid, a report with each cluster's volume, and a picture.
    """
    volume = read_volume(scan, spacing)
    settings = _settings(clusters, least_ml, healthy_form, spatial, noise_component, most, patience)
    return _segmented(volume, scan, settings, margin, smooth, read_prior(prior))


def series(folder: Path, prior: Path | None = None, clusters: int = 0, least_ml: float = 0.5, margin: float = 1.5) -> Result:
    """Find haemorrhages in a DICOM series. Not a medical device.

    Args:
        folder: The series: a folder with its slices.
        prior: What `fit_prior` wrote: healthy tissue's intensities to start from.
        clusters: Number of haemorrhage clusters; 0 lets the data tell.
        least_ml: Least volume of a haemorrhage in millilitres.
        margin: Width in millimetres of the rim inside the skull that the mixture is not fitted to.

    Returns:
        Mask, posterior and clusters as NIfTI on the series' grid, a report with each cluster's volume, and a picture.
    """
    if folder.is_file():
        raise InputError(folder, "is a file", "the folder of a DICOM series")
    settings = _settings(clusters, least_ml)
    return _segmented(read_volume(folder), folder, settings, margin, "median", read_prior(prior))


def _settings(
    clusters: int,
    least_ml: float,
    healthy_form: HealthyForm = "uniform_position",
    spatial: bool = True,
    noise_component: bool = True,
    most: int = 12,
    patience: int = 3,
) -> Settings:
    for name, value, low, high in (("clusters", clusters, 0, 50), ("most", most, 0, 50), ("patience", patience, 1, 1000)):
        if not low <= value <= high:
            raise InputError(name, f"is {value}", f"{low} to {high}")
    if not least_ml >= 0:
        raise InputError("least_ml", f"is {least_ml}", "0 or more millilitres")
    return Settings(healthy_form, spatial, noise_component, clusters, most, patience, least_ml)


def _segmented(
    volume: Volume, path: Path, settings: Settings, margin: float, smooth: Smooth, start: Mapping[str, Any]
) -> Result:
    """Segment a volume that was read, and put together what is told of it."""
    if not 0 <= margin <= 20:
        raise InputError("margin", f"is {margin}", "0 to 20 mm")
    if volume.modality not in ("", "CT"):
        raise InputError(path, f"is of the modality {volume.modality}", EXPECTED)
    started = time.perf_counter()
    with bar("looking for haemorrhages") as tick:
        tick(0, 3)
        upright = volume.upright()
        if max(upright.spacing) > 20 or min(upright.spacing) < 0.05:
            raise InputError(path, f"has voxels of {upright.spacing} mm", "0.05 to 20 mm; are the units millimetres?")
        ready = make_ready(upright.values, upright.spacing, margin, smooth, path)
        tick(1)
        result = find(ready, settings, start)
        tick(1)
        picture = montage(upright.values, result.labels, upright.spacing)
        tick(1)
    record = _report(result, upright)
    notes = [DISCLAIMER, *volume.notes]
    total = record["haemorrhage_ml"]
    seconds = time.perf_counter() - started
    count = record["clusters"]
    told = f"{total:.1f} ml in {len(count)} clusters" if total else "no haemorrhage found"
    notes.append(f"{path.name}: {told}; {record['iterations']} iterations of EM, {seconds:.1f} s")
    parts = {
        "mask": volume.like(volume.turned_back(result.mask)),
        "prob": volume.like(volume.turned_back(result.probability)),
        "labels": volume.like(volume.turned_back(result.labels)),
        "report": Record(record),
        "montage": picture,
    }
    return Result(parts, tuple(notes))


def _report(result: Segmentation, volume: Volume) -> dict[str, Any]:
    """Put what was found into plain values."""
    mixture, found, points = result.found.fit.mixture, result.found, result.ready.points
    tissue = {
        name: {"weight": mixture.weight[j], "mean_hu": mixture.mean[j], "sd_hu": math.sqrt(mixture.variance[j])}
        for j, name in enumerate(TISSUES)
    }
    return {
        "disclaimer": DISCLAIMER,
        "haemorrhage_ml": float(result.mask.sum()) * volume.voxel_ml,
        "clusters": clusters_table(result, volume.affine),
        "cavity_ml": float(result.ready.cavity.whole.sum()) * volume.voxel_ml,
        "tissue": tissue,
        "noise_weight": mixture.noise,
        "log_likelihood": found.fit.likelihood,
        "iterations": found.iterations,
        "points": len(points),
        "effective_points": points.effective,
        "search": found.trace,
        "mixture": mixture.record(),
    }


# ---------------------------------------------------------------------------------------------------------------------
# the healthy prior
# ---------------------------------------------------------------------------------------------------------------------


def fit_prior(folder: Path) -> Result:
    """Learn healthy tissue's intensities from many scans without labels, by EM on what all of them hold.

    Args:
        folder: Head CT scans at any depth: NIfTI, NumPy arrays with a spacing, folders of DICOM series.

    Returns:
        Weights, means and standard deviations of fluid, white and grey matter, for `segment --prior`.
    """
    paths = list(scans_in(folder))
    counts = np.zeros(BINS)
    used, notes = [], [DISCLAIMER]
    with bar("reading scans") as tick:
        tick(0, len(paths))
        for path in paths:
            try:
                counts += _histogram(path)
                used.append(path.relative_to(folder).as_posix())
            except InputError as error:
                notes.append(f"left out: {error}")
            tick(1)
    if not used:
        raise InputError(folder, f"none of its {len(paths)} scans could be used ({notes[-1]})", EXPECTED)
    # Each bin is one point; EM sees as many as there are in 10,000 voxels, in the shares of all scans together.
    share = np.floor(counts / counts.sum() * 20000 + 0.5).astype(int)
    points = scattered(np.zeros((share.sum(), 3)), np.repeat(LEVELS, share), 1.0)
    mixture = fit(points, healthy_mixture(points), tolerance=1e-8, most=1000).mixture
    record = {
        "weights": mixture.weight / mixture.weight.sum(),
        "means": mixture.mean,
        "deviations": np.sqrt(mixture.variance),
        "scans": used,
    }
    return Result({"prior": Record(record)}, tuple(notes))


def _histogram(path: Path) -> np.ndarray:
    """Count the intensities inside a scan's skull; each scan has a share of one. Kept on disk."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    key = [1, [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in files]]

    def make() -> dict[str, np.ndarray]:
        volume = read_volume(path).upright()
        counts = np.bincount(make_ready(volume.values, volume.spacing, where=path).points.level, minlength=BINS)
        return {"share": counts / counts.sum()}

    return cached("ich_mixture_histogram", key, make)["share"]


def read_prior(path: Path | None) -> Mapping[str, Any]:
    """Read what `fit_prior` wrote; without a file, return the start that the method has by itself.

    Raises:
        InputError: If the file is missing, broken or implausible.
    """
    if path is None:
        return START
    wanted = "what foveate run ich_mixture fit_prior wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        start = {name: tuple(float(v) for v in found[name]) for name in ("weights", "means", "deviations")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"is no prior: {error}", wanted) from error
    whole = all(len(v) == len(TISSUES) and all(map(math.isfinite, v)) for v in start.values())
    if not whole or min(start["weights"]) <= 0 or min(start["deviations"]) <= 0:
        raise InputError(path, "its numbers are out of range", wanted)
    return start


# ---------------------------------------------------------------------------------------------------------------------
# labelled scans, and a sample
# ---------------------------------------------------------------------------------------------------------------------

Method = Literal["mixture"] | Baseline
COLUMNS = (
    "dice", "iou", "sensitivity", "precision", "volume_error_ml", "false_positive_ml", "hd95_mm", "detected",
)  # fmt: skip


def evaluate(data: Path, method: Method = "mixture", prior: Path | None = None) -> Result:
    """Measure a method on labelled scans: CT-ICH, INSTANCE 2022, or one's own pairs.

    Args:
        data: The folder of the data set.
        method: The mixture, or what it is compared with.
        prior: What `fit_prior` wrote, for the mixture.

    Returns:
        A row for each scan, and means over scans, in all and for each kind of bleed.
    """
    cases = [case for part in read_layout(data).parts().values() for case in part]
    start = read_prior(prior)
    rows, notes = [], [DISCLAIMER]
    with bar("measuring") as tick:
        tick(0, len(cases))
        for case in cases:
            try:
                volume, truth = case.read()
                upright = volume.upright()
                ready = make_ready(upright.values, upright.spacing, where=case.scan)
                mask = find(ready, Settings(), start).mask if method == "mixture" else baselines()[method](ready)
                found = scores(volume.turned_back(mask.astype(np.uint8)), truth, volume.spacing)
                rows.append((case.name, " ".join(case.kinds), *(found[c] for c in COLUMNS)))
            except InputError as error:
                notes.append(f"left out: {error}")
            tick(1)
    if not rows:
        raise InputError(data, f"none of its {len(cases)} scans could be used ({notes[-1]})", EXPECTED)
    summary: dict[str, Any] = {"method": method, "scans": len(rows), "of": "means over scans, not over voxels"}
    for kind in ("all", *BLEEDS):
        chosen = [row for row in rows if kind == "all" or kind in row[1].split()]
        figures = np.array([row[2:] for row in chosen], float)
        summary[kind] = {"scans": len(chosen)} | {
            c: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1)) if len(v) > 1 else None, "scans": len(v)}
            for c, column in zip(COLUMNS, figures.T if len(chosen) else [], strict=bool(chosen))
            if len(v := column[np.isfinite(column)])
        }
    healthy = [row[2 + COLUMNS.index("false_positive_ml")] for row in rows if math.isnan(row[2])]
    summary["without_bleeds"] = {"scans": len(healthy), "false_positive_ml": float(np.mean(healthy)) if healthy else None}
    return Result({"scans": Table(("scan", "kinds", *COLUMNS), rows), "summary": Record(summary)}, tuple(notes))


def sample(bleed: Bleed | Literal["none"] = "intraparenchymal", number: int = 0) -> Result:
    """Write a made-up head CT with a bleed, to try the system with, and the truth about it.

    Args:
        bleed: Kind of the bleed.
        number: Another number, another head.
    """
    made = phantom(1, number, () if bleed == "none" else (bleed,))
    affine = np.diag([*made.spacing, 1.0])
    truth = (made.labels > 0).astype(np.uint8)
    return Result({"head": Nifti(made.values, affine), "truth": Nifti(truth, affine)}, ("made up, on the MNI152 template",))
