"""Complex convolution on real channels: all real parts first, then all imaginary parts.

Note:
    PyTorch convolves complex tensors too, which the tests compare with. Two real halves can be cut into groups (octaves),
    quantised, pruned and exported, and half precision works.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def complex_he(shape: tuple[int, int, int, int], seed: int, scale: Literal["fan_in", "sqrt"] = "sqrt") -> Tensor:
    """Draw a complex kernel: modulus from a Rayleigh distribution, phase uniform (Trabelsi et al. 2018, section 3.6).

    Args:
        shape: Complex output and input channels, height and width of the kernel.
        seed: Equal seeds and shapes give equal kernels: give each layer its own.
        scale: The Rayleigh distribution's: ``sqrt``, one over the root of the fan-in, keeps the variance of what passes a ReLU.
            ``fan_in``, one over the fan-in, is what several released networks have: they start almost at zero.

    Returns:
        float32 ``(2 * outputs, inputs, height, width)``: real parts, then imaginary parts.
    """
    fan_in = math.prod(shape[1:])
    rng = np.random.default_rng(seed)
    modulus = rng.rayleigh(1 / fan_in if scale == "fan_in" else 1 / math.sqrt(fan_in), shape)
    phase = rng.uniform(-np.pi, np.pi, shape)
    return torch.from_numpy(np.concatenate([modulus * np.cos(phase), modulus * np.sin(phase)])).float()


def real_kernel(kernel: Tensor) -> Tensor:
    """Write a complex kernel as one real kernel between stacked channels, ``[[Re, -Im], [Im, Re]]``.

    Args:
        kernel: ``(2O, I, h, w)``: real parts of O output channels, then their imaginary parts.

    Returns:
        ``(2O, 2I, h, w)``.
    """
    real, imaginary = kernel.chunk(2)
    return torch.cat([torch.cat([real, -imaginary], dim=1), torch.cat([imaginary, real], dim=1)])


class ComplexConv2d(nn.Module):
    """Complex convolution with 'same' zero padding: ``(B, 2I, H, W)`` to ``(B, 2O, H, W)``, real parts first.

    Args:
        inputs: Complex input channels I.
        outputs: Complex output channels O.
        kernel: Side of the kernel, odd.
        bias: Whether each real output channel has a bias; it starts at ``bias_start``.
        seed: Of the initial kernel.
        scale: Of the initial kernel; see `complex_he`.
        bias_start: Initial bias.

    Attributes:
        weight: ``(2O, I, k, k)``: real parts, then imaginary parts.
        bias: ``(2O,)`` or None.

    Raises:
        ValueError: If the kernel is even.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        bias: bool = True,
        seed: int = 0,
        scale: Literal["fan_in", "sqrt"] = "sqrt",
        bias_start: float = 1e-4,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a kernel of {kernel} x {kernel}, which has no middle")
        self.weight = nn.Parameter(complex_he((outputs, inputs, kernel, kernel), seed, scale))
        self.bias = nn.Parameter(torch.full((2 * outputs,), bias_start)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, 2I, H, W)``."""
        return F.conv2d(x, real_kernel(self.weight), self.bias, padding=self.weight.shape[-1] // 2)
