"""Actions that do not do what the card says."""

from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.readers.pictures import read_picture
from foveate.results import Picture, Result, Text
from lab.broken.method import prepare


def scale(photo: Path) -> Result:
    """Promise a report, and write none."""
    prepare(read_picture(photo))
    return Result({"scaled": read_picture(photo)})


def swallow(photo: Path) -> Result:
    """Take whatever comes, and make something else of it every time."""
    return Result({"swallowed": Picture(np.random.default_rng().integers(0, 255, (8, 8), np.uint8))})


def stumble(photo: Path) -> Result:
    """Look a missing file up where it is not."""
    if not photo.exists():
        raise KeyError(photo.name)
    raise InputError(photo, "is refused always", "nothing")


def mumble(photo: Path) -> Result:
    """Say nothing of use."""
    if photo.stem != "photo":
        raise InputError("input", "is wrong", "another")
    return Result({"found": Text("")})


def litter(photo: Path) -> Result:
    """Begin to write before it reads."""
    photo.with_name("half.png").touch()
    read_picture(photo)
    return Result({"found": Text("a picture")})


def renamed(photo: Path, size: int, **options: bool) -> Result:
    """Do nothing."""
    return Result({})
