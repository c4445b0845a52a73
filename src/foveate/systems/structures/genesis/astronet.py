"""Astronet, with which the paper compares: a deep network on the whole period and on the event from near.

Shallue and Vanderburg, "Identifying Exoplanets with Deep Learning", AJ 155:94 (2018); layers as in
google-research/exoplanet-ml, ``astronet/astro_cnn_model/configurations.py``: ``local_global`` and, with the global view alone,
``base``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.systems.structures.genesis.fourier import PaddedConv1d
from foveate.systems.structures.genesis.method import Ensemble, glorot


def arm(filters: tuple[int, ...], pool: int) -> nn.Sequential:
    """Build the convolutions that one view goes through: for each block two of 5 taps, and a max-pool of stride 2."""
    layers: list[nn.Module] = []
    before = 1
    for channels in filters:
        for _ in range(2):
            layers += [PaddedConv1d(before, channels, 5), nn.ReLU()]
            before = channels
        layers.append(nn.MaxPool1d(pool, stride=2))
    return nn.Sequential(*layers, nn.Flatten())


def features(bins: int, filters: tuple[int, ...], pool: int) -> int:
    """Count what an arm leaves of a view.

    Example:
        >>> features(2001, (16, 32, 64, 128, 256), pool=5), features(201, (16, 32), pool=7)
        (15104, 1472)
    """
    for _ in filters:
        bins = (bins - pool) // 2 + 1
    return max(bins, 0) * filters[-1]


GLOBAL, LOCAL = (16, 32, 64, 128, 256), (16, 32)


class AstronetCNN(nn.Module):
    """One network: an arm for each view, their features side by side, four hidden layers.

    Args:
        bins: Length of the global view.
        local_bins: Length of the local view; 0 builds the global arm alone.
        hidden: Width of the four hidden layers.

    Shape:
        ``(B, 1, bins)`` and ``(B, 1, local_bins)`` to the logit of a planet, ``(B, 1)``.
    """

    def __init__(self, bins: int, local_bins: int, hidden: int) -> None:
        super().__init__()
        self.global_arm = arm(GLOBAL, pool=5)
        self.local_arm = arm(LOCAL, pool=7) if local_bins else None
        width = features(bins, GLOBAL, 5) + (features(local_bins, LOCAL, 7) if local_bins else 0)
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.head = nn.Sequential(*layers, nn.Linear(hidden, 1))
        glorot(self)

    def forward(self, view: Tensor, local: Tensor | None = None) -> Tensor:
        """Return logits."""
        found = self.global_arm(view)
        if self.local_arm is not None:
            if local is None:
                raise InputError("local", "is missing", "a local view beside the global one")
            found = torch.cat([found, self.local_arm(local)], dim=1)
        return self.head(found)


class Astronet(Ensemble):
    """Astronet, or several whose probabilities are averaged (their paper: 10).

    Args:
        bins: Length of the global view.
        local_bins: Length of the local view; 0 leaves the local arm out (``astronet_global`` of the released code).
        members: Networks in the ensemble.
        hidden: Width of the hidden layers; by default 512, and 1,024 without the local arm, as released.

    Raises:
        InputError: If the pooling leaves nothing of a view.

    Example:
        >>> Astronet()(torch.zeros(3, 1, 2001), torch.zeros(3, 1, 201)).shape
        torch.Size([3, 2])
    """

    def __init__(self, bins: int = 2001, local_bins: int = 201, members: int = 1, hidden: int | None = None) -> None:
        hidden = hidden or (512 if local_bins else 1024)
        if not features(bins, GLOBAL, 5) or (local_bins and not features(local_bins, LOCAL, 7)):
            raise InputError(
                "bins, local_bins", f"{bins}, {local_bins} are too few", "at least 125 and 19, or 0 for no local view"
            )
        arguments = {"bins": bins, "local_bins": local_bins, "members": members, "hidden": hidden}
        super().__init__([AstronetCNN(bins, local_bins, hidden) for _ in range(members)], arguments)
        self.takes = ("view", "local") if local_bins else ("view",)

    def forward(self, view: Tensor, local: Tensor | None = None) -> Tensor:
        """Return the logarithms of the ensemble's probabilities of no planet and of a planet, ``(B, 2)``."""
        return self.together(view) if local is None else self.together(view, local)
