"""What networks that hash pictures have in common: a backbone, and a small head that gives one value per bit."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts.backbones import Backbone


class HashNetwork(nn.Module):
    """Pictures, or features of them, to one logit per bit; the code has a one where it is not negative.

    Args:
        backbone: timm's name of the network that sees the pictures; empty if the input are feature vectors.
        pretrained: Its weights; see `foveate.parts.backbones.Backbone`.
        bits: Length of the codes, a multiple of 8.
        hidden: Width of the head's hidden layer; 0 for a single linear layer.
        frozen: Leave the backbone as it is.
        signed: Take the backbone's features before their last activation, and apply it here.
        noisy: Keep a frozen backbone's dropout on in training.
        width: Length of the feature vectors if there is no backbone.
        side: Side of the pictures that it was made for.

    Attributes:
        arguments: The above, to build the network again.
        centre: Taken off the features before the head, ``(D,)``; zero until `standardise`.
        scale: What they are then divided by; one until `standardise`.
    """

    def __init__(
        self,
        backbone: str = "vgg16",
        pretrained: str = "no",
        bits: int = 32,
        hidden: int = 1024,
        frozen: bool = True,
        signed: bool = False,
        noisy: bool = False,
        width: int = 0,
        side: int = 224,
    ) -> None:
        super().__init__()
        if bits < 8 or bits % 8:
            raise InputError("bits", f"{bits}", "a multiple of 8, such as 16, 32, 64 or 128")
        # Weights that are stored with the rest are not fetched again to be replaced by them.
        kept = pretrained if pretrained == "packaged" and frozen else "no"
        self.arguments = {
            "backbone": backbone, "pretrained": kept, "bits": bits, "hidden": hidden, "frozen": frozen, "signed": signed,
            "noisy": noisy, "width": width, "side": side,
        }  # fmt: skip
        self.bits, self.signed, self.side = bits, signed, side
        self.backbone = Backbone(backbone, pretrained, frozen, signed, noisy) if backbone else nn.Identity()
        width = self.backbone.width if backbone else width
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, bits)] if hidden else [nn.Linear(width, bits)]
        self.head = nn.Sequential(*layers)

    def features(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, 3, H, W)`` in [0, 1] into features ``(B, D)``; features pass as they are."""
        return pictures if pictures.ndim == 2 else self.backbone(pictures)

    def logits(self, features: Tensor) -> Tensor:
        """Turn features ``(B, D)`` into logits ``(B, bits)``."""
        features = torch.relu(features) if self.signed else features
        return self.head((features - self.centre) / self.scale)

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, 3, H, W)`` in [0, 1], or features ``(B, D)``, into logits ``(B, bits)``."""
        return self.logits(self.features(pictures))

    @property
    def name(self) -> str:
        """A name for these very weights: the class, the bits, and a hash of everything that a code depends on."""
        digest = hashlib.sha256(json.dumps(self.arguments, sort_keys=True).encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode() + value.detach().cpu().float().numpy().tobytes())
        return f"{type(self).__name__}-{self.bits}-{digest.hexdigest()[:12]}"

    def standardise(self, features: np.ndarray) -> None:
        """Centre features ``(N, D)`` on their mean, and scale them to a mean square of one per value, from now on."""
        centre = features.mean(axis=0)
        self.centre.copy_(torch.from_numpy(centre))
        self.scale.fill_(float(np.sqrt(np.mean((features - centre) ** 2))))

    def restart(self, seed: int) -> None:
        """Draw the head's weights anew."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in self.head:
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
