"""Index a folder of photographs, search it, judge the index, or see which pictures are taken to be alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.backbones import PACKAGED
from foveate.parts.inference import Precision
from foveate.readers import photo_index
from foveate.results import Picture, Record, Result
from foveate.systems.embedding.dsg_hash import method
from foveate.systems.embedding.dsg_hash.data import Folder
from foveate.systems.embedding.dsg_hash.guidance import Distill, Weights

SHIPPED = Path(__file__).with_name("weights.safetensors")
DEMO = "demo weights: 64 bits, learned on drawn things; train on your own pictures for codes that fit them"


def index(photos: Path, weights: Path | None = None, batch: int = 32, precision: Precision = "float32") -> Result:
    """Turn a folder of photographs into binary codes that can be searched.

    Interrupted, it goes on where it was; run again on a folder that has grown, it encodes what is new.

    Args:
        photos: Folder with PNG, JPEG, WebP, TIFF or BMP pictures, at any depth.
        weights: What `foveate train dsg_hash` wrote, in place of the shipped weights.
        batch: Pictures per forward pass.
        precision: Arithmetic; use the same to search.

    Returns:
        The codes with the files' names, the same as a faiss index, and a report.
    """
    network, notes = _network(weights)
    made = photo_index.index_photos(photos, network, _prepare(network), batch, precision)
    return replace(made, notes=(*made.notes, *notes))


def search(
    queries: list[Path],
    index: Path | None = None,
    weights: Path | None = None,
    nearest: int = 12,
    batch: int = 32,
    precision: Precision = "float32",
) -> Iterator[Result | InputError]:
    """Find the pictures of an index that are nearest to each query.

    Args:
        queries: Pictures to look for.
        index: The codes that `index` wrote (..._codes.npz); without, the pictures in the query's own folder are searched.
        weights: The weights that made the index, if not the shipped ones.
        nearest: Pictures to find.
        batch: Pictures per forward pass.
        precision: Arithmetic; the one that made the index.

    Returns:
        For each query a table and a record of the nearest pictures, and a contact sheet.
    """
    network, notes = _network(weights)
    for outcome in photo_index.search_photos(queries, index, network, _prepare(network), nearest, batch, precision):
        yield outcome if isinstance(outcome, InputError) else replace(outcome, notes=(*outcome.notes, *notes))


def evaluate(index: Path, labels: Path, k: int = 5000) -> Result:
    """Tell how well an index retrieves, if labels are known.

    Args:
        index: The codes that `index` wrote (..._codes.npz).
        labels: CSV with the columns file and label (several separated by |), and perhaps role (query or database); without
            roles each picture searches all others.
        k: Of MAP@k and precision at k.

    Returns:
        The scores, and precision and recall at each Hamming radius, as a table and drawn.
    """
    return photo_index.evaluate_codes(index, labels, k)


def guidance(
    photos: Path,
    weights: Weights = "smooth",
    distill: Distill = "kmeans",
    alpha: float = 2.0,
    beta: float = 2.0,
    clusters: int = 0,
    d_max: float = 2.0,
    backbone: str = PACKAGED,
    pretrained: str = "packaged",
    side: int = 224,
    seed: int = 0,
) -> Result:
    """Find which pictures of a folder are alike and which are not, how surely, without labels: what training is guided by.

    Args:
        photos: Folder with PNG, JPEG, WebP, TIFF or BMP pictures, at any depth.
        weights: Weigh each signal by its confidence, or all alike (`hard`).
        distill: How the clusters are found that a signal must agree with; `off` keeps all signals.
        alpha: Pairs nearer than the mode of all distances by this many deviations are called alike.
        beta: Pairs farther by this many are called not alike.
        clusters: How many; 0 takes 70, or a tenth of the pictures if that is less.
        d_max: The cosine distance at which a signal of not being alike is certain.
        backbone: The network whose features are compared, by timm's name.
        pretrained: Its weights: `packaged`, `timm` (which fetches them), or a file.
        side: Side of the pictures that it sees.
        seed: Of the clustering.

    Returns:
        The signals and weights of the pairs that have any, a report, and the distances with both thresholds drawn.
    """
    source = Folder(
        root=str(photos.resolve()), weights=weights, distill=distill, alpha=alpha, beta=beta, clusters=clusters, d_max=d_max,
        backbone=backbone, pretrained=pretrained, side=side, seed=seed,
    )  # fmt: skip
    made = source.guide()
    share = len(made.i) / made.report["pairs"]
    note = f"{len(made)} pictures, {made.report['pairs']} pairs, {share:.1%} of them with a signal"
    return Result({"guidance": made, "thresholds": Record(made.report), "distances": _figure(made.report)}, (note,))


def _network(weights: Path | None) -> tuple[method.DSGHash, tuple[str, ...]]:
    network = files.load(method.DSGHash, weights or SHIPPED)
    return network, () if weights else (DEMO,)


def _prepare(network: method.DSGHash) -> photo_index.Prepare:
    def prepare(picture: Picture) -> Tensor:
        return method.prepare(picture, network.side)

    return prepare


def _figure(report: Mapping[str, Any]) -> Picture:
    """Draw the histogram of distances, the two half Gaussians and the thresholds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts, top = np.array(report["histogram"]["counts"]), report["histogram"]["top"]
    width = top / len(counts)
    middles = (np.arange(len(counts)) + 0.5) * width
    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.bar(middles, counts, width, color="0.8", label="pairs")
    grid = np.linspace(0, top, 501)
    deviation = np.where(grid <= report["mode"], report["sigma_left"], report["sigma_right"])
    axes.plot(
        grid, counts.max() * np.exp(-(((grid - report["mode"]) / deviation) ** 2) / 2), color="C0", label="half Gaussians"
    )
    for name, colour, what in (("lower", "C2", "positive"), ("upper", "C3", "negative")):
        told = report[what]
        label = f"{report[name]:.3f}: {told['kept']} {what}, {told['removed']} removed"
        axes.axvline(report[name], color=colour, label=label)
    axes.set(xlabel="cosine distance", ylabel="pairs per bin", xlim=(0, top))
    axes.legend(fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.asarray(canvas.buffer_rgba())[..., :3].copy())
