"""What brings a pruned network nearer to dynamical isometry before it is fine-tuned (section 3.3, and its alternatives)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from foveate.errors import InputError
from foveate.parts.progress import Tick
from foveate.systems.efficiency.dynamical_isometry.jacobian import evaluating

Repair = Literal["none", "orthp", "orth_scratch", "delta_orth", "approx_isometry", "rescale", "kaiming", "reset"]
FROM_NOISE = ("orth_scratch", "delta_orth", "kaiming", "reset")  # what they leave of the inherited weights is their shape
STEPS, RATE = 10_000, 1e-3  # of approx_isometry

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)


def layers(network: nn.Module) -> dict[str, Layer]:
    """Return the layers that repairs act on: linear ones and convolutions, by name."""
    return {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)}


# ---------------------------------------------------------------------------------------------------------------------
# one weight
# ---------------------------------------------------------------------------------------------------------------------


def orthogonalised(weight: Tensor, gain: float = 1.0, groups: int = 1) -> Tensor:
    """Orthogonalise a weight, starting from itself (OrthP, section 3.3).

    The weight as a matrix of rows (outputs) and columns (inputs times taps) is replaced by the factor Q of its QR
    decomposition, with the signs of R's diagonal, so that no filter is turned about. A wide matrix gets orthonormal rows, a
    tall one orthonormal columns. A row that is 0 comes back as an arbitrary one of the others' complement.

    Args:
        weight: ``(out, in, ...)``, of any dtype.
        gain: Factor of the result: 1 for linear networks, √2 before ReLU.
        groups: Groups of a convolution; each is an operator of its own and is orthogonalised by itself.

    Returns:
        As the weight; of ``groups`` matrices each.

    Note:
        The authors' code knows no groups. A depthwise filter is scaled to length 1 here, as it is its group's only row.

    Example:
        >>> q = orthogonalised(torch.randn(4, 3, 3, 3)).flatten(1)
        >>> torch.allclose(q @ q.T, torch.eye(4), atol=1e-5)
        True
    """
    matrix = weight.detach().reshape(groups, len(weight) // groups, -1).double()
    tall = matrix.shape[1] >= matrix.shape[2]
    q, r = torch.linalg.qr(matrix if tall else matrix.mT)
    # torch.sign is 0 at 0, which would leave a dead filter dead.
    sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q)
    q = q * sign[:, None, :]
    return (gain * (q if tall else q.mT)).reshape(weight.shape).to(weight.dtype)


def random_orthogonal(shape: torch.Size, gain: float, generator: torch.Generator, groups: int = 1) -> Tensor:
    """Draw an orthogonal weight from noise; see `orthogonalised`."""
    return orthogonalised(torch.randn(shape, generator=generator, dtype=torch.float64), gain, groups)


def delta_orthogonal(shape: torch.Size, gain: float, generator: torch.Generator) -> Tensor:
    """Draw a kernel that is 0 but for its centre tap, and that a block of a random orthogonal matrix.

    Isometric only if there are no more inputs than outputs.

    Args:
        shape: ``(out, in, k, ...)``.
        gain: Factor.
        generator: The draw.
    """
    out, inputs, *taps = shape
    side = max(out, inputs)
    kernel = torch.zeros(shape, dtype=torch.float64)
    centre = (slice(None), slice(None), *(k // 2 for k in taps))
    kernel[centre] = random_orthogonal(torch.Size((side, side)), gain, generator)[:out, :inputs]
    return kernel


def approximately_isometric(weight: Tensor, steps: int = STEPS, rate: float = RATE) -> Tensor:
    """Bring the mean squared entry of ``WWᵀ - I`` down by gradient steps of a fixed length.

    Adam made anew at every step, as in the authors' code, moves each entry by ``rate · g / (|g| + 1e-8)``.

    Args:
        weight: ``(out, in, ...)``. With more outputs than inputs times taps the loss cannot reach 0.
        steps: Number of steps.
        rate: Length of each entry's step.
    """
    matrix = weight.detach().flatten(1).clone()
    one = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(steps):
        gradient = (matrix @ matrix.T - one) @ matrix * (4 / len(matrix) ** 2)
        matrix -= rate * gradient / (gradient.abs() + 1e-8)
    return matrix.reshape(weight.shape)


def away_from_isometry(weight: Tensor) -> float:
    """Return the mean squared entry of ``WWᵀ - I``."""
    matrix = weight.detach().flatten(1).double()
    return float((matrix @ matrix.T - torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)).square().mean())


# ---------------------------------------------------------------------------------------------------------------------
# a network
# ---------------------------------------------------------------------------------------------------------------------


class _Rectifiers(TorchDispatchMode):
    """Notices what bends: activations that pass about half of their input, also where they are no modules."""

    NAMES = ("relu", "leaky_relu", "threshold", "hardtanh", "clamp_min", "silu", "gelu", "hardswish", "elu", "mish")

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        """Look at an operator's name, and do it."""
        name = str(func).removeprefix("aten.")
        self.seen |= name.startswith(self.NAMES)
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


