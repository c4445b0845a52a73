"""What the contract feeds it: a small network, pictures, and each data set's layout in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foveate.parts import weights
from foveate.parts.classifiers import Classifier
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples import shapes
from foveate.samples.retrieval_layouts import layout as write_layout


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a network, or a picture to classify."""
    if name == "pictures":
        return write_as(Picture(shapes.shapes(4, 0).pictures[0]), folder / f"shape.{suffix}")
    torch.manual_seed(0)
    network = Classifier("resnet14x0.25_cifar", len(shapes.CLASSES), labels=shapes.CLASSES, crop=0.8)
    path = folder / f"network.{suffix}"
    if suffix == "safetensors":
        weights.save(network, path)
    else:
        state = {f"network.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": state, "arguments": network.arguments}, path)
    return path


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set in its real layout.

    None is returned: what an action makes of a picture depends on its network's crop, and is tested with data of the same.
    """
    if name == "cifar10":
        write_layout("cifar10", folder)
        return None
    if name == "cifar100":
        _cifar100(folder / "cifar-100-python")
        return None
    drawn = shapes.shapes(120, 0)
    for number, (pixels, label) in enumerate(zip(drawn.pictures, drawn.labels % 2, strict=True)):
        part = f"{'val' if number < 10 else 'train'}/" if name == "imagenet" else ""
        place = folder / f"{part}n0144{label}764"
        place.mkdir(parents=True, exist_ok=True)
        suffix = "JPEG" if name == "imagenet" else "png"
        Image.fromarray(pixels).save(place / f"{number:03}.{suffix}")
    return None


def _cifar100(folder: Path) -> None:
    """Write the Python version: 60 pictures to train on and 20 to test, of two fine classes."""
    import pickle  # noqa: TID251 - the format of this data set; nothing is read with it

    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("test", 20)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
        labels = [i % 2 for i in range(count)]
        content = {
            "data": pixels,
            "fine_labels": labels,
            "coarse_labels": labels,
            "filenames": [f"{i}.png" for i in range(count)],
        }
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))
    names = {"fine_label_names": [f"thing {i}" for i in range(100)], "coarse_label_names": [f"kind {i}" for i in range(20)]}
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
