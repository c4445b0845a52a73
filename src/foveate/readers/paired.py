"""Pairs of a degraded and a clean picture, from two files of one scene each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from foveate.errors import InputError
from foveate.parts.dihedral import dihedral
from foveate.parts.padding import mirror_to
from foveate.parts.training import Draw
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture, unwritable

Prepare = Callable[[Picture], Tensor]
Moves = Literal["all", "half", "none"]


class Pair(NamedTuple):
    """One scene."""

    degraded: Path
    clean: Path


def same_names(degraded: Path, clean: Path) -> list[Pair]:
    """Pair the pictures of two folders by their path below the folder, suffix left out.

    Raises:
        InputError: If a folder is missing or empty, or a picture has no partner, or two of them.
    """
    for folder in (degraded, clean):
        if not folder.is_dir():
            raise InputError(folder, "there is no such folder", f"{degraded} and {clean} with pictures of equal names")
    sides = [_by_name(folder) for folder in (degraded, clean)]
    alone = sorted(map(str, sides[0].keys() ^ sides[1].keys()))
    if alone:
        raise InputError(degraded.parent, f"{len(alone)} pictures have no partner, the first is {alone[0]}", "equal names")
    if not sides[0]:
        raise InputError(degraded, "holds no pictures", "PNG, JPEG, WebP or TIFF files")
    return [Pair(sides[0][name], sides[1][name]) for name in sorted(sides[0])]


def _by_name(folder: Path) -> dict[Path, Path]:
    """Find the pictures of a folder by their path below it, suffix left out."""
    found: dict[Path, Path] = {}
    for path in find_pictures(folder):
        name = path.relative_to(folder).with_suffix("")
        if name in found:
            raise InputError(path, f"has the name of {found[name].name} but for the suffix", "one picture of each name")
        found[name] = path
    return found


def draw_window(size: tuple[int, int], crop: int, generator: np.random.Generator) -> tuple[slice, slice]:
    """Draw a square window: rows and columns. A picture smaller than ``crop`` gives the largest square it holds."""
    side = min(crop, *size)
    top, left = (int(generator.integers(length - side + 1)) for length in size)
    return slice(top, top + side), slice(left, left + side)


def draw_move(moves: Moves, generator: np.random.Generator) -> int:
    """Draw one of the eight flips and quarter turns (see `foveate.parts.dihedral`).

    Args:
        moves: ``all`` draws them alike; ``half`` leaves half of the windows as they are (the released HINet setting for SIDD);
            ``none`` always leaves them.
        generator: The draw.
    """
    if moves == "half":
        return int(generator.integers(1, 8)) if generator.random() < 0.5 else 0
    return int(generator.integers(8)) if moves == "all" else 0


class PairedPictures(Dataset):
    """Pairs as tensors.

    Indexed with a `Draw` it gives a random, moved crop; with a number, the whole pair.

    Args:
        pairs: The files.
        prepare: A `Picture` to a ``(3, H, W)`` tensor: the system's own.
        crop: Side of the training windows.
        moves: See `draw_move`.
    """

    def __init__(self, pairs: Sequence[Pair], prepare: Prepare, crop: int = 256, moves: Moves = "all") -> None:
        self.pairs, self.prepare, self.crop, self.moves = list(pairs), prepare, crop, moves

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pairs)

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        """Return ``{"degraded", "clean"}``, each ``(3, H, W)`` in [0, 1].

        Raises:
            InputError: If the two pictures differ in size.
        """
        pair = self.pairs[key.index if isinstance(key, Draw) else key]
        degraded, clean = (self.prepare(read_picture(path)) for path in pair)
        _check_sizes(pair, degraded.shape[-2:], clean.shape[-2:])
        if isinstance(key, Draw):
            generator = key.generator()
            rows, columns = draw_window(degraded.shape[-2:], self.crop, generator)
            move = draw_move(self.moves, generator)
            windows = (mirror_to(t[..., rows, columns], self.crop, self.crop) for t in (degraded, clean))
            degraded, clean = (dihedral(window, move).contiguous() for window in windows)
        return {"degraded": degraded, "clean": clean}


def _check_sizes(pair: Pair, degraded: Sequence[int], clean: Sequence[int]) -> None:
    """Refuse pictures of two sizes; a size is height and width."""
    if tuple(degraded) != tuple(clean):
        wrong = f"is {degraded[1]} x {degraded[0]} but {pair.clean.name} is {clean[1]} x {clean[0]}"
        raise InputError(pair.degraded, wrong, "two pictures of one size")


def cut(pairs: Sequence[Pair], folder: Path, side: int, stride: int) -> list[Pair]:
    """Cut pairs of large pictures into overlapping squares once, so that a training crop needs no large file.

    Squares that are there already are kept, so an interrupted cut goes on.

    Args:
        pairs: The large pictures.
        folder: Where the squares go, under ``degraded/`` and ``clean/``.
        side: Side of the squares in pixels.
        stride: Distance between them; the last one of a row is flush with the border.

    Returns:
        The pairs of squares.

    Raises:
        InputError: If two pictures of a pair differ in size, two scenes would get one name, or the folder cannot be written.
    """
    from rich.progress import track

    # Scenes of different folders may share a name.
    named: dict[str, Pair] = {}
    for pair in pairs:
        stem = "_".join([*pair.degraded.parts[-3:-1], pair.degraded.stem])
        if stem in named:
            raise InputError(pair.degraded, f"would be cut to {stem}, as {named[stem].degraded}", "other names of the folders")
        named[stem] = pair
    for stem, pair in track(named.items(), description="cutting"):
        marker = folder / "done" / stem
        if marker.exists():
            continue
        pictures = [read_picture(path) for path in pair]
        _check_sizes(pair, *(picture.size for picture in pictures))
        try:
            for name, picture in zip(("degraded", "clean"), pictures, strict=True):
                (folder / name).mkdir(parents=True, exist_ok=True)
                for top in _starts(picture.size[0], side, stride):
                    for left in _starts(picture.size[1], side, stride):
                        window = picture.crop(slice(top, top + side), slice(left, left + side))
                        Picture(np.ascontiguousarray(window.pixels)).write(folder / name / f"{stem}_{top}_{left}.png")
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError as error:
            raise unwritable(folder, error) from error
    return same_names(folder / "degraded", folder / "clean")


def _starts(length: int, side: int, stride: int) -> list[int]:
    starts = list(range(0, max(length - side, 0) + 1, stride))
    return starts if starts[-1] + side >= length else [*starts, length - side]
