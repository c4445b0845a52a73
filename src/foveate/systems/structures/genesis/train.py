"""Training of an ensemble, one member after the other, in a run that can be stopped anywhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor

from foveate.parts import weights as files
from foveate.systems.structures.genesis.method import Ensemble, log_probabilities
from foveate.systems.structures.genesis.records import Views


class Vetter(LightningModule):
    """Train each member of an ensemble from its own initial weights until it stops improving, and keep its best epoch.

    The network holds the members that are done; ``learner`` is the one in training, ``best`` its weights of the lowest
    validation loss. All of it, and how far it came, is in every checkpoint, so that a stopped run ends with the ensemble of
    one that was not. A checkpoint loaded as weights gives the members that were done (before the first is, that one as it
    stands).

    Args:
        network: The ensemble; `foveate.systems.structures.genesis.method.Genesis` or
            `foveate.systems.structures.genesis.astronet.Astronet`.
        epochs: Most epochs of a member.
        patience: Epochs without a lower validation loss after which a member is done.
        min_delta: By how much it must be lower to count.
        lr: Learning rate of Adam (Astronet's paper: 1e-5, its released configuration: 2e-4).
        betas: Adam's.
        weights: Take the ensemble from this file, of whatever size it is, in place of ``network``: to test it, say.
    """

    def __init__(
        self,
        network: Ensemble,
        epochs: int = 125,
        patience: int = 50,
        min_delta: float = 1e-3,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if weights:
            network = files.load(type(network), Path(weights)).train()
        self.network = network.requires_grad_(False)
        self.learner = copy.deepcopy(network.members[0]).requires_grad_(True)
        self.best = copy.deepcopy(network.members[0])
        self.epochs, self.patience, self.min_delta, self.lr, self.betas = epochs, patience, min_delta, lr, betas
        self.register_buffer("done", torch.tensor(0))  # members
        self.register_buffer("epoch", torch.tensor(0))  # of the member in training
        self.register_buffer("waited", torch.tensor(0))  # epochs without a lower loss
        self.register_buffer("lowest", torch.tensor(torch.inf, dtype=torch.float64))
        self.history: list[tuple[int, float, float]] = []  # step, validation loss and area under the curve, epoch by epoch
        self._said: list[Tensor] = []
        self._labels: list[Tensor] = []

    def forward(self, *views: Tensor) -> Tensor:
        """Ask the ensemble."""
        return self.network(*views)

    # -----------------------------------------------------------------------------------------------------------------
    # training
    # -----------------------------------------------------------------------------------------------------------------

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step: cross-entropy of the member in training."""
        loss = F.nll_loss(self._learned(batch).float(), batch["label"])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def _learned(self, batch: dict[str, Tensor]) -> Tensor:
        return log_probabilities(self.learner(*(batch[name] for name in self.network.takes)))

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Step; after the last one of an epoch, see whether the member is done.

        This stands here and not in a hook at the epoch's end, since checkpoints are written right after a step.
        """
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if batch_idx + 1 >= self.trainer.num_training_batches and self.done < len(self.network.members):
            self._end_epoch(optimizer)

    def _end_epoch(self, optimizer: Any) -> None:
        loss, area = self._validate()
        self.history.append((self.trainer.global_step + 1, loss, area))  # it counts this step only afterwards
        self.epoch += 1
        if loss < self.lowest - self.min_delta:
            self.best.load_state_dict(self.learner.state_dict())
            self.lowest.fill_(loss)
            self.waited.zero_()
        else:
            self.waited += 1
        if self.epoch >= self.epochs or self.waited >= self.patience:
            self._end_member(optimizer)

    def _end_member(self, optimizer: Any) -> None:
        """Keep the best weights of a member, and start the next one from its own."""
        members = self.network.members
        members[int(self.done)].load_state_dict(self.best.state_dict())
        self.done += 1
        if self.done == len(members):
            self.trainer.should_stop = True
            return
        for module in (self.learner, self.best):
            module.load_state_dict(members[int(self.done)].state_dict())
        self.epoch.zero_()
        self.waited.zero_()
        self.lowest.fill_(torch.inf)
        optimizer.optimizer.state.clear()

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return the member's loss on the whole validation part, and its area under the curve."""
        self.learner.eval()
        said, labels = [], []
        for batch in self.trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
            batch = {name: value.to(self.device) for name, value in batch.items()}
            said.append(self._learned(batch).double().cpu())
            labels.append(batch["label"].cpu())
        self.learner.train()
        everything, label = torch.cat(said), torch.cat(labels)
        found = scores(label.numpy(), everything[:, 1].exp().numpy())
        return float(F.nll_loss(everything, label)), found["auc"]

    def on_train_start(self) -> None:
        """Stop at once if the run that is resumed was at its end."""
        if self.done == len(self.network.members):
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Take over a member that was stopped on its way; write the ensemble beside the logs."""
        trained = int(self.done)
        if trained < len(self.network.members):
            begun = self.best if self.lowest < torch.inf else self.learner
            self.network.members[trained].load_state_dict(begun.state_dict())
            trained += 1
        if self.trainer.loggers and self.trainer.is_global_zero:
            path = Path(str(self.trainer.log_dir)) / "weights.safetensors"
            state = {k: v for k, v in self.network.state_dict().items() if int(k.split(".")[1]) < trained}
            files.write(state, {**self.network.arguments, "members": trained}, path)
            print(f"\n{trained} of {len(self.network.members)} members: {path}", flush=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with a constant rate, for the member in training."""
        return torch.optim.Adam(self.learner.parameters(), lr=self.lr, betas=self.betas)

    # -----------------------------------------------------------------------------------------------------------------
    # validation and test
    # -----------------------------------------------------------------------------------------------------------------

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Note what is said: by the member in training, or by the ensemble where nothing is trained."""
        self._note(self._learned(batch) if self.trainer.training else self._asked(batch), batch)

    def test_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Note what the ensemble says."""
        self._note(self._asked(batch), batch)

    def _asked(self, batch: dict[str, Tensor]) -> Tensor:
        return self.network(*(batch[name] for name in self.network.takes))

    def _note(self, said: Tensor, batch: dict[str, Tensor]) -> None:
        self._said.append(self.all_gather(said.float()).reshape(-1, 2))  # type: ignore[union-attr]
        self._labels.append(self.all_gather(batch["label"]).reshape(-1))  # type: ignore[union-attr]

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, area under the curve and the others as ``val_...``."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log them as ``test_...``."""
        self._log_scores("test")

    def _log_scores(self, part: str) -> None:
        said, label = torch.cat(self._said), torch.cat(self._labels)
        self._said, self._labels = [], []
        found = scores(label.cpu().numpy(), said[:, 1].exp().double().cpu().numpy())
        self.log_dict({f"{part}_{name}": value for name, value in found.items()}, prog_bar=part == "val")

    # -----------------------------------------------------------------------------------------------------------------
    # checkpoints
    # -----------------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the initial weights of the members to come under another name than those of the members that are done."""
        state, done = checkpoint["state_dict"], int(self.done)
        for name in [n for n in state if n.startswith("network.members.") and int(n.split(".")[2]) >= done]:
            state["waiting." + name] = state.pop(name)
        if done == 0:
            state.update({f"network.members.0.{name}": value for name, value in self.learner.state_dict().items()})
        checkpoint["arguments"] = {**self.network.arguments, "members": max(1, done)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give them their names back."""
        state = checkpoint["state_dict"]
        for name in [n for n in state if n.startswith("waiting.")]:
            state[name.removeprefix("waiting.")] = state.pop(name)


# ---------------------------------------------------------------------------------------------------------------------
# scores
# ---------------------------------------------------------------------------------------------------------------------


def scores(label: np.ndarray, planet: np.ndarray) -> dict[str, float]:
    """Score probabilities: accuracy at 0.5, areas under ROC and precision-recall curve, precision at a recall of 0.9, log-loss.

    Args:
        label: 1 or 0, ``(n,)``.
        planet: Probability of 1, ``(n,)``.

    Returns:
        The metrics by name; those that need both classes are NaN where one is missing.

    Example:
        >>> found = scores(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]))
        >>> found["accuracy"], found["auc"]
        (0.5, 0.75)
    """
    from sklearn.metrics import average_precision_score, log_loss, precision_recall_curve, roc_auc_score

    found = {"accuracy": float(np.mean((planet >= 0.5) == label))}
    names = ("auc", "average_precision", "precision_at_recall_90")
    if len(np.unique(label)) < 2:
        found |= dict.fromkeys(names, float("nan"))
    else:
        precision, recall, _ = precision_recall_curve(label, planet)
        best = float(precision[recall >= 0.9].max())
        values = (float(roc_auc_score(label, planet)), float(average_precision_score(label, planet)), best)
        found |= dict(zip(names, values, strict=True))
    return {**found, "log_loss": float(log_loss(label, np.clip(planet, 1e-7, 1 - 1e-7), labels=[0, 1]))}


@torch.inference_mode()
def probabilities(network: Ensemble, views: Views, batch: int = 256) -> np.ndarray:
    """Ask an ensemble for the probability of a planet for many events: float64 ``(n,)``."""
    network.eval()
    device = next(network.parameters()).device
    found = []
    for start in range(0, len(views), batch):
        rows = slice(start, start + batch)
        arrays = {"view": views.view[rows], "local": views.local[rows]}
        said = network(*(torch.from_numpy(arrays[name]).to(device) for name in network.takes))
        found.append(said[:, 1].double().exp().cpu().numpy())
    return np.concatenate(found)
