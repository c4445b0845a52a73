"""The views that test-time augmentation averages over: fixed lists of fixed transforms, each made when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from foveate.errors import InputError
from foveate.parts.scaling import scaled
from foveate.results import Picture

Transform = Callable[[Tensor, int], Tensor]
SetName = Literal["crop10", "crop5", "flip2", "field"]
Order = Literal["greedy", "listed", "random"]

CROP = 0.875  # share of the short side that the standard view shows, unless the classifier says another: 224 of 256


def reach(side: int) -> int:
    """Return by how many pixels the corner views lie off the middle: the 16 of 224 out of 256, in proportion.

    Example:
        >>> reach(224), reach(32)
        (16, 2)
    """
    return max(1, round(side / 14))


def _cut(canvas: Tensor, side: int, down: int = 0, right: int = 0, mirrored: bool = False) -> Tensor:
    """Cut a view out of the canvas, off the middle by -1, 0 or 1 times the reach."""
    room = (canvas.shape[-1] - side) // 2
    view = canvas[..., room * (1 + down) :, room * (1 + right) :][..., :side, :side]
    return view.flip(-1) if mirrored else view


def _turned(canvas: Tensor, side: int, degrees: float = 0.0, zoom: float = 1.0) -> Tensor:
    """Cut out the middle, turned anticlockwise and magnified; what lies beyond the canvas is mirrored at its edge."""
    angle, shrink = math.radians(degrees), side / canvas.shape[-1] / zoom
    cos, sin = math.cos(angle) * shrink, math.sin(angle) * shrink
    matrix = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
    grid = functional.affine_grid(matrix, [1, canvas.shape[0], side, side], align_corners=False)
    return functional.grid_sample(canvas[None], grid, padding_mode="reflection", align_corners=False)[0]


def _lit(canvas: Tensor, side: int, factor: float = 1.0, gamma: float = 1.0) -> Tensor:
    """Cut out the middle, brighter or darker."""
    return (_cut(canvas, side) * factor).clamp(0, 1) ** gamma


# A transform turns the canvas (3, S, S) in [0, 1] into a view (3, side, side) in [0, 1].
TRANSFORMS: dict[str, Transform] = {
    "centre": _cut,
    "mirrored": partial(_cut, mirrored=True),
    **{
        f"{row} {column}{', mirrored' if mirrored else ''}": partial(_cut, down=down, right=right, mirrored=mirrored)
        for mirrored in (False, True)
        for row, down in (("top", -1), ("bottom", 1))
        for column, right in (("left", -1), ("right", 1))
    },
    "turned +10": partial(_turned, degrees=10.0),
    "turned -10": partial(_turned, degrees=-10.0),
    "zoom 0.9": partial(_turned, zoom=0.9),
    "zoom 1.1": partial(_turned, zoom=1.1),
    "brightness 0.8": partial(_lit, factor=0.8),
    "brightness 1.2": partial(_lit, factor=1.2),
    "gamma 0.8": partial(_lit, gamma=0.8),
    "gamma 1.25": partial(_lit, gamma=1.25),
}

_CORNERS = ("top left", "top right", "bottom left", "bottom right")
SETS: dict[str, tuple[str, ...]] = {
    "crop10": ("centre", *_CORNERS, "mirrored", *(f"{corner}, mirrored" for corner in _CORNERS)),
    "crop5": ("centre", *_CORNERS),
    "flip2": ("centre", "mirrored"),
    "field": (
        "centre", "mirrored", "turned +10", "turned -10", "zoom 0.9", "zoom 1.1",
        "brightness 0.8", "brightness 1.2", "gamma 0.8", "gamma 1.25",
    ),
}  # fmt: skip


def canvas(picture: Picture, side: int, crop: float = CROP) -> Tensor:
    """Make what all views of a picture are cut out of: the standard view, and a margin as wide as the corners reach.

    Args:
        picture: Grey or colour, 8 or 16 bits; alpha is left out.
        side: Side of the views.
        crop: Share of the short side that the standard view shows. Where the picture ends within the margin (with a crop of 1
            it does at once), its mirror image goes on.

    Returns:
        float32 ``(3, S, S)`` in [0, 1] with ``S = side + 2 * reach(side)``. Its middle is the standard view, to the bit.
    """
    height, width = picture.size
    factor, margin = side / crop / min(height, width), reach(side)
    large = scaled(picture, max(side, round(height * factor)), max(side, round(width * factor)))
    top, left = (large.shape[1] - side) // 2 - margin, (large.shape[2] - side) // 2 - margin
    rows, columns = (_mirrored(start, side + 2 * margin, n) for start, n in ((top, large.shape[1]), (left, large.shape[2])))
    if rows is None and columns is None:
        return large[:, top : top + side + 2 * margin, left : left + side + 2 * margin]
    every = torch.arange(side + 2 * margin)
    return large[:, every + top if rows is None else rows][:, :, every + left if columns is None else columns]


def _mirrored(start: int, count: int, length: int) -> Tensor | None:
    """Return the places ``start`` to ``start + count`` of a line, mirrored at its ends; None if all lie on it."""
    if start >= 0 and start + count <= length:
        return None
    if length == 1:
        return torch.zeros(count, dtype=torch.long)
    period = 2 * (length - 1)
    places = torch.arange(start, start + count) % period
    return torch.minimum(places, period - places)


class Views(Sequence[Tensor]):
    """The views of one picture, each made when it is asked for: what is not looked at costs nothing.

    Args:
        picture: The picture.
        names: Transforms in order; see `TRANSFORMS`.
        side: Side of the views.
        crop: Share of the short side that the standard view shows.

    Attributes:
        made: How many views were made so far.
    """

    def __init__(self, picture: Picture, names: Sequence[str], side: int, crop: float = CROP) -> None:
        self.picture, self.names, self.side, self.crop = picture, names, side, crop
        self.made = 0

    @cached_property
    def canvas(self) -> Tensor:
        """What the views are cut out of, made once."""
        return canvas(self.picture, self.side, self.crop)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, k: int) -> Tensor:  # type: ignore[override]
        """Make view ``k``: float32 ``(3, side, side)`` in [0, 1]."""
        self.made += 1
        return TRANSFORMS[self.names[k]](self.canvas, self.side)


def checked(names: Sequence[str], where: object, side: int, crop: float = CROP) -> tuple[str, ...]:
    """Refuse transforms that do not exist, or that stand twice, and a size that cannot be.

    Raises:
        InputError: If one does, or the first is not ``centre``.
    """
    unknown = [name for name in names if name not in TRANSFORMS]
    if unknown:
        raise InputError(where, f"names the transform {unknown[0]!r}, which does not exist", f"of {', '.join(TRANSFORMS)}")
    if not names or names[0] != "centre" or len(set(names)) < len(names):
        raise InputError(where, f"lists the transforms {', '.join(names) or 'none'}", "centre first, and none twice")
    if not (0 < crop <= 1 and side > 0):
        raise InputError(where, f"views of {side} pixels show {crop:g} of a picture", "a side from 1 up, a share from 0 to 1")
    return tuple(names)
