"""Training that can be stopped anywhere, by kill -9 too, and goes on as if it had not been.

Lightning restores weights, optimisers and counters, but not the state of the random generators, nor where in its epoch a
shuffled loader was. Here nothing needs restoring, because nothing is carried along: what is drawn at a step is a function of
(seed, step) alone.

* `StepSampler` orders the data by (seed, epoch) and starts at the step that the trainer is at.
* A data set draws its crops and flips from (seed, epoch, index): it is indexed with a `Draw`, which says all three.
* `ResumableLoader` and `ExactResume` seed the global generators from (seed, step) before a batch is fetched and before its
  step: for augmentation in `on_after_batch_transfer`, and for dropout and the like.

Two limits of Lightning's remain. What a module does in its own `on_train_batch_end` comes after the checkpoint of that step:
an average of the weights, say, belongs into `optimizer_step`. And the first epoch that ends after a resume does not count for a
schedule that watches a validation metric (`ReduceLROnPlateau`).
"""

from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from foveate.errors import InputError
from foveate.parts.weights import read_checkpoint
from foveate.results import Curve


class Draw(NamedTuple):
    """What a training set is indexed with: which item, and the numbers that seed its augmentation."""

    index: int
    seed: int
    epoch: int

    def generator(self) -> np.random.Generator:
        """Return the generator that belongs to this item in this epoch."""
        return np.random.default_rng((self.seed, self.epoch, self.index))


class StepSampler(DistributedSampler):
    """An endless stream of `Draw`, cut into epochs by the trainer.

    The order within epoch e is a permutation seeded by (seed, e). The stream starts at the step that the trainer has
    reached, so a resumed run sees what the unbroken one would have seen. With several processes each takes its share of
    every batch. (It is a `DistributedSampler` so that Lightning knows that it shards already.)

    Args:
        length: Items in the data set.
        batch_size: Items per step and process.
        seed: Seed of the order.
        steps_done: Tells how many batches were trained on so far.
    """

    def __init__(self, length: int, batch_size: int, seed: int, steps_done: Callable[[], int]) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.num_replicas = torch.distributed.get_world_size() if distributed else 1
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.length, self.batch_size, self.seed, self.steps_done = length, batch_size, seed, steps_done
        self.steps_per_epoch = math.ceil(length / (batch_size * self.num_replicas))

    def __len__(self) -> int:
        """Items per epoch and process; the last batch is filled up from the start of the permutation."""
        return self.steps_per_epoch * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Ignored: the epoch follows from the step."""

    def __iter__(self) -> Iterator[Draw]:
        """Go on from the trainer's step."""
        step = self.steps_done()
        together = self.batch_size * self.num_replicas
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
            order = np.resize(order, self.steps_per_epoch * together)
            for start in range(done * together + self.rank * self.batch_size, len(order), together):
                for index in order[start : start + self.batch_size]:
                    yield Draw(int(index), self.seed, epoch)
                step += 1


