"""Pictures of any size to small tensors, without the memory that a large photograph in floats would take."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveate.results import Picture


def scaled(picture: Picture, height: int, width: int) -> Tensor:
    """Scale a picture with antialiasing (bilinear), in 8 bits, as loaders of networks that see 8-bit pictures do.

    Args:
        picture: Grey or colour, 8 or 16 bits; alpha is left out.
        height: Of the result.
        width: Of the result.

    Returns:
        float32 ``(3, height, width)`` in [0, 1], RGB.
    """
    pixels = picture.pixels if picture.bits == 8 else (picture.pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if picture.grey else pixels[..., :3]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    # Large pictures are first shrunk by a whole factor, which costs a glance and no quality that shows.
    image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
