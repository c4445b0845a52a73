"""What the contract feeds it."""

from pathlib import Path

from foveate.readers.pictures import read_picture, write_as
from lab.awkward import data, run


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a picture, a folder of them, or the index of a folder."""
    if name == "photos":
        return data.write(folder / "photos", 3)[0].parent
    if name == "index":
        photos = example("index", "photos", "png", folder)
        return run.index(photos).save(folder)[0]
    (path,) = data.write(folder, 1)
    return write_as(read_picture(path), folder / f"picture.{suffix}")


def layout(name: str, folder: Path) -> Path:
    """Write pairs in which the style is a style's own content."""
    for part in ("train", "val"):
        data.write(folder / part / "content", 2)
        data.write(folder / part / "style", 2)
    return folder / "val" / "content" / "0.png"
