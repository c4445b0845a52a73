"""Training: of the dense network, and of what pruning and a repair leave of it (section 4, and the authors' repositories)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from foveate.parts import weights as files
from foveate.parts.classification import Classifying
from foveate.systems.efficiency.dynamical_isometry import method
from foveate.systems.efficiency.dynamical_isometry.method import Criterion, Repair


class FineTuner(Classifying):
    """Train a classifier, or prune, repair and fine-tune one: stochastic gradient descent with a rate that falls in steps.

    Args:
        network: The network.
        lr: Learning rate of the first stage: 0.01 or 0.001 in the paper.
        milestones: Shares of all steps after which the rate is divided by ten; 60 and 90 of 120 epochs in the paper.
        momentum: Of the gradient.
        weight_decay: 5e-4, as in the paper (1e-4 on ImageNet).
        weights: Start from this file, whatever network it is of, in place of ``network``.
        ratio: Share of each layer's units that are cut first, or patterns; see `method.ratios`. 0 trains the network as it is.
        unit: ``filter`` cuts units out; ``weight`` only sets single weights to 0, and keeps them there.
        criterion: Which are cut; see `method.kept_units`.
        repair: What is done to the rest; see `repairs.repair`.
        gain: Of orthogonal weights; ``auto`` is √2 if the network has activations that cut off, else 1.
        seed: Of what pruning and repairing draw.

    Raises:
        InputError: If a setting is wrong, or the network has nothing to prune.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 0.01,
        milestones: Sequence[float] = (0.5, 0.75),
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        weights: str | None = None,
        ratio: float | str = 0.0,
        unit: Literal["filter", "weight"] = "filter",
        criterion: Criterion = "l1",
        repair: Repair = "none",
        gain: float | Literal["auto"] = "auto",
        seed: int = 0,
    ) -> None:
        subject: Any = method.opened(weights).train() if weights else network
        masks: dict[str, Tensor] = {}
        if ratio or repair != "none":
            cut = method.recovered(subject, ratio, unit, criterion, repair, gain, seed)
            subject, masks = cut.subject, cut.masks
        super().__init__(subject, lr, momentum, weight_decay, milestones=tuple(milestones))
        self.masks = masks

    def forward(self, pictures: Tensor) -> Tensor:
        """Give logits."""
        return self.network(pictures)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take the step, and set weights that were cut back to 0."""
        super().optimizer_step(*arguments, **named)
        method.apply_masks(self.network, self.masks)

    def on_train_end(self) -> None:
        """Write the network beside the logs."""
        if self.trainer.loggers and self.trainer.is_global_zero:
            path = Path(str(self.trainer.log_dir)) / "weights.safetensors"
            files.save(self.network, path)
            print(f"\n{path}", flush=True)
