"""First the mixer by itself, then against a critic."""

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lab.awkward.method import Mixer


class Mixing(LightningModule):
    """Train the mixer to give the wanted colours, of contents made noisy.

    Args:
        network: The mixer.
        lr: Learning rate.
    """

    def __init__(self, network: Mixer, lr: float = 1e-2) -> None:
        super().__init__()
        self.network, self.lr = network, lr

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step."""
        noisy = batch["content"] + 0.01 * torch.randn_like(batch["content"])
        loss = F.mse_loss(self.network(noisy, batch["style"])["mixed"], batch["wanted"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Error on whole pictures."""
        self.log("val_error", F.l1_loss(self.network(batch["content"], batch["style"])["mixed"], batch["wanted"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr)


class Criticised(Mixing):
    """The mixer and a critic who tells what it makes from what is wanted, optimised by hand."""

    def __init__(self, network: Mixer, lr: float = 1e-2) -> None:
        super().__init__(network, lr)
        self.automatic_optimization = False
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        """One step of both."""
        ours, theirs = self.optimizers()
        mixed = self.network(batch["content"], batch["style"])["mixed"]
        theirs.zero_grad()
        self.manual_backward(F.softplus(self.critic(mixed.detach()) - self.critic(batch["wanted"])).mean())
        theirs.step()
        ours.zero_grad()
        loss = F.mse_loss(mixed, batch["wanted"])
        self.manual_backward(loss + 1e-3 * F.softplus(-self.critic(mixed)).mean())
        ours.step()
        self.log("train_loss", loss)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for each."""
        return [torch.optim.Adam(part.parameters(), self.lr) for part in (self.network, self.critic)]
