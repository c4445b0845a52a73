"""What the contract feeds CIBHash: pictures to index and search, labels, and each data set's layout in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foveate.parts.hashing import Codes, pack
from foveate.readers.pictures import read_picture, write_as
from foveate.results import Picture
from foveate.samples.glyphs import THINGS, collection
from foveate.samples.retrieval_layouts import layout as write_layout
from foveate.systems.embedding.cibhash import data


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a folder of pictures, a query, an index or its labels."""
    if action == "evaluate":
        return _index(folder / "photos.npz") if name == "index" else _labels(folder / "labels.csv")
    pictures = collection("query", 1, 0.25)
    if name == "queries":
        return write_as(Picture(pictures.pixels[0]), folder / f"query.{suffix}")
    place = folder / "photos"
    place.mkdir()
    for pixels, label in zip(pictures.pixels[:6], pictures.labels, strict=False):
        write_as(Picture(pixels), place / f"{list(THINGS)[label]}.png")
    return place


def _index(path: Path) -> Path:
    codes = pack(np.random.default_rng(0).random((8, 16)) < 0.5)
    Codes(codes, 16, [f"{i}.png" for i in range(8)], "example").write(path)
    return path


def _labels(path: Path) -> Path:
    path.write_text("file,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8)))
    return path


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set in its real layout, and return the first picture that is validated."""
    write_layout({"lists": "listed"}.get(name, name), folder)
    source = {"cifar10": data.CIFAR10, "nus_wide": data.NUSWide, "coco": data.COCO, "lists": data.Lists}.get(name, data.Folder)
    made = source(root=str(folder))
    made.setup("fit")
    items = made.found["val" if "val" in made.found else "database"].items
    if not isinstance(items[0], Path):
        return None
    seen = next(iter(made.val_dataloader()))["image"][0]
    return next(item for item in items if torch.equal(made.plain(read_picture(item)), seen))
