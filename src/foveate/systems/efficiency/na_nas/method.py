"""The networks of na_nas: of one cell, and the supernet that holds all cells. No files, no training loop.

Paper: arXiv 2105.06369. The search itself stands in search.py (on single cells) and neighbourhood.py (on a supernet).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts.classifiers import prepare as prepare_plain
from foveate.results import Picture
from foveate.systems.efficiency.na_nas.cells import Mixed, Stack201, StackDARTS, drop_path, operation
from foveate.systems.efficiency.na_nas.spaces import Space, find_space

__all__ = ["CellNetwork", "Supernet", "drop_path", "finish", "prepare"]

FIRST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def prepare(picture: Picture, side: int = 32, crop: float = 1.0) -> Tensor:
    """Turn a picture into the network's input: scaled and cut to a square, of which the share ``crop`` is seen.

    Returns:
        float32 ``(3, side, side)`` in [0, 1].
    """
    return prepare_plain(picture, side, crop)


def finish(logits: Tensor) -> Tensor:
    """Turn logits ``(B, classes)`` into probabilities, float64."""
    return logits.double().softmax(1)


class CellNetwork(nn.Module):
    """The network of one cell.

    Args:
        cell: The cell as text; see `spaces.Space.text`.
        space: Its space.
        width: Channels of the first stage; 16 in NAS-Bench-201, 36 for DARTS's final network on CIFAR, 48 on ImageNet.
        cells: In each of three stages (one input node), or in all (DARTS: 20, 14 on ImageNet).
        classes: Logits.
        channels: Of the pictures: 3, or 1 for grey ones.
        auxiliary: DARTS only: a second classifier while training.
        stem: DARTS only: ``cifar`` or ``imagenet``.
        side: Side of the pictures that it is used with.
        crop: Share of their short side that it sees.
        labels: Names of the classes.

    Shape:
        ``(B, channels, H, W)`` in [0, 1] to ``(B, classes)``.
    """

    def __init__(
        self,
        cell: str = FIRST,
        space: str = "nb201",
        width: int = 16,
        cells: int = 5,
        classes: int = 10,
        channels: int = 3,
        auxiliary: bool = False,
        stem: str = "cifar",
        side: int = 32,
        crop: float = 1.0,
        labels: tuple[str, ...] | list[str] = (),
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "cell": cell, "space": space, "width": width, "cells": cells, "classes": classes, "channels": channels,
            "auxiliary": auxiliary, "stem": stem, "side": side, "crop": crop, "labels": list(labels),
        }  # fmt: skip
        self.space, self.classes, self.side, self.crop, self.labels = find_space(space), classes, side, crop, list(labels)
        self.cell = self.space.parse(cell)
        fill = [partial(_single, self.space.operations[o]) for o in self.cell]
        self.stack = _stack(self.space, fill, width, cells, classes, channels, False, auxiliary, stem)
        self.rows = [None] * len(self.cell)

    def forward(self, image: Tensor) -> Tensor:
        """Give logits."""
        return self.with_auxiliary(image)[0]

    def with_auxiliary(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give logits, and while training those of the auxiliary classifier, if there is one."""
        return self.stack(_centred(image), self.rows)

    def set_drop_path(self, share: float) -> None:
        """Set the share of paths that are dropped in training."""
        for module in self.modules():
            if hasattr(module, "drop"):
                module.drop = share


class Supernet(nn.Module):
    """All operations on every edge, mixed by softmax of the architecture's parameters (the relaxation of DARTS).

    Args:
        space: The space.
        width: Channels; 16 in DARTS's search.
        cells: As in `CellNetwork`; 8 in DARTS's search.
        classes: Logits.
        channels: Of the pictures.

    Attributes:
        alpha: float ``(edges, operations)``, starting at a thousandth of standard normal draws.
    """

    def __init__(self, space: str = "darts", width: int = 16, cells: int = 8, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.arguments = {"space": space, "width": width, "cells": cells, "classes": classes, "channels": channels}
        self.space, self.classes = find_space(space), classes
        fill = [partial(Mixed, self.space)] * self.space.edges
        self.stack = _stack(self.space, fill, width, cells, classes, channels, True, False, "cifar")
        self.alpha = nn.Parameter(1e-3 * torch.randn(self.space.edges, len(self.space.operations)))

    def probabilities(self) -> Tensor:
        """Return the mixing weights of the relaxed cell, ``(edges, operations)``."""
        return self.alpha.softmax(1)

    def forward(self, image: Tensor, mixing: Tensor | tuple[int, ...] | None = None) -> Tensor:
        """Give logits of a relaxed cell ``(edges, operations)``, alpha's by default, or of a discrete one."""
        rows = self.probabilities() if mixing is None else mixing
        return self.stack(_centred(image), list(rows))[0]

    def weights(self) -> list[nn.Parameter]:
        """List the parameters that are not the architecture's."""
        return [p for name, p in self.named_parameters() if name != "alpha"]

    @torch.no_grad()
    def derived(self) -> tuple[int, ...]:
        """Discretise: the strongest operation of each edge, ``none`` left out of account.

        With two inputs each node keeps the two edges whose strongest operation is strongest, and the others are ``none``.
        """
        rows = self.probabilities().double()
        strongest, chosen = rows[:, 1:].max(1)
        if self.space.inputs == 1:
            return tuple((1 + chosen).tolist())
        made = [0] * self.space.edges
        for kind in range(self.space.kinds):
            for node in range(self.space.inputs, self.space.nodes):
                first = kind * len(self.space.pairs)
                edges = [first + i for i, (_, target) in enumerate(self.space.pairs) if target == node]
                for edge in sorted(edges, key=lambda e: -float(strongest[e]))[:2]:
                    made[edge] = 1 + int(chosen[edge])
        return tuple(made)


def _single(name: str, channels: int, stride: int) -> nn.Module | None:
    return operation(name, channels, stride)


def _centred(image: Tensor) -> Tensor:
    """Bring [0, 1] to about zero mean and unit size."""
    return (image - 0.5) * 4


def _stack(
    space: Space,
    fill: list[Any],
    width: int,
    cells: int,
    classes: int,
    channels: int,
    searching: bool,
    auxiliary: bool,
    stem: str,
) -> nn.Module:
    """Choose the skeleton of a space."""
    if min(width, cells, classes, channels) < 1:
        raise InputError("width, cells, classes, channels", f"{width}, {cells}, {classes}, {channels}", "1 or more of each")
    if space.inputs == 1:
        if auxiliary or stem != "cifar":
            raise InputError("auxiliary, stem", f"not in the space {space.name}", "the space darts")
        return Stack201(space, fill, width, cells, classes, channels)
    if stem not in ("cifar", "imagenet"):
        raise InputError("stem", f"{stem!r}", "cifar or imagenet")
    if cells < 3:
        raise InputError("cells", f"{cells}", "at least 3, since two reduce")
    return StackDARTS(space, fill, width, cells, classes, channels, searching, auxiliary, stem)
