"""Training of HINet (paper section 4; figures that the paper leaves out are the released configurations')."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from foveate.parts import weights as files
from foveate.parts.quality import psnr
from foveate.parts.tiling import tiled
from foveate.systems.restoration.hinet.method import LOSSES, HINet


def learning_rate(step: int, steps: int, peak: float, floor: float, warmup: int = 0) -> float:
    """Cosine from ``peak`` to ``floor`` over all steps; during warm-up a line from 0 to the peak in its place.

    The cosine counts from step 0 during the warm-up too, so it takes over a little under the peak.

    Note:
        The released code steps its cosine recursively from the warm-up's last rate, which leaves it 0.14 % above this one.

    Example:
        >>> learning_rate(200_000, 400_000, 2e-4, 1e-6)
        0.0001005
        >>> learning_rate(5_000, 400_000, 2e-4, 1e-7, warmup=10_000)
        0.0001
    """
    if step < warmup:
        return peak * step / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


class Restorer(LightningModule):
    """Train a network to undo a degradation.

    Args:
        network: The network; the paper's by default.
        loss: ``psnr`` (the paper's), ``l1`` (the released configuration for SIDD) or ``charbonnier``.
        deep_supervision: Sum the loss over both stages' outputs, as the paper does; else only the last counts.
        lr: Peak learning rate.
        floor: Learning rate at the end of the cosine.
        betas: Adam's.
        warmup: Steps of linear warm-up (10,000 for deraining).
        clip: Largest norm of the gradient; 0 leaves it alone.
        rounded: Validate on 8-bit rounded outputs (not done for SIDD).
        on_luma: Validate on the luma (done for deraining).
        tile: Side of the windows in validation.
        weights: Start from these weights, of whatever size they are, in place of ``network``.
    """

    def __init__(
        self,
        network: HINet,
        loss: Literal["psnr", "l1", "charbonnier"] = "psnr",
        deep_supervision: bool = True,
        lr: float = 2e-4,
        floor: float = 1e-7,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup: int = 0,
        clip: float = 0.01,
        rounded: bool = True,
        on_luma: bool = False,
        tile: int = 256,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if weights:
            network = files.load(HINet, Path(weights)).train()
        self.network, self.loss, self.deep_supervision = network, LOSSES[loss], deep_supervision
        self.lr, self.floor, self.betas, self.warmup, self.clip = lr, floor, betas, warmup, clip
        self.rounded, self.on_luma, self.tile = rounded, on_luma, tile

    def forward(self, picture: Tensor) -> Tensor:
        """Restore."""
        return self.network(picture)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step: the loss of every stage's output against the clean picture."""
        outputs = self.network.outputs(batch["degraded"])
        counted = outputs if self.deep_supervision else outputs[-1:]
        loss = torch.stack([self.loss(output.float(), batch["clean"]) for output in counted]).sum()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """PSNR of whole pictures, restored in windows."""
        self.log("val_psnr", self._psnr(batch), prog_bar=True, batch_size=1, sync_dist=True)

    def test_step(self, batch: dict[str, Tensor], _: int, dataloader_idx: int = 0) -> None:
        """PSNR, for each test set by its name."""
        name = list(self.trainer.datamodule.test)[dataloader_idx]
        self.log(f"{name}_psnr", self._psnr(batch), batch_size=1, sync_dist=True, add_dataloader_idx=False)

    def _psnr(self, batch: dict[str, Tensor]) -> Tensor:
        overlap = min(32, self.tile // 8)
        restored = torch.stack([tiled(self.network, picture, self.tile, overlap) for picture in batch["degraded"]])
        return psnr(restored, batch["clean"], self.rounded, self.on_luma).mean()

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam, its rate set anew at each step."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=1, betas=self.betas)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(step, steps, self.lr, self.floor, self.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm to ``clip`` unless the trainer says otherwise."""
        self.clip_gradients(
            optimizer,
            gradient_clip_val=gradient_clip_val or self.clip or None,
            gradient_clip_algorithm=gradient_clip_algorithm or "norm",
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to build the network again."""
        checkpoint["arguments"] = self.network.arguments
