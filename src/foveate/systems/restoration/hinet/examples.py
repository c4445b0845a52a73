"""What the contract feeds HINet: example inputs, and each data set's layout in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveate.parts.degradations import signal_noise
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples.photographs import photograph


def _noisy(height: int = 48, width: int = 56) -> Picture:
    clean = Picture(photograph("coffee")[100 : 100 + height, 200 : 200 + width]).colour()
    return Picture.from_unit(signal_noise(clean, 0.1, np.random.default_rng(0)))


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a noisy photograph in a format."""
    return write_as(_noisy(), folder / f"photo.{suffix}")


# Where each layout keeps the degraded and the clean picture of a training and of a validation item.
_PLACES = {
    "sidd": {"SIDD_Medium_Srgb/Data/0001": ("0001_NOISY_SRGB_010.PNG", "0001_GT_SRGB_010.PNG")},
    "gopro": dict.fromkeys(("train", "test"), ("input/a.png", "target/a.png")),
    "reds": {part: (f"{part}_blur_jpeg/000/00000009.jpg", f"{part}_sharp/000/00000009.png") for part in ("train", "val")},
    "rain13k": dict.fromkeys(("train", "test/Rain100L"), ("input/1.jpg", "target/1.jpg")),
    "folders": dict.fromkeys(("train", "val", "test"), ("input/a.png", "target/a.png")),
    "clean": dict.fromkeys(("train", "val"), ("a.png",)),
}


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set of a pair or two in its real layout.

    Returns:
        The first validation item's degraded file, or None where items are no files of their own.
    """
    noisy, first = _noisy(), None
    for place, files in _PLACES[name].items():
        for file in files:
            # GoPro and Rain13k validate on every tenth training pair, so there are two.
            names = [file, file.replace("a.", "b.").replace("1.", "2.")] if name in ("gopro", "rain13k") else [file]
            for i, one in enumerate(names):
                path = folder / place / one
                path.parent.mkdir(parents=True, exist_ok=True)
                write_as(Picture(noisy.pixels // (i + 1)), path)
    if name == "sidd":
        _blocks(folder)
    elif name != "clean":
        validated = "val" if name in ("reds", "folders") else "train"
        first = folder / validated / _PLACES[name][validated][0]
    return first


def _blocks(folder: Path) -> None:
    """Write SIDD's validation blocks: two scenes of three blocks, of the real size."""
    from scipy.io import savemat

    blocks = np.random.default_rng(0).integers(0, 256, (2, 3, 256, 256, 3), dtype=np.uint8)
    for kind in ("Noisy", "Gt"):
        name = f"Validation{kind}BlocksSrgb"
        savemat(folder / f"{name}.mat", {name: blocks})
