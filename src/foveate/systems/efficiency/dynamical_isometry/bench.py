"""What the runs of a comparison share: one dense network, one data set in memory, and a place to go on from."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.caching import cache_folder, digest
from foveate.parts.progress import bar
from foveate.readers.classification_data import ClassificationData, Views
from foveate.results import unwritable
from foveate.systems.efficiency.dynamical_isometry import data as sources
from foveate.systems.efficiency.dynamical_isometry import method, tuning
from foveate.systems.efficiency.dynamical_isometry.method import SmallClassifier, Subject
from foveate.systems.efficiency.dynamical_isometry.train import FineTuner

Layout = Literal["folder", "cifar10", "cifar100", "mnist", "imagenet"]
_SOURCES = {
    "folder": sources.Folder, "cifar10": sources.CIFAR10, "cifar100": sources.CIFAR100, "mnist": sources.MNIST,
    "imagenet": sources.ImageNet,
}  # fmt: skip
_HELD = 2**28  # values of pictures that are held in memory for speed: 1 GB
VERSION = 1  # of the runs that are gone on from


@dataclass(frozen=True)
class Network:
    """A network with its sizes: what `foveate run dynamical_isometry`, `open_classifier` and `foveate.parts.weights` read."""

    subject: Subject
    suffix: ClassVar[str] = ".safetensors"
    kind: ClassVar[str] = "network"

    def write(self, path: Path) -> None:
        """Write safetensors."""
        files.save(self.subject, path)


@dataclass(frozen=True)
class Training:
    """How the dense network is trained, if it is.

    Attributes:
        epochs: In all.
        rate: Learning rate of the first half; see `FineTuner`.
        batch_size: Pictures per step, of fine-tuning too.
        weight_decay: Of fine-tuning too.
    """

    epochs: int
    rate: float
    batch_size: int
    weight_decay: float


@dataclass(frozen=True)
class Bench:
    """A dense network and the data that all runs share.

    Attributes:
        dense: The network.
        data: A data module with ``train``, ``val`` and ``test`` parts.
        samples: Training pictures at which Jacobians are taken.
        name: Of the network.
        training: As it was given.
        key: Plain values that tell this bench from others.
        notes: What the user should know.
    """

    dense: Subject
    data: Any
    samples: Tensor
    name: str
    training: Training
    key: Any
    notes: tuple[str, ...]


def opened(model: Path, weights: Path | None, classes: int, side: int, seed: int) -> tuple[Subject, tuple[str, ...]]:
    """Open a network, one with random weights always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        subject = method.opened(model, weights, classes, side)
    random = weights is None and not model.is_file()
    return subject, ("random weights: give a file, or a name with --weights",) if random else ()


def state(bench: Bench, subject: Subject) -> dict[str, float]:
    """Measure a network as it is."""
    jsv = method.trainability(subject, bench.samples)
    right = tuning.right(subject, bench.data.test_dataloader())
    return {"test_accuracy": float(right.mean()), "jsv_mean": jsv.mean, "condition": jsv.condition}


