"""Classifiers for pictures of 32 x 32 pixels, as papers on pruning and training compare them on CIFAR.

Built by name: ``resnet20_cifar`` (also 14, 32, 44, 56, 110; ``resnet56b_cifar`` has option B's shortcuts), ``vgg16_bn_cifar``
(11, 13, 19), both at a share of their widths as in ``resnet14x0.75_cifar`` and ``vgg11x0.5_bn_cifar``, and any of timm's
MobileNets and EfficientNets with ``_cifar`` behind its name, whose stem then keeps the size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from foveate.errors import InputError

SUFFIX = "_cifar"
_VGG = {
    11: (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512),
    13: (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512),
    16: (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512),
    19: (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512),
}
EXPECTED = "resnet20_cifar (14, 32, 44, 56, 110; resnet20b_cifar ...), vgg16_bn_cifar (11, 13, 19) or a timm name with _cifar"


def build(name: str, classes: int = 10) -> nn.Module:
    """Build a network by name, with random weights.

    Args:
        name: See the module.
        classes: Number of classes.

    Raises:
        InputError: If there is no such network.

    Example:
        >>> sum(p.numel() for p in build("resnet56_cifar").parameters())
        853018
        >>> sum(p.numel() for p in build("vgg16_bn_cifar").parameters())
        14728266
    """
    if found := re.fullmatch(r"resnet(\d+)(b?)(?:x(\d\.?\d*))?_cifar", name):
        widths = [max(1, round(float(found[3] or 1) * width)) for width in (16, 32, 64)]
        return CIFARResNet(int(found[1]), widths, "B" if found[2] else "A", classes)
    if (found := re.fullmatch(r"vgg(\d+)(?:x(\d\.?\d*))?_bn_cifar", name)) and int(found[1]) in _VGG:
        return CIFARVGG(int(found[1]), float(found[2] or 1), classes)
    if name.endswith(SUFFIX):
        return _timm(name, classes)
    raise InputError(name, "there is no such network for 32 x 32 pixels", EXPECTED)


def _timm(name: str, classes: int) -> nn.Module:
    import timm

    inner = name.removesuffix(SUFFIX)
    try:
        network = timm.create_model(inner, num_classes=classes)
    except RuntimeError as error:
        raise InputError(name, f"timm has no {inner}", EXPECTED) from error
    stem = getattr(network, "conv_stem", None)
    if not isinstance(stem, nn.Conv2d):
        raise InputError(name, f"{inner} has no single convolution for a stem", "a MobileNet or an EfficientNet")
    stem.stride = (1, 1)
    return network


class CIFARResNet(nn.Module):
    """The residual network of He et al. (2016), section 4.2: three stages of basic blocks on 32 x 32 pixels.

    Args:
        depth: 6n + 2 layers: 14, 20, 32, 44, 56, 110.
        widths: Channels of the stages.
        shortcut: Where size and width change: ``A`` (every second pixel, new channels zero) or ``B`` (a 1 x 1 convolution).
        classes: Number of classes.

    Raises:
        InputError: If there is no network of that depth.
    """

    def __init__(
        self, depth: int = 20, widths: Sequence[int] = (16, 32, 64), shortcut: Literal["A", "B"] = "A", classes: int = 10
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise InputError("depth", str(depth), "6n + 2, such as 20, 32, 56 or 110")
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        for stage, width in enumerate(widths, start=1):
            blocks = [BasicBlock(before if i == 0 else width, width, 2 if stage > 1 and i == 0 else 1, shortcut)
                      for i in range(depth // 6)]  # fmt: skip
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.stages = len(widths)
        self.fc = nn.Linear(before, classes)
        _initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn normalised pictures ``(B, 3, H, W)`` into logits ``(B, classes)``."""
        x = F.relu(self.bn1(self.conv1(pictures)))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean(dim=(2, 3)))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them; the first one's width is the block's own affair."""

    def __init__(self, before: int, width: int, stride: int, shortcut: Literal["A", "B"]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if before != width or stride > 1:
            projection = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            self.shortcut = projection if shortcut == "B" else Padded(width - before, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(B, before, H, W)`` into ``(B, width, H / stride, W / stride)``."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class Padded(nn.Module):
    """Option A: every ``stride``-th pixel, and channels of zeros on both sides."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.before, self.after, self.stride = more // 2, more - more // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``(B, C, H, W)`` into ``(B, C + more, H / stride, W / stride)``."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class CIFARVGG(nn.Module):
    """VGG with batch normalisation and one linear layer, for 32 x 32 pixels.

    Args:
        depth: 11, 13, 16 or 19, as the networks are named.
        scale: Share of the usual widths.
        classes: Number of classes.
        conv_bias: Whether convolutions have a bias, which batch normalisation makes void.
    """

    def __init__(self, depth: int = 16, scale: float = 1.0, classes: int = 10, conv_bias: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for entry in _VGG[depth]:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
                continue
            width = max(1, round(scale * entry))
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=conv_bias), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(before, classes)
        _initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn normalised pictures ``(B, 3, H, W)`` into logits ``(B, classes)``."""
        return self.fc(self.features(pictures).mean(dim=(2, 3)))


def _initialise(network: nn.Module) -> None:
    """Draw weights as He et al. (2015) do."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
