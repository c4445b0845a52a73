"""Parameters and multiply-accumulates of a network, counted on shapes alone (no weights are touched)."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Count a network's parameters, frozen ones included.

    Example:
        >>> parameters(nn.Conv2d(3, 8, 3))
        224
    """
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, *shapes: tuple[int, ...], transposed: Literal["input", "output"] = "input") -> int:
    """Count the multiply-accumulates of convolutions and matrix products, one forward pass.

    Args:
        module: Any network whose forward takes tensors of the shapes alone.
        *shapes: Shapes of the inputs, the batch included.
        transposed: At which size a transposed convolution is charged. ``input`` is what it computes
            (`torch.utils.flop_counter` counts so); ``output`` is what many tools report.

    Example:
        >>> macs(nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 10))
        21600
        >>> up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        >>> macs(up, (1, 4, 5, 5)), macs(up, (1, 4, 5, 5), transposed="output")
        (1600, 6400)
    """

    def convolution(
        x: Any, w: Any, _bias: Any, _stride: Any, _pad: Any, _dil: Any, is_t: bool, *_: Any, out_shape: Any, **__: Any
    ) -> int:
        size = x if is_t and transposed == "input" else out_shape
        return 2 * x[0] * math.prod(size[2:]) * math.prod(w)

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution: convolution})
    shadow = copy.deepcopy(module).to("meta").eval()
    with counter, torch.no_grad():
        shadow(*(torch.empty(shape, device="meta") for shape in shapes))
    return counter.get_total_flops() // 2
