"""What the paper minimises: an aggregate of the loss over an architecture's neighbourhood, discrete or relaxed.

Paper: arXiv 2105.06369, section 3. The neighbourhood of a single cell is a list of cells. That of a supernet
is a list of mixing weights, each a linear image of the softmax of alpha, so that gradients flow through all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from foveate.errors import InputError
from foveate.systems.efficiency.na_nas.method import Supernet
from foveate.systems.efficiency.na_nas.spaces import Change, Space

Aggregate = Literal["self", "mean", "median", "worst", "mean-std"]
Expectation = Literal["sampled", "unbiased", "exact"]
Kind = Literal["shift", "mix"]
AGGREGATES = ("self", "mean", "median", "worst", "mean-std")


@dataclass(frozen=True)
class Neighbourhood:
    """Which neighbours count, and how.

    Attributes:
        aggregate: Of losses, which are minimised: ``mean``, ``median``, ``worst`` (the largest), ``mean-std`` (mean plus
            standard deviation: sharpness is a cost), or ``self``, which looks at no neighbour.
        d: Edges on which a neighbour may differ.
        neighbours: Neighbours that are drawn, without replacement.
        expectation: ``sampled``: the aggregate of the cell and of those drawn. ``unbiased`` (of the mean only): those drawn
            stand for all others, so that the expectation over the draw is the mean over the whole neighbourhood. ``exact``:
            all neighbours, none drawn.
        include_self: Whether the cell is of its neighbourhood.
        kind: Of a relaxed cell: ``shift`` moves the mixing weights of an edge on cyclically; ``mix`` moves them towards another
            operation, by a share drawn uniformly.

    Note:
        The loss is not linear in the mixing weights, so the loss at the mean neighbour is not the mean loss of the
        neighbours: the exact expectation takes a forward pass for each.
    """

    aggregate: Aggregate = "mean"
    d: int = 1
    neighbours: int = 4
    expectation: Expectation = "sampled"
    include_self: bool = True
    kind: Kind = "shift"

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.aggregate not in AGGREGATES:
            raise InputError("aggregate", repr(self.aggregate), f"one of {', '.join(AGGREGATES)}")
        if self.d < 1 or self.neighbours < 0:
            raise InputError(
                "d and neighbours", f"{self.d} and {self.neighbours}", "a distance of 1 or more, and 0 or more of them"
            )
        if self.expectation == "unbiased" and self.aggregate not in ("mean", "self"):
            raise InputError("expectation", f"no unbiased estimate of the {self.aggregate} from a sample", "sampled or exact")
        if self.expectation == "exact" and self.kind == "mix":
            raise InputError("expectation", "mixed neighbours are not finitely many", "sampled, or the kind shift")
        if not self.include_self and not self.alone and self.neighbours == 0 and self.expectation != "exact":
            raise InputError("include_self", "there is no neighbour, and the cell itself does not count", "some neighbours")

    @property
    def alone(self) -> bool:
        """Whether no neighbour is looked at."""
        return self.aggregate == "self" or (self.neighbours == 0 and self.expectation != "exact")

    def draw(self, space: Space, rng: np.random.Generator) -> list[Change]:
        """Draw the neighbours, or list all of them."""
        if self.alone:
            return []
        return space.changes(self.d) if self.expectation == "exact" else space.draw_changes(self.neighbours, self.d, rng)

    def weights(self, drawn: int, total: int) -> np.ndarray | None:
        """Return the weights of the cell and of its drawn neighbours in the mean, or None if they are equal."""
        if self.expectation != "unbiased" or self.alone or not self.include_self:
            return None
        return np.array([1.0, *[total / drawn] * drawn]) / (total + 1)

    def value(self, losses: np.ndarray, total: int) -> np.ndarray:
        """Aggregate losses ``(..., 1 + neighbours)``, the cell's own first.

        Args:
            losses: Of the cell and of those drawn.
            total: Neighbours that there are in all.
        """
        if self.alone or losses.shape[-1] == 1:
            return losses[..., 0]
        kept = losses if self.include_self else losses[..., 1:]
        weights = self.weights(losses.shape[-1] - 1, total)
        if weights is not None:
            return kept @ weights
        if self.aggregate == "median":
            return np.median(kept, axis=-1)
        if self.aggregate == "worst":
            return kept.max(axis=-1)
        return kept.mean(axis=-1) + (kept.std(axis=-1) if self.aggregate == "mean-std" else 0)

    def slopes(self, losses: np.ndarray, total: int) -> np.ndarray:
        """Differentiate `value` by each of the losses ``(1 + neighbours,)``."""
        count = len(losses)
        made = np.zeros(count)
        if self.alone or count == 1:
            made[0] = 1.0
            return made
        first = 0 if self.include_self else 1
        kept = losses[first:]
        weights = self.weights(count - 1, total)
        if weights is not None:
            return weights
        order = np.argsort(kept, kind="stable")
        if self.aggregate == "median":
            for place in {(len(kept) - 1) // 2, len(kept) // 2}:
                made[first + order[place]] = 1.0 if len(kept) % 2 else 0.5
        elif self.aggregate == "worst":
            made[first + order[-1]] = 1.0
        else:
            made[first:] = 1 / len(kept)
            spread = kept.std()
            if self.aggregate == "mean-std" and spread > 0:
                made[first:] += (kept - kept.mean()) / (len(kept) * spread)
        return made


def moved(mixing: Tensor, change: Change) -> Tensor:
    """Return the neighbour of a relaxed cell: the weights on each edge of the change shifted cyclically.

    On one-hot rows this is the discrete neighbour. It is linear, so gradients pass it.

    Args:
        mixing: ``(edges, operations)``, rows of sum 1.
        change: Edges and shifts.
    """
    rows = list(mixing)
    for edge, shift in change:
        rows[edge] = rows[edge].roll(shift)
    return torch.stack(rows)


def mixed(mixing: Tensor, change: Change, shares: Sequence[float]) -> Tensor:
    """Return a neighbour that is on its way: each edge of the change moves by a share towards another than its first operation.

    Args:
        mixing: ``(edges, operations)``.
        change: Edges, and how many places after the strongest operation the other one is.
        shares: For each edge of the change, 0 to 1.
    """
    rows = list(mixing)
    for (edge, shift), share in zip(change, shares, strict=True):
        other = (int(rows[edge].argmax()) + shift) % len(rows[edge])
        towards = functional.one_hot(torch.tensor(other, device=mixing.device), len(rows[edge])).to(mixing)
        rows[edge] = (1 - share) * rows[edge] + share * towards
    return torch.stack(rows)


def distance(one: Tensor, other: Tensor) -> float:
    """Sum the total variation between the rows of two relaxed cells; on one-hot rows, the Hamming distance."""
    return float((one - other).abs().sum() / 2)


@dataclass(frozen=True)
class Step:
    """What an architecture step computes.

    Attributes:
        gradient: Of the aggregated validation loss by alpha, ``(edges, operations)``.
        losses: Validation losses of the relaxed cell and of its neighbours.
        value: Their aggregate.
    """

    gradient: Tensor
    losses: np.ndarray
    value: float


def architecture_step(
    supernet: Supernet,
    validation: tuple[Tensor, Tensor],
    around: Neighbourhood,
    rng: np.random.Generator,
    training: tuple[Tensor, Tensor] | None = None,
    rate: float = 0.0,
    velocity: Sequence[Tensor | None] | None = None,
    decay: float = 0.0,
    momentum: float = 0.0,
) -> Step:
    """Differentiate the aggregated validation loss by alpha, one forward and backward pass for each neighbour.

    Each neighbour's gradient is taken at once and combined by the aggregate's slopes, so memory does not grow with their
    number, and the whole neighbourhood can be taken.

    Args:
        supernet: The supernet.
        validation: Pictures and labels of the validation half.
        around: Which neighbours, and how they count.
        rng: Draws the neighbours, and nothing else does.
        training: Pictures and labels of the training half: given, the gradient is of second order, that is through one
            step of the weights (DARTS's unrolled step).
        rate: Learning rate of that step.
        velocity: SGD's momentum buffer of each weight.
        decay: Weight decay of that step.
        momentum: Of that step.
    """
    drawn = around.draw(supernet.space, rng)
    shares = [rng.random(len(change)) for change in drawn] if around.kind == "mix" else []
    total = supernet.space.count(around.d)
    if around.expectation == "exact" and not around.alone:
        total = len(drawn)
    names = [name for name, _ in supernet.named_parameters() if name != "alpha"]
    weights = supernet.weights()
    stepped: dict[str, Tensor] | None = None
    slope: list[Tensor] = []
    if training is not None:
        loss = functional.cross_entropy(supernet(training[0]), training[1])
        slope = list(torch.autograd.grad(loss, weights, create_graph=True))
        moving = [None] * len(weights) if velocity is None else velocity
        stepped = {}
        for name, w, g, v in zip(names, weights, slope, moving, strict=True):
            direction = g.detach() + decay * w.detach() + (0 if v is None else momentum * v)
            stepped[name] = (w.detach() - rate * direction).requires_grad_()
    losses, gradients, sensitivities = [], [], []
    for i in range(1 + len(drawn)):
        mixing = supernet.probabilities()
        if i:
            change = drawn[i - 1]
            mixing = moved(mixing, change) if around.kind == "shift" else mixed(mixing, change, shares[i - 1])
        if stepped is None:
            loss = functional.cross_entropy(supernet(validation[0], mixing), validation[1])
            gradients.append(torch.autograd.grad(loss, supernet.alpha)[0])
        else:
            logits = functional_call(supernet, stepped, (validation[0], mixing))
            loss = functional.cross_entropy(logits, validation[1])
            found = torch.autograd.grad(loss, [supernet.alpha, *stepped.values()])
            gradients.append(found[0])
            sensitivities.append(found[1:])
        losses.append(float(loss.detach()))
    values = np.array(losses)
    slopes = around.slopes(values, total)
    gradient = sum((float(s) * g for s, g in zip(slopes[1:], gradients[1:], strict=True)), float(slopes[0]) * gradients[0])
    if stepped is not None:
        # d/d alpha of L(w - rate * dL_train/dw, alpha) has this second term.
        pull = [sum(float(s) * found[i] for s, found in zip(slopes, sensitivities, strict=True)) for i in range(len(weights))]
        along = sum((g * p.detach()).sum() for g, p in zip(slope, pull, strict=True))
        gradient = gradient - rate * torch.autograd.grad(along, supernet.alpha)[0]
    return Step(gradient, values, float(around.value(values, total)))
