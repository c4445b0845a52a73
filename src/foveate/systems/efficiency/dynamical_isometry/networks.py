"""The small networks on which the paper explains itself: MLP-7 and LeNet-5, with and without activations (section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from foveate.errors import InputError

Small = Literal["mlp7_linear", "mlp7_relu", "lenet5", "lenet5_linear"]
SMALL: tuple[Small, ...] = ("mlp7_linear", "mlp7_relu", "lenet5", "lenet5_linear")
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
_WIDTHS = {"mlp7": (100,) * 6, "lenet5": (6, 16, 120, 84)}


class SmallClassifier(nn.Module):
    """MLP-7 or LeNet-5, their normalisation inside: pictures to logits.

    MLP-7 has seven linear layers with biases, 1,024 → 100 six times → 10. LeNet-5 has three convolutions of 5 x 5 taps
    (6, 16 and 120), max-pools of 2 after the first two, and linear layers to 84 and to the classes.

    Args:
        model: Which. ``_linear`` has no activation at all; of LeNet-5's, the max-pools remain.
        classes: Classes.
        side: Side of the pictures; LeNet-5 takes 32.
        channels: 1 looks at the mean of the colours, 3 at all of them.
        widths: Sizes of the hidden layers, by which a pruned network is built again; the paper's by default.
        mean: Subtracted from pictures in [0, 1].
        std: Divides what is left; both MNIST's by default.

    Shape:
        ``(B, 1 or 3, side, side)`` in [0, 1] to ``(B, classes)``.

    Raises:
        InputError: If there is no such network, or it cannot have these sizes.

    Example:
        >>> from foveate.parts.counting import parameters
        >>> parameters(SmallClassifier()), parameters(SmallClassifier(widths=(20,) * 6)), parameters(SmallClassifier("lenet5"))
        (154010, 22810, 61706)
    """

    def __init__(
        self,
        model: Small = "mlp7_linear",
        classes: int = 10,
        side: int = 32,
        channels: Literal[1, 3] = 1,
        widths: Sequence[int] | None = None,
        mean: float = MNIST_MEAN,
        std: float = MNIST_STD,
    ) -> None:
        super().__init__()
        if model not in SMALL:
            raise InputError("model", f"there is no small network {model!r}", f"one of {', '.join(SMALL)}")
        kind, _, activation = model.partition("_")
        widths = tuple(widths or _WIDTHS[kind])
        if kind == "lenet5" and (side != 32 or len(widths) != 4):
            raise InputError("lenet5", f"side {side} and {len(widths)} widths", "a side of 32 and 4 widths")
        if channels not in (1, 3) or classes < 1 or side < 1 or min(widths) < 1 or std <= 0:
            raise InputError(
                model, f"{channels} channels, {classes} classes, side {side}, widths {widths}", "1 or 3, from 1 up"
            )
        self.arguments = {
            "model": model, "classes": classes, "side": side, "channels": channels, "widths": list(widths), "mean": mean,
            "std": std,
        }  # fmt: skip
        self.side, self.channels, self.classes = side, channels, classes
        self.mean, self.std = mean, std
        bend = activation != "linear"
        build = _lenet5 if kind == "lenet5" else _mlp
        self.network = nn.Sequential(*build(channels, side, widths, classes, bend))

    def normalised(self, pictures: Tensor) -> Tensor:
        """Return what the bare network takes: ``(B, channels, side, side)``."""
        if pictures.shape[1] != self.channels:
            # Grey pictures of three equal channels keep their value; a grey one for a network of colours is repeated.
            pictures = pictures.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        return (pictures - self.mean) / self.std

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits."""
        return self.network(self.normalised(pictures))


def _mlp(channels: int, side: int, widths: Sequence[int], classes: int, bend: bool) -> list[nn.Module]:
    sizes = [channels * side * side, *widths, classes]
    made: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        made.append(nn.Linear(before, after))
        if bend:
            made.append(nn.ReLU())
    return made[:-1] if bend else made


def _lenet5(channels: int, side: int, widths: Sequence[int], classes: int, bend: bool) -> list[nn.Module]:
    first, second, third, hidden = widths
    activation = [nn.ReLU()] if bend else []
    return [
        nn.Conv2d(channels, first, 5), *activation, nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5), *activation, nn.MaxPool2d(2),
        nn.Conv2d(second, third, 5), *activation, nn.Flatten(),
        nn.Linear(third, hidden), *activation, nn.Linear(hidden, classes),
    ]  # fmt: skip


def widths_of(network: SmallClassifier) -> tuple[int, ...]:
    """Return the sizes of the hidden layers, as they are now."""
    weighted = [layer for layer in network.network if isinstance(layer, nn.Linear | nn.Conv2d)]
    return tuple(len(layer.weight) for layer in weighted[:-1])


@torch.no_grad()
def shrunk(network: SmallClassifier, keep: dict[str, Sequence[int]]) -> SmallClassifier:
    """Cut hidden units out: their weights, their biases, and what the next layer takes from them.

    Args:
        network: Left as it is.
        keep: Kept units of hidden layers by their names within ``network.network``; of the others all are kept.

    Returns:
        A smaller network with copies of the weights.
    """
    weighted = [(str(i), m) for i, m in enumerate(network.network) if isinstance(m, nn.Linear | nn.Conv2d)]
    kept = [torch.as_tensor(keep.get(name, range(len(m.weight)))) for name, m in weighted[:-1]]
    smaller = SmallClassifier(**{**network.arguments, "widths": [len(k) for k in kept]})
    smaller.to(next(network.parameters()))
    after = [m for m in smaller.network if isinstance(m, nn.Linear | nn.Conv2d)]
    rows = [*kept, torch.arange(len(weighted[-1][1].weight))]
    columns = [None, *kept]
    for (_, old), new, row, column in zip(weighted, after, rows, columns, strict=True):
        # LeNet-5's third convolution leaves one value per channel, so flattening does not multiply the columns.
        weight = old.weight[row]
        new.weight.copy_(weight if column is None else weight[:, column])
        new.bias.copy_(old.bias[row])
    return smaller.train(network.training)
