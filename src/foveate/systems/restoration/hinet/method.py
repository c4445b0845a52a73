"""HINet: two U-Nets in a row whose encoders normalise half of their channels.

Paper: Chen, Lu, Zhang, Chu, Chen, "HINet: Half Instance Normalization Network for Image Restoration", arXiv 2105.06086.
Facts about the released code refer to megvii-model/HINet, ``basicsr/models/archs/hinet_arch.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts import tiling
from foveate.parts.dihedral import ensemble
from foveate.parts.inference import Precision, device, quick
from foveate.parts.padding import mirror_to
from foveate.results import Picture

Norm = Literal["hin", "none", "in", "bn", "ln", "gn", "hin_bn"]


# ---------------------------------------------------------------------------------------------------------------------
# prepare and finish: a picture as it lies in a file <-> the tensor that the network sees
# ---------------------------------------------------------------------------------------------------------------------


def prepare(picture: Picture) -> Tensor:
    """Turn a picture into the network's input.

    Args:
        picture: Grey or colour, 8 or 16 bits, with or without alpha. Grey is repeated over the three channels, since the
            network is trained on colour; alpha is left out here and comes back in `finish`.

    Returns:
        float32 ``(3, H, W)`` in [0, 1], RGB. No mean is subtracted (as in the released code).
    """
    colour = picture.colour()
    return torch.from_numpy(np.array(colour.transpose(2, 0, 1), order="C"))


def finish(restored: Tensor, like: Picture) -> Picture:
    """Turn the network's output back into a picture of the kind that came in.

    Args:
        restored: float ``(3, H, W)``; values outside [0, 1] are clipped.
        like: The picture that `prepare` was given: its bit depth, grey or colour, alpha and colour profile are kept.
    """
    return like.with_colour(restored.detach().float().clamp(0, 1).cpu().numpy().transpose(1, 2, 0))


# ---------------------------------------------------------------------------------------------------------------------
# the network
# ---------------------------------------------------------------------------------------------------------------------


class HalfNorm(nn.Module):
    """Normalise the first ``ratio`` of the channels and pass the others on untouched (paper section 3.2).

    Args:
        channels: Channels of the input.
        ratio: Share of the channels that is normalised, 0 to 1; ``round(ratio * channels)`` of them, the first ones.
        batch: Use batch statistics (an ablation) in place of the paper's instance statistics.

    Shape:
        ``(B, C, H, W)`` to the same.
    """

    def __init__(self, channels: int, ratio: float = 0.5, batch: bool = False) -> None:
        super().__init__()
        self.half = round(ratio * channels)
        # Instance statistics are never tracked: they belong to the window at hand, in evaluation too.
        self.norm = nn.BatchNorm2d(self.half) if batch else nn.InstanceNorm2d(self.half, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; instance statistics are taken in float32 at least, since squares overflow in half precision."""
        first, second = x[:, : self.half], x[:, self.half :]
        if isinstance(self.norm, nn.InstanceNorm2d):
            wide = torch.promote_types(x.dtype, torch.float32)
            weight, bias = self.norm.weight.to(wide), self.norm.bias.to(wide)
            first = F.instance_norm(first.to(wide), weight=weight, bias=bias, eps=self.norm.eps).to(x.dtype)
        else:
            first = self.norm(first)
        return torch.cat([first, second], dim=1)


def normalisation(kind: Norm, channels: int, ratio: float = 0.5) -> nn.Module:
    """Build the layer after a HIN block's first convolution.

    Args:
        kind: ``hin`` (the paper's), ``hin_bn`` (half batch norm), or a full norm: ``in``, ``bn``, ``ln`` (group norm with one
            group), ``gn`` (8 groups); ``none`` for no norm. All are affine.
        channels: Channels of the input.
        ratio: For ``hin`` and ``hin_bn``, the share of channels that is normalised.
    """
    halves = round(ratio * channels)
    if kind == "none" or (kind in ("hin", "hin_bn") and halves == 0):
        return nn.Identity()
    makers = {
        "hin": lambda: HalfNorm(channels, ratio),
        "hin_bn": lambda: HalfNorm(channels, ratio, batch=True),
        "in": lambda: HalfNorm(channels, 1.0),
        "bn": lambda: HalfNorm(channels, 1.0, batch=True),
        "ln": lambda: nn.GroupNorm(1, channels),
        "gn": lambda: nn.GroupNorm(8, channels),
    }
    if kind not in makers:
        raise InputError("norm", f"there is no norm named {kind!r}", f"one of none, {', '.join(makers)}")
    return makers[kind]()


