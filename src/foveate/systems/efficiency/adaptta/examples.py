"""What the contract feeds AdapTTA: pictures, folders of them, a video, and each data set's layout in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples.retrieval_layouts import layout as write_layout
from foveate.samples.shapes import CLASSES, shapes
from foveate.systems.efficiency.adaptta import data
from foveate.systems.efficiency.adaptta.video import write_video

SEED = 99  # of pictures that nothing was trained or calibrated on


def drawn(count: int = 24) -> list[tuple[np.ndarray, str]]:
    """Draw pictures uint8 ``(40, 40, 3)`` with their classes' names, some of them hard."""
    found = shapes(count, SEED, None)
    return [(pixels, CLASSES[label]) for pixels, label in zip(found.pictures, found.labels, strict=True)]


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a picture, a folder of pictures (with a folder for each class where labels are wanted), or a video."""
    pictures = drawn()
    if action == "classify":
        return write_as(Picture(pictures[0][0]), folder / f"picture.{suffix}")
    if action == "video":
        return write_video((pixels for pixels, _ in pictures[:6]), folder / f"video.{suffix}")
    place = folder / "pictures"
    for i, (pixels, label) in enumerate(pictures):
        inner = place if action == "folder" else place / label
        inner.mkdir(parents=True, exist_ok=True)
        write_as(Picture(pixels), inner / f"{i:02}.{suffix}")
    return place


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set in its real layout, and return the first picture that is validated."""
    if name == "cifar10":
        return write_layout(name, folder)
    sets, suffix = (("train", "val"), "JPEG") if name == "imagenet" else (("train", "val", "test"), "png")
    pictures = drawn(60)
    for part in sets:
        # Of ImageNet's training part two percent are for validation.
        for i in range(480 if (part, name) == ("train", "imagenet") else 60):
            pixels, label = pictures[i % len(pictures)]
            inner = folder / part / (f"n{CLASSES.index(label):08}" if name == "imagenet" else label)
            inner.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(inner / f"{i:03}.{suffix}", quality=95)
    # What is seen of ImageNet's pictures is larger than what the shipped network takes.
    return data.Folder(root=str(folder)).parts()["val"].items[0] if name == "folder" else None
