"""Data sets of image retrieval in miniature, in the formats in which they are published: for tests and the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from foveate.samples.photographs import photograph

_SCENES = ("astronaut", "coffee", "rocket")  # a class each


def _pixels(label: int, number: int, height: int = 40, width: int = 48) -> np.ndarray:
    """Cut a window out of a class's photograph: uint8 ``(height, width, 3)``."""
    whole = photograph(_SCENES[label])
    top, left = (number * 37 % (whole.shape[0] - height), number * 53 % (whole.shape[1] - width))
    return whole[top : top + height, left : left + width]


def _write(path: Path, label: int, number: int) -> Path:
    """Write a picture in the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(_pixels(label, number))).save(path)
    return path


def _write_text(path: Path, lines: list[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def _cifar10(folder: Path) -> None:
    """Write the Python version: five batches of six pictures, a test batch of twelve, of the first three classes."""
    import pickle  # noqa: TID251 - the format of this data set; nothing is read with it

    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True, exist_ok=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files: dict[str, dict] = {"batches.meta": {"num_cases_per_batch": 6, "label_names": names, "num_vis": 3072}}
    for batch, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        count = 12 if name == "test_batch" else 6
        labels = [i % 3 for i in range(count)]
        pixels = np.stack([_pixels(label, 20 * batch + i, 32, 32) for i, label in enumerate(labels)])
        files[name] = {
            "batch_label": f"training batch {batch + 1} of 5" if batch < 5 else "testing batch 1 of 1",
            "labels": labels,
            "data": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(count, -1),
            "filenames": [f"{names[label]}_s_{batch:02}{i:04}.png" for i, label in enumerate(labels)],
        }
    for name, content in files.items():
        (base / name).write_bytes(pickle.dumps(content, protocol=2))


def _nus_wide(folder: Path) -> Path:
    """Write the original layout: twelve pictures, three concepts, one picture without any; lists as Windows writes them."""
    names, rows = [], []
    for i in range(12):
        label = i % 3
        name = f"{_SCENES[label]}\\{i:04}_{2124494179 + i}.jpg"
        _write(folder / "Flickr" / name.replace("\\", "/"), label, i)
        names.append(name)
        rows.append([i != 11 and (label == c or (c == 0 and i % 4 == 1)) for c in range(3)])
    _write_text(folder / "ImageList" / "Imagelist.txt", names, "\r\n")
    for column, concept in enumerate(("person", "food", "sky")):
        lines = [str(int(row[column])) for row in rows]
        _write_text(folder / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt", lines)
    return folder / "Flickr" / "astronaut" / "0000_2124494179.jpg"


def _coco(folder: Path) -> Path:
    """Write the annotations of 2014 and the two folders of pictures: eight and four, one without an annotation."""
    categories = [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "kitchen", "id": 47, "name": "cup"},
        {"supercategory": "vehicle", "id": 5, "name": "airplane"},
    ]
    ids = {0: 1, 1: 47, 2: 5}
    for split, count, start in (("train2014", 8, 9), ("val2014", 4, 42)):
        images, annotations = [], []
        for i in range(count):
            number, label = start + i, i % 3
            name = f"COCO_{split}_{number:012}.jpg"
            _write(folder / split / name, label, number)
            images.append({"license": 3, "file_name": name, "height": 40, "width": 48, "id": number})
            shown = [] if (split, i) == ("train2014", 7) else [label, (label + 1) % 3] if i % 4 == 1 else [label]
            for one in shown:
                annotations.append(
                    {
                        "segmentation": [[4.0, 4.0, 24.0, 4.0, 24.0, 24.0, 4.0, 24.0]],
                        "area": 400.0,
                        "iscrowd": 0,
                        "image_id": number,
                        "bbox": [4.0, 4.0, 20.0, 20.0],
                        "category_id": ids[one],
                        "id": 100 * number + one,
                    }
                )
        content = {
            "info": {"description": f"{count} pictures", "version": "1.0", "year": 2014},
            "images": images,
            "licenses": [],
            "annotations": annotations,
            "categories": categories,
        }
        _write_text(folder / "annotations" / f"instances_{split}.json", [json.dumps(content)])
    return folder / "train2014" / "COCO_train2014_000000000009.jpg"


def _flickr25k(folder: Path) -> Path:
    """Write twelve numbered pictures, and annotations of three tags and of two of them strongly."""
    labels = {i: (i - 1) % 3 for i in range(1, 13)}
    for i, label in labels.items():
        _write(folder / "mirflickr" / f"im{i}.jpg", label, i)
    notes = folder / "mirflickr25k_annotations_v080"
    for column, tag in enumerate(("people", "food", "sky")):
        tagged = [i for i, label in labels.items() if label == column or (column == 0 and i % 4 == 2)]
        _write_text(notes / f"{tag}.txt", [str(i) for i in tagged])
        if tag != "food":
            _write_text(notes / f"{tag}_r1.txt", [str(i) for i in tagged[::2]])
    _write_text(notes / "README.txt", ["Each file lists the pictures of a tag."])
    return folder / "mirflickr" / "im1.jpg"


def _listed(folder: Path) -> Path:
    """Write the hashing community's lists: ten pictures in the database, three queries."""
    for prefix, count, start in (("database", 10, 0), ("test", 3, 20)):
        names = [f"{_SCENES[i % 3]}/{start + i:04}.png" for i in range(count)]
        for i, name in enumerate(names):
            _write(folder / "images" / name, i % 3, start + i)
        rows = [" ".join(str(int(c == i % 3 or (c == 0 and i % 4 == 1))) for c in range(3)) for i in range(count)]
        _write_text(folder / f"{prefix}_img.txt", names)
        _write_text(folder / f"{prefix}_label_onehot.txt", rows)
    return folder / "images" / "astronaut" / "0000.png"


def _folder(folder: Path) -> Path:
    """Write folders of parts with a folder for each class in them."""
    for part, count, start in (("train", 6, 0), ("database", 6, 10), ("query", 3, 20), ("val", 3, 30)):
        for i in range(count):
            _write(folder / part / _SCENES[i % 3] / f"{start + i}.png", i % 3, start + i)
    return folder / "val" / "astronaut" / "30.png"


_LAYOUTS: dict[str, Callable[[Path], Path | None]] = {
    "cifar10": _cifar10,
    "nus_wide": _nus_wide,
    "coco": _coco,
    "flickr25k": _flickr25k,
    "listed": _listed,
    "folder": _folder,
}


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set of a dozen small pictures in its real layout.

    Args:
        name: ``cifar10``, ``nus_wide`` (as published), ``coco`` (2014), ``flickr25k``, ``listed`` or ``folder``.
        folder: Where; made if it is not there.

    Returns:
        The picture that validation sees first when the data set is split with seed 0 and sizes by default: the first of the
        validation part or, where there is none, of the database. None where items are no files of their own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return _LAYOUTS[name](folder)
