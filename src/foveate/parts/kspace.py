"""Between images and k-space: the Fourier transform in the conventions of the field, data consistency, cropping.

Papers place the centre of k-space (DC) in the middle or in the corner, and the middle of the image likewise, and scale in three
ways. A `Fourier` says all of it at once, so that a network, its loss and its data cannot disagree.

Note:
    The transforms are PyTorch's own. ``fastmri.fft2c`` is the same as ``FASTMRI``, in a package without a release since 2023.
    deepinv (well kept) brings operators for one and many coils, solvers and priors, in the convention of ``FASTMRI`` with two
    real channels. A system that wants those solvers as rivals uses deepinv itself; what the papers differ in is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from foveate.errors import InputError

Place = Literal["centre", "corner"]
Norm = Literal["backward", "ortho", "forward"]

_AXES = (-2, -1)


def to_corner(x: Tensor) -> Tensor:
    """Move the middle, ``(H // 2, W // 2)``, to ``(0, 0)``.

    Example:
        >>> to_corner(torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 2, 3]])[1:])
        tensor([[1, 2, 3, 0, 0]])
    """
    return torch.fft.ifftshift(x, dim=_AXES)


def to_centre(x: Tensor) -> Tensor:
    """Move ``(0, 0)`` to the middle, ``(H // 2, W // 2)``: what undoes `to_corner`, for odd sizes too."""
    return torch.fft.fftshift(x, dim=_AXES)


def moved(x: Tensor, source: Place, target: Place) -> Tensor:
    """Move the origin from one place to another."""
    if source == target:
        return x
    return to_corner(x) if target == "corner" else to_centre(x)


@dataclass(frozen=True)
class Fourier:
    """A two-dimensional Fourier transform over the last two axes, in one of the conventions.

    Attributes:
        dc: Where frequency zero lies in k-space.
        origin: Where the middle of the object lies in the image.
        norm: Which direction divides: the inverse (``backward``) by H W, both (``ortho``) by its root, or ``forward``.

    Example:
        >>> image = torch.zeros(4, 4, dtype=torch.complex64)
        >>> image[2, 2] = 1  # a point in the middle
        >>> bool((FASTMRI.forward(image) == 0.25).all())
        True
    """

    dc: Place = "corner"
    origin: Place = "corner"
    norm: Norm = "backward"

    def forward(self, image: Tensor) -> Tensor:
        """Transform images ``(..., H, W)``, real or complex, into k-space ``(..., H, W)``, complex."""
        return moved(torch.fft.fft2(moved(image, self.origin, "corner"), norm=self.norm), "corner", self.dc)

    def inverse(self, kspace: Tensor) -> Tensor:
        """Transform k-space ``(..., H, W)`` into complex images ``(..., H, W)``."""
        return moved(torch.fft.ifft2(moved(kspace, self.dc, "corner"), norm=self.norm), "corner", self.origin)


FASTMRI = Fourier("centre", "centre", "ortho")
"""As in fastMRI's files and in Hammernik's: DC and object in the middle. What `foveate.readers.kspace` returns."""
CORNER = Fourier("corner", "corner", "backward")
"""The plain transform, as in DONet and ISTA-Net."""
DC_CORNER = Fourier("corner", "centre", "backward")
"""DC in the corner, the object in the middle, as in active sampling (active-mri-acquisition, SeqMRI)."""


def data_consistency(
    image: Tensor, measured: Tensor, mask: Tensor, fourier: Fourier = CORNER, weight: float | Tensor | None = None
) -> Tensor:
    """Put measured samples in the place of what an image says of them.

    Args:
        image: Complex ``(..., H, W)``.
        measured: K-space of the same shape. What stands where nothing was measured does not matter.
        mask: 1 where it was measured, else 0, broadcastable to ``(..., H, W)``. Gradients flow through one of floats.
        fourier: The convention of all three.
        weight: Of the measurement against the image, for noisy samples: ``(image + weight * measured) / (1 + weight)``. None
            takes the measurement alone.

    Returns:
        Complex image ``(..., H, W)``.
    """
    kspace = fourier.forward(image)
    keep = mask.to(kspace.real.dtype)
    if weight is not None:
        keep = keep * (weight / (1 + weight))
    return fourier.inverse(keep * measured + (1 - keep) * kspace)


def zero_filled(kspace: Tensor, mask: Tensor, fourier: Fourier = CORNER) -> Tensor:
    """Reconstruct with zeros where nothing was measured: complex ``(..., H, W)``."""
    return fourier.inverse(kspace * mask)


def complex_to_channels(x: Tensor) -> Tensor:
    """Turn complex ``(B, C, H, W)`` into real ``(B, 2C, H, W)``: all real parts, then all imaginary parts."""
    return torch.cat([x.real, x.imag], dim=1)


def channels_to_complex(x: Tensor) -> Tensor:
    """Turn real ``(B, 2C, H, W)``, all real parts first, into complex ``(B, C, H, W)``.

    Example:
        >>> x = torch.randn(1, 3, 4, 4, dtype=torch.complex64)
        >>> bool((channels_to_complex(complex_to_channels(x)) == x).all())
        True
    """
    real, imaginary = x.chunk(2, dim=1)
    return torch.complex(real.contiguous(), imaginary.contiguous())


def crop_or_pad(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut or fill up with zeros around the middle ``(H // 2, W // 2)``, which is in the middle afterwards.

    Of a k-space it changes the resolution, of an image the field of view.

    Note:
        Where even sizes become odd ones this starts a row later than fastMRI's ``center_crop``, which would move DC.

    Args:
        x: ``(..., H, W)`` with its origin in the middle.
        size: Height and width that are wanted.
    """
    for axis, target in zip(_AXES, size, strict=True):
        length = x.shape[axis]
        start = length // 2 - target // 2
        x = x.narrow(axis, max(start, 0), min(length, target))
        if target > length:
            before = target // 2 - length // 2
            widths = [before, target - length - before]
            x = torch.nn.functional.pad(x, widths if axis == -1 else [0, 0, *widths])
    return x


def locate_dc(kspace: np.ndarray) -> Place:
    """Tell where DC lies: where a k-space is strong, or a mask dense, in the middle or the corners.

    Args:
        kspace: ``(..., H, W)``, complex, real or bool.

    Returns:
        ``centre`` also if they are the same, as for a mask of ones.

    Example:
        >>> locate_dc(np.fft.fft2(np.ones((8, 8))))
        'corner'
    """
    magnitude = np.abs(kspace.astype(np.complex64 if np.iscomplexobj(kspace) else np.float32))
    magnitude = magnitude.reshape(-1, *kspace.shape[-2:]).sum(0, dtype=np.float64)

    def inner(values: np.ndarray) -> float:
        rows, columns = (slice(n // 2 - max(n // 16, 1), n // 2 + max(n // 16, 1)) for n in values.shape)
        return float(values[rows, columns].sum())

    return "corner" if inner(np.fft.fftshift(magnitude)) > inner(magnitude) else "centre"


def fit_mask(mask: np.ndarray, size: tuple[int, int], where: object = "mask") -> np.ndarray:
    """Check a mask and bring it to the size of a k-space.

    Args:
        mask: ``(H, W)``, or one row of lines, ``(W,)`` or ``(1, W)``, of bools, of 0 and 1, or of 0 and 255.
        size: Height and width of the k-space.
        where: File or argument, for the error.

    Returns:
        bool ``(H, W)``.

    Raises:
        InputError: If it has another size, other values, or no sample at all.

    Example:
        >>> fit_mask(np.array([1, 0, 0]), (2, 3)).tolist()
        [[True, False, False], [True, False, False]]
    """
    height, width = size
    wanted = f"{height} x {width}, or one line of {width}"
    lines = mask.reshape(1, -1) if mask.ndim == 1 else mask
    if lines.ndim != 2 or lines.shape not in ((height, width), (1, width)):
        raise InputError(where, f"the mask has the size {' x '.join(map(str, mask.shape)) or 'of one number'}", wanted)
    values = np.unique(lines)
    if values.dtype.kind not in "biuf" or not (set(values.tolist()) <= {0, 1} or set(values.tolist()) <= {0, 255}):
        raise InputError(where, f"the mask holds other values than 0 and 1, such as {values[-1]}", "zeros and ones")
    if not values.any():
        raise InputError(where, "the mask has no samples", "a mask with ones where it was measured")
    return np.broadcast_to(lines != 0, size).copy()
