"""Operations, cells and the two skeletons that cells are stacked in: NAS-Bench-201's and DARTS's.

What fills an edge is given as a function, so that the network of one cell and the supernet that mixes all operations share
the skeleton. Departures of one from the other (batch norms without affine part in a supernet) are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveate.systems.efficiency.na_nas.spaces import Space

# Makes what fills an edge, of channels and stride; None where nothing passes.
Filling = Callable[[int, int], nn.Module | None]
# Mixing weights of an edge, (operations,), or the number of one operation; None in the network of one cell.
Row = Tensor | int | None


class Norm(nn.BatchNorm2d):
    """Batch norm; in a supernet without affine part, and with the statistics of the batch always.

    Running averages would mix those of the cell and of its neighbours, which share the supernet.
    """

    def __init__(self, channels: int, searching: bool = False) -> None:
        super().__init__(channels, affine=not searching, track_running_stats=not searching)


def conv_block(channels: int, made: int, kernel: int, stride: int = 1, searching: bool = False) -> nn.Sequential:
    """Make ReLU, convolution without bias, batch norm."""
    convolution = nn.Conv2d(channels, made, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, Norm(made, searching))


class Halved(nn.Module):
    """A skip connection of stride 2: ReLU, two 1x1 convolutions of half the channels, one a pixel off, joined; batch norm."""

    def __init__(self, channels: int, made: int, searching: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels, made // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(channels, made - made // 2, 1, 2, bias=False)
        self.norm = Norm(made, searching)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        x = functional.relu(x)
        # Where a side is odd, the pixel off it is padded, so that both halves have one size.
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))


def _separable(channels: int, kernel: int, stride: int, searching: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in (stride, 1):
        depthwise = nn.Conv2d(channels, channels, kernel, step, kernel // 2, groups=channels, bias=False)
        layers += [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), Norm(channels, searching)]
    return nn.Sequential(*layers)


def _dilated(channels: int, kernel: int, stride: int, searching: bool) -> nn.Sequential:
    reach = kernel - 1  # dilation 2
    depthwise = nn.Conv2d(channels, channels, kernel, stride, reach, 2, groups=channels, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), Norm(channels, searching))


def operation(name: str, channels: int, stride: int = 1, searching: bool = False, pool_norm: bool = False) -> nn.Module | None:
    """Make an operation of either space.

    Args:
        name: Of `spaces.NB201` or `spaces.DARTS`.
        channels: In and out.
        stride: 1, or 2 on the edges from the inputs of a reduction cell.
        searching: For a supernet: batch norms without affine part.
        pool_norm: A batch norm after a pooling, as in DARTS's supernet.

    Returns:
        The operation, or None for ``none``.
    """
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Halved(channels, channels, searching)
    kernel = int(name[-1])
    if name.startswith("nor_conv"):
        return conv_block(channels, channels, kernel, stride, searching)
    if name.startswith("sep_conv"):
        return _separable(channels, kernel, stride, searching)
    if name.startswith("dil_conv"):
        return _dilated(channels, kernel, stride, searching)
    pool: nn.Module
    if name.startswith("max"):
        pool = nn.MaxPool2d(3, stride, 1)
    else:
        pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    return nn.Sequential(pool, Norm(channels, searching)) if pool_norm else pool


class Mixed(nn.Module):
    """All operations on one edge, weighted and added: what a supernet has for an edge.

    Args:
        space: The space; that of DARTS has a batch norm after a pooling here, NAS-Bench-201's has none.
        channels: In and out.
        stride: 1 or 2.
    """

    def __init__(self, space: Space, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        made = [operation(name, channels, stride, searching=True, pool_norm=space.inputs > 1) for name in space.operations]
        self.places = [i for i, m in enumerate(made) if m is not None]
        self.choices = nn.ModuleList(m for m in made if m is not None)

    def forward(self, x: Tensor, weights: Tensor | int) -> Tensor:
        """Mix by weights ``(operations,)``, or compute the one operation of a number; ``none`` gives zero."""
        if isinstance(weights, int):
            if weights not in self.places:
                return torch.zeros_like(x[..., :: self.stride, :: self.stride])
            return self.choices[self.places.index(weights)](x)
        return torch.stack([weights[i] * m(x) for i, m in zip(self.places, self.choices, strict=True)]).sum(0)


def drop_path(x: Tensor, share: float) -> Tensor:
    """Drop the output of an edge for some pictures of a batch, and scale up the others."""
    kept = torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) >= share
    return x * kept / (1 - share)


class Graph(nn.Module):
    """The edges of one cell; a node is the sum of its incoming edges.

    Args:
        space: The space.
        fill: What fills the edges in turn.
        channels: Of each node.
        reduction: Whether edges from the inputs have stride 2.
    """

    def __init__(self, space: Space, fill: Sequence[Filling], channels: int, reduction: bool = False) -> None:
        super().__init__()
        self.space, self.reduction = space, reduction
        self.drop = 0.0  # of paths, in training
        made = [
            make(channels, 2 if reduction and source < space.inputs else 1)
            for make, (source, _) in zip(fill, space.pairs, strict=True)
        ]
        self.edges = nn.ModuleList(m or nn.Module() for m in made)
        self.open = [m is not None for m in made]

    def forward(self, inputs: Sequence[Tensor], weights: Sequence[Row]) -> list[Tensor]:
        """Compute all nodes but the inputs; one that nothing reaches is zero."""
        nodes: list[Tensor | None] = list(inputs) + [None] * (self.space.nodes - self.space.inputs)
        for (source, target), edge, passes, row in zip(self.space.pairs, self.edges, self.open, weights, strict=True):
            given = nodes[source]
            if not passes or given is None:
                continue
            made = edge(given) if row is None else edge(given, row)
            if self.drop and self.training and not isinstance(edge, nn.Identity):
                made = drop_path(made, self.drop)
            before = nodes[target]
            nodes[target] = made if before is None else before + made
        size = inputs[0][..., ::2, ::2] if self.reduction else inputs[0]
        return [torch.zeros_like(size) if n is None else n for n in nodes[self.space.inputs :]]


class Stack201(nn.Module):
    """NAS-Bench-201's skeleton: stem, three stages of cells with a residual reduction between them, head.

    Args:
        space: A space with one input node.
        fill: What fills the edges of a cell.
        width: Channels of the first stage.
        cells: Cells in each stage.
        classes: Logits.
        channels: Of the pictures.
    """

    def __init__(self, space: Space, fill: Sequence[Filling], width: int, cells: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), Norm(width))
        layers: list[nn.Module] = []
        for stage in range(3):
            if stage:
                layers.append(Reduction(width, 2 * width))
                width *= 2
            layers += [Graph(space, fill, width) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.norm = Norm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, pictures: Tensor, weights: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """Return logits ``(B, classes)``, and None for the auxiliary ones."""
        x = self.stem(pictures)
        for layer in self.layers:
            x = layer([x], weights)[-1] if isinstance(layer, Graph) else layer(x)
        return self.classifier(functional.relu(self.norm(x)).mean((2, 3))), None


class Reduction(nn.Module):
    """A residual block of stride 2: two 3x3 convolutions beside an average pooling and a bare 1x1 convolution."""

    def __init__(self, channels: int, made: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_block(channels, made, 3, 2), conv_block(made, made, 3))
        self.shortcut = nn.Conv2d(channels, made, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        return self.body(x) + self.shortcut(functional.avg_pool2d(x, 2, 2, ceil_mode=True))


class StackDARTS(nn.Module):
    """DARTS's skeleton: every cell sees the outputs of the last two; cells at 1/3 and 2/3 of the depth reduce.

    Args:
        space: A space with two input nodes and two kinds of cells.
        fill: What fills the edges of the normal and then of the reduction cell.
        width: Channels of a node in the first cells.
        cells: Cells in all.
        classes: Logits.
        channels: Of the pictures.
        searching: For a supernet: batch norms in cells without affine part.
        auxiliary: A second classifier at 2/3 of the depth, for training.
        stem: ``cifar``: one convolution; ``imagenet``: three of stride 2.
    """

    def __init__(
        self,
        space: Space,
        fill: Sequence[Filling],
        width: int,
        cells: int,
        classes: int,
        channels: int = 3,
        searching: bool = False,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        self.space = space
        if stem == "cifar":
            older = last = 3 * width
            self.stem = nn.Sequential(nn.Conv2d(channels, older, 3, padding=1, bias=False), Norm(older))
            self.second: nn.Module = nn.Identity()
        else:
            older = last = width
            self.stem = nn.Sequential(
                nn.Conv2d(channels, width // 2, 3, 2, 1, bias=False),
                Norm(width // 2),
                conv_block(width // 2, width, 3, 2),
            )
            self.second = conv_block(width, width, 3, 2)
        at = {cells // 3, 2 * cells // 3}
        layers, halved = [], stem == "imagenet"  # the older input of the first cell is twice as large then
        for depth in range(cells):
            reduction = depth in at
            width = 2 * width if reduction else width
            layers.append(DartsCell(space, fill, older, last, width, reduction, halved, searching))
            older, last, halved = last, (space.nodes - space.inputs) * width, reduction
            if depth == 2 * cells // 3:
                self.auxiliary = Auxiliary(last, classes, 3 if stem == "cifar" else 2) if auxiliary else None
                self.auxiliary_at = depth
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(last, classes)

    def forward(self, pictures: Tensor, weights: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        """Return logits ``(B, classes)``, and while training those of the auxiliary classifier, if there is one."""
        older = self.stem(pictures)
        last = self.second(older)
        extra = None
        for depth, layer in enumerate(self.layers):
            older, last = last, layer(older, last, weights)
            if self.training and self.auxiliary is not None and depth == self.auxiliary_at:
                extra = self.auxiliary(last)
        return self.classifier(last.mean((2, 3))), extra


class DartsCell(nn.Module):
    """A normal or reduction cell with the two blocks that bring its inputs to one width and size."""

    def __init__(
        self,
        space: Space,
        fill: Sequence[Filling],
        older: int,
        last: int,
        width: int,
        reduction: bool,
        halved: bool,
        searching: bool,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.first = Halved(older, width, searching) if halved else conv_block(older, width, 1, 1, searching)
        self.second = conv_block(last, width, 1, 1, searching)
        count = len(space.pairs)
        self.rows = slice(count, 2 * count) if reduction else slice(0, count)
        self.graph = Graph(space, fill[self.rows], width, reduction)

    def forward(self, older: Tensor, last: Tensor, weights: Sequence[Row]) -> Tensor:
        """Join the nodes."""
        return torch.cat(self.graph([self.first(older), self.second(last)], weights[self.rows]), 1)


class Auxiliary(nn.Module):
    """The auxiliary classifier of a DARTS network, for maps of at least 5 x 5."""

    def __init__(self, channels: int, classes: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            Norm(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            Norm(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits."""
        return self.classifier(self.layers(x).mean((2, 3)))