class HINBlock(nn.Module):
    """Two 3x3 convolutions with half instance normalisation after the first, and a 1x1 shortcut (paper figure 3a).

    With ``norm="none"`` it is the plain residual block of the decoder. The shortcut is a convolution with bias even where
    the number of channels stays the same.

    Args:
        channels_in: Channels of the input.
        channels: Channels of the output.
        norm: See `normalisation`.
        ratio: Share of channels that a half norm normalises.
        slope: Negative slope of the leaky ReLUs.

    Shape:
        ``(B, channels_in, H, W)`` to ``(B, channels, H, W)``.

    Example:
        >>> block = HINBlock(3, 8)
        >>> block(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(self, channels_in: int, channels: int, norm: Norm = "hin", ratio: float = 0.5, slope: float = 0.2) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels_in, channels, 1)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm = normalisation(norm, channels, ratio)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.LeakyReLU(slope)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        h = self.act(self.norm(self.conv1(x)))
        return self.act(self.conv2(h)) + self.shortcut(x)


class CrossStageFusion(nn.Module):
    """Add the first stage's encoder and decoder features of the same scale, each through a 3x3 convolution (CSFF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(channels, channels, 3, padding=1)
        self.decoder = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, encoded: Tensor, decoded: Tensor) -> Tensor:
        """Fuse: all three are ``(B, C, H, W)`` of one scale."""
        return h + self.encoder(encoded) + self.decoder(decoded)


