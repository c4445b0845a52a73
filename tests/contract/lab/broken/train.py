"""One stage that climbs, and one whose steps draw from nowhere known."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lab.broken.method import Moody


class Forgetful(LightningModule):
    """Logs no loss."""

    def __init__(self, network: Moody) -> None:
        super().__init__()
        self.network = network

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the squared output."""
        return self.network(batch["picture"]).square().mean()

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step."""
        return self.loss(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), 0.01)


class Climbing(Forgetful):
    """Makes the loss larger."""

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step."""
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return -loss