def seed_generators(*key: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch."""
    state = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002 - for libraries that draw from the global generator
    torch.manual_seed(int(state[2]))


class ResumableLoader(DataLoader):
    """A data loader that tells Lightning that it can resume; its place follows from the trainer's step.

    Each batch comes with the generators freshly seeded, so that what is drawn between the loader and the step
    (`on_after_batch_transfer`) is a function of (seed, step) too.
    """

    def __iter__(self) -> Iterator[Any]:
        """Go through the batches."""
        batches = super().__iter__()
        while True:
            if isinstance(self.sampler, StepSampler):  # Lightning's overfit_batches puts another in its place
                seed_generators(self.sampler.seed, self.sampler.rank, 2, self.sampler.steps_done())
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def train_loader(
    data: LightningDataModule, dataset: Dataset, batch_size: int, seed: int, num_workers: int = 0
) -> ResumableLoader:
    """Make the training loader of a data module.

    Args:
        data: The data module (its trainer knows the step).
        dataset: Indexed with a `Draw`.
        batch_size: Items per step and process.
        seed: Seed of order and augmentation.
        num_workers: Worker processes; their number does not change what is drawn.

    Raises:
        InputError: If the data set or the batch is empty.
    """
    if batch_size < 1:
        raise InputError("batch_size", f"{batch_size} items", "at least one")
    if len(dataset) == 0:  # type: ignore[arg-type]
        raise InputError(type(data).__name__, "there is nothing to train on", "at least one item")
    sampler = StepSampler(len(dataset), batch_size, seed, lambda: steps_done(data.trainer))  # type: ignore[arg-type]
    return ResumableLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        drop_last=True,
        persistent_workers=num_workers > 0,
        worker_init_fn=_work_on,
    )


def _work_on(_: int) -> None:
    """Leave Ctrl-C, which a terminal sends to the workers too, to the training process: it may need one more batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def steps_done(trainer: Trainer | None) -> int:
    """Count the batches that a trainer has trained on, over all epochs, before a stop included."""
    return 0 if trainer is None else trainer.fit_loop.epoch_loop.batch_progress.total.processed


class ExactResume(Callback):
    """Seed every step from (seed, step), and stop on Ctrl-C between two steps, with a checkpoint to go on from.

    Args:
        seed: Seed of what a step draws.
        stop_at: Where the checkpoint of an interrupted run goes; default ``interrupted.ckpt`` in the trainer's log folder.
    """

    def __init__(self, seed: int = 0, stop_at: str | None = None) -> None:
        self.seed, self.stop_at = seed, stop_at
        self.asked_to_stop = False
        self._previous: Any = None
        self._gradients: dict[str, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Seed the step."""
        seed_generators(self.seed, trainer.global_rank, 0, steps_done(trainer))

    def on_validation_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int, *_: Any) -> None:
        """Seed validation alike every time it runs."""
        seed_generators(self.seed, trainer.global_rank, 1, index)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the gradients of a checkpoint that falls between two accumulated batches; several processes keep their mean."""
        if trainer.fit_loop._should_accumulate():
            kept = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
            checkpoint["gradients"] = {name: trainer.strategy.reduce(g, reduce_op="mean") for name, g in kept.items()}

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take note of such gradients."""
        self._gradients = checkpoint.get("gradients", {})

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Put accumulated gradients back, and catch Ctrl-C."""
        for name, parameter in module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients, self.asked_to_stop = {}, False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, *_: Any) -> None:
        if self.asked_to_stop:
            raise KeyboardInterrupt
        self.asked_to_stop = True
        print("\nstopping after this step (Ctrl-C again stops at once, without a checkpoint)", flush=True)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Save and stop if asked to, once the accumulated gradients are used up; all processes at the same step."""
        asked = trainer.strategy.reduce_boolean_decision(self.asked_to_stop, all=False)
        if asked and not trainer.fit_loop._should_accumulate():
            path = self.stop_at or str(Path(trainer.log_dir or trainer.default_root_dir) / "interrupted.ckpt")
            trainer.save_checkpoint(path, weights_only=False)
            print(f"stopped; go on with --ckpt_path {path}", flush=True)
            raise KeyboardInterrupt

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


class History(Callback):
    """Note a validation metric every time that it is measured: the learning curve of an experiment's arm.

    Args:
        metric: Name under which the module logs it.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.steps: list[int] = []
        self.values: list[float] = []

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Note step and value."""
        self.steps.append(trainer.global_step)
        self.values.append(float(trainer.callback_metrics[self.metric]))

    def curve(self, label: str) -> Curve:
        """Return what was noted."""
        return Curve(self.steps, self.values, label)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, and are read without running a stranger's code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a file beside the target, then rename. A killed run leaves that file; the next one writes over it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.part")
        try:
            with fresh.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read arrays and plain containers only.

        Raises:
            InputError: If the file is missing or is no such checkpoint.
        """
        return read_checkpoint(Path(path), map_location)


def fit(
    module: LightningModule,
    data: LightningDataModule,
    steps: int,
    *,
    seed: int = 0,
    callbacks: tuple[Callback, ...] = (),
    ckpt_path: str | None = None,
    **trainer: Any,
) -> Trainer:
    """Train for a number of steps, quietly: what experiments and tests use (`foveate train` is for people).

    Args:
        module: What to train.
        data: On what.
        steps: Steps in all, those before ``ckpt_path`` included.
        seed: Seed of what the steps draw.
        callbacks: More callbacks.
        ckpt_path: Go on from this checkpoint.
        **trainer: More arguments of Lightning's `Trainer`.
    """
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with _silenced():
        runner = Trainer(
            **{
                **quiet, "accelerator": "auto", "devices": 1, "max_steps": steps, "max_epochs": -1,
                "num_sanity_val_steps": 0, "plugins": [AtomicCheckpointIO()],
                "callbacks": [ExactResume(seed), *callbacks], **trainer,
            }
        )  # fmt: skip
        runner.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return runner


class _silenced:
    """Keep Lightning's remarks about the machine (no GPU used, few workers) out of experiments and tests."""

    def __enter__(self) -> None:
        import logging
        import warnings

        self._log = logging.getLogger("lightning.pytorch")
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a frozen backbone
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # Lightning 2.6 on PyTorch 2.11 and later

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(*error)
        self._log.setLevel(self._level)
