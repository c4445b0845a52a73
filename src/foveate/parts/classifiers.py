"""Any network that classifies pictures, under one roof: its name, its normalisation, its weights.

A network goes by its name in `foveate.parts.cifar_networks` (``resnet56_cifar``), in torchvision (``torchvision/resnet18``) or
in timm (``mobilenetv2_100``). A file says its name itself if foveate wrote it; a bare state dict comes with a name.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts import cifar_networks, counting, weights
from foveate.parts.backbones import packaged_weights
from foveate.parts.scaling import scaled
from foveate.results import Picture

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EXPECTED = "a name of timm.list_models(), torchvision/NAME, resnet56_cifar or the like, or a file of weights"
MAX_CLASSES = 1_000_000
_FILES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin", ".tar")


class Classifier(nn.Module):
    """A network with its normalisation: pictures in, logits out.

    Args:
        model: Its name; see the module.
        classes: Number of classes.
        side: Side of the pictures that it sees; 0 for the network's own.
        pretrained: ``no`` (random weights) or ``hub`` (timm or torchvision fetch theirs).
        sizes: Of layers that were made smaller, by name: ``[out, in, groups]`` of convolutions, ``[out, in]`` of linear layers,
            ``[channels]`` of normalisations.
        labels: What the classes are called.
        mean: Taken off the pictures' channels; the network's own if None.
        std: What they are then divided by; the network's own if None.
        crop: Share of a picture's short side that it sees when it is used; 0 for the network's own.

    Attributes:
        network: The bare network, which sees normalised pictures.
        arguments: What builds it again, so that `foveate.parts.weights.save` and `load` know it.

    Raises:
        InputError: If there is no such network.
    """

    def __init__(
        self,
        model: str = "resnet20_cifar",
        classes: int = 10,
        side: int = 0,
        pretrained: str = "no",
        sizes: Mapping[str, Sequence[int]] | None = None,
        labels: Sequence[str] = (),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= classes <= MAX_CLASSES:
            raise InputError("classes", str(classes), f"1 to {MAX_CLASSES:,}")
        network, own = _create(model, classes, pretrained)
        resized(network, sizes or {})
        given = {"side": side, "mean": mean, "std": std, "crop": crop}
        self._describe(network, model, classes, labels, dict(sizes or {}), own | {k: v for k, v in given.items() if v})

    def _describe(
        self,
        network: nn.Module,
        model: str,
        classes: int,
        labels: Sequence[str],
        sizes: dict[str, Sequence[int]],
        seen: dict[str, Any],
    ) -> None:
        self.network = network
        self.model, self.classes, self.labels = model, classes, tuple(labels)
        self.side: int = seen["side"]
        self.crop: float = seen["crop"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(seen[name]).float().view(3, 1, 1), persistent=False)
        plain = {k: list(v) if isinstance(v, Sequence) else v for k, v in seen.items()}
        self.arguments: dict[str, Any] = {"model": model, "classes": classes, "labels": list(labels), "sizes": sizes, **plain}

    @classmethod
    def of(
        cls,
        network: nn.Module,
        classes: int,
        side: int,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        name: str = "",
        crop: float = 1.0,
    ) -> Classifier:
        """Wrap a network of one's own. It can be used and trained; a file of it needs the code that builds it.

        Args:
            network: Turns normalised pictures into logits.
            classes: Number of classes.
            side: Side of the pictures.
            mean: Taken off the pictures' channels.
            std: What they are then divided by.
            name: What reports call it; by default its class.
            crop: Share of a picture's short side that it sees.
        """
        wrapped = cls.__new__(cls)
        nn.Module.__init__(wrapped)
        seen = {"side": side, "mean": mean, "std": std, "crop": crop}
        wrapped._describe(network, name or type(network).__name__, classes, (), {}, seen)
        return wrapped

    def with_network(self, network: nn.Module) -> Classifier:
        """Return this classifier around a network whose layers are smaller, as `foveate.parts.pruning.shrunk` makes them."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other._buffers = dict(self._buffers)
        other.network = network
        other.arguments = {**self.arguments, "sizes": sizes_of(network)}
        return other

    def forward(self, pictures: Tensor) -> Tensor:
        """Turn pictures ``(B, 3, H, W)`` in [0, 1] into logits ``(B, classes)``."""
        return self.network((pictures - self.mean) / self.std)

    def prepare(self, picture: Picture) -> Tensor:
        """Make the view that this network is evaluated on; see `prepare`."""
        return prepare(picture, self.side, self.crop)

    def example(self) -> Tensor:
        """Return a grey picture ``(1, 3, side, side)`` of the right size."""
        return torch.full((1, 3, self.side, self.side), 0.5, device=self.mean.device)

    def macs(self) -> int:
        """Count the multiply-accumulates for one picture."""
        return counting.macs(self.network, (1, 3, self.side, self.side))

    def parameters_in_all(self) -> int:
        """Count the parameters."""
        return counting.parameters(self.network)


