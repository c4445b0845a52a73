"""What the contract feeds it."""

from pathlib import Path

import numpy as np

from foveate.readers.pictures import write_as
from lab.gradientless.data import COLOURS, paint


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a red picture."""
    return write_as(paint("red", np.random.default_rng(0)), folder / f"red.{suffix}")


def layout(name: str, folder: Path) -> Path:
    """Write two pictures for each colour and part."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for colour in COLOURS:
            (folder / part / colour).mkdir(parents=True)
            for i in range(2):
                write_as(paint(colour, rng), folder / part / colour / f"{i}.png")
    return folder / "val" / "blue" / "0.png"
