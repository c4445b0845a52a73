"""Training of CIBHash (sections 3 and 4.1; figures that the paper leaves out are the released configuration's)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveate.parts.contrastive import nt_xent
from foveate.parts.hash_training import HashModule
from foveate.systems.embedding.cibhash.method import BinaryLayer, CIBHash, binarise, contrastive_information_bottleneck

Objective = Literal["cib", "naive_cl", "reconstruct"]


class Hasher(HashModule):
    """Train the head on two views of each picture, without labels.

    Args:
        network: The network; the paper's by default.
        objective: ``cib``; ``naive_cl``, the contrastive loss on the logits themselves, which only the use of the code cuts to
            bits (the paper's baseline); or ``reconstruct``, a decoder that shall give the features back from the code.
        kl_weight: Weight of the information loss; 0 leaves it out.
        binary_layer: How codes are drawn in training; see `binarise`.
        tau: Temperature of the contrastive loss.
        lr: Adam's learning rate.
        cut: k of MAP@k in validation and test.
        weights: Start from these weights, of whatever size they are, in place of ``network``.
    """

    def __init__(
        self,
        network: CIBHash,
        objective: Objective = "cib",
        kl_weight: float = 0.001,
        binary_layer: BinaryLayer = "bernoulli",
        tau: float = 0.3,
        lr: float = 1e-3,
        cut: int = 1000,
        weights: str | None = None,
    ) -> None:
        super().__init__(network, cut, weights)
        self.objective, self.kl_weight, self.binary_layer, self.tau, self.lr = objective, kl_weight, binary_layer, tau, lr
        if objective == "reconstruct":
            bits, width = self.network.bits, len(self.network.centre)
            self.decoder = nn.Sequential(nn.Linear(bits, 1024), nn.ReLU(), nn.Linear(1024, width))

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step: two views to codes, and the objective's loss of them."""
        features = [self.network.features(batch[name]) for name in ("image", "other")]
        one, other = (self.network.logits(f) for f in features)
        if self.objective == "cib":
            contrast, information = contrastive_information_bottleneck(one, other, self.binary_layer, self.tau, self.kl_weight)
            self.log_dict({"contrast": contrast, "information": information})
            loss = contrast + information
        elif self.objective == "naive_cl":
            loss = nt_xent(one, other, self.tau)
        else:
            decoded = [self.decoder(binarise(logits, self.binary_layer)) for logits in (one, other)]
            loss = torch.stack([functional.mse_loss(d, f.detach()) for d, f in zip(decoded, features, strict=True)]).mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on what is not frozen."""
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=self.lr)
