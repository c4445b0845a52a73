"""Genesis: one small convolutional network on the folded light curve tells planet candidates from false positives.

Paper: Visser, Bosma, Postma, "A one-armed CNN for exoplanet detection from light curves", arXiv 2105.06292. The layers are
those of the authors' 0.39 million parameters (their Astronomy and Computing 41:100654, 2022, states the number).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.systems.structures.genesis.fourier import PaddedConv1d
from foveate.systems.structures.genesis.views import Ephemeris, Flat, global_view, local_view

Padding = Literal["same", "valid"]
Output = Literal["softmax2", "sigmoid1"]


# ---------------------------------------------------------------------------------------------------------------------
# prepare and finish: a detrended light curve <-> what the network sees and says
# ---------------------------------------------------------------------------------------------------------------------


def prepare(flat: Flat, ephemeris: Ephemeris, bins: int, local: bool = False) -> Tensor:
    """Turn a detrended light curve into a network's input.

    Args:
        flat: What `foveate.systems.structures.genesis.views.flatten` made.
        ephemeris: When the event happens.
        bins: Length of the view; an odd number puts one bin on the event.
        local: Make the view of the event and four durations around it, which Astronet takes besides, not of the whole period.

    Returns:
        float32 ``(1, bins)`` with median 0 and minimum -1, or zeros for a flat light curve.
    """
    made = (local_view if local else global_view)(flat, ephemeris, bins)
    return torch.from_numpy(made.astype(np.float32))[None]


@dataclass(frozen=True)
class Verdict:
    """What an ensemble says of an event.

    Attributes:
        planet: Probability that it is a planet candidate: the mean over the members.
        spread: Standard deviation over the members; 0 for a single one.
    """

    planet: float
    spread: float


def finish(said: Tensor) -> list[Verdict]:
    """Turn what the members of an ensemble say into verdicts.

    Args:
        said: Logarithms of probabilities ``(M, B, 2)``, as `Ensemble.each` gives them.
    """
    planets = said.detach().double().exp()[..., 1].cpu().numpy()
    return [Verdict(float(p.mean()), float(p.std())) for p in planets.T]


# ---------------------------------------------------------------------------------------------------------------------
# the networks
# ---------------------------------------------------------------------------------------------------------------------


class Ensemble(nn.Module):
    """Networks of one kind that were trained apart, their probabilities averaged: what `Genesis` and Astronet have in common.

    Args:
        members: The networks; each takes the same views to logits ``(B, 1)`` or ``(B, 2)``.
        arguments: What the subclass was built with.
    """

    takes: tuple[str, ...] = ("view",)  # entries of a batch that it is called with

    def __init__(self, members: list[nn.Module], arguments: dict[str, Any]) -> None:
        super().__init__()
        if not members:
            raise InputError("members", "an ensemble of none", "at least 1")
        self.members, self.arguments = nn.ModuleList(members), arguments

    def together(self, *views: Tensor) -> Tensor:
        """Average the members' probabilities: ``(B, 2)``."""
        return self.each(*views).logsumexp(0) - math.log(len(self.members))

    def each(self, *views: Tensor) -> Tensor:
        """Let every member speak: ``(M, B, 2)``."""
        return torch.stack([log_probabilities(member(*views)) for member in self.members])


def log_probabilities(logits: Tensor) -> Tensor:
    """Turn the logits of two classes, or the one of a planet, into logarithms of two probabilities.

    Example:
        >>> log_probabilities(torch.tensor([[0.0], [30.0]])).exp()
        tensor([[5.0000e-01, 5.0000e-01],
                [9.3576e-14, 1.0000e+00]])
    """
    if logits.shape[-1] == 1:
        return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=-1)
    return F.log_softmax(logits, dim=-1)


