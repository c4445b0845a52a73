"""What the contract feeds DSGHash: pictures to index, search and compare, labels, and each data set's layout in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foveate.parts.hashing import Codes, pack
from foveate.readers.pictures import read_picture, write_as
from foveate.results import Picture
from foveate.samples.glyphs import collection
from foveate.samples.retrieval_layouts import layout as write_layout
from foveate.systems.embedding.dsg_hash import data

SOURCES = {
    "cifar10": data.CIFAR10,
    "flickr25k": data.Flickr25k,
    "nus_wide": data.NUSWide,
    "nus_wide_10": data.NUSWide10,
    "lists": data.Lists,
    "folder": data.Folder,
}


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a folder of pictures, a query, an index or its labels."""
    if action == "evaluate":
        return _index(folder / "photos.npz") if name == "index" else _labels(folder / "labels.csv")
    # Signals need some pictures that are alike; an index does not.
    pictures = collection("query", 2 if action == "guidance" else 1, 0.25).pixels
    if name == "queries":
        return write_as(Picture(pictures[0]), folder / f"query.{suffix}")
    place = folder / "photos"
    place.mkdir()
    for i, pixels in enumerate(pictures if action == "guidance" else pictures[:6]):
        write_as(Picture(pixels), place / f"{i:02}.{suffix}")
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
    write_layout({"lists": "listed", "nus_wide_10": "listed"}.get(name, name), folder)
    if name == "nus_wide_10":
        _join_lists(folder)
    source = SOURCES[name](root=str(folder))
    source.setup("fit")
    items = source.found["val" if "val" in source.found else "database"].items
    if not isinstance(items[0], Path):
        return None
    seen = next(iter(source.val_dataloader()))["image"][0]
    return next(item for item in items if torch.equal(source.plain(read_picture(item)), seen))


def _join_lists(folder: Path) -> None:
    """Write the pictures of all lists under the names that SSDH's code reads."""
    for new, old in (("img_tc10", "img"), ("targets_onehot_tc10", "label_onehot")):
        both = [(folder / f"{part}_{old}.txt").read_text().splitlines() for part in ("database", "test")]
        (folder / f"{new}.txt").write_text("".join(line + "\n" for lines in both for line in lines))