def natural_gain(network: nn.Module, inputs: Tensor) -> float:
    """Return the gain that suits a network: √2 if its activations cut off, else 1.

    Example:
        >>> linear = nn.Linear(3, 2)
        >>> natural_gain(linear, torch.rand(1, 3)), natural_gain(nn.Sequential(linear, nn.ReLU()), torch.rand(1, 3))
        (1.0, 1.4142135623730951)
    """
    with evaluating(network), torch.no_grad(), _Rectifiers() as watch:
        network(inputs[:1])
    return math.sqrt(2) if watch.seen else 1.0


@torch.no_grad()
def repair(
    network: nn.Module, how: Repair, gain: float = 1.0, seed: int = 0, steps: int = STEPS, tick: Tick | None = None
) -> list[str]:
    """Repair a network in place.

    Args:
        network: What was pruned. Biases and norms stay as they are, but where all starts from noise.
        how: ``none``; ``orthp``, which orthogonalises the inherited weights (the paper's); ``orth_scratch``, orthogonal
            weights from noise; ``delta_orth``, random kernels whose centre alone is not 0 (linear layers: ``orthp``);
            ``approx_isometry``, many small steps from the inherited weights; ``rescale``, the inherited weights scaled to
            He's deviation √(2 / fan-in); ``kaiming``, He's normal draw; ``reset``, PyTorch's own fresh start.
        gain: Factor of orthogonal weights; see `natural_gain`.
        seed: Seed of what is drawn.
        steps: Of ``approx_isometry``.
        tick: Told of each layer that is done.

    Returns:
        What the user should know: layers for which the repair does not reach isometry.

    Raises:
        InputError: If there is nothing to repair; or ``delta_orth`` is asked for and there is no convolution.
    """
    found = layers(network)
    if not found and how != "none":
        raise InputError("repair", f"{how} finds neither a linear layer nor a convolution", "a network of such layers")
    if how == "delta_orth" and all(isinstance(layer, nn.Linear) for layer in found.values()):
        raise InputError("repair", "delta_orth finds no convolution in this network", "orthp, which linear layers take")
    generator = torch.Generator().manual_seed(seed)
    short: list[str] = []
    if tick:
        tick(0, len(found))
    if how == "reset":
        _reset(network, seed)
    for name, layer in found.items():
        weight, groups = layer.weight, getattr(layer, "groups", 1)
        if how == "orthp" or (how == "delta_orth" and isinstance(layer, nn.Linear)):
            weight.copy_(orthogonalised(weight, gain, groups))
        elif how == "orth_scratch":
            weight.copy_(random_orthogonal(weight.shape, gain, generator, groups))
        elif how == "delta_orth":
            weight.copy_(delta_orthogonal(weight.shape, gain, generator))
            if layer.in_channels > layer.out_channels:  # type: ignore[union-attr]
                short.append(f"{name} ({layer.in_channels} → {layer.out_channels})")  # type: ignore[union-attr]
        elif how == "approx_isometry":
            weight.copy_(approximately_isometric(weight, steps))
            if len(weight) > weight[0].numel():
                short.append(f"{name} ({away_from_isometry(weight):.2g} is left)")
        elif how == "rescale":
            # A constant weight has no deviation to scale.
            deviation = float(weight.std(correction=0)) if weight.numel() > 1 else 0.0
            if deviation > 0:
                weight.mul_(math.sqrt(2 / weight[0].numel()) / deviation)
            else:
                short.append(f"{name} (all of its weights are alike)")
        elif how == "kaiming":
            drawn = torch.randn(weight.shape, generator=generator) * math.sqrt(2 / weight[0].numel())
            weight.copy_(drawn)
        if tick:
            tick(1)
    if how in FROM_NOISE and how != "reset":
        _forget(network)
    if not short:
        return []
    return [f"{how} does not reach isometry in {len(short)} of {len(found)} layers: {', '.join(short)}"]


def _forget(network: nn.Module) -> None:
    """Zero biases and set norms back to the identity, as a fresh network's."""
    for layer in layers(network).values():
        if layer.bias is not None:
            layer.bias.zero_()
    for module in network.modules():
        if isinstance(module, NORMS) and hasattr(module, "reset_parameters"):
            module.reset_parameters()


def _reset(network: nn.Module, seed: int) -> None:
    """Start every module that knows how to anew; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            start = getattr(module, "reset_parameters", None)
            if callable(start):
                start()
