"""Pictures made larger by their own mirror image."""

from __future__ import annotations

import torch
from torch import Tensor


def mirror_to(x: Tensor, height: int, width: int) -> Tensor:
    """Mirror right and down to at least a height and a width.

    Where a picture is smaller than the padding, its first row or column is repeated after the mirror image. The places are
    computed and not branched on, so that the function exports for any size.

    Args:
        x: ``(..., H, W)``.
        height: The least height.
        width: The least width.

    Example:
        >>> mirror_to(torch.tensor([[1, 2, 3]]), 1, 6)
        tensor([[1, 2, 3, 2, 1, 1]])
    """
    for dim, target in ((-2, height), (-1, width)):
        size = x.shape[dim]
        place = size - 1 - (torch.arange(target, device=x.device) - (size - 1)).abs()
        x = x.index_select(dim, place.clamp(min=0))
    return x
