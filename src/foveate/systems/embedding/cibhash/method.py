"""CIBHash: contrastive learning of binary codes, with an information bottleneck.

Two views of a picture shall get the same code (the contrastive loss bounds the negative mutual information of their codes
from above), and a code shall keep nothing else of the picture (a divergence between the two views' code distributions bounds
the mutual information of code and picture).

Paper: arXiv 2105.06138.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from foveate.parts.contrastive import nt_xent
from foveate.parts.hash_network import HashNetwork
from foveate.parts.scaling import scaled
from foveate.results import Picture

BinaryLayer = Literal["bernoulli", "deterministic", "none"]


def prepare(picture: Picture, side: int = 224) -> Tensor:
    """Turn a picture into what the network sees: float32 ``(3, side, side)`` in [0, 1], squeezed to a square and not cut."""
    return scaled(picture, side, side)


class CIBHash(HashNetwork):
    """A frozen VGG-16 up to fc7, and a head of two layers that gives the code's logits (section 3.1).

    A bit is a Bernoulli variable with the probability ``sigmoid(logit)``; the code that is used has a one where that is at
    least a half.

    Args:
        backbone: timm's name of the network that sees the pictures; empty if the input are feature vectors.
        pretrained: Its weights: ``no``, ``packaged``, ``timm`` or a file; see `foveate.parts.backbones.Backbone`.
        bits: Length of the codes (16, 32 and 64 in the paper).
        hidden: Width of the head's hidden layer.
        frozen: Leave the backbone as it is, as the paper does.
        noisy: Keep VGG's dropout on while the head trains, as the released code does by leaving all in training mode.
        width: Length of the feature vectors if there is no backbone.
        side: Side of the pictures that it was made for.
    """

    def __init__(
        self,
        backbone: str = "vgg16",
        pretrained: str = "no",
        bits: int = 32,
        hidden: int = 1024,
        frozen: bool = True,
        noisy: bool = False,
        width: int = 0,
        side: int = 224,
    ) -> None:
        super().__init__(backbone, pretrained, bits, hidden, frozen=frozen, noisy=noisy, width=width, side=side)
        del self.arguments["signed"]


def binarise(logits: Tensor, layer: BinaryLayer = "bernoulli") -> Tensor:
    """Draw codes of -1 and 1 through which gradients pass as if they were the probabilities (section 3.2).

    Args:
        logits: ``(B, K)``.
        layer: ``bernoulli`` draws each bit (the paper's), ``deterministic`` takes the likelier one (the released code's),
            ``none`` gives ``tanh(logits)``, which is not binary.

    Returns:
        ``(B, K)``; the gradient by the logits is the one by the code times ``p (1 - p)``.
    """
    if layer == "none":
        return torch.tanh(logits)
    p = torch.sigmoid(logits)
    threshold = torch.rand_like(p) if layer == "bernoulli" else torch.full_like(p, 0.5)
    code = torch.where(p >= threshold, 1.0, -1.0).to(p)
    return code + (p - p.detach())  # in this order the sum is exact


def information_loss(one: Tensor, other: Tensor) -> Tensor:
    """Compute the divergence between the code distributions of two views, both ways, the second fixed (section 3.3).

    Args:
        one: Probabilities ``(B, K)``.
        other: Of the other views.

    Returns:
        Summed over the bits, mean over the batch and the two ways.
    """

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        q = q.detach()
        tiny = 1e-8
        ones = p * ((p + tiny).log() - (q + tiny).log())
        zeros = (1 - p) * ((1 - p + tiny).log() - (1 - q + tiny).log())
        return (ones + zeros).sum(dim=1).mean()

    return (divergence(one, other) + divergence(other, one)) / 2


def contrastive_information_bottleneck(
    one: Tensor, other: Tensor, layer: BinaryLayer = "bernoulli", temperature: float = 0.3, weight: float = 0.001
) -> tuple[Tensor, Tensor]:
    """Compute the two losses, contrastive and information, of the logits ``(B, K)`` of two views (equation 11).

    Args:
        one: Logits of the first views.
        other: Of the second views.
        layer: See `binarise`.
        temperature: Of the contrastive loss.
        weight: Of the information loss; 0 leaves it out.

    Returns:
        The contrastive loss on the codes, and ``weight`` times the information loss.
    """
    if one.dtype in (torch.float16, torch.bfloat16):
        one, other = one.float(), other.float()  # the logarithms need it
    contrast = nt_xent(binarise(one, layer), binarise(other, layer), temperature)
    if not weight:
        return contrast, torch.zeros_like(contrast)
    return contrast, weight * information_loss(torch.sigmoid(one), torch.sigmoid(other))