def prepared(
    model: Path,
    data: Path | None,
    layout: Layout,
    weights: Path | None,
    training: Training,
    side: int,
    samples: int,
    seed: int,
    check: Callable[[Subject], object],
) -> Bench:
    """Read the data, and open or train the dense network.

    Args:
        model: See `run.prune`.
        data: See `run.prune`.
        layout: See `run.prune`.
        weights: See `run.prune`.
        training: Of a network that is given by its name alone.
        side: Of the pictures; 0 for the network's own.
        samples: Pictures at which Jacobians are taken.
        seed: Of weights and order.
        check: Refuses, before anything is trained, what could not be done with the network afterwards.
    """
    ready = bool(weights) or model.is_file()
    subject, _ = opened(model, weights, 0, side, seed)
    small, side = isinstance(subject, SmallClassifier), subject.side
    options: dict[str, Any] = {"side": side, "batch_size": training.batch_size, "seed": seed}
    if data is None:
        source: ClassificationData = sources.Sample(**options) if small else sources.Shapes(2000, 1000, **options)
        place = f"embedded {'digits' if small else 'shapes'}"
    else:
        source, place = _SOURCES[layout](root=str(data), crop=getattr(subject, "crop", 1.0), **options), str(data)
    classes = len(source.classes)
    notes: tuple[str, ...] = (f"on {place}",)
    if not ready:
        subject, _ = opened(model, None, classes, side, seed)
    elif subject.classes != classes:
        raise InputError(model, f"knows {subject.classes} classes, {place} has {classes}", "a network of the same classes")
    check(subject)
    count = len(source.found["train"]) + len(source.found["val"]) + len(source.found["test"])
    held: Any = sources.Whole(source) if 3 * count * side**2 <= _HELD else source
    held.setup("fit")
    seen = _first(held, samples)
    name = str(subject.arguments["model"])
    key = [VERSION, name, subject.arguments, _fingerprint(source, place), options, training.weight_decay, torch.__version__]
    if ready:
        return Bench(subject, held, seen, name, training, [*key, _hash(subject)], notes)
    if isinstance(subject, SmallClassifier) and held is not source:
        mean, std = sources.statistics(held.held["train"][0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            subject = SmallClassifier(**{**subject.arguments, "mean": mean, "std": std})
    key += [training.epochs, training.rate]
    module = FineTuner(subject, training.rate, weight_decay=training.weight_decay)
    kept = _place(["dense", *key])
    with bar("training the dense network") as tick, FileLock(kept.with_suffix(".lock")):
        tick(0, training.epochs)
        tuning.tune(
            module, held, training.epochs, seen[:1], seed=seed, interval=training.epochs, checkpoint=kept, tick=tick
        )  # fmt: skip
    notes += (f"the dense network was trained here, {training.epochs} epochs at {training.rate:g}",)
    return Bench(subject, held, seen, name, training, key, notes)


def _first(data: Any, count: int) -> Tensor:
    """Take the first training pictures as they are evaluated."""
    if isinstance(data, sources.Whole):
        return data.held["train"][0][:count]
    views = Views(data.found["train"], data)
    return torch.stack([views[i]["image"] for i in range(min(count, len(views)))])


def tuned(
    bench: Bench, cut: method.Cut, rate: float, epochs: int, interval: int, settings: Any
) -> tuple[Subject, list[tuning.Row]]:
    """Fine-tune a copy of a pruned network; what an interruption leaves is gone on from.

    Args:
        bench: What all runs share.
        cut: The pruned network, which stays as it is.
        rate: Learning rate.
        epochs: In all.
        interval: Epochs from one look at the Jacobian to the next.
        settings: Plain values that tell this run from others.
    """
    module = FineTuner(copy.deepcopy(cut.subject), rate, weight_decay=bench.training.weight_decay)
    module.masks = cut.masks
    kept = _place(["tuned", *bench.key, rate, epochs, interval, settings])
    with bar(f"fine-tuning at {rate:g}") as tick:
        tick(0, epochs)
        rows = tuning.tune(
            module, bench.data, epochs, bench.samples, seed=bench.data.seed, interval=interval, checkpoint=kept, tick=tick
        )  # fmt: skip
    kept.unlink(missing_ok=True)
    return module.network, rows


def _place(key: Any) -> Path:
    """Return the file that a run goes on from."""
    path = cache_folder() / "dynamical_isometry" / f"{digest(key)}.ckpt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    return path


def _hash(subject: Subject) -> str:
    found = hashlib.sha256()
    for value in subject.state_dict().values():
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _fingerprint(source: ClassificationData, place: str) -> Any:
    """Tell data from others: by their files with sizes and times, or by the values of arrays."""
    found = hashlib.sha256()
    for part, labelled in source.found.items():
        found.update(part.encode() + np.asarray(labelled.labels).tobytes())
        if isinstance(labelled.items, np.ndarray):
            found.update(np.ascontiguousarray(labelled.items).tobytes())
            continue
        for path in labelled.items:
            about = path.stat()
            found.update(f"{path}{about.st_size}{about.st_mtime_ns}".encode())
    return [place, found.hexdigest()]
