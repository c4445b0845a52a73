"""The two trainings: the bilevel search on a supernet (DARTS, NA-DARTS), and the final training of one cell.

Paper: arXiv 2105.06369; the recipe is DARTS's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.training import steps_done
from foveate.systems.efficiency.na_nas.method import CellNetwork, Supernet
from foveate.systems.efficiency.na_nas.neighbourhood import (
    Aggregate,
    Expectation,
    Kind,
    Neighbourhood,
    architecture_step,
    moved,
)


class Searching(LightningModule):
    """Search on a supernet: in turn a step of the architecture on one half of the data and one of the weights on the other.

    Args:
        space: The space.
        width: Channels of the supernet.
        cells: Its cells: in all (darts), or per stage.
        classes: Logits.
        aggregate: Over the neighbourhood; ``self`` is plain DARTS.
        d: Edges on which a neighbour may differ.
        k: Neighbours in an architecture step.
        expectation: See `Neighbourhood`; ``exact`` takes all.
        neighbor: How a relaxed neighbour is made: ``shift`` or ``mix``.
        include_self: Whether the architecture is of its own neighbourhood.
        w_step: The weights learn at the architecture (``center``), or at a neighbour drawn (``neighbor``).
        order: 1, or 2 for the gradient through one step of the weights.
        epochs: Over which the weights' rate falls; the trainer's number should be the same.
        lr: Rate of the weights at the start; SGD, momentum 0.9, cosine by epoch.
        lr_min: At the end.
        weight_decay: Of the weights.
        clip: Largest norm of their gradient.
        alpha_lr: Rate of the architecture; Adam, betas 0.5 and 0.999.
        alpha_decay: Its weight decay.
        seed: Seed of the supernet's first weights, if it is given, and of the neighbours.
    """

    def __init__(
        self,
        space: str = "darts",
        width: int = 16,
        cells: int = 8,
        classes: int = 10,
        aggregate: Aggregate = "mean",
        d: int = 1,
        k: int = 4,
        expectation: Expectation = "sampled",
        neighbor: Kind = "shift",
        include_self: bool = True,
        w_step: Literal["center", "neighbor"] = "center",
        order: Literal[1, 2] = 1,
        epochs: int = 50,
        lr: float = 0.025,
        lr_min: float = 0.001,
        weight_decay: float = 3e-4,
        clip: float = 5.0,
        alpha_lr: float = 3e-4,
        alpha_decay: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.around = Neighbourhood(aggregate, d, k, expectation, include_self, neighbor)
        self.network = Supernet(space, width, cells, classes)
        self.w_step, self.order, self.epochs, self.seed = w_step, order, epochs, seed
        self.lr, self.lr_min, self.weight_decay, self.clip = lr, lr_min, weight_decay, clip
        self.alpha_lr, self.alpha_decay = alpha_lr, alpha_decay
        self.history: list[dict[str, Any]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        """Give logits of the relaxed cell."""
        return self.network(pictures)

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        """One step of the architecture, one of the weights."""
        of_alpha, of_weights = self.optimizers()  # type: ignore[misc]
        done = steps_done(self.trainer)
        # Neighbours come from a generator of their own, so that without neighbours everything else is drawn as before.
        rng = np.random.default_rng((self.seed, done, 1))
        training = (batch["image"], batch["label"])
        rate = self._rate(done)
        of_weights.param_groups[0]["lr"] = rate
        velocity = [of_weights.state.get(p, {}).get("momentum_buffer") for p in self.network.weights()]
        step = architecture_step(
            self.network, (batch["other_image"], batch["other_label"]), self.around, rng,
            training if self.order == 2 else None, rate, velocity, self.weight_decay, 0.9,
        )  # fmt: skip
        self.network.alpha.grad = step.gradient
        of_alpha.step()

        mixing = self.network.probabilities().detach()
        if self.w_step == "neighbor":
            space = self.network.space
            (change,) = space.draw_changes(1, self.around.d, np.random.default_rng((self.seed, done, 2)))
            mixing = moved(mixing, change)
        loss = functional.cross_entropy(self.network(training[0], mixing), training[1])
        of_weights.zero_grad()
        self.manual_backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.weights(), self.clip)
        of_weights.step()
        self.log_dict({"train_loss": loss, "architecture_loss": step.value}, prog_bar=True)
        # Not in a hook at the epoch's end: that would come after the checkpoint of its last step.
        epoch, rest = divmod(done + 1, int(self.trainer.num_training_batches))
        if rest == 0:
            self._note(epoch, float(loss.detach()), step.value)

    def _rate(self, done: int) -> float:
        """Return the weights' rate, which falls from epoch to epoch."""
        epoch = min(done // max(1, int(self.trainer.num_training_batches)), self.epochs)
        return self.lr_min + (self.lr - self.lr_min) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def _note(self, epoch: int, loss: float, value: float) -> None:
        """Note the cell that would be derived."""
        space, rows = self.network.space, self.network.probabilities().detach()
        self.history.append(
            {
                "epoch": epoch,
                "cell": space.text(self.network.derived()),
                "train_loss": loss,
                "architecture_loss": value,
                "entropy": float(-(rows * rows.log()).sum(1).mean()),
            }
        )

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the supernet's accuracy."""
        logits = self.network(batch["image"])
        right = (logits.argmax(1) == batch["label"]).float().mean()
        self.log("val_accuracy", right, prog_bar=True, batch_size=len(logits))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make Adam for the architecture and SGD for the weights."""
        return [
            torch.optim.Adam([self.network.alpha], self.alpha_lr, (0.5, 0.999), weight_decay=self.alpha_decay),
            torch.optim.SGD(self.network.weights(), self.lr, 0.9, weight_decay=self.weight_decay),
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to build the supernet again, and what was noted."""
        checkpoint["arguments"] = self.network.arguments
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what was noted."""
        self.history = list(checkpoint.get("history", []))


class Final(LightningModule):
    """Train the network of one cell.

    Args:
        network: The network.
        lr: Rate at the start; SGD, cosine to zero over the trainer's steps.
        momentum: Of SGD.
        nesterov: Nesterov's momentum.
        weight_decay: Of all weights.
        clip: Largest norm of the gradient.
        drop_path: Share of paths that are dropped at the end of the training; it grows linearly.
        auxiliary: Weight of the auxiliary classifier's loss, if the network has one.
        smoothing: Label smoothing.
        weights: Start from these weights, of whatever cell they are, in place of ``network``.
    """

    def __init__(
        self,
        network: CellNetwork,
        lr: float = 0.025,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 3e-4,
        clip: float = 5.0,
        drop_path: float = 0.2,
        auxiliary: float = 0.4,
        smoothing: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.network = files.load(CellNetwork, Path(weights)).train() if weights else network
        self.lr, self.momentum, self.nesterov, self.weight_decay, self.clip = lr, momentum, nesterov, weight_decay, clip
        self.drop_path, self.auxiliary, self.smoothing = drop_path, auxiliary, smoothing
        if not 0 <= drop_path < 1:
            raise InputError("drop_path", str(drop_path), "0 to less than 1")

    def forward(self, pictures: Tensor) -> Tensor:
        """Give logits."""
        return self.network(pictures)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Cross-entropy, that of the auxiliary classifier beside it."""
        self.network.set_drop_path(self.drop_path * self._done())
        logits, extra = self.network.with_auxiliary(batch["image"])
        loss = functional.cross_entropy(logits, batch["label"], label_smoothing=self.smoothing)
        if extra is not None:
            loss = loss + self.auxiliary * functional.cross_entropy(extra, batch["label"], label_smoothing=self.smoothing)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def _done(self) -> float:
        """Return the share of the training that is done."""
        return min(1.0, steps_done(self.trainer) / self._steps())

    def _steps(self) -> float:
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise InputError("the training", "has no end", "max_steps or max_epochs")
        return max(1, steps)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the accuracy."""
        self._judge("val", batch)

    def test_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the accuracy."""
        self._judge("test", batch)

    def _judge(self, part: str, batch: dict[str, Tensor]) -> None:
        logits = self.network(batch["image"])
        right = (logits.argmax(1) == batch["label"]).float().mean()
        self.log(f"{part}_accuracy", right, prog_bar=True, batch_size=len(logits))

    def configure_optimizers(self) -> dict[str, Any]:
        """Make SGD; its rate falls as a cosine to zero."""
        sgd = torch.optim.SGD(
            self.network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        steps = self._steps()
        falling = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: (1 + math.cos(math.pi * min(1, step / steps))) / 2)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": falling, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to the norm of ``clip``, unless the trainer says otherwise."""
        self.clip_gradients(optimizer, gradient_clip_val or self.clip, gradient_clip_algorithm or "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to build the network again."""
        checkpoint["arguments"] = self.network.arguments
