"""Labelled pictures to train on, to calibrate with and to test on: real layouts, and the embedded shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError
from foveate.readers import classification_data as sources
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.systems.efficiency.adaptta.transforms import CROP

__all__ = ["CIFAR10", "CIFAR100", "Folder", "ImageNet", "Sample", "chosen", "pictures_of"]

Layout = Literal["folder", "cifar10", "cifar100", "imagenet"]


class Folder(sources.Folder):
    """Your own pictures, a folder for each class.

    Args:
        root: The folder.
        crop: Share of the short side that the standard view shows; what lies beyond is for the other views.
        **options: See `foveate.readers.classification_data.ClassificationData`.
    """

    def __init__(self, root: str = "", crop: float = CROP, **options: Any) -> None:
        super().__init__(root, crop=crop, **options)


CIFAR10, CIFAR100, ImageNet = sources.CIFAR10, sources.CIFAR100, sources.ImageNet
LAYOUTS: dict[str, type[sources.ClassificationData]] = {
    "folder": Folder, "cifar10": CIFAR10, "cifar100": CIFAR100, "imagenet": ImageNet,
}  # fmt: skip


class Sample(sources.Shapes):
    """Embedded shapes: clean ones to train on, ones that camera and light have shifted to calibrate with and to test.

    Args:
        count: Pictures to train on.
        held_out: Pictures to calibrate with (``val``), and as many to test on.
        severity: Shift of these: 0 to 4, or None for all of them mixed.
        crop: Share that the standard view shows.
        **options: See `foveate.readers.classification_data.Shapes`.
    """

    def __init__(
        self, count: int = 6000, held_out: int = 2000, severity: int | None = None, crop: float = CROP, **options: Any
    ) -> None:
        super().__init__(count=count, held_out=held_out, severity=severity, crop=crop, **options)


def chosen(
    root: Path, layout: Layout, part: Literal["val", "test"], labels: tuple[str, ...], classes: int, limit: int
) -> Labelled:
    """Read the pictures to calibrate with (``val``) or to compare on (``test``), labelled as the classifier counts classes.

    Args:
        root: Folder of the data set. One that has folders of classes and no parts is used whole.
        layout: Its layout.
        part: Which part of it.
        labels: The classifier's names of the classes; without them they are counted in alphabetical order, as usual.
        classes: The classifier's number of classes.
        limit: At most so many pictures, drawn with a fixed seed; 0 for all.

    Raises:
        InputError: If there are no pictures, or their classes are not the classifier's.
    """
    parts = LAYOUTS[layout](root=str(root)).parts()
    whole = layout == "folder" and not (root / "train").is_dir()
    found = _joined(list(parts.values())) if whole else parts[part]
    if not len(found):
        raise InputError(root, f"has no pictures in its part {part}", "some pictures of each class")
    if labels:
        strange = [name for name in found.classes if name not in labels]
        if strange:
            raise InputError(root, f"has the class {strange[0]!r}, which the classifier does not know", f"of {_some(labels)}")
        numbers = np.array([labels.index(name) for name in found.classes])[found.labels]
    elif len(found.classes) != classes:
        raise InputError(
            root, f"has {len(found.classes)} classes, the classifier {classes}", "the classes that it was trained on"
        )
    else:
        numbers = np.asarray(found.labels)
    found = Labelled(found.items, numbers, labels or found.classes)
    if 0 < limit < len(found):
        found = found.take(np.sort(np.random.default_rng(0).permutation(len(found))[:limit]))
    if len(np.unique(found.labels)) < 2:
        raise InputError(root, "has pictures of one class only", "pictures of two classes and more")
    return found


def _joined(parts: list[Labelled]) -> Labelled:
    items = [item for part in parts for item in part.items]
    labels = np.concatenate([part.labels for part in parts])
    return Labelled(items, labels.astype(np.int64), parts[0].classes)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")


def pictures_of(found: Labelled) -> Iterator[Picture]:
    """Read the pictures of a set, one after the other."""
    for item in found.items:
        yield read_picture(item) if isinstance(item, Path) else Picture(np.ascontiguousarray(item))
