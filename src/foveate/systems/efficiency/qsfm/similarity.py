"""How alike the feature maps of a layer are: structural similarity, peak signal-to-noise ratio, distance, cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from foveate.parts.progress import bar
from foveate.parts.pruning import Site

Quantifier = Literal["ssim", "psnr", "l2", "cosine"]
Window = Literal["global", "gauss11"]
Tap = Literal["act", "bn", "conv"]

K1, K2 = 0.01, 0.03  # of SSIM
REACH, SIGMA = 5, 1.5  # of its Gaussian window, 11 pixels wide
CAP = 200.0  # dB, where two maps are equal
_ROUNDING = 2.0**-44  # of a squared distance, relative to the two maps' energy, below which nothing but rounding is seen
_AT_A_TIME = 2**18  # pairwise numbers that are held at a time

# Element by element, and no gates: a sigmoid is mostly half of a product.
_ACTIVATIONS = frozenset(
    ["relu", "relu_", "relu6", "silu", "gelu", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu", "hardswish",
     "hardtanh", "hardtanh_", "mish", "tanh", "prelu", "softplus", "rrelu", "clamp", "clamp_"]
)  # fmt: skip
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)


# ---------------------------------------------------------------------------------------------------------------------
# of maps
# ---------------------------------------------------------------------------------------------------------------------


def ssim(maps: Tensor, reach: float, window: Window = "global") -> Tensor:
    """Compare all channels with each other by structural similarity, and sum over the pictures.

    Args:
        maps: Feature maps ``(N, C, H, W)``.
        reach: Range L of their values, maximum less minimum; 1 is taken for 0.
        window: ``global`` takes mean and variance of the whole map. ``gauss11`` takes them in a Gaussian window of 11 pixels
            (sigma 1.5) wherever it fits into the map, and averages; on maps where it fits nowhere it is ``global``. It costs
            some hundred times more.

    Returns:
        float64 ``(C, C)``, symmetric, each picture's share in [-1, 1].
    """
    x = maps.double()
    c1, c2 = (K1 * (reach or 1.0)) ** 2, (K2 * (reach or 1.0)) ** 2
    channels = x.shape[1]
    if window == "gauss11" and min(x.shape[2:]) > 2 * REACH:
        total = x.new_zeros(channels, channels)
        for picture in x:
            total += _ssim_windowed(picture, c1, c2)
        return total
    flat = x.flatten(2)
    mean = flat.mean(2)
    # Variances of centred values: E[x^2] - E[x]^2 would lose what little there is of them.
    centred = flat - mean[..., None]
    var = (centred**2).mean(2)
    total = x.new_zeros(channels, channels)
    # Few pairwise numbers at a time, and in place: they stay in the processor's cache.
    size = max(1, _AT_A_TIME // channels**2)
    for m, v, z in zip(mean.split(size), var.split(size), centred.split(size), strict=True):
        structure = torch.baddbmm(v.new_full((1, 1, 1), c2), z, z.transpose(1, 2), alpha=2 / z.shape[2])
        structure /= (v[:, :, None] + c2) + v[:, None]
        energy = m**2
        luminance = torch.baddbmm(m.new_full((1, 1, 1), c1), m[:, :, None], m[:, None], alpha=2)
        luminance /= (energy[:, :, None] + c1) + energy[:, None]
        total += luminance.mul_(structure).sum(0)
    return total


def _ssim_of(mx: Tensor, my: Tensor, vx: Tensor, vy: Tensor, cov: Tensor, c1: float, c2: float) -> Tensor:
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def _ssim_windowed(maps: Tensor, c1: float, c2: float) -> Tensor:
    """Compare the maps ``(C, H, W)`` of one picture in a moving window."""
    offsets = torch.arange(-REACH, REACH + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()

    def local(x: Tensor) -> Tensor:
        rows = functional.conv2d(x[:, None], kernel.view(1, 1, -1, 1))
        return functional.conv2d(rows, kernel.view(1, 1, 1, -1))[:, 0]

    channels = len(maps)
    # A shift changes no variance, and keeps numbers small.
    shift = maps.mean(dim=(1, 2), keepdim=True)
    z = maps - shift
    mean = local(z)
    var = local(z * z) - mean**2
    found = maps.new_zeros(channels, channels)
    for i in range(channels):
        cov = local(z[i] * z[i:]) - mean[i] * mean[i:]
        values = _ssim_of(mean[i] + shift[i], mean[i:] + shift[i:], var[i], var[i:], cov, c1, c2)
        found[i, i:] = found[i:, i] = values.mean(dim=(1, 2))
    return found


def squared_distance(maps: Tensor) -> Tensor:
    """Sum squared differences of all pairs of channels over pictures and pixels: float64 ``(C, C)``."""
    flat = maps.double().transpose(0, 1).flatten(1)
    energy = (flat**2).sum(1)
    both = energy[:, None] + energy
    found = both - 2 * flat @ flat.T
    return torch.where(found <= _ROUNDING * both, 0.0, found)


def psnr(mse: Tensor, reach: float) -> Tensor:
    """Turn mean squared differences into decibels, at most 200.

    Args:
        mse: Of pairs of channels, over all pictures.
        reach: Range L of the layer's values; 1 is taken for 0.
    """
    return (10 * torch.log10((reach or 1.0) ** 2 / mse)).clamp(max=CAP)


def cosine(maps: Tensor) -> Tensor:
    """Sum over the pictures the cosine between all pairs of channels; two maps of zeros are alike, one is like no other."""
    flat = maps.double().flatten(2)
    norm = flat.norm(dim=2, keepdim=True)
    unit = flat / norm.clamp(min=1e-300)
    dead = (norm == 0).double()
    return (unit @ unit.transpose(1, 2) + dead @ dead.transpose(1, 2)).sum(0)


# ---------------------------------------------------------------------------------------------------------------------
# of a network's layers
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alikeness:
    """What the pictures tell of one layer.

    Attributes:
        similarity: Q, float64 ``(C, C)``, symmetric; larger is more alike. The diagonal means nothing.
        dead: bool ``(C,)``: channels that are zero on all pictures.
        reach: Range of the layer's values over all pictures and channels.
        size: Height and width of its maps.
        ranks: Mean rank of each channel's maps, ``(C,)``, if asked for: the criterion of HRank.
    """

    similarity: np.ndarray
    dead: np.ndarray
    reach: float
    size: tuple[int, int]
    ranks: np.ndarray | None = None


@dataclass
class _Range:
    low: float = float("inf")
    high: float = float("-inf")
    dead: Tensor | None = None
    size: tuple[int, int] = (0, 0)

    def see(self, maps: Tensor) -> None:
        self.low, self.high = min(self.low, float(maps.min())), max(self.high, float(maps.max()))
        dead = (maps == 0).all(dim=0).flatten(1).all(dim=1)
        self.dead = dead if self.dead is None else self.dead & dead
        self.size = (int(maps.shape[2]), int(maps.shape[3]))


@dataclass
class _Sums:
    pairs: Tensor | None = None
    ranks: Tensor | None = None
    values: int = 0

    def add(self, pairs: Tensor, ranks: Tensor | None, values: int) -> None:
        self.pairs = pairs if self.pairs is None else self.pairs + pairs
        if ranks is not None:
            self.ranks = ranks if self.ranks is None else self.ranks + ranks
        self.values += values


def measure(
    network: nn.Module,
    sites: Mapping[str, Site],
    pictures: Tensor,
    quantifier: Quantifier = "ssim",
    window: Window = "global",
    tap: Tap = "act",
    batch: int = 32,
    ranks: bool = False,
) -> dict[str, Alikeness]:
    """Measure how alike the channels of each layer are; pictures go through in batches, and no maps are kept.

    Args:
        network: In evaluation mode while it is measured, whatever it was.
        sites: The layers.
        pictures: What the network sees, ``(N, 3, H, W)``. No labels are needed.
        quantifier: ``ssim`` and ``cosine`` are means over the pictures; ``psnr`` and ``l2`` (the negative mean squared
            difference) are taken of the differences over all pictures.
        window: Of ``ssim``.
        tap: Where the maps are taken: after the activation, the normalisation, or the convolution itself.
        batch: Pictures at a time.
        ranks: Compute the ranks of the maps, too.

    Returns:
        Layer to what was found.
    """
    found = {name: _Range() for name in sites}
    sums = {name: _Sums() for name in sites}

    def see_range(name: str, maps: Tensor) -> None:
        found[name].see(maps)

    def see_pairs(name: str, maps: Tensor) -> None:
        exact = _exact(maps)
        reach = found[name].high - found[name].low
        if quantifier == "ssim":
            pairs = ssim(exact, reach, window)
        elif quantifier == "cosine":
            pairs = cosine(exact)
        else:
            pairs = squared_distance(exact)
        pictures_seen = maps.shape[0] if quantifier in ("ssim", "cosine") else maps.shape[0] * maps[0, 0].numel()
        sums[name].add(pairs, torch.linalg.matrix_rank(exact).double().sum(0) if ranks else None, pictures_seen)

    with bar("measuring similarity") as tick, evaluating(network):
        tick(0, 2 * len(pictures))
        modules = tapped_modules(network, sites, pictures[:1], tap)
        for see in (see_range, see_pairs):
            with tapped(network, modules, tap, see):
                for part in pictures.split(batch):
                    network(part)
                    tick(len(part))
    return {name: _finished(found[name], sums[name], quantifier, len(pictures)) for name in sites}


def _finished(found: _Range, sums: _Sums, quantifier: Quantifier, pictures: int) -> Alikeness:
    if sums.pairs is None or found.dead is None:
        raise RuntimeError("a layer was not reached by the pictures")
    reach = found.high - found.low
    pairs = sums.pairs / sums.values
    if quantifier == "psnr":
        pairs = psnr(pairs, reach)
    elif quantifier == "l2":
        pairs = -pairs
    matrix = pairs.cpu().numpy()
    ranks = None if sums.ranks is None else sums.ranks.cpu().numpy() / pictures
    return Alikeness((matrix + matrix.T) / 2, found.dead.cpu().numpy(), reach, found.size, ranks)


def _exact(maps: Tensor) -> Tensor:
    """Turn maps into float64, on the processor where the accelerator has none."""
    return maps.cpu().double() if maps.device.type == "mps" else maps.double()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients, for a while; each of its modules is then as it was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


# ---------------------------------------------------------------------------------------------------------------------
# where maps are taken
# ---------------------------------------------------------------------------------------------------------------------


def tapped_modules(network: nn.Module, sites: Mapping[str, Site], example: Tensor, tap: Tap) -> dict[str, str]:
    """Tell for each layer the module whose output holds its maps.

    That is the last of the layer's own convolution, its normalisation and, in an inverted residual block, the depthwise
    convolution behind it with its normalisation; last in the order in which the network runs them.

    Args:
        network: In evaluation mode.
        sites: The layers.
        example: A picture ``(1, 3, H, W)``.
        tap: See `measure`.
    """
    modules = dict(network.named_modules())
    order: list[str] = []
    members = {name for site in sites.values() for name in (site.layer, *site.followers)}
    handles = [modules[name].register_forward_hook(lambda *_, name=name: order.append(name)) for name in members]
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, site in sites.items():
        kinds = (nn.Conv2d,) if tap == "conv" else (nn.Conv2d, *_NORMS)
        others = {n for n in site.followers if isinstance(modules[n], kinds) and _keeps_channels(modules[n], site.channels)}
        chain = [n for n in order if n == site.layer or n in others]
        found[name] = chain[-1] if chain else site.layer
    return found


def _keeps_channels(module: nn.Module, channels: int) -> bool:
    """Whether a module works on each of some channels alone."""
    return isinstance(module, _NORMS) or module.groups == module.in_channels == channels


@contextmanager
def tapped(network: nn.Module, modules: Mapping[str, str], tap: Tap, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show the maps of each layer to a function whenever the network runs.

    Activations are often functions and not modules, so the call that takes the tapped tensor next is watched: if it is an
    activation, its result is what is seen.

    Args:
        network: The network.
        modules: Layer to the module whose output is tapped.
        tap: See `measure`.
        see: Called with the layer's name and its maps ``(N, C, H, W)``.
    """
    watch = _Watch(see)

    def hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def seen(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if tap == "act":
                watch.expect(name, output)
            else:
                see(name, output)

        return seen

    handles = [network.get_submodule(module).register_forward_hook(hook(site)) for site, module in modules.items()]
    try:
        with watch:
            yield
        watch.flush()
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Waits for the call that takes a tapped tensor."""

    def __init__(self, see: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.see = see
        self.waiting: dict[int, tuple[str, Tensor]] = {}

    def expect(self, name: str, output: Tensor) -> None:
        self.waiting[id(output)] = (name, output)

    def flush(self) -> None:
        """Show what nothing was done with."""
        for name, output in self.waiting.values():
            self.see(name, output)
        self.waiting.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the first argument of every call."""
        options = kwargs or {}
        first = args[0] if args else options.get("input")
        called = getattr(func, "__name__", "")
        # Reading an attribute of the tensor does nothing with it.
        if id(first) not in self.waiting or called == "__get__":
            return func(*args, **options)
        name, tensor = self.waiting.pop(id(first))
        if called not in _ACTIVATIONS:
            self.see(name, tensor)
            return func(*args, **options)
        result = func(*args, **options)
        self.see(name, result)
        return result