def prepare(picture: Picture, side: int, crop: float = 1.0) -> Tensor:
    """Make the view that a classifier is evaluated on: the short side scaled, the middle cut out.

    Args:
        picture: Of any size.
        side: Of the view.
        crop: Share of the short side that is seen; 0.875 is usual for pictures of 224.

    Returns:
        float32 ``(3, side, side)`` in [0, 1].
    """
    height, width = picture.size
    factor = side / crop / min(height, width)
    large = scaled(picture, max(side, round(height * factor)), max(side, round(width * factor)))
    top, left = (large.shape[1] - side) // 2, (large.shape[2] - side) // 2
    return large[:, top : top + side, left : left + side].contiguous()


def open_classifier(model: str, weights_file: str | Path = "", classes: int = 0, side: int = 0) -> Classifier:
    """Open a network by its name or its file, in evaluation mode.

    Args:
        model: A name (see the module), or a file that says its own: ``.safetensors`` written by foveate, or a checkpoint of
            `foveate train`.
        weights_file: A state dict with the names of the library's network: ``.safetensors``, ``.pth`` or ``.pt``; ``packaged``
            for the ImageNet weights of ``tf_efficientnet_lite0`` that a Python package ships; ``hub`` to have timm or
            torchvision fetch theirs. Without one the weights are random.
        classes: Number of classes; by default what the weights say, or 1,000 for a bare name (10 for pictures of 32).
        side: Side of the pictures; by default the network's own.

    Raises:
        InputError: If there is no such network or file, or they do not fit.
    """
    if Path(model).suffix in _FILES or Path(model).is_file():
        return _from_file(Path(model), side)
    default = classes or (10 if model.endswith(cifar_networks.SUFFIX) else 1000)
    if not weights_file or str(weights_file) == "hub":
        return Classifier(model, default, side, "hub" if weights_file else "no").eval()
    if str(weights_file) == "packaged":
        classifier = Classifier(model, 1000, side)
        classifier.network.load_state_dict(packaged_weights(model, list(classifier.network.state_dict())))
        return classifier.eval()
    state = _state(Path(weights_file))
    found = _width(state)
    if classes and found and classes != found:
        raise InputError(weights_file, f"has {found} classes", f"{classes}, as asked for")
    classifier = Classifier(model, found or default, side)
    try:
        classifier.network.load_state_dict(state)
    except RuntimeError as error:
        said = textwrap.shorten(str(error).partition(":")[2], 200)
        raise InputError(weights_file, f"does not fit {model}: {said}", "weights of that network") from error
    return classifier.eval()


def _from_file(path: Path, side: int) -> Classifier:
    """Open a file that says its own network."""
    state, arguments = weights.read(path)
    if "model" not in arguments:
        raise InputError(
            path, "does not say which network it is", "a name beside it, or a file of a classifier that foveate wrote"
        )
    names = ("model", "classes", "side", "sizes", "labels", "mean", "std", "crop")
    known = {key: arguments[key] for key in names if key in arguments}
    try:
        classifier = Classifier(**{**known, **({"side": side} if side else {})})
        classifier.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (TypeError, RuntimeError, KeyError, IndexError, AttributeError) as error:
        said = textwrap.shorten(str(error), 200)
        raise InputError(
            path, f"does not fit {arguments['model']}: {said}", "a file of a classifier that foveate wrote"
        ) from error
    return classifier.eval()


