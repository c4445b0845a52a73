"""Real photographs that scikit-image, scikit-learn and matplotlib ship, split by photograph and never by crop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np

PartName = Literal["train", "val", "test"]

SPLIT: dict[PartName, tuple[str, ...]] = {
    "train": ("astronaut", "motorcycle", "flower", "hopper", "brick", "grass", "gravel", "camera"),
    "val": ("chelsea",),
    "test": ("china", "coffee", "rocket"),
}


def _hopper() -> np.ndarray:
    import matplotlib.cbook
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file))


def _skimage(name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        from skimage import data

        return getattr(data, name)()

    return read


def _sklearn(name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        from sklearn.datasets import load_sample_image

        return load_sample_image(name)

    return read


def _motorcycle() -> np.ndarray:
    from skimage import data

    return data.stereo_motorcycle()[0]


_READERS: dict[str, Callable[[], np.ndarray]] = {
    "china": _sklearn("china.jpg"),
    "flower": _sklearn("flower.jpg"),
    "hopper": _hopper,
    "motorcycle": _motorcycle,
    **{n: _skimage(n) for n in ("astronaut", "chelsea", "coffee", "rocket", "brick", "grass", "gravel", "camera")},
}


@cache
def photograph(name: str) -> np.ndarray:
    """Return one photograph: uint8 ``(H, W, 3)`` RGB, read-only; grey ones have three equal channels.

    Example:
        >>> photograph("coffee").shape
        (400, 600, 3)
    """
    pixels = _READERS[name]()
    pixels = np.ascontiguousarray(np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3])
    pixels.setflags(write=False)
    return pixels


def photographs(part: PartName) -> dict[str, np.ndarray]:
    """Return the photographs of one part of the split by name, as `photograph` gives them."""
    return {name: photograph(name) for name in SPLIT[part]}
