"""What the contract feeds it."""

from pathlib import Path

import numpy as np

from foveate.readers.pictures import write_as
from foveate.results import Picture


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a picture."""
    return write_as(Picture(np.full((8, 8, 3), 100, np.uint8)), folder / f"photo.{suffix}")


def layout(name: str, folder: Path) -> Path:
    """Write a picture for each part."""
    for part in ("train", "val"):
        (folder / part).mkdir()
        path = example("", "", "png", folder / part)
    return path
