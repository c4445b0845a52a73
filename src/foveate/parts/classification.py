"""Training and judging networks that classify pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor
from torch.nn import functional as F

from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.caching import cache_folder, digest
from foveate.parts.classifiers import Classifier
from foveate.parts.inference import quick
from foveate.parts.training import fit

Schedule = Literal["step", "cosine", "one-cycle", "constant"]
VERSION = 2  # of the training below; another one trains base networks anew


def rate(schedule: Schedule, done: float, milestones: Sequence[float] = (0.5, 0.75)) -> float:
    """Return the share of the peak learning rate at a point of the training.

    Args:
        schedule: ``step`` divides by 10 at each milestone; ``cosine`` falls to zero; ``one-cycle`` rises linearly for 3/10 of
            the time and falls with a cosine; ``constant`` stays.
        done: Share of the training that is done, 0 to 1.
        milestones: Of ``step``.

    Example:
        >>> [rate("step", done) for done in (0, 0.5, 0.8)]
        [1.0, 0.1, 0.01]
    """
    if schedule == "step":
        return round(0.1 ** sum(done >= m for m in milestones), 12)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    if schedule == "one-cycle":
        rise = 0.3
        return max(done / rise, 0.04) if done < rise else 0.5 * (1 + math.cos(math.pi * min((done - rise) / (1 - rise), 1)))
    return 1.0


class Classifying(LightningModule):
    """Train a classifier with stochastic gradient descent on cross-entropy.

    Args:
        network: The classifier.
        lr: Peak learning rate.
        momentum: Of SGD.
        weight_decay: Of all parameters.
        nesterov: Nesterov's momentum.
        schedule: How the rate goes; see `rate`. It needs a trainer that knows its end (``max_steps`` or ``max_epochs``).
        milestones: Of the schedule ``step``, shares of the training.
        smoothing: Label smoothing.
    """

    def __init__(
        self,
        network: Classifier,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
        schedule: Schedule = "step",
        milestones: tuple[float, ...] = (0.5, 0.75),
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.schedule, self.milestones, self.smoothing = schedule, milestones, smoothing

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Cross-entropy of a batch."""
        loss = F.cross_entropy(self.network(batch["image"]), batch["label"], label_smoothing=self.smoothing)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Accuracy and cross-entropy."""
        self._judge("val", batch)

    def test_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Accuracy and cross-entropy."""
        self._judge("test", batch)

    def _judge(self, part: str, batch: dict[str, Tensor]) -> None:
        logits = self.network(batch["image"])
        right = (logits.argmax(1) == batch["label"]).float().mean()
        self.log_dict({f"{part}_accuracy": right, f"{part}_loss": F.cross_entropy(logits, batch["label"])},
                      prog_bar=True, batch_size=len(logits))  # fmt: skip

    def configure_optimizers(self) -> dict[str, Any]:
        """Make SGD and its schedule."""
        sgd = torch.optim.SGD(
            self.network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps) and self.schedule != "constant":
            raise InputError(
                "schedule", f"{self.schedule} without an end of the training", "max_steps or max_epochs, or constant"
            )
        shares = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: rate(self.schedule, step / max(steps, 1), self.milestones))
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": shares, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the constructor's arguments beside the weights."""
        checkpoint["arguments"] = self.network.arguments


def evaluate(network: torch.nn.Module, pictures: Tensor, batch: int = 256) -> Tensor:
    """Return the logits of pictures in float32; the network is left in evaluation mode.

    Args:
        network: Pictures to logits.
        pictures: ``(N, 3, H, W)`` in [0, 1].
        batch: Pictures at a time.
    """
    run = quick(network.eval(), precision="float32")
    return torch.cat([run(part) for part in pictures.split(batch)])


def correct(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Tell for each picture whether the largest logit is its label's: float64 ``(N,)`` of zeros and ones."""
    return (logits.argmax(1) == labels).double().numpy()


def base_classifier(
    model: str,
    data: LightningDataModule,
    data_key: Any,
    steps: int,
    seed: int = 0,
    lr: float = 0.1,
    schedule: Schedule = "one-cycle",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    **options: Any,
) -> Classifier:
    """Train a classifier from scratch, once: the next time it comes out of the cache.

    Args:
        model: Its name; see `foveate.parts.classifiers`.
        data: What to train on; it knows its ``side`` and ``classes``.
        data_key: Plain values that tell these data from others.
        steps: Of the training.
        seed: Of weights, order and augmentation.
        lr: Peak learning rate.
        schedule: See `rate`.
        precision: ``bf16-mixed`` is half as quick again for residual networks on processors that compute in bfloat16.
        **options: More arguments of `Classifying`.

    Returns:
        The classifier, in evaluation mode.
    """
    from filelock import FileLock

    key = [VERSION, model, data_key, steps, seed, lr, schedule, precision, options, torch.__version__]
    path: Path = cache_folder() / "classifiers" / f"{digest(key)}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            return weights.load(Classifier, path)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            labels: Sequence[str] = data.classes  # type: ignore[attr-defined]
            network = Classifier(model, len(labels), data.side, labels=labels, crop=data.crop)  # type: ignore[attr-defined]
            network.to(memory_format=torch.channels_last)  # a fifth quicker
            fit(Classifying(network, lr, schedule=schedule, **options), data, steps, seed=seed, precision=precision)
        weights.save(network, path)
    return network.eval()
