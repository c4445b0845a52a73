"""The supervised opponent: a small U-Net on slices, trained on a few labelled scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveate.systems.dense.ich_mixture.segmentation import Ready, finish

WINDOW = (0.0, 100.0)  # HU


class UNet2d(nn.Module):
    """A U-Net of three scales (Ronneberger et al. 2015) on a slice and its two neighbours.

    Args:
        channels: Of the first scale; doubled at each further one.
    """

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        c = channels
        self.down = nn.ModuleList([_block(3, c), _block(c, 2 * c), _block(2 * c, 4 * c)])
        self.up = nn.ModuleList([_block(6 * c, 2 * c), _block(3 * c, c)])
        self.head = nn.Conv2d(c, 1, 1)
        nn.init.constant_(self.head.bias, -4.0)  # blood is rare; steps are not spent on learning that

    def forward(self, slices: Tensor) -> Tensor:
        """Return logits ``(B, H, W)`` of slices ``(B, 3, H, W)``; H and W are divisible by 4."""
        first = self.down[0](slices)
        second = self.down[1](functional.max_pool2d(first, 2))
        third = self.down[2](functional.max_pool2d(second, 2))
        up = self.up[0](torch.cat([functional.interpolate(third, scale_factor=2), second], 1))
        up = self.up[1](torch.cat([functional.interpolate(up, scale_factor=2), first], 1))
        return self.head(up)[:, 0]


def _block(taken: int, given: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (taken, given):
        layers += [nn.Conv2d(channels, given, 3, padding=1), nn.GroupNorm(4, given), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _slices(ready: Ready) -> Tensor:
    """Return each slice with its neighbours, float32 ``(Z, 3, X, Y)`` in [0, 1], sides padded to multiples of 4."""
    scaled = np.clip((ready.values - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1) * ready.cavity.whole
    stack = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32))
    stack = functional.pad(stack, (0, -stack.shape[2] % 4, 0, -stack.shape[1] % 4))
    padded = torch.cat([stack[:1], stack, stack[-1:]])
    return torch.stack([padded[:-2], padded[1:-1], padded[2:]], 1)


def train(
    scans: Sequence[tuple[Ready, np.ndarray]], steps: int, seed: int = 0, batch: int = 8
) -> tuple[UNet2d, list[tuple[int, float]]]:
    """Train on labelled scans: cross-entropy and soft Dice, Adam, flips; half of each batch shows blood.

    Args:
        scans: Scans with their masks, all of one size.
        steps: Of training.
        seed: Of weights and batches.
        batch: Slices in a batch.

    Returns:
        The network, and (step, loss) averaged over stretches of the training.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet2d()
    slices = torch.cat([_slices(ready) for ready, _ in scans])
    masks = torch.cat([torch.from_numpy(np.ascontiguousarray(mask.transpose(2, 0, 1), np.float32)) for _, mask in scans])
    masks = functional.pad(masks, (0, slices.shape[3] - masks.shape[2], 0, slices.shape[2] - masks.shape[1]))
    used = np.flatnonzero(slices[:, 1].amax(dim=(1, 2)).numpy() > 0)
    bloody = np.intersect1d(used, np.flatnonzero(masks.amax(dim=(1, 2)).numpy() > 0))
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    curve, losses = [], []
    for step in range(steps):
        half = batch // 2 if len(bloody) else 0
        with_blood = rng.choice(bloody, half) if half else bloody
        chosen = torch.from_numpy(np.concatenate([with_blood, rng.choice(used, batch - half)]))
        x, y = slices[chosen], masks[chosen]
        for axis in (1, 2):
            if rng.random() < 0.5:
                x, y = x.flip(axis + 1), y.flip(axis)
        x = (x + 0.04 * float(rng.normal())) * (x > 0)
        logits = network(x)
        share = logits.sigmoid()
        overlap = 2 * (share * y).sum() / (share.sum() + y.sum() + 1)
        loss = functional.binary_cross_entropy_with_logits(logits, y) + 1 - overlap
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % max(1, steps // 10) == 0:
            curve.append((step + 1, float(np.mean(losses[-max(1, steps // 10) :]))))
    return network.eval(), curve


@torch.inference_mode()
def predict(network: UNet2d, ready: Ready, bright: float = 48) -> np.ndarray:
    """Return a scan's mask, finished as those of all methods are."""
    x, y, _ = ready.values.shape
    share = network(_slices(ready)).sigmoid().numpy()[:, :x, :y].transpose(1, 2, 0)
    return finish(ready, (share > 0.5) & ready.cavity.whole, bright)
