"""Long one-dimensional convolutions through the Fourier transform: the numbers of `torch.nn.Conv1d`, in a fraction of the time.

Nine tenths of Genesis's work is one convolution of 64 to 64 channels with 50 taps. On a processor, blocks of the input are
transformed, multiplied with the transformed kernel and transformed back (overlap-save), which takes a fifth of the time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LONG = 32  # taps from which on it pays
WIDE = 16  # channels from which on it pays


class PaddedConv1d(nn.Conv1d):
    """A convolution of stride 1 whose output is as long as its input, or as short as no padding makes it.

    Kernels of even length are padded by one more on the right, as Keras and TensorFlow do.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        taps: Length of the kernel.
        same: Pad with zeros to the input's length.

    Shape:
        ``(B, channels_in, N)`` to ``(B, channels, N)``, or ``N - taps + 1`` without padding.

    Example:
        >>> PaddedConv1d(1, 8, 50)(torch.zeros(2, 1, 60)).shape
        torch.Size([2, 8, 60])
    """

    def __init__(self, channels_in: int, channels: int, taps: int, same: bool = True) -> None:
        super().__init__(channels_in, channels, taps)
        self.pad = ((taps - 1) // 2, taps // 2) if same else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: through the Fourier transform where that is quicker, never in an exported graph."""
        x = F.pad(x, self.pad)
        long = self.kernel_size[0] >= LONG and min(self.in_channels, self.out_channels) >= WIDE
        plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
        if long and plain and not torch.compiler.is_compiling():
            return LongConvolution.apply(x, self.weight) + self.bias[:, None]
        return F.conv1d(x, self.weight, self.bias)


class LongConvolution(torch.autograd.Function):
    """``torch.nn.functional.conv1d(x, weight)`` by overlap-save, with its gradients.

    In blocks of L samples, of which L - k + 1 are new, one product of a ``(blocks, C)`` and a ``(C, O)`` matrix is left for
    each of the L / 2 + 1 frequencies, in place of k for each sample.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve ``(B, C, N)`` with ``(O, C, k)`` to ``(B, O, N - k + 1)``."""
        batch, channels, length = x.shape
        outputs, _, taps = weight.shape
        size, fresh, count = _blocks(length, taps)
        x = F.pad(x, (0, count * fresh + taps - 1 - length))
        spectrum = torch.fft.rfft(x.unfold(-1, size, fresh)).permute(3, 0, 2, 1).reshape(size // 2 + 1, batch * count, channels)
        kernel = torch.fft.rfft(weight, size).permute(2, 1, 0).contiguous()
        product = torch.bmm(spectrum, kernel.conj()).reshape(-1, batch, count, outputs).permute(1, 3, 2, 0)
        out = torch.fft.irfft(product, size)[..., :fresh].reshape(batch, outputs, count * fresh)[..., : length - taps + 1]
        ctx.save_for_backward(spectrum, kernel)
        ctx.lengths = (length, taps)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        """Correlate the gradient with the input for the kernel, and convolve it with the kernel for the input."""
        spectrum, kernel = ctx.saved_tensors
        length, taps = ctx.lengths
        batch, outputs, _ = grad.shape
        size, fresh, count = _blocks(length, taps)
        grad = F.pad(grad, (0, count * fresh - grad.shape[-1])).reshape(batch, outputs, count, fresh)
        wave = torch.fft.rfft(grad, size).permute(3, 0, 2, 1).reshape(size // 2 + 1, batch * count, outputs)
        weight = torch.fft.irfft(torch.bmm(spectrum.transpose(1, 2), wave.conj()).permute(2, 1, 0), size)[..., :taps]
        if not ctx.needs_input_grad[0]:
            return None, weight
        product = torch.bmm(wave, kernel.transpose(1, 2)).reshape(size // 2 + 1, batch, count, -1).permute(1, 3, 2, 0)
        blocks = torch.fft.irfft(product, size)
        x = blocks.new_zeros(batch, blocks.shape[1], count * fresh + taps - 1)
        for i in range(count):
            x[..., i * fresh : i * fresh + size] += blocks[:, :, i]
        return x[..., :length], weight


def _blocks(length: int, taps: int) -> tuple[int, int, int]:
    """Return the size of the blocks, how many samples of each are new, and how many blocks there are.

    Example:
        >>> _blocks(length=2050, taps=50)
        (288, 239, 9)
    """
    wanted = length - taps + 1
    count = max(1, -(-wanted // (5 * taps)))
    size = -(-(-(-wanted // count) + taps - 1) // 32) * 32  # multiples of 32 transform quickly
    return size, size - taps + 1, -(-wanted // (size - taps + 1))
