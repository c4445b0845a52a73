"""Trainings that an action runs: kept in the cache epoch by epoch, so that an interrupted one goes on, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from foveate.parts import weights as files
from foveate.parts.caching import cache_folder, digest
from foveate.parts.progress import Tick, bar
from foveate.parts.training import fit, steps_done
from foveate.results import write_atomically
from foveate.systems.efficiency.na_nas.data import Augmented
from foveate.systems.efficiency.na_nas.method import CellNetwork
from foveate.systems.efficiency.na_nas.spaces import Cell, Space
from foveate.systems.efficiency.na_nas.train import Final

VERSION = 1  # of what is kept


@dataclass(frozen=True)
class Weights:
    """A trained network as a file."""

    network: CellNetwork
    suffix: ClassVar[str] = ".safetensors"
    kind: ClassVar[str] = "weights"

    def write(self, path: Path) -> None:
        """Write safetensors."""
        files.save(self.network, path)


class Kept(Callback):
    """Keep a checkpoint after every epoch, and move a bar.

    Args:
        path: Of the checkpoint.
        batches: Of an epoch.
        tick: Told of each batch.
    """

    def __init__(self, path: Path, batches: int, tick: Tick) -> None:
        self.path, self.batches, self.tick = path, batches, tick

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Count what an earlier call has done."""
        self.tick(steps_done(trainer))

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Keep it."""
        self.tick(1)
        if steps_done(trainer) % self.batches == 0:
            trainer.save_checkpoint(self.path)


def stamp(data: Augmented) -> str:
    """Tell a data set from others: by its files' names, sizes and times, or by its pictures."""
    found = hashlib.sha256(repr(type(data).__name__).encode())
    for part, labelled in sorted(data.found.items()):
        found.update(repr((part, labelled.classes, None if labelled.labels is None else labelled.labels.tolist())).encode())
        if hasattr(labelled.items, "tobytes"):
            found.update(labelled.items.tobytes())
        else:
            for path in labelled.items:
                status = Path(path).stat()
                found.update(repr((str(path), status.st_size, status.st_mtime_ns)).encode())
    options = (data.side, data.crop, data.shift, data.mirror, data.cutout, data.halves, data.batch_size, data.seed)
    found.update(repr(options).encode())
    return found.hexdigest()


def fit_kept(module: LightningModule, data: Augmented, epochs: int, key: Any, label: str, seed: int = 0) -> None:
    """Train for some epochs, from where an interrupted call with the same key left off.

    Args:
        module: What to train.
        data: On what.
        epochs: In all.
        key: Plain values that the training depends on, the data excepted.
        label: Of the bar.
        seed: Of what the steps draw.
    """
    folder = cache_folder() / "na_nas" / digest([VERSION, key, epochs, seed, stamp(data), torch.__version__])
    folder.mkdir(parents=True, exist_ok=True)
    batches = len(data.train_dataloader())
    # Lightning counts the steps of all optimisers.
    steps = epochs * batches * (1 if module.automatic_optimization else 2)
    kept = [path for name in ("epoch.ckpt", "interrupted.ckpt") if (path := folder / name).is_file()]
    last = max(kept, key=os.path.getmtime, default=None)
    with bar(label) as tick:
        tick(0, epochs * batches)
        fit(
            module, data, steps, seed=seed, callbacks=(Kept(folder / "epoch.ckpt", batches, tick),), limit_val_batches=0,
            ckpt_path=None if last is None else str(last), default_root_dir=str(folder),
        )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


@torch.inference_mode()
def score(network: Callable[[Tensor], Tensor], pictures: Tensor, labels: Tensor, batch: int = 250) -> float:
    """Measure the share of pictures that a network tells right."""
    if isinstance(network, torch.nn.Module):
        network.eval()
    told = [network(x).argmax(1).cpu() for x in pictures.split(batch)]
    return float((torch.cat(told) == labels).double().mean())


def scored_by_training(
    data: Augmented, space: Space, width: int, cells: int, epochs: int, seed: int
) -> Callable[[Cell], float]:
    """Return a function that trains a cell for a short time and tells its error on the validation part.

    What was trained is kept on disk, so an interrupted search costs nothing twice. Cells through which nothing passes have the
    chance's error without a training.
    """
    key = [VERSION, "scores", space.name, width, cells, epochs, seed, stamp(data), torch.__version__]
    path = cache_folder() / "na_nas" / f"{digest(key)}.json"
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    classes = len(data.classes)

    def evaluate(cell: Cell) -> float:
        text = space.text(cell)
        if text not in known:
            known[text] = 1 - 1 / classes
            if space.connected(cell):
                with torch.random.fork_rng():
                    torch.manual_seed(seed)
                    network = CellNetwork(text, space.name, width, cells, classes, side=data.side, crop=data.crop)
                module = Final(network, lr=0.1, nesterov=True, weight_decay=5e-4, drop_path=0.0)
                with torch.random.fork_rng():
                    steps = epochs * len(data.train_dataloader())
                    fit(module, data, steps, seed=seed, limit_val_batches=0)
                known[text] = 1 - score(network.cpu(), *data.tensors("val"))
            write_atomically(path, json.dumps(known))
        return known[text]

    return evaluate