def glorot(network: nn.Module) -> None:
    """Draw all weights from Glorot's uniform distribution and set the biases to zero, as Keras does."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


class GenesisCNN(nn.Module):
    """The paper's network: two convolutions, a wide max-pool, two convolutions, the mean of each channel, three linear layers.

    Args:
        channels: Channels of the convolutions.
        taps: Kernel lengths of the first and of the second pair.
        pool: Width and stride of the max-pool between them.
        hidden: Width of the two hidden layers.
        dropout: Share of the pooled features that is dropped in training.
        padding: ``same``, or ``valid`` for no padding (the paper's choice is not known; the number of parameters is the same).
        output: ``softmax2`` for two logits, ``sigmoid1`` for one.

    Shape:
        ``(B, 1, bins)`` to ``(B, 2)`` or ``(B, 1)``; any number of bins that the layers leave something of.
    """

    def __init__(
        self,
        channels: int = 64,
        taps: tuple[int, int] = (50, 12),
        pool: int = 32,
        hidden: int = 256,
        dropout: float = 0.25,
        padding: Padding = "same",
        output: Output = "softmax2",
    ) -> None:
        super().__init__()
        (wide, narrow), same = taps, padding == "same"
        self.conv1 = PaddedConv1d(1, channels, wide, same)
        self.conv2 = PaddedConv1d(channels, channels, wide, same)
        self.pool = nn.MaxPool1d(pool)
        self.conv3 = PaddedConv1d(channels, channels, narrow, same)
        self.conv4 = PaddedConv1d(channels, channels, narrow, same)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 if output == "softmax2" else 1),
        )
        glorot(self)

    def forward(self, view: Tensor) -> Tensor:
        """Return logits."""
        x = self.conv2(self.conv1(view).relu()).relu()
        x = self.conv4(self.conv3(self.pool(x)).relu()).relu()
        return self.head(x.mean(dim=-1))


class Genesis(Ensemble):
    """The paper's classifier: `GenesisCNN`, or several whose probabilities are averaged.

    Args:
        bins: Length of the views that it is trained on; the parameters do not depend on it.
        members: Networks in the ensemble; 1 is the network that the paper counts the parameters of.
        channels: See `GenesisCNN`.
        taps: See `GenesisCNN`.
        pool: See `GenesisCNN`.
        hidden: See `GenesisCNN`.
        dropout: See `GenesisCNN`.
        padding: See `GenesisCNN`.
        output: See `GenesisCNN`.

    Raises:
        InputError: If the layers leave nothing of a view of ``bins``, or a switch is not known.

    Shape:
        View ``(B, 1, bins)``, float, to the logarithms of the probabilities of no planet and of a planet, ``(B, 2)``.

    Example:
        >>> Genesis()(torch.zeros(3, 1, 2001)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        bins: int = 2001,
        members: int = 1,
        channels: int = 64,
        taps: tuple[int, int] = (50, 12),
        pool: int = 32,
        hidden: int = 256,
        dropout: float = 0.25,
        padding: Padding = "same",
        output: Output = "softmax2",
    ) -> None:
        if padding not in ("same", "valid") or output not in ("softmax2", "sigmoid1"):
            raise InputError("padding, output", f"{padding}, {output}", "same or valid, softmax2 or sigmoid1")
        least = pool if padding == "same" else (2 * taps[1] - 1) * pool + 2 * (taps[0] - 1)
        if bins < least:
            raise InputError("bins", f"{bins} are too few for padding {padding}", f"at least {least}")
        layers = {
            "channels": channels, "taps": (taps[0], taps[1]), "pool": pool, "hidden": hidden, "dropout": dropout,
            "padding": padding, "output": output,
        }  # fmt: skip
        super().__init__(
            [GenesisCNN(**layers) for _ in range(members)], {"bins": bins, "members": members, **layers, "taps": list(taps)}
        )

    def forward(self, view: Tensor) -> Tensor:
        """Return the logarithms of the ensemble's probabilities of no planet and of a planet."""
        return self.together(view)


# ---------------------------------------------------------------------------------------------------------------------
# what a verdict rests on
# ---------------------------------------------------------------------------------------------------------------------


def occlusion(network: Ensemble, *views: Tensor, width: float = 0.04, steps: int = 100) -> np.ndarray:
    """Cover one stretch of the global view after the other with its median, and see what the verdict loses.

    Args:
        network: The network.
        *views: What it takes for one event, each ``(1, bins)``, the global view first.
        width: Length of the covered stretch, as a share of the view.
        steps: Number of stretches, their centres evenly over the view.

    Returns:
        For each bin, by how much the log-odds of a planet fall, averaged over the stretches that cover it; float64 ``(bins,)``.
    """
    whole, *others = views
    bins = whole.shape[-1]
    centres = np.linspace(0, bins - 1, steps)
    covered = np.abs(np.arange(bins)[None] - centres[:, None]) <= max(width * bins / 2, 0.5)
    hidden = torch.where(torch.from_numpy(covered)[:, None], torch.zeros(()), whole)
    with torch.inference_mode():
        batch = torch.cat([whole[None], hidden])
        said = network.together(batch, *(x[None].expand(len(batch), *x.shape) for x in others)).double()
    odds = (said[:, 1] - said[:, 0]).numpy()
    share = covered / np.maximum(covered.sum(0), 1)
    return (odds[0] - odds[1:]) @ share
