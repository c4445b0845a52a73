"""CIFAR-10, its Python version (pickles) and its binary version, and CIFAR-100, its Python version."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.readers.unpickling import read_pickle

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXPECTED = (
    "the folder cifar-10-batches-py (data_batch_1 to data_batch_5, test_batch) or cifar-10-batches-bin, or the one above it"
)

_PIXELS = 3 * 32 * 32
_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
_FOLDERS = ("", "cifar-10-batches-py", "cifar-10-batches-bin")


def read_cifar10(root: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read CIFAR-10.

    Args:
        root: The folder of the batches, or the one above it. Batches may hold any number of pictures.

    Returns:
        ``{"train", "test"}``: pictures, uint8 ``(N, 32, 32, 3)`` RGB, and labels, int64 ``(N,)``, 0 to 9 (see `CLASSES`). The
        whole data set has 50,000 and 10,000.

    Raises:
        InputError: If a batch is missing, damaged or laid out in another way.
    """
    folder, suffix = _find(Path(root))
    missing = [n + suffix for names in _BATCHES.values() for n in names if not (folder / (n + suffix)).is_file()]
    if missing:
        raise InputError(folder, f"has no {', '.join(missing)}", EXPECTED)
    read = _read_binary if suffix else _read_python
    parts = {}
    for part, names in _BATCHES.items():
        batches = [read(folder / (name + suffix)) for name in names]
        parts[part] = (np.concatenate([p for p, _ in batches]), np.concatenate([labels for _, labels in batches]))
    return parts


def read_cifar100(root: str | Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Read CIFAR-100's Python version, with its 100 fine labels.

    Args:
        root: The folder of ``train`` and ``test``, or the one above it.

    Returns:
        ``{"train", "test"}``: pictures, uint8 ``(N, 32, 32, 3)`` RGB, and labels, int64 ``(N,)``; and the names of the classes,
        or nothing where the file ``meta`` is missing.

    Raises:
        InputError: If a file is missing, damaged or laid out in another way.
    """
    root, expected = Path(root), "the folder cifar-100-python (train, test, meta), or the one above it"
    folders = [root / inner for inner in ("", "cifar-100-python") if (root / inner / "train").is_file()]
    if not folders:
        found = sorted(p.name for p in root.iterdir())[:5] if root.is_dir() else []
        raise InputError(root, f"holds {', '.join(found) or 'no such data'}", expected)
    parts = {part: _read_python(folders[0] / part, "fine_labels", 100) for part in ("train", "test")}
    meta = read_pickle(folders[0] / "meta", encoding="latin1") if (folders[0] / "meta").is_file() else {}
    return parts, tuple(meta.get("fine_label_names", ()) if isinstance(meta, dict) else ())


def _find(root: Path) -> tuple[Path, str]:
    """Find the folder of the batches, and the suffix of their names."""
    if not root.is_dir():
        raise InputError(root, "is a file" if root.exists() else "there is no such folder", EXPECTED)
    for inner in _FOLDERS:
        for suffix in ("", ".bin"):
            if any((root / inner / (name + suffix)).is_file() for names in _BATCHES.values() for name in names):
                return root / inner, suffix
    found = sorted(p.name for p in root.iterdir())
    if any(name.endswith((".tar.gz", ".tgz")) for name in found):
        raise InputError(root, f"holds {', '.join(found[:3])}, still packed", f"it unpacked: {EXPECTED}")
    raise InputError(root, f"holds {', '.join(found[:5]) or 'nothing'}", EXPECTED)


def _read_python(path: Path, key: str = "labels", classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Read a pickled dict with ``data``, uint8 ``(N, 3072)``, and a list of labels."""
    batch = read_pickle(path, encoding="latin1")
    if not isinstance(batch, dict) or "data" not in batch or key not in batch:
        found = ", ".join(map(str, list(batch)[:6])) if isinstance(batch, dict) else type(batch).__name__
        raise InputError(path, f"holds {found or 'an empty dict'}", f"a CIFAR-{classes} batch: a dict with data and {key}")
    pixels = batch["data"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        held = f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError(path, f"its data are {held}", f"uint8 of shape (N, {_PIXELS})")
    return _checked(path, pixels, batch[key], classes)


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read records of a label byte and 3,072 pixel bytes."""
    record = 1 + _PIXELS
    size = path.stat().st_size
    if size == 0 or size % record:
        raise InputError(
            path, f"has {size:,} bytes", f"a multiple of {record:,}: records of a label and {_PIXELS:,} pixel values"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, record)
    return _checked(path, records[:, 1:], records[:, 0])


def _checked(path: Path, pixels: np.ndarray, labels: object, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Check the labels, and turn the planes of each picture into colours of each pixel."""
    try:
        numbers = np.asarray(labels)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise InputError(
            path, "its labels are no list of whole numbers", f"one label for each picture, 0 to {classes - 1}"
        ) from error
    if len(numbers) != len(pixels):
        raise InputError(path, f"has {len(numbers)} labels for {len(pixels)} pictures", "one label for each picture")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if wrong.size:
        raise InputError(path, f"picture {wrong[0]} has the label {numbers[wrong[0]]}", f"0 to {classes - 1}")
    pictures = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return pictures, numbers.astype(np.int64)
