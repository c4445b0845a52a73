"""Diagnose a network's trainability, prune and repair it, and compare repairs and learning rates, on the user's own network."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture, Record, Result, Table
from foveate.systems.efficiency.dynamical_isometry import data as sources
from foveate.systems.efficiency.dynamical_isometry import method, picture, tuning
from foveate.systems.efficiency.dynamical_isometry.bench import Layout, Network, Training, opened, prepared, state, tuned
from foveate.systems.efficiency.dynamical_isometry.method import Criterion, Repair, SmallClassifier, Subject
from foveate.systems.efficiency.dynamical_isometry.repairs import FROM_NOISE

# ---------------------------------------------------------------------------------------------------------------------
# diagnose
# ---------------------------------------------------------------------------------------------------------------------


def diagnose(
    model: Path,
    pictures: Path | None = None,
    weights: Path | None = None,
    samples: int = 32,
    classes: int = 0,
    side: int = 0,
    seed: int = 0,
) -> Result:
    """Tell how far a network is from dynamical isometry: the singular values of its Jacobian at pictures.

    Args:
        model: A name (mlp7_linear, lenet5, resnet56_cifar, torchvision/resnet18, any of timm's) or a file that foveate wrote.
        pictures: Folder of pictures, labelled or not; by default embedded digits or shapes.
        weights: For a name, a state dict (.pth, .safetensors), or `hub`; without one the weights are random.
        samples: Pictures that are looked at.
        classes: Of a network with random weights; by default its own number.
        side: Of the pictures; by default the network's own.
        seed: Of the choice of pictures, and of random weights and directions.

    Returns:
        Mean, deviation, least and greatest singular value, the condition number, the singular values of each layer, and a
        picture of the spectrum.
    """
    if samples < 1:
        raise InputError("samples", str(samples), "at least one")
    subject, notes = opened(model, weights, classes, side, seed)
    seen, place = _looked_at(subject, pictures, samples, seed)
    values, outputs, directions = method.singular_values(subject.network, method.normalised(subject, seen), seed=seed)
    found = method.summary(values, outputs, directions)
    if directions:
        notes += (f"of {outputs} outputs {directions} random orthonormal directions were measured, not each output",)
    report = {
        "model": subject.arguments["model"], "classes": outputs, "side": subject.side, "pictures": place,
        **method.cost(subject), **tuning.row(found), "samples": found.samples, "directions": directions,
    }  # fmt: skip
    rows = [(x.name, "x".join(map(str, x.shape)), x.mean, x.min, x.max) for x in method.by_layer(subject.network)]
    table = Table(("layer", "shape", "mean", "min", "max"), rows)
    title = f"{subject.arguments['model']}: mean singular value {found.mean:.4g} (isometry: 1), condition {found.condition:.4g}"
    parts = {"report": Record(report), "layers": table, "spectrum": picture.spectrum(values.numpy(), title)}
    return Result(parts, notes)


def _looked_at(subject: Subject, pictures: Path | None, samples: int, seed: int) -> tuple[Tensor, str]:
    """Choose pictures: ``(B, 3, side, side)`` in [0, 1], and where they come from."""
    if pictures is None:
        small = isinstance(subject, SmallClassifier)
        options = {"side": subject.side, "seed": seed}
        source = sources.Sample(**options) if small else sources.Shapes(1, samples, **options)
        items = source.parts()["test"].items[:samples]
        return torch.stack(
            [source.plain(Picture(np.ascontiguousarray(item))) for item in items]
        ), f"embedded {'digits' if small else 'shapes'}"
    if not pictures.is_dir():
        wrong = "is a file" if pictures.exists() else "there is no such folder"
        raise InputError(pictures, wrong, "a folder with pictures")
    paths = find_pictures(pictures)
    if not paths:
        raise InputError(pictures, "has no pictures", "a folder with PNG, JPEG, WebP or TIFF files, at any depth")
    order = np.random.default_rng(seed).permutation(len(paths))[:samples]
    with bar("reading") as tick:
        tick(0, len(order))
        views = []
        for i in order:
            views.append(_view(subject, read_picture(paths[i])))
            tick(1)
    return torch.stack(views), f"{len(order)} of {len(paths)} in {pictures.name or pictures}"


def _view(subject: Subject, item: Any) -> Tensor:
    return method.prepare(item, subject.side, getattr(subject, "crop", 1.0))


# ---------------------------------------------------------------------------------------------------------------------
# prune, repair, fine-tune
# ---------------------------------------------------------------------------------------------------------------------


def prune(
    model: Path,
    data: Path | None = None,
    layout: Layout = "folder",
    weights: Path | None = None,
    ratio: float | str = 0.8,
    unit: Literal["filter", "weight"] = "filter",
    criterion: Criterion = "l1",
    repair: Repair = "orthp",
    gain: float | Literal["auto"] = "auto",
    ft_lr: float = 0.01,
    epochs: int = 15,
    scratch: Literal["E", "B"] = "E",
    dense_epochs: int = 30,
    dense_lr: float = 0.01,
    batch_size: int = 64,
    weight_decay: float = 5e-4,
    side: int = 0,
    jsv_samples: int = 64,
    jsv_interval: int = 1,
    seed: int = 0,
) -> Result:
    """Prune a network in one shot, repair what is left, and fine-tune it under watch.

    A network that is given by its name, without weights, is trained first. A call that was interrupted goes on where it was.

    Args:
        model: A name (mlp7_linear, lenet5, resnet56_cifar, torchvision/resnet18, any of timm's) or a file that foveate wrote.
        data: The data set; by default embedded digits for the small networks, shapes for the others.
        layout: How it lies in its folder.
        weights: For a name, a state dict (.pth, .safetensors) of the dense network.
        ratio: Share of each layer's units to cut, or patterns with ratios: `*layer1*.conv1:0.3,*layer2*:0.5`.
        unit: `filter` cuts filters and neurons out; `weight` only sets single weights to 0, and takes no repair.
        criterion: Cut those with the least L1 norm, at random, or with the greatest.
        repair: `orthp` is the paper's; `reset` and `kaiming` start from scratch.
        gain: Of orthogonal weights; `auto` is √2 if the network has activations that cut off, else 1.
        ft_lr: Learning rate of fine-tuning; it is divided by ten after half and three quarters of the epochs.
        epochs: Of fine-tuning.
        scratch: `B` gives a network that starts from scratch so many epochs that they cost what the dense one's would.
        dense_epochs: Of the dense network's training.
        dense_lr: Its learning rate.
        batch_size: Pictures per step.
        weight_decay: Of both trainings.
        side: Of the pictures; by default the network's own.
        jsv_samples: Training pictures at which the Jacobian is taken.
        jsv_interval: Epochs from one look at it to the next.
        seed: Of weights, choice, order and repair.

    Returns:
        The compact network, the log of every epoch, and a picture of it.
    """
    _check(epochs, dense_epochs, batch_size, jsv_samples, jsv_interval, [ft_lr, dense_lr])
    training = Training(dense_epochs, dense_lr, batch_size, weight_decay)

    def tried(subject: Subject) -> None:
        method.recovered(subject, ratio, unit, criterion, repair, gain, seed, steps=0)
        if scratch == "B" and repair not in FROM_NOISE:
            raise InputError("scratch", f"B with repair={repair}, which does not start from scratch", "repair=reset or kaiming")

    bench = prepared(model, data, layout, weights, training, side, jsv_samples, seed, tried)
    with bar("repairing") as tick:
        cut = method.recovered(bench.dense, ratio, unit, criterion, repair, gain, seed, tick=tick)
    dense, pruned = method.cost(bench.dense), method.cost(cut.subject)
    if scratch == "B":
        epochs = max(1, round(epochs * dense["macs"] / pruned["macs"]))
    settings = {
        "ratio": ratio, "unit": unit, "criterion": criterion, "repair": repair, "gain": cut.gain, "ft_lr": ft_lr,
        "epochs": epochs, "batch_size": batch_size, "weight_decay": weight_decay, "jsv_samples": jsv_samples, "seed": seed,
    }  # fmt: skip
    subject, rows = tuned(bench, cut, ft_lr, epochs, jsv_interval, settings)
    log = {
        "model": bench.name, "settings": settings, "dense": {**dense, **state(bench, bench.dense)}, "pruned": pruned,
        "kept": {name: len(units) for name, units in cut.keep.items()}, "summary": tuning.told(rows), "epochs": rows,
    }  # fmt: skip
    title = (
        f"{bench.name}, ratio {ratio}, {repair}, rate {ft_lr:g}: {pruned['parameters']:,} of {dense['parameters']:,} parameters"
    )
    parts = {"model": Network(subject), "log": Record(log), "plot": picture.trajectories({f"{repair}, {ft_lr:g}": rows}, title)}
    return Result(parts, bench.notes + cut.notes)


def compare(
    model: Path,
    data: Path | None = None,
    layout: Layout = "folder",
    weights: Path | None = None,
    ratio: float | str = 0.8,
    criterion: Criterion = "l1",
    repairs: str = "none,orthp,reset",
    ft_lrs: str = "0.01,0.001",
    seeds: int = 1,
    epochs: int = 15,
    dense_epochs: int = 30,
    dense_lr: float = 0.01,
    batch_size: int = 64,
    weight_decay: float = 5e-4,
    side: int = 0,
    jsv_samples: int = 64,
    seed: int = 0,
) -> Result:
    """Fine-tune one pruned network with several repairs at several learning rates, all else equal.

    Args:
        model: A name (mlp7_linear, lenet5, resnet56_cifar, torchvision/resnet18, any of timm's) or a file that foveate wrote.
        data: The data set; by default embedded digits for the small networks, shapes for the others.
        layout: How it lies in its folder.
        weights: For a name, a state dict (.pth, .safetensors) of the dense network.
        ratio: Share of each layer's units to cut, or patterns with ratios.
        criterion: Cut those with the least L1 norm, at random, or with the greatest.
        repairs: Which, with commas; `none`, `orthp`, `reset` (from scratch) and the others of `prune`.
        ft_lrs: Learning rates of fine-tuning, with commas.
        seeds: Runs of each, with other orders of the data (and other dense networks, if they are trained here).
        epochs: Of fine-tuning.
        dense_epochs: Of the dense network's training.
        dense_lr: Its learning rate.
        batch_size: Pictures per step.
        weight_decay: Of both trainings.
        side: Of the pictures; by default the network's own.
        jsv_samples: Training pictures at which the Jacobian is taken.
        seed: The first.

    Returns:
        A table of repairs and rates with accuracies and singular values, all logs, and a picture of the first seed's.
    """
    hows = [_known_repair(name.strip()) for name in repairs.split(",") if name.strip()]
    rates = [_rate(text) for text in ft_lrs.split(",") if text.strip()]
    if not hows or not rates or seeds < 1:
        raise InputError("repairs, ft_lrs, seeds", f"{repairs!r}, {ft_lrs!r}, {seeds}", "at least one of each")
    _check(epochs, dense_epochs, batch_size, jsv_samples, 1, [*rates, dense_lr])
    runs: dict[str, list[list[tuning.Row]]] = {f"{how}, {rate:g}": [] for how in hows for rate in rates}
    notes: tuple[str, ...] = ()
    training = Training(dense_epochs, dense_lr, batch_size, weight_decay)

    def tried(subject: Subject) -> None:
        for how in hows:
            method.recovered(subject, ratio, "filter", criterion, how, steps=0)

    for number in range(seed, seed + seeds):
        bench = prepared(model, data, layout, weights, training, side, jsv_samples, number, tried)
        notes = bench.notes
        for how in hows:
            cut = method.recovered(bench.dense, ratio, "filter", criterion, how, seed=number)
            notes += tuple(note for note in cut.notes if note not in notes)
            for rate in rates:
                settings = [ratio, criterion, how, rate, epochs, weight_decay, number]
                _, rows = tuned(bench, cut, rate, epochs, 1, settings)
                runs[f"{how}, {rate:g}"].append(rows)
    columns = ("repair", "ft_lr", "seeds", *(f"{name}{end}" for name in _TOLD for end in ("", "_sd")))
    lines = []
    for name, logs in runs.items():
        how, _, shown = name.partition(", ")
        told = [tuning.told(rows) for rows in logs]
        values: list[Any] = []
        for key in _TOLD:
            each = [t[key] for t in told]
            values += [float(np.mean(each)), float(np.std(each, ddof=1)) if seeds > 1 else ""]
        lines.append((how, shown, seeds, *values))
    title = f"{bench.name}, ratio {ratio}: repairs and learning rates"
    plot = picture.trajectories({name: logs[0] for name, logs in runs.items()}, title)
    return Result({"table": Table(columns, lines), "logs": Record(runs), "plot": plot}, notes)


_TOLD = ("last", "best", "trainability", "jsv_before", "jsv_last", "epochs_to_jsv")


def _known_repair(name: str) -> Repair:
    if name not in typing.get_args(Repair):
        raise InputError("repairs", f"there is no {name!r}", ", ".join(typing.get_args(Repair)))
    return name  # type: ignore[return-value]


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError("ft_lrs", f"{text!r} is no number", "such as 0.01,0.001") from error


def _check(epochs: int, dense_epochs: int, batch_size: int, samples: int, interval: int, rates: Sequence[float]) -> None:
    if min(epochs, dense_epochs, batch_size, samples, interval) < 1 or not all(0 < rate < 100 for rate in rates):
        names = "epochs, dense_epochs, batch_size, jsv_samples, jsv_interval, learning rates"
        raise InputError(names, "one of them is not above 0", "whole numbers from 1 up, and rates above 0")
