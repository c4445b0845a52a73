"""Data sets of image classification: ``train``, ``val`` and ``test`` parts, `Labelled` with one class for each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.readers.cifar import CLASSES, read_cifar10, read_cifar100
from foveate.readers.idx import read_idx
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import find_pictures

PARTS = ("train", "val", "test")
FOLDER = "a folder for each class with its pictures, or train/, val/ and test/ with such folders"
_OTHER_NAMES = {"val": ("valid", "validation")}


def split(whole: Labelled, seed: int, shares: Mapping[str, float] | None = None) -> dict[str, Labelled]:
    """Divide a set by chance, class by class, so that each part has its share of every class.

    Args:
        whole: The set.
        seed: Of the draw.
        shares: Of each part but the first of `PARTS`, which gets the rest; by default 15 % for ``val`` and ``test`` each.
    """
    shares = shares or {"val": 0.15, "test": 0.15}
    draw = np.random.default_rng(seed)
    labels = np.asarray(whole.labels)
    chosen: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
    for label in np.unique(labels):
        members = draw.permutation(np.flatnonzero(labels == label))
        start = 0
        for part, share in shares.items():
            count = round(share * len(members))
            chosen[part].append(members[start : start + count])
            start += count
        chosen["train"].append(members[start:])
    return {part: whole.take(np.sort(np.concatenate(index))) for part, index in chosen.items() if index}


def folder(root: str | Path, seed: int = 0) -> dict[str, Labelled]:
    """Read pictures in folders that are named for their classes.

    Args:
        root: With ``train``, ``val`` and ``test`` (``val`` or ``test`` is drawn from ``train`` where it is missing) or with the
            classes themselves, which are then divided 70, 15 and 15 %.
        seed: Of the draw.

    Raises:
        InputError: If there is no picture, fewer than two classes, or parts have different ones.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(root, "is a file" if root.exists() else "there is no such folder", FOLDER)
    inner = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    found = {part: next((inner[n] for n in (part, *_OTHER_NAMES.get(part, ())) if n in inner), None) for part in PARTS}
    if found["train"] is None:
        return split(_classes(root), seed)
    parts = {part: _classes(place) for part, place in found.items() if place is not None}
    for part, labelled in parts.items():
        if labelled.classes != parts["train"].classes:
            odd = sorted(set(labelled.classes) ^ set(parts["train"].classes))
            raise InputError(
                root / part, f"has other classes than train: {', '.join(odd[:4])}", "the same folders in each part"
            )
    missing = [part for part in PARTS if part not in parts]
    if missing:
        parts |= split(parts["train"], seed, dict.fromkeys(missing, 0.15))
    return {part: parts[part] for part in PARTS}


def _classes(root: Path) -> Labelled:
    """Read class folders."""
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    pictures = {name: find_pictures(root / name) for name in names}
    pictures = {name: found for name, found in pictures.items() if found}
    if not pictures:
        loose = len(find_pictures(root))
        raise InputError(root, f"has {loose} pictures and no folders of classes" if loose else "has no pictures", FOLDER)
    if len(pictures) < 2:
        raise InputError(root, f"has one class only, {next(iter(pictures))}", "two or more")
    items = [path for found in pictures.values() for path in found]
    return Labelled(items, _numbers([len(found) for found in pictures.values()]), tuple(pictures))


def _numbers(counts: Sequence[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def cifar10(root: str | Path, seed: int = 0) -> dict[str, Labelled]:
    """Read CIFAR-10: its 10,000 test pictures, a tenth of the others for validation, the rest to train on."""
    return _held_out(read_cifar10(root), CLASSES, seed)


def cifar100(root: str | Path, seed: int = 0) -> dict[str, Labelled]:
    """Read CIFAR-100 with its fine labels, divided as CIFAR-10."""
    parts, names = read_cifar100(root)
    return _held_out(parts, names or tuple(map(str, range(100))), seed)


def mnist(root: str | Path, seed: int = 0) -> dict[str, Labelled]:
    """Read MNIST, or what has its format: four IDX files, gzipped or not; a tenth of the training part is for validation.

    Raises:
        InputError: If a file is missing, or pictures and labels do not fit.
    """
    root, parts = Path(root), {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pictures, labels = (_mnist_file(root, f"{prefix}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        values, numbers = read_idx(pictures), read_idx(labels)
        if values.ndim != 3 or numbers.ndim != 1 or len(values) != len(numbers):
            raise InputError(pictures, f"shape {values.shape}, labels {numbers.shape}", "(N, H, W) and (N,)")
        parts[part] = values, numbers.astype(np.int64)
    return _held_out(parts, tuple(map(str, range(int(parts["train"][1].max(initial=9)) + 1))), seed)


def _mnist_file(root: Path, name: str) -> Path:
    """Find a file, also in the folder ``raw`` that torchvision makes, and with a dot before idx."""
    for inner in ("", "raw", "MNIST/raw"):
        for spelt in (name, name.replace("-idx", ".idx")):
            for suffix in ("", ".gz"):
                if (path := root / inner / (spelt + suffix)).is_file():
                    return path
    found = sorted(p.name for p in root.iterdir())[:5] if root.is_dir() else []
    raise InputError(root, f"has no {name}; found: {', '.join(found) or 'nothing'}", "MNIST's four files, gzipped or not")


def imagenet(root: str | Path, seed: int = 0) -> dict[str, Labelled]:
    """Read ImageNet-1k: ``train/WNID/*`` and ``val/WNID/*``; val is the test part, two percent of train are for validation.

    Without ``train`` the validation pictures are divided: half to test, 5 % for validation, the rest to calibrate with.

    Raises:
        InputError: If there is no folder of classes.
    """
    root = Path(root)
    if not (root / "val").is_dir():
        raise InputError(root, "has no folder val", "ImageNet with val/WNID/*.JPEG, and train/WNID/*.JPEG to train")
    test = _classes(root / "val")
    if not (root / "train").is_dir():
        return split(test, seed, {"val": 0.05, "test": 0.5})
    train = _classes(root / "train")
    if train.classes != test.classes:
        raise InputError(root, f"train has {len(train.classes)} classes, val has {len(test.classes)}", "the same folders")
    return {**split(train, seed, {"val": 0.02}), "test": test}


def _held_out(parts: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: tuple[str, ...], seed: int) -> dict[str, Labelled]:
    """Take a tenth of the training part for validation."""
    train = split(Labelled(*parts["train"], classes), seed, {"val": 0.1})
    return {**train, "test": Labelled(*parts["test"], classes)}
