"""What a run writes: the network as safetensors and as ONNX, its table, and how alike its maps were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from foveate.errors import MissingExtra
from foveate.parts import weights
from foveate.parts.classifiers import Classifier
from foveate.results import Picture
from foveate.systems.efficiency.qsfm.method import Pruned

MOST_PANELS = 60
MOST_BATCH = 65_536  # that an exported network is promised to take


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier as safetensors: weights, and in the metadata all that is needed to build it without the original."""

    network: Classifier
    suffix: ClassVar[str] = ".safetensors"
    kind: ClassVar[str] = "network"

    def write(self, path: Path) -> None:
        """Write it."""
        weights.save(self.network, path)


@dataclass(frozen=True, eq=False)
class ONNX:
    """A classifier as ONNX, normalisation included: ``image`` (batch, 3, side, side) in [0, 1] to ``logits``, any batch."""

    network: Classifier
    suffix: ClassVar[str] = ".onnx"
    kind: ClassVar[str] = "onnx"

    def write(self, path: Path) -> None:
        """Export it.

        Raises:
            MissingExtra: If onnxscript, which PyTorch exports with, is not installed.
        """
        network = self.network.cpu().eval()
        example = network.example().expand(2, -1, -1, -1).contiguous()
        batch = torch.export.Dim("batch", min=1, max=MOST_BATCH)
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        try:
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["image"], output_names=["logits"], external_data=False
            )
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "efficiency") from error
        if made is None:
            raise RuntimeError("the exporter gave nothing")
        made.save(str(path))


def heat_maps(pruned: Pruned) -> Picture:
    """Draw each layer's similarities: kept channels first, removed ones behind the line, the first removed last.

    Args:
        pruned: What `foveate.systems.efficiency.qsfm.method.prune` gave.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(pruned.kept)[:MOST_PANELS]
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.7 * rows + 0.6), dpi=90, layout="constrained")
    left = f"; the first {MOST_PANELS} of {len(pruned.kept)} layers" if len(pruned.kept) > MOST_PANELS else ""
    figure.suptitle(f"similarity of feature maps: kept filters | removed ones{left}", fontsize=11)
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
        order = pruned.order[name][::-1]
        kept = len(pruned.kept[name])
        matrix = pruned.similarity[name].copy()
        np.fill_diagonal(matrix, np.nan)
        off = matrix[np.isfinite(matrix)]
        low, high = (np.quantile(off, 0.02), np.quantile(off, 0.98)) if len(off) else (0, 1)
        axes.imshow(matrix[np.ix_(order, order)], vmin=low, vmax=max(high, low + 1e-9), cmap="viridis", interpolation="nearest")
        if kept < len(order):
            axes.axhline(kept - 0.5, color="white", linewidth=1)
            axes.axvline(kept - 0.5, color="white", linewidth=1)
        axes.set_title(f"{name}\n{len(order)} to {kept}", fontsize=7)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in figure.axes[len(names) :]:
        axes.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def layers(pruned: Pruned) -> dict[str, dict[str, Any]]:
    """Tell of each layer what was kept, and for every removed filter which kept one is most like it."""
    return {
        name: {
            "filters": len(pruned.order[name]),
            "kept": kept,
            "removed": {str(j): _described(pruned.twins[name], j) for j in removed(pruned.order[name], kept)},
        }
        for name, kept in pruned.kept.items()
    }


def removed(order: np.ndarray, kept: np.ndarray) -> list[int]:
    """List removed channels in the order of their removal."""
    return [int(j) for j in order[: len(order) - len(kept)]]


def _described(twins: Mapping[int, Any], j: int) -> dict[str, float]:
    return {"twin": twins[j].index, "similarity": twins[j].similarity}
