"""The eight flips and quarter turns of a picture: augmentation, and an ensemble at test time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def dihedral(x: Tensor, move: int) -> Tensor:
    """Apply one of the eight moves to the last two dimensions.

    Args:
        x: ``(..., H, W)``.
        move: 0 to 7: ``move % 4`` quarter turns, after a left-right flip if ``move >= 4``; 0 leaves the picture as it is.

    Example:
        >>> x = torch.rand(3, 4, 5)
        >>> all(torch.equal(undo(dihedral(x, move), move), x) for move in range(8))
        True
    """
    return torch.rot90(x.flip(-1) if move >= 4 else x, move % 4, (-2, -1))


def undo(x: Tensor, move: int) -> Tensor:
    """Take a move of `dihedral` back."""
    x = torch.rot90(x, -(move % 4), (-2, -1))
    return x.flip(-1) if move >= 4 else x


def ensemble(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a network answer with the mean over all eight views of its input."""
    return lambda x: torch.stack([undo(network(dihedral(x, move)), move) for move in range(8)]).mean(0)
