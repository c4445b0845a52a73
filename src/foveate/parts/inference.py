"""A trained network made quick on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]


def device() -> torch.device:
    """Return the accelerator if there is one, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def has_bfloat16(on: torch.device) -> bool:
    """Whether a device computes in bfloat16 natively, so that it gains speed."""
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return on.type == "cpu" and torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def quick(
    network: Callable[[Tensor], Tensor] | nn.Module,
    precision: Precision = "auto",
    on: torch.device | None = None,
    channels_last: bool = True,
) -> Callable[[Tensor], Tensor]:
    """Wrap a convolutional network for inference: no gradients, channels last, bfloat16 where the device has it.

    Args:
        network: The network, or a function of it; a module is moved to the device and to channels last.
        precision: ``auto`` picks bfloat16 if the device computes in it natively.
        on: The device; the accelerator if there is one.
        channels_last: Lay tensors out with the channels last.

    Returns:
        A function from ``(B, C, H, W)`` on any device to float32 on the processor.
    """
    on = on or device()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    half = precision == "bfloat16" or (precision == "auto" and has_bfloat16(on))
    if isinstance(network, nn.Module):
        network = network.to(on, memory_format=layout)

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        x = x.to(on, memory_format=layout)
        with torch.autocast(on.type, torch.bfloat16, enabled=half):
            return network(x).float().cpu()

    return run
