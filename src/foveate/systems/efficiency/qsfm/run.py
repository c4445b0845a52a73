"""Prune a trained network, and use what came out: on the command line or from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from foveate.errors import InputError
from foveate.parts.classification import correct, evaluate
from foveate.parts.classifiers import Classifier, open_classifier
from foveate.parts.inference import device
from foveate.parts.latency import latency as timed
from foveate.parts.progress import bar
from foveate.readers.classification_data import ClassificationData
from foveate.readers.pictures import read_picture
from foveate.results import Part, Record, Result, Table
from foveate.samples import shapes
from foveate.systems.efficiency.qsfm import data as sources
from foveate.systems.efficiency.qsfm import method, output
from foveate.systems.efficiency.qsfm.budget import Of, read_counts
from foveate.systems.efficiency.qsfm.merging import Merge
from foveate.systems.efficiency.qsfm.method import Pruned, Ratio, Settings, Study
from foveate.systems.efficiency.qsfm.selection import Criterion, Drop
from foveate.systems.efficiency.qsfm.similarity import Quantifier, Tap, Window
from foveate.systems.efficiency.qsfm.train import fine_tuned, layer_by_layer

SHIPPED = Path(__file__).with_name("weights.safetensors")
DEMO = "demo weights: a pruned ResNet-20 for ten drawn shapes; give --model with your own network"
Schedule = Literal["one-shot", "iterative"]


def prune(
    model: Path,
    images: Path | None = None,
    weights: str = "",
    keep: float = 0.5,
    of: Of = "macs",
    parameters: float | None = None,
    counts: Path | None = None,
    quantifier: Quantifier = "ssim",
    window: Window = "global",
    tap: Tap = "act",
    criterion: Criterion = "qsfm",
    drop: Drop = "pair",
    merge: Merge = "lsq",
    ratio: Ratio = "sensitivity",
    recalibrate: bool = False,
    samples: int = 128,
    tests: int = 1000,
    crop: float = 0.0,
    classes: int = 0,
    side: int = 0,
    finetune_epochs: int = 0,
    schedule: Schedule = "one-shot",
    lr: float = 0.01,
    latency: int = 200,
    onnx: bool = True,
    batch: int = 32,
    seed: int = 0,
) -> Result:
    """Remove filters whose feature maps are like those of others, and write the smaller network.

    Args:
        model: A timm name, torchvision/NAME, resnet56_cifar or the like, or a file that foveate wrote (.safetensors, .ckpt).
        images: Folder of pictures of the kind that the network sees: with a folder for each class accuracy is measured, without
            labels how often the networks agree. Embedded pictures are taken for networks of the embedded classes.
        weights: For a name: a file with its state dict, or hub to have timm or torchvision fetch theirs; else they are random.
        keep: Share of the cost that is left.
        of: Of what: macs (multiply-accumulates), parameters, or filters of the layers that can be pruned.
        parameters: Share of the parameters that is left, as a second budget beside keep.
        counts: A file of the filters that each layer keeps (..._counts.json of another run), in place of a budget.
        quantifier: How alike two maps are: ssim and psnr are the paper's.
        window: Of ssim: whole maps, or a Gaussian window, which takes some hundred times as long.
        tap: Maps after the activation, the normalisation, or the convolution.
        criterion: What goes first; qsfm is the paper's, the others are there to compare.
        drop: Remove one of the most similar pair, again and again, or rank by the sum of similarities.
        merge: Let kept filters take over what the removed did: least squares, the most similar one alone, or off.
        ratio: Divide the budget by each layer's sensitivity, or alike.
        recalibrate: Measure the batch normalisations' statistics anew, on pictures without labels.
        samples: Pictures to measure similarities on, and as many for sensitivities.
        tests: Pictures to compare the networks on, at most.
        crop: Share of a picture's short side that is seen; 0 is the network's own.
        classes: For a name with random weights: number of classes.
        side: Side of the pictures; 0 is the network's own.
        finetune_epochs: Fine-tune with labels (after each layer if iterative); foveate train does so with checkpoints.
        schedule: Prune all layers at once, or one by one.
        lr: Learning rate of fine-tuning.
        latency: Forward passes to time on one thread, one picture each; 0 leaves the milliseconds out.
        onnx: Write ONNX, too.
        batch: Pictures at a time.
        seed: Which pictures, and the criterion random.

    Returns:
        The smaller network (safetensors, ONNX), a table of before and after, the filters that were kept and why, a picture.
    """
    if samples < 1 or tests < 1 or batch < 1 or latency < 0 or finetune_epochs < 0:
        numbers = f"{samples}, {tests}, {batch}, {latency}, {finetune_epochs}"
        raise InputError("samples, tests, batch, latency, finetune_epochs", numbers, "1 or more; the last two 0 or more")
    if model.is_dir():
        raise InputError(model, "is a folder", "the name of a network, or a file of one")
    network = open_classifier(str(model), weights, classes, side)
    if images is None and network.labels != shapes.CLASSES:
        raise InputError("--images", f"is needed for {model}", "a folder of pictures of the kind that the network sees")
    crop = crop or network.crop
    notes = []
    if not (weights or model.is_file()):
        notes.append("random weights: sizes and times hold, accuracy means nothing; --weights FILE or hub brings trained ones")
    labelled = sources.opened(images, network, crop, seed, finetune_epochs > 0)
    seen = sources.look(images, network, samples, tests, crop, seed, labelled)
    settings = Settings(quantifier, window, tap, criterion, drop, merge, ratio, recalibrate, seed)
    place = device()
    study = Study(network.to(place), seen.measured, settings, batch, str(model))
    if counts is not None:
        chosen = read_counts(counts, study.sites)
    else:
        chosen = study.counts(keep, of, parameters, seen.held_out)
    pruned = study.pruned(chosen)
    networks = {"before": network.cpu(), "pruned": _classifier(pruned).cpu()}
    if finetune_epochs:
        training = _trainable(labelled, network, images)
        steps = finetune_epochs * -(-len(training.parts()["train"]) // training.batch_size)
        if schedule == "iterative":
            networks["fine-tuned"], _ = layer_by_layer(network, seen.measured, chosen, training, steps, settings, lr, seed)
        else:
            networks["fine-tuned"] = fine_tuned(networks["pruned"], training, steps, lr, seed)
    final = list(networks.values())[-1]
    table, rows = _compared(networks, seen, latency)
    parts: dict[str, Part] = {"network": output.Network(final)}
    if onnx:
        parts["onnx"] = output.ONNX(final)
    parts |= {
        "table": table,
        "counts": Record({name: len(kept) for name, kept in pruned.kept.items()}),
        "report": Record(
            {
                "model": str(model), "settings": asdict(settings),
                "pictures": {"measured": len(seen.measured), "held_out": len(seen.held_out), "tested": len(seen.tested)},
                "networks": rows, "layers": output.layers(pruned), "left_alone": dict(pruned.refused),
            }
        ),
        "similarity": output.heat_maps(pruned),
    }  # fmt: skip
    if pruned.refused:
        notes.append(f"{len(pruned.refused)} convolutions were left alone; the report says why")
    return Result(parts, (*_said(rows), *notes, *seen.notes))


def _classifier(pruned: Pruned) -> Classifier:
    assert isinstance(pruned.network, Classifier)
    return pruned.network


def _trainable(labelled: ClassificationData | None, network: Classifier, images: Path | None) -> ClassificationData:
    """Return data whose labels are the network's, number by number, or refuse."""
    fitting = "train/, val/ and test/, or all at once, with a folder for each of the network's classes"
    if labelled is None:
        raise InputError(images, "has no labels to fine-tune with", fitting)
    ours = labelled.classes
    if len(ours) != network.classes or (network.labels and tuple(network.labels) != tuple(ours)):
        raise InputError(images, f"has {len(ours)} classes, which are not the network's {network.classes}", fitting)
    return labelled