def _state(path: Path) -> dict[str, Tensor]:
    """Read a bare state dict, also from under ``state_dict`` or ``model``; prefixes of wrappers are cut off."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            raise InputError(path, "there is no such file", "a .safetensors, .pth or .pt file")
        try:
            state: dict[str, Any] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(path, f"is not a safetensors file ({error})", "weights of a network") from error
    else:
        state = weights.read_checkpoint(path)
        for key in ("state_dict", "model"):
            if isinstance(state.get(key), dict):
                state = state[key]
    strangers = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strangers or not state:
        raise InputError(path, f"holds {strangers[0] if strangers else 'nothing'} where weights should be", "a state dict")
    for prefix in ("module.", "network.", "model."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _width(state: Mapping[str, Tensor]) -> int:
    """Tell the number of classes from the last matrix of weights."""
    matrices = [value for value in state.values() if value.ndim in (2, 4)]
    return int(matrices[-1].shape[0]) if matrices else 0


def _create(model: str, classes: int, pretrained: str) -> tuple[nn.Module, dict[str, Any]]:
    """Build a network, and tell which pictures it sees: side, mean, std, crop."""
    usual = {"side": 224, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop": 0.875}
    if model.endswith(cifar_networks.SUFFIX):
        return cifar_networks.build(model, classes), {**usual, "side": 32, "crop": 1.0}
    try:
        if model.startswith("torchvision/"):
            import torchvision

            options = {"weights": "DEFAULT"} if pretrained == "hub" else {"weights": None, "num_classes": classes}
            return torchvision.models.get_model(model.removeprefix("torchvision/"), **options), usual
        import timm

        network = timm.create_model(model, pretrained=pretrained == "hub", num_classes=classes)
        config: dict[str, Any] = network.pretrained_cfg
        own = {"side": config["input_size"][-1], "mean": config["mean"], "std": config["std"], "crop": config["crop_pct"]}
        return network, own
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        said = textwrap.shorten(f"{error}", 160)
        raise InputError(model, f"cannot be opened: {said}", EXPECTED) from error


# Layers made smaller
# ---------------------------------------------------------------------------------------------------------------------


def sizes_of(network: nn.Module) -> dict[str, list[int]]:
    """Tell the sizes of all layers that have channels; see `Classifier`."""
    found: dict[str, list[int]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            found[name] = [layer.out_channels, layer.in_channels, layer.groups]
        elif isinstance(layer, nn.Linear):
            found[name] = [layer.out_features, layer.in_features]
        elif isinstance(layer, nn.BatchNorm2d):
            found[name] = [layer.num_features]
    return found


def resized(network: nn.Module, sizes: Mapping[str, Sequence[int]]) -> None:
    """Give layers other sizes, in place, with fresh weights.

    Raises:
        KeyError: If there is no such layer.
    """
    layers = dict(network.named_modules())
    own = sizes_of(network)
    for name, size in sizes.items():
        if list(size) == own.get(name):
            continue
        layer = layers[name]
        if isinstance(layer, nn.Conv2d):
            layer.out_channels, layer.in_channels, layer.groups = size
            layer.weight = nn.Parameter(torch.zeros(size[0], size[1] // size[2], *layer.kernel_size))
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = size
            layer.weight = nn.Parameter(torch.zeros(*size))
        else:
            (layer.num_features,) = size
            for buffer, value in (("running_mean", 0.0), ("running_var", 1.0)):
                if getattr(layer, buffer) is not None:
                    setattr(layer, buffer, torch.full((size[0],), value))
            if layer.weight is not None:
                layer.weight = nn.Parameter(torch.ones(size[0]))
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.zeros(size[0]))
