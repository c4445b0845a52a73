"""Letters and lines; all there is of this system."""

import string
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.results import Picture, Result, Table


def count(text: Path) -> Result:
    """Count the letters of a text.

    Args:
        text: UTF-8.
    """
    if not text.is_file():
        raise InputError(text, "is no file", "a text file")
    try:
        content = text.read_text(encoding="utf-8").lower()
    except UnicodeDecodeError as error:
        raise InputError(text, f"is not UTF-8: {error.reason}", "a text file") from error
    found = [(letter, content.count(letter)) for letter in string.ascii_lowercase if letter in content]
    if not found:
        raise InputError(text, "has no letters", "a text file")
    return Result({"letters": Table(["letter", "times"], found)})


def paper(distance: int = 8) -> Result:
    """Draw ruled paper.

    Args:
        distance: Pixels between lines.
    """
    pixels = np.full((64, 48), 255, np.uint8)
    pixels[::distance] = 0
    return Result({"paper": Picture(pixels)})
