"""Contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views (SimCLR): each finds its partner among all other 2N - 1.

    Args:
        one: Embeddings ``(N, D)`` of the first views; compared by cosine.
        other: Of the second views, in the same order.
        temperature: Above 0.

    Returns:
        The mean over all 2N views.
    """
    both = functional.normalize(torch.cat([one, other]), dim=1)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    partners = torch.arange(len(both), device=both.device).roll(len(one))
    return functional.cross_entropy(similarity, partners)
