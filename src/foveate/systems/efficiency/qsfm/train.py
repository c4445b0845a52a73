"""Training of the dense network, and fine-tuning of the pruned one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningDataModule
from torch import Tensor

from foveate.parts.classification import Classifying, Schedule
from foveate.parts.classifiers import Classifier, open_classifier
from foveate.parts.progress import Tick, bar
from foveate.parts.training import fit
from foveate.systems.efficiency.qsfm.method import Settings, Study


class FineTuner(Classifying):
    """Train a classifier; the defaults are those that a pruned network is fine-tuned with.

    Args:
        network: The classifier.
        lr: Peak learning rate: 0.01 to fine-tune, 0.1 from scratch.
        momentum: Of SGD.
        weight_decay: Of all parameters.
        nesterov: Nesterov's momentum.
        schedule: How the rate goes: ``step`` divides by 10 at the milestones.
        milestones: Shares of the training.
        smoothing: Label smoothing.
        weights: Start from this file, of `foveate run qsfm` or of an earlier training, in place of ``network``.
    """

    def __init__(
        self,
        network: Classifier,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
        schedule: Schedule = "step",
        milestones: tuple[float, ...] = (0.5, 0.75),
        smoothing: float = 0.0,
        weights: str | None = None,
    ) -> None:
        start = open_classifier(weights).train() if weights else network
        super().__init__(start, lr, momentum, weight_decay, nesterov, schedule, milestones, smoothing)

    def forward(self, pictures: Tensor) -> Tensor:
        """Give logits."""
        return self.network(pictures)


class _Ticking(Callback):
    """Moves a bar with the steps."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_train_batch_end(self, *_: Any) -> None:
        self.tick(1)


def fine_tuned(
    network: Classifier, data: LightningDataModule, steps: int, lr: float = 0.01, seed: int = 0, **options: Any
) -> Classifier:
    """Fine-tune a copy of a network for some steps: rate divided by 10 at half and at three quarters.

    Args:
        network: It stays as it is.
        data: With labels that are the network's.
        steps: Of SGD.
        lr: Peak learning rate.
        seed: Of order and augmentation.
        **options: More arguments of `FineTuner`.
    """
    module = FineTuner(copy.deepcopy(network).train(), lr, **options)
    with bar("fine-tuning") as tick:
        tick(0, steps)
        fit(module, data, steps, seed=seed, callbacks=(_Ticking(tick),), limit_val_batches=0, accelerator="cpu")
    return module.network.eval()


def layer_by_layer(
    network: Classifier,
    pictures: Tensor,
    counts: Mapping[str, int],
    data: LightningDataModule,
    steps: int,
    settings: Settings | None = None,
    lr: float = 0.01,
    seed: int = 0,
) -> tuple[Classifier, dict[str, np.ndarray]]:
    """Prune one layer at a time, from the first to the last, and fine-tune after each; similarities are measured anew.

    Args:
        network: It stays as it is.
        pictures: See `foveate.systems.efficiency.qsfm.method.prune`.
        counts: Layer to the filters that it keeps.
        data: With labels that are the network's.
        steps: Of SGD after each layer.
        settings: The switches.
        lr: Learning rate, constant.
        seed: Of order and augmentation.

    Returns:
        The smaller network, and each layer's kept filters.
    """
    kept: dict[str, np.ndarray] = {}
    for name, count in counts.items():
        study = Study(network, pictures, settings)
        if count < study.sites[name].channels:
            made = study.pruned({name: count})
            kept[name] = made.kept[name]
            network = fine_tuned(made.network, data, steps, lr, seed, schedule="constant")  # type: ignore[arg-type]
        else:
            kept[name] = np.arange(count)
    return network, kept
