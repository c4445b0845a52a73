"""Data sets to train and to fine-tune on, the embedded sample, and the pictures that a network is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foveate.errors import InputError
from foveate.parts.classifiers import Classifier
from foveate.parts.progress import bar
from foveate.readers.classification_data import (
    CIFAR10,
    CIFAR100,
    ClassificationData,
    Digits,
    Folder,
    ImageNet,
    Shapes,
)
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture
from foveate.systems.efficiency.qsfm.method import prepare

__all__ = ["CIFAR10", "CIFAR100", "Digits", "Folder", "ImageNet", "Sample", "Seen", "look", "opened"]

PICTURES = "a folder with pictures, or with a folder of pictures for each class, or CIFAR's batches"


class Sample(Shapes):
    """Embedded: ten drawn shapes, without sensor noise unless it is asked for: a small network learns them in minutes.

    Args:
        count: Pictures to train on.
        held_out: Pictures of ``val`` and of ``test``, each.
        draw: Which pictures: another number, others.
        noisy: Blur and sensor noise.
        batch_size: Pictures per step and process.
        side: Side of the pictures that the network sees.
        crop: Share of the short side that is seen in evaluation: the inner 32 of 40 pixels.
        seed: Seed of order and augmentation.
        num_workers: Loader processes.
    """

    def __init__(
        self,
        count: int = 6000,
        held_out: int = 2000,
        draw: int = 0,
        noisy: bool = False,
        batch_size: int = 64,
        side: int = 32,
        crop: float = 0.8,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        options = {"batch_size": batch_size, "side": side, "crop": crop, "seed": seed, "num_workers": num_workers}
        super().__init__(count, held_out, draw, noisy=noisy, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Seen:
    """Pictures as a network sees them, in three parts that have none in common unless a note says so.

    Attributes:
        measured: What similarities are measured on, ``(N, 3, side, side)`` in [0, 1].
        held_out: What sensitivities are measured on.
        tested: What the networks before and after are compared on.
        labels: Classes of those, int64, or None if they are not known.
        notes: What the user should know of them.
    """

    measured: Tensor
    held_out: Tensor
    tested: Tensor
    labels: Tensor | None
    notes: tuple[str, ...] = ()


def opened(
    root: Path | None, network: Classifier, crop: float, seed: int, train: bool = False, batch_size: int = 128
) -> ClassificationData | None:
    """Find out what a folder holds; None stands for the embedded sample.

    Args:
        root: A folder in one of CIFAR's layouts, or with a folder for each class, or with anything else.
        network: What shall see the pictures.
        crop: Share of the short side that it sees.
        seed: Of what is divided by chance.
        train: Whether it is trained on them; else fewer are drawn of the embedded ones.
        batch_size: Pictures per step if it is trained on them.

    Returns:
        The data, or None if they have no labels.

    Raises:
        InputError: If there is no such folder, or nothing in it.
    """
    if root is None:
        count, held_out = (6000, 1000) if train else (512, 512)
        return Sample(count, held_out, batch_size=batch_size, side=network.side, crop=crop, seed=seed)
    if not root.is_dir():
        raise InputError(root, "is a file" if root.exists() else "there is no such folder", PICTURES)
    options = {"root": str(root), "side": network.side, "seed": seed, "batch_size": batch_size}
    if [*root.glob("data_batch_1*"), *root.glob("*/data_batch_1*")]:
        return CIFAR10(**options)  # type: ignore[arg-type]
    if any((root / inner / "train").is_file() for inner in ("", "cifar-100-python")):
        return CIFAR100(**options)  # type: ignore[arg-type]
    found = find_pictures(root)
    if not found:
        raise InputError(root, "has no pictures", PICTURES)
    if len({path.parent for path in found} - {root}) < 2:
        return None
    data = Folder(**options, crop=crop)  # type: ignore[arg-type]
    try:
        return data if data.classes else None
    except InputError:  # its folders are no classes
        return None


def look(
    root: Path | None, network: Classifier, samples: int, tests: int, crop: float, seed: int, data: ClassificationData | None
) -> Seen:
    """Read pictures.

    Args:
        root: Their folder, or None for the embedded sample.
        network: What shall see them.
        samples: Pictures to measure similarities on, and as many to measure sensitivities on, at most.
        tests: Pictures to compare on, at most.
        crop: Share of the short side that is seen.
        seed: Which.
        data: Of `opened`.

    Raises:
        InputError: If no picture can be read.
    """
    draw = np.random.default_rng((seed, 2))
    notes: list[str] = []
    if root is None:
        notes.append("embedded pictures: give --images with your own for a network that shall see others")
    if data is None and root is not None:
        found = find_pictures(root)
        whole = Labelled(found, None).take(draw.permutation(len(found)))
        shares = np.clip(np.array([len(whole) // 2, len(whole) // 4]), 1, samples)
        cuts = np.cumsum(shares)
        parts = [whole.take(index) for index in np.split(np.arange(len(whole)), cuts)]
        if len(whole) < 3:
            parts = [whole, whole, whole]
            notes.append(f"{len(whole)} pictures only: all is measured and judged on the same")
        notes.append("no labels: how often both networks agree takes the place of accuracy")
        numbers = None
    else:
        assert data is not None
        found_parts = data.parts()
        parts = [found_parts[name].take(draw.permutation(len(found_parts[name]))) for name in ("train", "val", "test")]
        numbers, more = _numbers(parts[2], network)
        notes += more
    kept = [part.take(np.arange(min(limit, len(part)))) for part, limit in zip(parts, (samples, samples, tests), strict=True)]
    with bar("reading pictures") as tick:
        tick(0, sum(map(len, kept)))
        read = [_read(part.items, network.side, crop, notes, tick) for part in kept]
    if not all(len(pictures) for pictures, _ in read):
        raise InputError(root, "has too few pictures that can be read", "three or more")
    labels = None if numbers is None else torch.from_numpy(numbers[read[2][1]])
    return Seen(*(pictures for pictures, _ in read), labels, tuple(notes))


def _numbers(part: Labelled, network: Classifier) -> tuple[np.ndarray | None, list[str]]:
    """Turn labels into the network's numbers of classes, if they fit."""
    labels = np.asarray(part.labels)
    if network.labels and set(part.classes) <= set(network.labels):
        return np.array([network.labels.index(name) for name in part.classes])[labels], []
    if not network.labels and len(part.classes) == network.classes:
        return labels, ["the folders in their order are taken for the network's classes"]
    wrong = f"the folders are {len(part.classes)} classes, not the network's {network.classes}"
    return None, [f"{wrong}: how often both networks agree takes the place of accuracy"]


def _read(
    items: Sequence[Path] | np.ndarray, side: int, crop: float, notes: list[str], tick: object
) -> tuple[Tensor, np.ndarray]:
    """Read and view pictures; files that are broken are left out and noted."""
    views, places = [], []
    for place, item in enumerate(items):
        try:
            picture = read_picture(item) if isinstance(item, Path) else Picture(np.ascontiguousarray(item))
        except InputError as error:
            notes.append(f"left out: {error}")
        else:
            views.append(prepare(picture, side, crop))
            places.append(place)
        tick(1)  # type: ignore[operator]
    return torch.stack(views) if views else torch.zeros(0, 3, side, side), np.array(places, np.int64)
