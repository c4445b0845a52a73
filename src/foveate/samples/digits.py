"""Handwritten digits, real ones, that scikit-learn ships (UCI, Alpaydin and Kaynak): 1,797 pictures of 8 x 8 pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

CLASSES = tuple("0123456789")


def digits(side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Read the digits, enlarged bilinearly.

    Args:
        side: Of the pictures.

    Returns:
        Pictures uint8 ``(1797, side, side)``, 0 to 255, and labels int64 ``(1797,)``, in scikit-learn's order.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    small = (np.float32(found.images) * (255 / 16)).astype(np.float32)
    large = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in small]
    return np.uint8(np.clip(np.stack(large) + 0.5, 0, 255)), np.int64(found.target)
