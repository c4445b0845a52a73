"""The network that hashes, and the loss that teaches it (step 4 of the method; the signals come from guidance.py).

Paper: Luo, Ma, Wu, Zhong, Chen, Ma, Deng, "Deep Unsupervised Hashing by Distilled Smooth Guidance", arXiv 2105.06125. No
code of the authors is public. "SSDH's code" refers to TreezzZ/SSDH_PyTorch, a re-implementation of the method it builds on.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as pictures

from foveate.parts.hash_network import HashNetwork
from foveate.results import Picture

Loss = Literal["ls", "pce"]


def prepare(picture: Picture, side: int = 224) -> Tensor:
    """Turn a picture into the network's input: its short side scaled to 256/224 of ``side``, and the middle cut out.

    Args:
        picture: Grey or colour, 8 or 16 bits; alpha is left out.
        side: Side of the square in pixels.

    Returns:
        float32 ``(3, side, side)`` in [0, 1], RGB; the network normalises.
    """
    colour = torch.from_numpy(np.array(picture.colour().transpose(2, 0, 1), order="C"))
    return pictures.center_crop(pictures.resize(colour, [round(side * 256 / 224)], antialias=True), [side, side])


def random_view(picture: Picture, rng: np.random.Generator, side: int = 224) -> Tensor:
    """Cut a window of 8 to 100 % of the area and of aspect 3/4 to 4/3 at random, scale it to the side, mirror half of them.

    Returns:
        float32 ``(3, side, side)`` in [0, 1].
    """
    height, width = picture.size
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        rows, columns = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            break
    else:  # a very long picture: the largest square in its middle, or the nearest that the loop was free to choose
        rows = columns = min(height, width)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    window = picture.crop(slice(top, top + rows), slice(left, left + columns)).colour()
    window = window[:, ::-1] if rng.random() < 0.5 else window
    tensor = torch.from_numpy(np.array(window.transpose(2, 0, 1), order="C"))
    return pictures.resize(tensor, [side, side], antialias=True)


class DSGHash(HashNetwork):
    """Pictures, or features of them, to K values in (-1, 1); their signs are the code, and 0 counts as +1.

    The paper's: VGG-16 up to its second fully connected layer (fc7), fine-tuned, then ReLU, a linear layer and tanh. The
    guidance is made from the same features before the ReLU.

    Args:
        backbone: timm's name of the network that sees the pictures; empty if the input are feature vectors.
        pretrained: Its weights; see `foveate.parts.backbones.Backbone`.
        bits: K, length of the codes, a multiple of 8.
        hidden: Width of a hidden layer before the last one; the paper has none.
        frozen: Leave the backbone as it is.
        signed: Take fc7 before its ReLU, which is applied here; of no effect where the network ends otherwise.
        width: Length of the feature vectors if there is no backbone.
        side: Side of the pictures that it was made for.
    """

    def __init__(
        self,
        backbone: str = "vgg16",
        pretrained: str = "no",
        bits: int = 32,
        hidden: int = 0,
        frozen: bool = False,
        signed: bool = True,
        width: int = 0,
        side: int = 224,
    ) -> None:
        super().__init__(backbone, pretrained, bits, hidden, frozen, signed, width=width, side=side)
        del self.arguments["noisy"]

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, 3, H, W)`` in [0, 1], or features ``(B, D)``, into values in (-1, 1), ``(B, K)``."""
        return torch.tanh(super().forward(pictures))


def priority_loss(values: Tensor, signal: Tensor, weight: Tensor, form: Loss = "ls") -> Tensor:
    """Compute how far the similarities of a batch's codes are from the signals, by priority of the confident ones.

    Over the pairs i ≠ j whose signal S is not 0, with their weights w, the mean of

    - ``ls``: w (h_i·h_j / K - S)²;
    - ``pce``: w times the cross-entropy of sigmoid(h_i·h_j / 2) for the target (S + 1) / 2.

    Args:
        values: What the network gives, ``(B, K)`` in (-1, 1).
        signal: S, ``(B, B)`` of -1, 0 and 1, symmetric; its diagonal is not looked at.
        weight: w, ``(B, B)`` in [0, 1].
        form: One of the two.

    Returns:
        The mean, 0 if no pair has a signal.

    Note:
        The mean is over the pairs with a signal, so that the number of unknown pairs does not rescale the learning rate; SSDH's
        code divides by B². It also keeps the pairs i = j, which pull the length of every h to √K.
    """
    product = values @ values.T
    if form == "ls":
        errors = (product / values.shape[1] - signal) ** 2
    else:
        errors = functional.binary_cross_entropy_with_logits(product / 2, (signal + 1) / 2, reduction="none")
    known = (signal != 0).to(errors.dtype)
    known = known - torch.diag(known.diagonal())
    return (known * weight * errors).sum() / known.sum().clamp(min=1)


def quantisation_loss(values: Tensor) -> Tensor:
    """Compute the mean of (|h| - 1)², which pulls values towards the corners of the cube."""
    return ((values.abs() - 1) ** 2).mean()
