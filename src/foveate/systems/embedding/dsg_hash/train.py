"""Training of the network by guidance (figures that the abstract leaves out are SSDH's)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from foveate.parts.hash_training import HashModule
from foveate.systems.embedding.dsg_hash.method import DSGHash, Loss, priority_loss, quantisation_loss


class Hasher(HashModule):
    """Train the network to give like codes to what the guidance calls alike.

    Args:
        network: The network; the paper's by default.
        loss: ``ls`` or ``pce``; see `foveate.systems.embedding.dsg_hash.method.priority_loss`.
        quant_weight: Weight of the quantisation loss, which the paper does not have.
        optimizer: ``sgd`` with momentum, or ``adam`` for a head on a frozen backbone.
        lr: Learning rate.
        momentum: SGD's.
        weight_decay: Of either.
        cut: k of MAP@k in validation and test.
        weights: Start from these weights, of whatever size they are, in place of ``network``.
    """

    def __init__(
        self,
        network: DSGHash,
        loss: Loss = "ls",
        quant_weight: float = 0.0,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        cut: int = 5000,
        weights: str | None = None,
    ) -> None:
        super().__init__(network, cut, weights)
        self.loss, self.quant_weight, self.optimizer = loss, quant_weight, optimizer
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay

    def on_fit_start(self) -> None:
        """Standardise the features of a frozen backbone: all codes would start alike otherwise."""
        if not any(p.requires_grad for p in self.network.backbone.parameters()):
            features = self.trainer.datamodule.features("train")
            self.network.standardise(np.maximum(features, 0) if self.network.signed else features)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step: the codes of a batch, and how far their similarities are from the signals."""
        values = self.network(batch["image"]).float()
        loss = priority_loss(values, batch["signal"], batch["weight"], self.loss)
        if self.quant_weight:
            loss = loss + self.quant_weight * quantisation_loss(values)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD or Adam on what is not frozen."""
        learned = [p for p in self.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(learned, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(learned, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