def _compared(networks: dict[str, Classifier], seen: sources.Seen, repeats: int) -> tuple[Table, dict[str, dict[str, Any]]]:
    """Compare networks: what they cost, and what they say."""
    rows: dict[str, dict[str, Any]] = {}
    answers: dict[str, Tensor] = {}
    first = networks["before"]
    with bar("comparing") as tick:
        tick(0, len(networks))
        for name, network in networks.items():
            answers[name] = evaluate(network, seen.tested)
            network.cpu()
            row: dict[str, Any] = {"parameters": network.parameters_in_all(), "macs": network.macs()}
            row["parameters_left"] = row["parameters"] / first.parameters_in_all()
            row["macs_left"] = row["macs"] / first.macs()
            right = None if seen.labels is None else float(correct(answers[name], seen.labels).mean())
            rows[name] = {**row, "accuracy": right, "agreement": _agreement(answers["before"], answers[name])}
            tick(1)
    times = _times(networks, seen.tested[:1], repeats)
    columns = ["network", *rows["before"], *(["latency_ms"] if times else [])]
    body = [[name, *("" if v is None else v for v in row.values()), *times.get(name, ())] for name, row in rows.items()]
    return Table(columns, body), rows


def _times(networks: dict[str, Classifier], picture: Tensor, repeats: int) -> dict[str, list[float]]:
    """Measure median milliseconds, in turns, so that a machine that is busy for a while slows all alike."""
    turns = min(repeats, 4)
    found: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(turns):
        for name, network in networks.items():
            found[name] += timed(network.eval(), [picture] * -(-repeats // turns), 5).tolist()
    return {name: [round(float(np.median(values)), 4)] for name, values in found.items() if values}


def _agreement(one: Tensor, other: Tensor) -> float:
    return float((one.argmax(1) == other.argmax(1)).double().mean())


def _said(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Say in a line for each network what the table says."""
    for name, row in rows.items():
        if name == "before":
            continue
        right = [rows[n]["accuracy"] for n in ("before", name)]
        judged = f"accuracy {right[0]:.1%} to {right[1]:.1%}" if None not in right else f"agrees in {row['agreement']:.1%}"
        cost = f"{row['parameters_left']:.1%} of the parameters, {row['macs_left']:.1%} of the multiply-accumulates"
        yield f"{name}: {cost} left; {judged}"


def classify(
    pictures: list[Path], model: Path | None = None, top: int = 5, crop: float = 0.0, batch: int = 32
) -> Iterator[Result | InputError]:
    """Let a network that was pruned say what pictures show.

    Args:
        pictures: PNG, JPEG, WebP, TIFF or BMP.
        model: A file that prune or foveate train wrote, in place of the demo network.
        top: Classes to tell.
        crop: Share of a picture's short side that is seen; 0 is the network's own.
        batch: Pictures at a time.

    Returns:
        For each picture a table of classes and probabilities.
    """
    network = open_classifier(str(model or SHIPPED))
    crop = crop or network.crop
    notes = () if model else (DEMO,)
    names = network.labels or tuple(map(str, range(network.classes)))
    for start in range(0, len(pictures), batch):
        read: list[Tensor | InputError] = []
        for path in pictures[start : start + batch]:
            try:
                read.append(method.prepare(read_picture(path), network.side, crop))
            except InputError as error:
                read.append(error)
        views = [view for view in read if isinstance(view, Tensor)]
        chances = iter(evaluate(network, torch.stack(views)).softmax(1) if views else ())
        for view in read:
            if isinstance(view, InputError):
                yield view
                continue
            chance, place = next(chances).topk(min(top, network.classes))
            rows = [(n + 1, names[int(i)], round(float(p), 6)) for n, (p, i) in enumerate(zip(chance, place, strict=True))]
            yield Result({"answer": Table(("rank", "class", "probability"), rows)}, notes)
