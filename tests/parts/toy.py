"""A tiny training that draws at random wherever a training can, and runs of it that may be killed or interrupted."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from foveate.parts.training import AtomicCheckpointIO, Draw, fit, steps_done, train_loader

WIDTH = 6


class Numbers(Dataset):
    """Rows of numbers, augmented when they are drawn."""

    def __init__(self, length: int) -> None:
        self.rows = torch.from_numpy(np.random.default_rng(0).standard_normal((length, WIDTH), dtype=np.float32))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        if not isinstance(key, Draw):
            return {"index": torch.tensor(key), "x": self.rows[key]}
        noise = key.generator().standard_normal(WIDTH, dtype=np.float32)
        return {"index": torch.tensor(key.index), "x": self.rows[key.index] + 0.1 * torch.from_numpy(noise)}


class ToyData(LightningDataModule):
    """Without arguments 10 rows in batches of 4: an epoch of three steps whose last batch is filled up."""

    def __init__(self, length: int = 10, batch_size: int = 4, workers: int = 0) -> None:
        super().__init__()
        self.length, self.batch_size, self.workers = length, batch_size, workers

    def train_dataloader(self) -> DataLoader:
        return train_loader(self, Numbers(self.length), self.batch_size, seed=3, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Numbers(3), 2)


class Toy(LightningModule):
    """Regression with dropout, batch norm, a schedule, and noise from every generator there is.

    Args:
        quiet: Draw nothing and normalise nothing.
        pause: Seconds that a step takes at least.
    """

    def __init__(self, quiet: bool = False, pause: float = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.quiet, self.pause, self.seen = quiet, pause, []
        self.network = nn.Sequential(
            nn.Linear(WIDTH, 8), *([] if quiet else [nn.BatchNorm1d(8), nn.Dropout(0.5)]), nn.Tanh(), nn.Linear(8, 1)
        )

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Augment on the device, as Lightning's documentation suggests."""
        if self.quiet or not self.trainer.training:
            return batch
        return {**batch, "x": batch["x"] + 0.1 * torch.randn_like(batch["x"])}

    def loss(self, x: Tensor) -> Tensor:
        weight = 1 if self.quiet else np.random.rand() + random.random()  # noqa: NPY002
        return weight * F.mse_loss(self.network(x)[:, 0], x.sin().sum(1))

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        self.seen.append(sorted(batch["index"].tolist()))
        time.sleep(self.pause)
        return self.loss(batch["x"])

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self.log("val", self.loss(batch["x"]) + torch.rand(()) + random.random())

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Adversaries(Toy):
    """Generator against discriminator, optimised by hand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, WIDTH))

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        time.sleep(self.pause)
        one, two = self.optimizers()
        fake = self.generator(torch.randn(len(batch["x"]), 4))
        for optimizer, loss in (
            (one, lambda: F.softplus(-self.network(batch["x"])).mean() + F.softplus(self.network(fake.detach())).mean()),
            (two, lambda: F.softplus(-self.network(fake)).mean()),
        ):
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(loss())
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.network.parameters(), lr=0.05), torch.optim.Adam(self.generator.parameters(), lr=0.01)]


class Save(Callback):
    """Save every batch with `Trainer.save_checkpoint`, between two accumulated ones too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step={steps_done(trainer)}.ckpt")


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of single steps, oldest first."""
    return sorted(folder.glob("step=*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=")))


def run(
    folder: Path,
    steps: int = 8,
    *,
    kind: type[Toy] = Toy,
    ckpt_path: str | Path | None = None,
    save: dict[str, Any] | None = None,
    callbacks: tuple[Callback, ...] = (),
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **trainer: Any,
) -> dict[str, Any]:
    """Train, and keep a checkpoint of every step of the optimisers in ``folder`` (``save`` changes that).

    Returns:
        ``weights``, ``optimizers`` (their states), and ``seen``: the indices of every step.
    """
    keep = ModelCheckpoint(folder, "{step}", **{"every_n_train_steps": 1, "save_top_k": -1, **(save or {})})
    module = kind(**(model or {}))
    options = {"limit_val_batches": 0, "accelerator": "cpu", "default_root_dir": folder, "enable_checkpointing": True}
    runner = fit(
        module, ToyData(**(data or {})), steps, seed=5, callbacks=(*callbacks, keep), ckpt_path=ckpt_path, **options | trainer
    )
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    return {"weights": weights, "optimizers": [o.state_dict() for o in runner.optimizers], "seen": module.seen}


def job(folder: Path, result: str, environment: dict[str, str], *arguments: Any, **options: Any) -> None:
    """Do a `run` as a process of its own, which leads its process group, and leave what it returns in a file."""
    warnings.simplefilter("ignore")
    os.setsid()
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # of the data workers
    torch.set_num_threads(1)
    torch.save(run(folder, *arguments, **options), folder / result)


def die_writing(path: Path) -> None:
    """Be killed half way through writing a checkpoint."""

    def half(_: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    AtomicCheckpointIO().save_checkpoint({}, path)
