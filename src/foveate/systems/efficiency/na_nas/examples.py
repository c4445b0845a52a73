"""What the contract feeds na_nas: a cell, pictures in folders, a small network, and each data set's layout in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from foveate.parts import weights
from foveate.readers.pictures import find_pictures, write_as
from foveate.results import Picture
from foveate.samples.retrieval_layouts import layout as write_layout
from foveate.samples.shapes import CLASSES, shapes
from foveate.systems.efficiency.na_nas.method import CellNetwork

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|"
SMALL = {"width": 4, "cells": 1, "epochs": 1, "batch": 8}


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a cell, a folder of pictures, a network or a picture."""
    if name == "arch":
        path = folder / "arch.json"
        path.write_text(json.dumps({"cell": CELL, "space": "nano", "final": SMALL}), encoding="utf-8")
        return path
    if name == "data":
        _folders(folder, 10)
        return folder
    if name == "weights":
        torch.manual_seed(0)
        weights.save(CellNetwork(CELL, "nano", 4, 1, 2, labels=["one", "other"]), folder / f"network.{suffix}")
        return folder / f"network.{suffix}"
    return write_as(Picture(shapes(1, 7).pictures[0]), folder / f"shape.{suffix}")


def _folders(root: Path, count: int, classes: int = 2) -> None:
    """Write pictures of the first classes into folders, so many of each."""
    drawn = shapes(40 * classes, 3)
    for label in range(classes):
        place = root / CLASSES[label]
        place.mkdir(parents=True)
        pictures = drawn.pictures[drawn.labels == label]
        for i in range(count):
            write_as(Picture(np.roll(pictures[i % len(pictures)], i, axis=0)), place / f"{i:02}.png")


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set in its real layout.

    Returns:
        Of a folder the first picture that is validated; else None.
    """
    if name == "folder":
        for part, count in (("train", 6), ("val", 2), ("test", 2)):
            _folders(folder / part, count)
        return find_pictures(folder / "val")[0]
    if name == "imagenet":
        for part in ("train", "val"):
            _folders(folder / part, 30)
    elif name == "cifar100":
        _cifar100(folder / "cifar-100-python")
    else:
        write_layout(name, folder)
    return None


def _cifar100(folder: Path) -> None:
    """Write the Python version, with pictures of two classes."""
    import pickle  # noqa: TID251 - the format of this data set; nothing is read with it

    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        content = {"data": pixels, "fine_labels": [i % 2 for i in range(count)], "coarse_labels": [0] * count}
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))
    names = [f"class{i:02}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": names[:20]}, protocol=2))
