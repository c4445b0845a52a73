"""What the contract feeds the system: small networks in files, and each data set's layout in miniature."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch

from foveate.parts import weights
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.systems.efficiency.dynamical_isometry.method import SmallClassifier


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a network of few units, untrained."""
    torch.manual_seed(0)
    network = SmallClassifier("mlp7_relu", widths=(12,) * 6)
    path = folder / f"network.{suffix}"
    if suffix == "ckpt":
        state = {f"network.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": state, "arguments": network.arguments}, path)
    else:
        weights.save(network, path)
    return path


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set of a few dozen pictures in its real layout; its items are not what actions take, so None is returned."""
    {"mnist": _mnist, "cifar10": _cifar10, "cifar100": _cifar100, "imagenet": _imagenet, "folder": _folder}[name](folder)
    return None


def _pixels(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise that is lighter for each next class: uint8 ``(count, side, side, 3)``, and labels of ten classes."""
    labels = np.arange(count) % 10
    drawn = np.random.default_rng(0).integers(0, 70, (count, side, side, 3)) + 18 * labels[:, None, None, None]
    return drawn.astype(np.uint8), labels


def _mnist(folder: Path) -> None:
    for prefix, count in (("train", 100), ("t10k", 20)):
        pixels, labels = _pixels(count, 28)
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels[..., 0].tobytes()))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + np.uint8(labels).tobytes())


def _planes(count: int) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = _pixels(count, 32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(count, -1), labels


def _cifar10(folder: Path) -> None:
    """Write the binary version."""
    place = folder / "cifar-10-batches-bin"
    place.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        planes, labels = _planes(20)
        (place / f"{name}.bin").write_bytes(np.concatenate([np.uint8(labels)[:, None], planes], axis=1).tobytes())


def _cifar100(folder: Path) -> None:
    """Write the Python version."""
    import pickle  # noqa: TID251 - the format of this data set; nothing is read with it

    place = folder / "cifar-100-python"
    place.mkdir()
    for name, count in (("train", 100), ("test", 20)):
        planes, labels = _planes(count)
        (place / name).write_bytes(pickle.dumps({"data": planes, "fine_labels": labels.tolist()}, protocol=2))
    (place / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class{i}" for i in range(100)]}, protocol=2))


def _imagenet(folder: Path) -> None:
    pixels, _ = _pixels(1, 240)
    for part, count in (("train", 30), ("val", 2)):
        for wnid in ("n01440764", "n01443537"):
            (folder / part / wnid).mkdir(parents=True)
            for i in range(count):
                write_as(Picture(pixels[0]), folder / part / wnid / f"{wnid}_{i}.jpg")


def _folder(folder: Path) -> None:
    pixels, _ = _pixels(20, 40)
    for i, picture in enumerate(pixels):
        path = folder / ("dark", "light")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        write_as(Picture(picture), path)
