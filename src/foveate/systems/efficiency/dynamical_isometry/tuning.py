"""Fine-tuning under watch: after each epoch the rate, the loss, the accuracy and the singular values (sections 3.2 and 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from torch import Tensor

from foveate.parts.training import fit, steps_done
from foveate.systems.efficiency.dynamical_isometry import method
from foveate.systems.efficiency.dynamical_isometry.jacobian import Isometry, evaluating
from foveate.systems.efficiency.dynamical_isometry.method import Subject
from foveate.systems.efficiency.dynamical_isometry.train import FineTuner

Row = dict[str, Any]
NEAR = 0.95  # of the last mean JSV counts as reached


@torch.inference_mode()
def right(subject: Subject, batches: Iterable[dict[str, Tensor]]) -> np.ndarray:
    """Tell which pictures are classified rightly: bool ``(N,)``, in the order of the batches."""
    place = next(subject.parameters()).device
    found = []
    with evaluating(subject):
        for batch in batches:
            found.append((subject(batch["image"].to(place)).argmax(1).cpu() == batch["label"]).numpy())
    return np.concatenate(found)


def row(jsv: Isometry) -> Row:
    """Name the figures of a measure as they stand in logs and reports."""
    figures = {"mean": jsv.mean, "std": jsv.std, "min": jsv.min, "max": jsv.max, "distance": jsv.distance}
    return {**{f"jsv_{name}": value for name, value in figures.items()}, "condition": jsv.condition}


class Watch(Callback):
    """Keep the log of a run; with a file, leave a checkpoint there after each epoch, log and all.

    Args:
        test: Gives the batches that the accuracy is taken on.
        samples: Pictures at which the Jacobian is taken, ``(B, 3, side, side)`` in [0, 1].
        interval: Epochs from one look at the Jacobian to the next.
        checkpoint: The file.
        tick: Told of each epoch.
    """

    def __init__(
        self,
        test: Callable[[], Iterable[dict[str, Tensor]]],
        samples: Tensor,
        interval: int = 1,
        checkpoint: Path | None = None,
        tick: Callable[[int], None] | None = None,
    ) -> None:
        self.test, self.samples, self.interval, self.checkpoint, self.tick = test, samples, interval, checkpoint, tick
        self.rows: list[Row] = []
        self._begin()

    def _begin(self) -> None:
        self._losses: list[float] = []
        self._order = hashlib.sha256()
        self._rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Keep the log."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.rows = list(state["rows"])

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        """Look at what there is before the first step."""
        if not self.rows:
            self.rows.append({"epoch": 0, **self._measured(module.network, 0)})

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: dict[str, Tensor], index: int) -> None:
        """Note what the step is given, and its rate."""
        if not self._losses:
            self._rate = trainer.optimizers[0].param_groups[0]["lr"]
        for name in ("image", "label"):
            self._order.update(batch[name].cpu().contiguous().numpy().tobytes())

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Note the loss; after the last step of an epoch, look."""
        self._losses.append(float(outputs["loss"]))
        per_epoch = int(trainer.num_training_batches)
        epoch, within = divmod(steps_done(trainer), per_epoch)
        if within:
            return
        trained = {"epoch": epoch, "lr": self._rate, "train_loss": float(np.mean(self._losses))}
        seen = {"data": self._order.hexdigest()[:16]}
        self.rows.append({**trained, **self._measured(module.network, epoch), **seen})
        self._begin()
        if self.checkpoint:
            trainer.save_checkpoint(str(self.checkpoint))
        if self.tick:
            self.tick(1)

    def _measured(self, subject: Subject, epoch: int) -> Row:
        found: Row = {"test_accuracy": float(right(subject, self.test()).mean())}
        if epoch % self.interval == 0:
            jsv = method.trainability(subject, self.samples.to(next(subject.parameters()).device))
            found |= row(jsv)
            if jsv.directions:
                found["directions"] = jsv.directions
        return found


def tune(
    module: FineTuner,
    data: LightningDataModule,
    epochs: int,
    samples: Tensor,
    *,
    seed: int = 0,
    interval: int = 1,
    checkpoint: Path | None = None,
    tick: Callable[[int], None] | None = None,
    stop_after: int = 0,
) -> list[Row]:
    """Train for a number of epochs, and return the log.

    Args:
        module: With the network, in place.
        data: Its training part is trained on, its test part only looked at.
        epochs: In all.
        samples: See `Watch`.
        seed: Of what the steps draw; the order of the data is the data module's.
        interval: See `Watch`.
        checkpoint: See `Watch`. If the file is there, it is gone on from.
        tick: See `Watch`.
        stop_after: Stop early, as an interruption would; 0 does not.

    Returns:
        One row for each epoch, the first for the state before: ``epoch``, ``lr``, ``train_loss``, ``test_accuracy``, mean
        (``jsv_mean``), deviation, least, greatest and distance from 1 of the singular values, ``condition``, and a hash of what
        was trained on (``data``).
    """
    data.setup("fit")
    data.setup("test")
    module.network.train()
    watch = Watch(data.test_dataloader, samples, interval, checkpoint, tick)
    per_epoch = len(data.train_dataloader())
    resumed = str(checkpoint) if checkpoint and checkpoint.is_file() else None
    steps = epochs * per_epoch
    callbacks: tuple[Callback, ...] = (watch, _Stop(stop_after)) if stop_after else (watch,)
    # What Ctrl-C leaves goes where the checkpoints are, and not into the user's folder.
    options = {"default_root_dir": str(checkpoint.parent)} if checkpoint else {}
    fit(module, data, steps, seed=seed, callbacks=callbacks, ckpt_path=resumed, limit_val_batches=0, **options)
    module.network.eval().cpu()
    return watch.rows


class _Stop(Callback):
    """Stops after some epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop when they are over."""
        trainer.should_stop = trainer.should_stop or steps_done(trainer) >= self.epochs * trainer.num_training_batches


# ---------------------------------------------------------------------------------------------------------------------
# what a log says
# ---------------------------------------------------------------------------------------------------------------------


def told(rows: Sequence[Row]) -> dict[str, float]:
    """Sum a log up.

    Returns:
        ``last`` and ``best`` test accuracy; ``trainability``, the mean accuracy over the epochs of the first learning rate;
        ``jsv_before`` and ``jsv_last``; ``epochs_to_jsv``, the first epoch with 95 % of the last mean JSV.
    """
    tuned = [row for row in rows if row["epoch"] > 0]
    looked = [row for row in rows if "jsv_mean" in row]
    first = [row["test_accuracy"] for row in tuned if row["lr"] == tuned[0]["lr"]]
    last = looked[-1]["jsv_mean"]
    return {
        "last": tuned[-1]["test_accuracy"],
        "best": max(row["test_accuracy"] for row in tuned),
        "trainability": float(np.mean(first)),
        "jsv_before": looked[0]["jsv_mean"],
        "jsv_last": last,
        "epochs_to_jsv": next(row["epoch"] for row in looked if row["jsv_mean"] >= NEAR * last),
    }