class SupervisedAttention(nn.Module):
    """Turn the first stage's features into its picture and, gated by that picture, into the second stage's input (SAM).

    Shape:
        features ``(B, C, H, W)`` and picture ``(B, 3, H, W)`` to gated features and the stage's restored picture.
    """

    def __init__(self, channels: int, colours: int = 3) -> None:
        super().__init__()
        self.feature = nn.Conv2d(channels, channels, 3, padding=1)
        self.image = nn.Conv2d(channels, colours, 3, padding=1)
        self.attention = nn.Conv2d(colours, channels, 3, padding=1)

    def forward(self, x: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return (gated features, restored picture). The input picture is added, not the residual."""
        restored = self.image(x) + picture
        return self.feature(x) * torch.sigmoid(self.attention(restored)) + x, restored


class UNet(nn.Module):
    """One stage: encoder with HIN blocks, decoder with plain blocks, a convolution on each skip.

    Args:
        width: Channels at full resolution, w; level i has ``w * 2**i``.
        depth: Number of levels.
        norm: Norm of the encoder blocks.
        ratio: Share of channels of a half norm.
        hin_left: First encoder level with a norm.
        hin_right: Last encoder level with a norm.
        slope: Negative slope of the leaky ReLUs.
        fused: Build the cross-stage fusion (for a second stage).
    """

    def __init__(
        self,
        width: int,
        depth: int,
        norm: Norm,
        ratio: float,
        hin_left: int,
        hin_right: int,
        slope: float,
        fused: bool,
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth)]
        norms: list[Norm] = [norm if hin_left <= level <= hin_right else "none" for level in range(depth)]
        inputs = [width, *channels[:-1]]
        self.encoders = nn.ModuleList(HINBlock(i, c, n, ratio, slope) for i, c, n in zip(inputs, channels, norms, strict=True))
        self.downs = nn.ModuleList(nn.Conv2d(c, c, 4, stride=2, padding=1, bias=False) for c in channels[:-1])
        self.fusions = nn.ModuleList(CrossStageFusion(c) for c in channels[:-1]) if fused else None
        # Decoder modules run from the deepest level to the full resolution.
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in reversed(channels[:-1]))
        self.skips = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in reversed(channels[:-1]))
        self.decoders = nn.ModuleList(HINBlock(2 * c, c, "none", ratio, slope) for c in reversed(channels[:-1]))

    def forward(self, x: Tensor, earlier: tuple[list[Tensor], list[Tensor]] | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Encode and decode.

        Args:
            x: ``(B, w, H, W)``, H and W multiples of ``2**(depth - 1)``.
            earlier: What the first stage returned, for the cross-stage fusion.

        Returns:
            Encoder and decoder features, each from full resolution down: ``(B, w * 2**i, H / 2**i, W / 2**i)``.
        """
        encoded: list[Tensor] = []
        for level, block in enumerate(self.encoders):
            x = block(x)
            if level == len(self.downs):
                break
            if self.fusions is not None and earlier is not None:
                x = self.fusions[level](x, earlier[0][level], earlier[1][level])
            encoded.append(x)
            x = self.downs[level](x)
        decoded: list[Tensor] = []
        for up, skip, block, kept in zip(self.ups, self.skips, self.decoders, reversed(encoded), strict=True):
            x = block(torch.cat([up(x), skip(kept)], dim=1))
            decoded.insert(0, x)
        return encoded, decoded


class HINet(nn.Module):
    """The restoration network of the paper: noisy, blurred, rainy or over-compressed picture in, clean picture out.

    Args:
        width: Channels at full resolution: 64 is the paper's "1x", 32 its "0.5x".
        depth: Levels of each U-Net.
        stages: 2, or 1 (an ablation: one U-Net and a convolution to the picture).
        norm: Norm after the first convolution of the encoder blocks; see `normalisation`.
        hin_ratio: Share of the channels that a half norm normalises.
        hin_left: First encoder level with a norm.
        hin_right: Last encoder level with a norm: the paper uses levels 0-4 for denoising and deraining, 3-4 for the others.
        sam: Pass the first stage on through the supervised attention module. Without it a plain convolution makes the first
            stage's picture and the features are passed on as they are.
        csff: Fuse the first stage's features into the second encoder.
        slope: Negative slope of the leaky ReLUs.

    Shape:
        ``(B, 3, H, W)`` in [0, 1] to the same; any H and W.

    Note:
        The released code runs only sizes that are multiples of 16. Here the picture is mirrored up to the next multiple of
        ``2**(depth - 1)`` and cropped back. Instance statistics belong to the window that they are taken over, so a network
        trained on 256x256 crops should see windows of about that size: use `foveate.parts.tiling` for whole photographs.

    Example:
        >>> net = HINet(width=8).eval()
        >>> net(torch.rand(1, 3, 50, 37)).shape
        torch.Size([1, 3, 50, 37])
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 5,
        stages: Literal[1, 2] = 2,
        norm: Norm = "hin",
        hin_ratio: float = 0.5,
        hin_left: int = 0,
        hin_right: int = 4,
        sam: bool = True,
        csff: bool = True,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        if stages not in (1, 2):
            raise InputError("stages", f"{stages} stages", "1 or 2")
        if width < 2 or width % 2 or depth < 2:
            raise InputError("width, depth", f"width {width}, depth {depth}", "an even width and a depth of at least 2")
        if not 0 <= hin_ratio <= 1:
            raise InputError("hin_ratio", f"{hin_ratio}", "a share of the channels, 0 to 1")
        if norm == "gn" and width % 8:
            raise InputError("width", f"{width} channels are no 8 groups", "a multiple of 8 for norm gn")
        self.arguments = {
            "width": width, "depth": depth, "stages": stages, "norm": norm, "hin_ratio": hin_ratio,
            "hin_left": hin_left, "hin_right": hin_right, "sam": sam, "csff": csff, "slope": slope,
        }  # fmt: skip
        self.depth = depth
        self.conv_in = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in range(stages))
        self.unets = nn.ModuleList(
            UNet(width, depth, norm, hin_ratio, hin_left, hin_right, slope, fused=csff and stage > 0) for stage in range(stages)
        )
        if stages == 2:
            self.sam = SupervisedAttention(width) if sam else nn.Conv2d(width, 3, 3, padding=1)
            self.merge = nn.Conv2d(2 * width, width, 1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Restore: the output of the last stage."""
        return self.outputs(picture)[-1]

    def outputs(self, picture: Tensor) -> list[Tensor]:
        """Restore, and return the output of every stage, the last one last; the training loss sums over them."""
        height, width = picture.shape[-2:]
        image = self._mirrored(picture)
        features = self.unets[0](self.conv_in[0](image))
        if len(self.unets) == 1:
            return [_crop(self.last(features[1][0]) + image, height, width)]
        if isinstance(self.sam, SupervisedAttention):
            passed, first = self.sam(features[1][0], image)
        else:
            passed, first = features[1][0], self.sam(features[1][0]) + image
        merged = self.merge(torch.cat([self.conv_in[1](image), passed], dim=1))
        second = self.last(self.unets[1](merged, features)[1][0]) + image
        return [_crop(out, height, width) for out in (first, second)]

    def _mirrored(self, picture: Tensor) -> Tensor:
        """Mirror right and down to the next multiple of ``2**(depth - 1)``, and to at least two of them.

        One multiple alone would leave a bottleneck of one pixel, of which an instance norm has no variance.
        """
        unit = 2 ** (self.depth - 1)
        height, width = (2 * unit if n < 2 * unit else n + (-n) % unit for n in picture.shape[-2:])
        return mirror_to(picture, height, width)


def _crop(x: Tensor, height: int, width: int) -> Tensor:
    """Take the upper left corner; by index, since `torch.export` cannot prove that a slice of the padded size fits."""
    rows, columns = (torch.arange(length, device=x.device) for length in (height, width))
    return x.index_select(-2, rows).index_select(-1, columns)


# ---------------------------------------------------------------------------------------------------------------------
# whole photographs
# ---------------------------------------------------------------------------------------------------------------------


def restore(
    network: HINet,
    pictures: Iterable[Picture],
    tile: int = 256,
    overlap: int = 32,
    batch: int = 4,
    tta: Literal[1, 8] = 1,
    precision: Precision = "auto",
    every_stage: bool = False,
    tick: Callable[[int, int], None] = lambda done, more: None,
) -> Iterator[list[Picture]]:
    """Restore pictures of any size, in windows of the size that the network was trained for.

    Args:
        network: The network.
        pictures: Taken one by one, as they are needed.
        tile: Side of the windows; 0 runs whole pictures (their instance statistics are then other than in training).
        overlap: Pixels over which neighbouring windows are faded into each other.
        batch: Windows per forward pass, also across pictures.
        tta: 8 averages over all flips and quarter turns of each window.
        precision: See `foveate.parts.inference.quick`.
        every_stage: Give the first stage's picture too.
        tick: Told of progress: windows done, and windows more to do.

    Yields:
        For each picture the restored one and, if asked for, what the first stage made of it.

    Note:
        The released code averages windows where they overlap, and lets neighbours overlap by as little as a pixel; here they
        share at least ``overlap`` pixels and are faded into each other, so that no seam shows.
    """

    def stages(x: Tensor) -> Tensor:
        outputs = network.outputs(x)
        return torch.cat([outputs[-1], outputs[0]], dim=1) if every_stage else outputs[-1]

    network = network.to(device(), memory_format=torch.channels_last)
    run = quick(ensemble(stages) if tta == 8 else stages, precision)
    waiting: list[tuple[Picture, list[np.ndarray]]] = []

    def canvases() -> Iterator[tiling.Canvas]:
        for picture in pictures:
            made = [np.empty_like(picture.pixels) for _ in range(2 if every_stage else 1)]
            waiting.append((picture, made))
            canvas = canvas_of(picture, made, tile or max(picture.size), overlap)
            tick(0, len(canvas))
            yield canvas

    for _ in tiling.stream(run, canvases(), batch, lambda done: tick(done, 0)):
        picture, made = waiting.pop(0)
        yield [replace(picture, pixels=pixels) for pixels in made]


def canvas_of(picture: Picture, made: list[np.ndarray], tile: int, overlap: int) -> tiling.Canvas:
    """Connect a picture to arrays of its own kind, one for every three channels that the network gives, for finished rows."""

    def write(top: int, strip: Tensor) -> None:
        rows = slice(top, top + strip.shape[-2])
        for pixels, stage in zip(made, strip.split(3), strict=True):
            pixels[rows] = finish(stage, picture.crop(rows, slice(None))).pixels

    return tiling.Canvas(*picture.size, lambda r, c: prepare(picture.crop(r, c)), write, tile, min(overlap, tile - 1))


# ---------------------------------------------------------------------------------------------------------------------
# losses
# ---------------------------------------------------------------------------------------------------------------------


def psnr_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Minus half the mean PSNR of the batch (paper equation 4 up to its factor; the released code's scale).

    ``0.5 * 10 / ln 10 * mean_b ln(MSE_b + 1e-8)``: the logarithm is taken per picture and then averaged.

    Args:
        restored: ``(B, C, H, W)``, peak 1.
        clean: The same shape.

    Example:
        >>> float(psnr_loss(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)))  # 20 dB
        -9.99999...
    """
    mse = (restored - clean).square().flatten(1).mean(1)
    return (5 / math.log(10)) * torch.log(mse + 1e-8).mean()


def charbonnier_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Smooth L1, ``mean sqrt(d^2 + 1e-6)``; not the paper's, offered for comparison."""
    return torch.sqrt((restored - clean).square() + 1e-6).mean()


LOSSES = {"psnr": psnr_loss, "l1": F.l1_loss, "charbonnier": charbonnier_loss}


# ---------------------------------------------------------------------------------------------------------------------
# the authors' weights
# ---------------------------------------------------------------------------------------------------------------------


def released(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Map a checkpoint that the authors released onto `HINet`.

    Args:
        state: What the ``.pth`` holds: weights under ``params`` (or bare), names with or without a leading ``module.``.

    Returns:
        Constructor arguments of the network, read off the shapes, and its state dict.

    Raises:
        InputError: If the names are not those of a released HINet.
    """
    inner = state.get("params", state)
    weights = {str(k).removeprefix("module."): v for k, v in inner.items()} if isinstance(inner, Mapping) else {}
    first = weights.get("conv_01.weight")
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise InputError("released weights", "there is no conv_01.weight", "a checkpoint of HINet's authors")
    levels = {int(k.split(".")[1]) for k in weights if k.startswith("down_path_1.")}
    normed = {int(k.split(".")[1]) for k in weights if k.startswith("down_path_1.") and ".norm." in k}
    arguments = {
        "width": first.shape[0],
        "depth": len(levels),
        "hin_left": min(normed, default=0),
        "hin_right": max(normed, default=-1),
        "csff": any("csff" in k for k in weights),
    }
    return arguments, {_our_name(k): v for k, v in weights.items()}


def _our_name(name: str) -> str:
    """Translate one name of the released checkpoints."""
    block = {"identity": "shortcut", "conv_1": "conv1", "conv_2": "conv2", "norm": "norm.norm"}
    parts = name.split(".")
    head, leaf = parts[0], parts[-1]
    if head in ("conv_01", "conv_02"):
        return f"conv_in.{int(head[-1]) - 1}.{leaf}"
    if head == "sam12":
        return f"sam.{ {'conv1': 'feature', 'conv2': 'image', 'conv3': 'attention'}.get(parts[1], parts[1]) }.{leaf}"
    if head == "cat12":
        return f"merge.{leaf}"
    kind, _, stage = head.rpartition("_")
    if kind in ("down_path", "up_path", "skip_conv") and stage in ("1", "2"):
        unet, level = f"unets.{int(stage) - 1}", parts[1]
        if kind == "skip_conv":
            return f"{unet}.skips.{level}.{leaf}"
        if kind == "up_path" and parts[2] == "up":
            return f"{unet}.ups.{level}.{leaf}"
        if kind == "up_path":
            return f"{unet}.decoders.{level}.{block.get(parts[3], parts[3])}.{leaf}"
        if parts[2] == "downsample":
            return f"{unet}.downs.{level}.{leaf}"
        if parts[2].startswith("csff_"):
            return f"{unet}.fusions.{level}.{ {'csff_enc': 'encoder', 'csff_dec': 'decoder'}[parts[2]] }.{leaf}"
        return f"{unet}.encoders.{level}.{block.get(parts[2], parts[2])}.{leaf}"
    return name
