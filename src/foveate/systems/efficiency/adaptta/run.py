"""Classify pictures, folders and videos with as many passes as each picture needs; find out how many that are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.readers.pictures import find_pictures
from foveate.results import Picture, Record, Result, Table
from foveate.systems.efficiency.adaptta import policy as rules
from foveate.systems.efficiency.adaptta.confidence import Aggregate, Criterion, running
from foveate.systems.efficiency.adaptta.data import Layout, chosen, pictures_of
from foveate.systems.efficiency.adaptta.figure import draw
from foveate.systems.efficiency.adaptta.method import AdapTTA, Answer, Mode
from foveate.systems.efficiency.adaptta.models import Model, Normalisation, exported, open_model
from foveate.systems.efficiency.adaptta.ready import DEMO, SHIPPED, answered, columns, open_ready, summary
from foveate.systems.efficiency.adaptta.timing import interleaved, threads_of, told
from foveate.systems.efficiency.adaptta.transforms import SETS, Order, SetName
from foveate.systems.efficiency.adaptta.video import frames

FORMATS = "pictures (PNG, JPEG, WebP, TIFF or BMP)"
TIMED = 300  # pictures that `compare` times
FEW = 200  # pictures under which a threshold hangs on single ones


def classify(
    pictures: list[Path],
    policy: Path | None = None,
    model: str = "",
    weights: str = "",
    mode: Mode = "adaptive",
    tau: float | None = None,
    n_max: int = 0,
    batch: int = 1,
    threads: int = 0,
    timing: bool = False,
) -> Iterator[Result | InputError]:
    """Say what each picture shows, with as many passes as it needs.

    Args:
        pictures: Photographs.
        policy: The policy.json that `calibrate` wrote; it knows its classifier.
        model: The classifier, if it lies elsewhere now or there is no policy: a name of timm's or torchvision's
            (torchvision/NAME), a file of weights that foveate wrote, or an .onnx or .torchscript file.
        weights: Weights for a bare name: a state dict, or hub to fetch the library's.
        mode: adaptive, static (all passes, always) or single (one pass).
        tau: Another threshold than the policy's: 0 stops at once, above 1 never.
        n_max: Fewer passes at most than the policy's; 0 for all of them.
        batch: Pictures at a time; one is what the method is for.
        threads: Of the processor; 0 for as many as there are.
        timing: Write milliseconds into the answers, too.

    Returns:
        For each picture its label, probability, passes and the confidence after each of them.
    """
    if batch < 1:
        raise InputError("batch", str(batch), "1 or more")
    ready = open_ready(policy, model, weights, mode, tau, n_max, threads)
    done: list[Answer] = []
    held: list[Result | InputError] = []  # the last result waits for the others' summary, and errors that come after it
    with threads_of(threads):
        for group in _groups(pictures, batch):
            for path, answer in answered(ready, group, mode, batch):
                if isinstance(answer, InputError):
                    held.append(answer)
                    continue
                yield from held
                done.append(answer)
                held = [Result({"answer": Record({"file": path.name, **ready.told(answer, mode, timing)})}, ready.notes)]
    if done:
        first = next(i for i, outcome in enumerate(held) if isinstance(outcome, Result))
        said = ready.line(pictures[-1].name, done[0]) if len(pictures) == 1 else summary(done, ready.tta.policy.n_max, mode)[1]
        held[first] = replace(held[first], notes=(*held[first].notes, said))  # type: ignore[type-var, union-attr]
    yield from held


def folder(
    pictures: Path,
    policy: Path | None = None,
    model: str = "",
    weights: str = "",
    mode: Mode = "adaptive",
    tau: float | None = None,
    n_max: int = 0,
    batch: int = 1,
    threads: int = 0,
    timing: bool = False,
) -> Result:
    """Classify a folder of pictures into one table.

    Args:
        pictures: The folder, of any depth.
        policy: The policy.json that `calibrate` wrote; it knows its classifier.
        model: The classifier, if it lies elsewhere now or there is no policy; see `classify`.
        weights: Weights for a bare name.
        mode: adaptive, static (all passes, always) or single (one pass).
        tau: Another threshold than the policy's: 0 stops at once, above 1 never.
        n_max: Fewer passes at most than the policy's; 0 for all of them.
        batch: Pictures at a time; one is what the method is for.
        threads: Of the processor; 0 for as many as there are.
        timing: Write milliseconds into the table and the summary, too.

    Returns:
        A row for each picture (what is wrong with one stands in its row), and a summary: mean passes, how often each number.
    """
    if batch < 1:
        raise InputError("batch", str(batch), "1 or more")
    if not pictures.is_dir():
        raise InputError(pictures, "is a file" if pictures.exists() else "there is no such folder", f"a folder of {FORMATS}")
    found = find_pictures(pictures)
    if not found:
        raise InputError(pictures, "has no pictures", f"a folder of {FORMATS}")
    ready = open_ready(policy, model, weights, mode, tau, n_max, threads)
    rows: list[list[Any]] = []
    done: list[Answer] = []
    with bar("classifying") as tick, threads_of(threads):
        tick(0, len(found))
        for group in _groups(found, batch):
            for path, answer in answered(ready, group, mode, batch):
                rows.append(ready.row(path.relative_to(pictures).as_posix(), answer, timing))
                done += [] if isinstance(answer, InputError) else [answer]
            tick(len(group))
    if not done:
        raise InputError(pictures, f"has {len(found)} pictures of which none can be read", f"a folder of {FORMATS}")
    values, said = summary(done, ready.tta.policy.n_max, mode, timing)
    failed = len(found) - len(done)
    if failed:
        said += f"; {failed} of {len(found)} cannot be read, see the table"
    table = Table(columns("file", timing, problem=True), rows)
    return Result({"answers": table, "summary": Record(values)}, (*ready.notes, said))


def video(
    video: Path,
    policy: Path | None = None,
    model: str = "",
    weights: str = "",
    mode: Mode = "adaptive",
    tau: float | None = None,
    n_max: int = 0,
    compare: bool = False,
    threads: int = 0,
    timing: bool = False,
) -> Result:
    """Classify a video, frame by frame.

    Args:
        video: The video; one frame at a time is held.
        policy: The policy.json that `calibrate` wrote; it knows its classifier.
        model: The classifier, if it lies elsewhere now or there is no policy; see `classify`.
        weights: Weights for a bare name.
        mode: adaptive, static (all passes, always) or single (one pass).
        tau: Another threshold than the policy's: 0 stops at once, above 1 never.
        n_max: Fewer passes at most than the policy's; 0 for all of them.
        compare: Run all three modes on each frame, in turn, and tell the frames per second of each.
        threads: Of the processor; 0 for as many as there are.
        timing: Write milliseconds into the table and the summary, too.

    Returns:
        A row for each frame, and a summary. Frames per second are told; they are those of classifying, decoding not included.
    """
    ready = open_ready(policy, model, weights, mode, tau, n_max, threads)
    others: list[Mode] = [m for m in ("single", "static", "adaptive") if compare and m != mode]
    done: dict[Mode, list[Answer]] = {m: [] for m in (*others, mode)}
    rows: list[list[Any]] = []
    with bar("frames") as tick, threads_of(threads):
        for number, frame in enumerate(frames(video)):
            for one, found in done.items():
                found.append(ready.tta(frame, one))
            rows.append(ready.row(number, done[mode][-1], timing))
            tick(1, 1)
    values, said = summary(done[mode], ready.tta.policy.n_max, mode, timing)
    rates = {one: len(found) / sum(a.milliseconds / 1000 for a in found) for one, found in done.items()}
    notes = [said, *(f"{one}: {rate:.0f} frames per second" for one, rate in rates.items())]
    values |= {"frames_per_second": rates} if timing else {}
    table = Table(columns("frame", timing), rows)
    return Result({"answers": table, "summary": Record(values)}, (*ready.notes, *notes))


def _groups(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


# ---------------------------------------------------------------------------------------------------------------------
# calibration and comparison
# ---------------------------------------------------------------------------------------------------------------------


def calibrate(
    data: Path,
    model: str = "",
    weights: str = "",
    classes: int = 0,
    side: int = 0,
    normalise: Normalisation = "none",
    layout: Layout = "folder",
    limit: int = 2000,
    transforms: SetName = "crop10",
    n_max: int = 0,
    order: Order = "greedy",
    criterion: Criterion = "margin",
    aggregate: Aggregate = "mean_prob",
    epsilon: float = 0.0,
    temperature: bool = False,
    threads: int = 0,
) -> Result:
    """Find out how sure is sure enough, on labelled pictures that the classifier was not trained on and is not tested on.

    Args:
        data: A folder with a sub-folder of pictures for each class, or another layout.
        model: The classifier: a name of timm's or torchvision's (torchvision/NAME), a file of weights that foveate wrote, or an
            .onnx or .torchscript file. The shipped demo network by default.
        weights: Weights for a bare name: a state dict, or hub to fetch the library's.
        classes: Number of classes, where the weights do not say.
        side: Side of what the classifier sees, where it does not say.
        normalise: What an ONNX or TorchScript file wants its pictures to be, beyond values in [0, 1].
        layout: Of the data: folder, cifar10, cifar100 or imagenet (of which the validation part is used).
        limit: At most so many pictures; 0 for all.
        transforms: crop10, crop5, flip2 or field (turns, zooms, brightness and gamma).
        n_max: The most passes, after ordering; 0 for the whole set.
        order: Of the transforms: greedy, listed or random.
        criterion: How sure is measured: margin, maxprob, entropy or agreement.
        aggregate: How passes are put together: mean_prob, mean_logit or vote.
        epsilon: How much accuracy may be given up against all passes, in percent.
        temperature: Scale the logits first so that the calibration set's probabilities are right.
        threads: Of the processor; 0 for as many as there are.

    Returns:
        The policy, every threshold with the passes and the accuracy that it leads to, as a table and drawn, and a report.
    """
    if n_max < 0 or limit < 0 or threads < 0 or not 0 <= epsilon < 100:
        raise InputError("n_max, limit, threads, epsilon", f"{n_max}, {limit}, {threads}, {epsilon}", "0 or more")
    opened = open_model(model or str(SHIPPED), weights, classes, side, normalise, threads)
    notes: tuple[str, ...] = () if model else (DEMO,)
    if not model:
        opened = replace(opened, source={"model": "shipped"})
    found = chosen(data, layout, "val", opened.labels, opened.classes, limit)
    listed = SETS[transforms]
    tta = AdapTTA(opened.logits, rules.Policy(listed, rules.NEVER, crop=opened.crop, side=opened.side))
    with threads_of(threads):
        logits = _passes(tta, found, opened)
    labels = np.asarray(found.labels)
    policy, curve = rules.calibrate(
        logits, labels, listed, n_max=n_max, criterion=criterion, aggregate=aggregate, order=order, epsilon=epsilon / 100,
        temperature=None if temperature else 1.0, crop=opened.crop, side=opened.side, model=opened.about(),
        labels=opened.labels or found.classes,
    )  # fmt: skip
    about = policy.calibration
    single, static = about["accuracy_single"], about["accuracy_static"]
    said = (
        f"{about['pictures']} pictures: one pass {single:.1%}, all {policy.n_max} {static:.1%}, adaptive "
        f"{about['accuracy_adaptive']:.1%} with {about['mean_passes']:.2f} passes on average"
    )
    if static <= single:
        notes += ("on these pictures all passes are no better than one, so that there is nothing to gain",)
    if len(labels) < FEW:
        notes += (f"{len(labels)} pictures are few: a threshold that is found on a thousand or more is less of a chance",)
    report = Record({**about, "tau": policy.tau, "criterion": criterion, "temperature": policy.temperature,
                     "set": transforms, "transforms": list(policy.transforms), "points": len(curve.tau)})  # fmt: skip
    picture = draw(curve, single, static, (about["mean_passes"], about["accuracy_adaptive"]))
    parts = {"policy": policy, "curve": _table(curve), "report": report, "figure": picture}
    return Result(parts, (*notes, said))


def _passes(tta: AdapTTA, found: Any, opened: Model) -> np.ndarray:
    """Run all passes over labelled pictures, with a bar."""
    with bar("all passes") as tick:
        tick(0, len(found))

        def pictures() -> Iterator[Picture]:
            for picture in pictures_of(found):
                yield picture
                tick(1)

        logits = tta.all_passes(pictures())
    if logits.shape[2] != opened.classes:
        raise InputError(opened.name, f"returns {logits.shape[2]} classes", f"{opened.classes}, as it says")
    return logits


def _table(curve: rules.Curve) -> Table:
    return Table(("tau", "mean_passes", "accuracy"), [[float(v) for v in row] for row in zip(*curve, strict=True)])


def compare(
    data: Path,
    policy: Path | None = None,
    model: str = "",
    weights: str = "",
    layout: Layout = "folder",
    limit: int = 0,
    tau: float | None = None,
    n_max: int = 0,
    repeats: int = 3,
    threads: int = 1,
    timing: bool = False,
) -> Result:
    """Measure on labelled pictures what one pass, all passes and as many as needed give and take.

    Args:
        data: A folder with a sub-folder of pictures for each class, or another layout; not the pictures of the calibration.
        policy: The policy.json that `calibrate` wrote; the shipped demo's by default.
        model: The classifier, if it lies elsewhere now.
        weights: Weights for a bare name.
        layout: Of the data: folder, cifar10, cifar100 or imagenet (of which the test part is used).
        limit: At most so many pictures; 0 for all.
        tau: Another threshold than the policy's.
        n_max: Fewer passes at most than the policy's.
        repeats: Rounds of the timing, on up to 300 pictures; 0 leaves it out.
        threads: Of the processor.
        timing: Write milliseconds into the table, too.

    Returns:
        Accuracy, passes and the test against all passes for each mode, for stopping at random with the same passes, and for an
        oracle that stops as soon as the answer is right; all thresholds as a table and drawn. Times are told.
    """
    if limit < 0 or repeats < 0 or threads < 1:
        raise InputError("limit, repeats, threads", f"{limit}, {repeats}, {threads}", "0 or more, threads 1 or more")
    ready = open_ready(policy, model, weights, "static", tau, n_max, threads)
    used, opened = ready.tta.policy, ready.model
    found = chosen(data, layout, "test", opened.labels or used.labels, opened.classes, limit)
    labels = np.asarray(found.labels)
    with threads_of(threads):
        logits = _passes(ready.tta, found, opened)
        times = _times(ready.tta, found, repeats)
    p, sure = running(logits, used.criterion, used.aggregate, used.temperature)
    adaptive = rules.stops(sure, used.tau, ready.tta.least)
    passes = {
        "single": np.ones_like(adaptive), "static": np.full_like(adaptive, used.n_max), "adaptive": adaptive,
        "random_stop": rules.random_stop(adaptive, np.random.default_rng(0)), "oracle": rules.oracle(p, labels),
    }  # fmt: skip
    static = rules.answers(p, passes["static"]) == labels
    columns = ["mode", "accuracy", *(["top5"] if opened.classes > 10 else []), "mean_passes", "fewer_passes", "mcnemar_p"]
    rows = []
    for name, k in passes.items():
        right = rules.answers(p, k) == labels
        top5 = [_top5(p[np.arange(len(k)), k - 1], labels)] if opened.classes > 10 else []
        spent = [float(np.median(times[name]))] if name in times else [""]
        row = [name, float(right.mean()), *top5, float(k.mean()), used.n_max / float(k.mean()), rules.mcnemar(right, static)]
        rows.append(row + (spent if timing else []))
    curve = rules.sweep(p, sure, labels, ready.tta.least)
    accuracy = {row[0]: row[1] for row in rows}
    notes = [
        f"{len(labels)} pictures: one pass {accuracy['single']:.1%}, all {used.n_max} {accuracy['static']:.1%}, adaptive "
        f"{accuracy['adaptive']:.1%} with {adaptive.mean():.2f} passes on average"
    ]
    notes += [f"{name}: {told(found)}" for name, found in times.items()]
    if times:
        notes.append(f"adaptive is {times['static'].mean() / times['adaptive'].mean():.2f} times as fast as static")
    report = Record({
        "pictures": len(labels), "tau": used.tau, "criterion": used.criterion,
        "pictures_by_passes": {str(k): int((adaptive == k).sum()) for k in range(1, used.n_max + 1)},
        "transforms": list(used.transforms),
    })  # fmt: skip
    figure = draw(curve, accuracy["single"], accuracy["static"], (float(adaptive.mean()), accuracy["adaptive"]))
    table = Table(columns + (["milliseconds"] if timing else []), rows)
    return Result({"modes": table, "curve": _table(curve), "report": report, "figure": figure}, (*ready.notes, *notes))


def _top5(p: np.ndarray, labels: np.ndarray) -> float:
    return float((np.argsort(-p, axis=1)[:, :5] == labels[:, None]).any(axis=1).mean())


def _times(tta: AdapTTA, found: Any, repeats: int) -> dict[str, np.ndarray]:
    """Time the three modes side by side."""
    if not repeats:
        return {}
    decoded = list(itertools.islice(pictures_of(found), TIMED))
    modes: tuple[Mode, ...] = ("single", "static", "adaptive")
    return interleaved({mode: lambda picture, mode=mode: tta(picture, mode) for mode in modes}, decoded, repeats)


# ---------------------------------------------------------------------------------------------------------------------
# integers
# ---------------------------------------------------------------------------------------------------------------------


def quantise(
    data: Path,
    model: str = "",
    weights: str = "",
    classes: int = 0,
    layout: Layout = "folder",
    limit: int = 200,
    precision: Literal["int8", "fp32"] = "int8",
) -> Result:
    """Turn a classifier into ONNX, with 8-bit integers or as it is; a policy is then calibrated for the new one.

    Args:
        data: Pictures like those that it will see; what they make of the activations gives the integers' ranges.
        model: The classifier: a name of timm's or torchvision's, or a file of weights that foveate wrote.
        weights: Weights for a bare name: a state dict, or hub to fetch the library's.
        classes: Number of classes, where the weights do not say.
        layout: Of the data: folder, cifar10, cifar100 or imagenet.
        limit: At most so many pictures.
        precision: int8, or fp32 to leave the floats.

    Returns:
        The network, and its size before and after.
    """
    opened = open_model(model or str(SHIPPED), weights, classes)
    if opened.network is None:
        raise InputError(opened.name, "is a program already, and no network of PyTorch's", "a name, or a file of weights")
    found = chosen(data, layout, "val", opened.labels, opened.classes, max(1, limit))
    with torch.inference_mode():
        views = (opened.network.prepare(picture)[None].numpy() for picture in pictures_of(found))
        network = exported(opened.network, views if precision == "int8" else None)
    floats = sum(4 * t.numel() for t in opened.network.state_dict().values())
    sizes = {"bytes": len(network.content), "bytes_of_floats": floats}
    report = {"model": opened.name, "precision": precision, "pictures": len(found), **sizes}
    said = "calibrate it before it is used adaptively: --model FILE.onnx; the old policy is refused"
    return Result({"network": network, "report": Record(report)}, (*(() if model else (DEMO,)), said))
