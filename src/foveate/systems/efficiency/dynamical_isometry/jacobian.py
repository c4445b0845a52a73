"""The measure of trainability: singular values of the Jacobian of a network's outputs by its input (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveate.errors import InputError

MOST_OUTPUTS = 64  # of which the Jacobian is taken exactly; of more, of so many random directions
MOST_VALUES = 2**25  # entries of the Jacobians held at once: 128 MB in float32


@dataclass(frozen=True)
class Isometry:
    """How far a network is from dynamical isometry, at which all singular values are 1.

    Attributes:
        mean: Mean of all singular values of all samples, the paper's measure (mean JSV).
        std: Their standard deviation.
        min: The least.
        max: The greatest.
        distance: Mean of their squared distances from 1.
        condition: Mean over samples of the greatest by the least; NaN if the least is 0 for all of them.
        samples: Inputs at which it was measured.
        outputs: Outputs of the network.
        directions: Random orthonormal directions of the outputs that were measured in their place; 0 if none were needed.
    """

    mean: float
    std: float
    min: float
    max: float
    distance: float
    condition: float
    samples: int
    outputs: int
    directions: int = 0


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while, each of its modules back into its own afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def directions(outputs: int, count: int, seed: int = 0) -> Tensor:
    """Draw orthonormal directions, evenly over all of them: ``(count, outputs)``, float64.

    Example:
        >>> found = directions(1000, 64)
        >>> torch.allclose(found @ found.T, torch.eye(64, dtype=torch.float64))
        True
    """
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(outputs, count, dtype=torch.float64, generator=generator))
    return (q * r.diagonal().sign()).T


def jacobian(network: Callable[[Tensor], Tensor], inputs: Tensor, rows: Tensor | None = None) -> Tensor:
    """Differentiate outputs by inputs, sample by sample.

    Every output takes one backward pass of the whole batch, so the samples must not see each other: batch norm in
    evaluation mode.

    Args:
        network: From ``(B, ...)`` to ``(B, C)``.
        inputs: ``(B, ...)`` with D values each.
        rows: Directions of the outputs to differentiate, ``(K, C)``; the outputs themselves by default.

    Returns:
        ``(B, C, D)``, or ``(B, K, D)``.

    Raises:
        InputError: If the network does not give one row of numbers for each sample.
    """
    with torch.enable_grad():
        given = inputs.detach().clone().requires_grad_()
        outputs = network(given)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(inputs):
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise InputError("network", f"gives {shape} for a batch of {len(inputs)}", "a classifier's logits, (B, classes)")
        if not outputs.requires_grad:
            raise InputError("network", "its outputs do not depend on its input by gradients", "a differentiable network")
        count = outputs.shape[1]
        basis = torch.eye(count) if rows is None else rows
        basis = basis.to(outputs)
        found = torch.empty(len(inputs), len(basis), inputs[0].numel(), dtype=outputs.dtype, device=outputs.device)
        for i, row in enumerate(basis):
            (gradient,) = torch.autograd.grad(outputs, given, row.expand_as(outputs), retain_graph=i + 1 < len(basis))
            found[:, i] = gradient.flatten(1)
    return found


def singular_values(
    network: nn.Module, inputs: Tensor, most: int = MOST_OUTPUTS, seed: int = 0, held: int = MOST_VALUES
) -> tuple[Tensor, int, int]:
    """Take the singular values of the Jacobian at each input, in evaluation mode.

    Args:
        network: From ``(B, ...)`` to ``(B, C)``.
        inputs: ``(B, ...)`` with D values each.
        most: Outputs above which random orthonormal directions U stand for all: the values of ``UᵀJ`` (`directions`).
        seed: Seed of the directions.
        held: Entries of Jacobians in memory at once; inputs are taken in groups accordingly.

    Returns:
        float64 ``(B, min(K, D))`` in descending order, the number C of outputs, and the number K of directions (0 if the
        outputs themselves were measured).

    Note:
        The authors' code measures in the mode in which the network happens to be. In training mode batch norm mixes the
        samples, and what comes out is no singular value of a network at an input.
    """
    if not len(inputs):
        raise InputError("inputs", "there are none", "at least one")
    with evaluating(network):
        with torch.no_grad():
            shape = network(inputs[:1])
        outputs = shape.shape[-1] if isinstance(shape, Tensor) else 0
        # The shape is judged by `jacobian`.
        rows = directions(outputs, most, seed) if outputs > most else None
        group = max(1, held // (max(1, min(outputs, most)) * inputs[0].numel()))
        found = []
        for start in range(0, len(inputs), group):
            matrices = jacobian(network, inputs[start : start + group], rows)
            # Sample by sample: the float64 copy of a whole group would be larger than what is held.
            found += [torch.linalg.svdvals(matrix.double()).cpu() for matrix in matrices]
    return torch.stack(found), outputs, 0 if rows is None else most


def isometry(network: nn.Module, inputs: Tensor, most: int = MOST_OUTPUTS, seed: int = 0) -> Isometry:
    """Measure how far a network is from dynamical isometry; see `singular_values`.

    Args:
        network: From ``(B, ...)`` to logits ``(B, C)``.
        inputs: What the network itself takes, normalised: a normalisation in front of it would scale the values.
        most: See `singular_values`.
        seed: See `singular_values`.

    Example:
        >>> network = nn.Linear(8, 2, bias=False)
        >>> network.weight.data = torch.eye(8)[:2] * torch.tensor([[3.0], [1.0]])
        >>> found = isometry(network, torch.rand(5, 8))
        >>> found.mean, found.max, found.condition, found.distance
        (2.0, 3.0, 3.0, 2.0)
    """
    values, outputs, measured = singular_values(network, inputs, most, seed)
    return summary(values, outputs, measured)


def summary(values: Tensor, outputs: int, measured: int = 0) -> Isometry:
    """Sum up singular values ``(B, K)`` in descending order."""
    condition = values[:, 0] / values[:, -1]
    condition = condition[condition.isfinite()]
    return Isometry(
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        min=float(values.min()),
        max=float(values.max()),
        distance=float((values - 1).square().mean()),
        condition=float(condition.mean()) if len(condition) else float("nan"),
        samples=len(values),
        outputs=outputs,
        directions=measured,
    )
