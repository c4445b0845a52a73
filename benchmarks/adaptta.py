"""AdapTTA against static test-time augmentation, ttach's and ours: accuracy, passes, and time one picture after the other.

``python benchmarks/adaptta.py [--pictures 300] [--repeats 3] [--larger resnet32_cifar] [--out benchmarks/adaptta.json]``

Shapes: the shipped ResNet-14 on embedded pictures that are shifted, calibrated on 1,500 others; all see the same views, and
ttach is given what they are cut out of. Accuracy is that on 2,000 pictures, time that on ``--pictures`` of them, on one thread
and on two: the ways alternate on each picture, and each picture's median counts. ``--larger`` trains a larger network as long
on the same pictures, to answer in one pass: the other way to spend the time (minutes). Photographs: a MobileNetV2 at 224 x 224
with random weights: what views cost beside passes, where pictures are large.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import ttach

from foveate.parts import weights
from foveate.parts.classifiers import Classifier
from foveate.results import Picture
from foveate.samples.photographs import photographs
from foveate.samples.shapes import shapes
from foveate.systems.efficiency.adaptta import AdapTTA, Policy, calibrate
from foveate.systems.efficiency.adaptta.ready import SHIPPED
from foveate.systems.efficiency.adaptta.timing import interleaved, threads_of
from foveate.systems.efficiency.adaptta.train import base
from foveate.systems.efficiency.adaptta.transforms import SETS, canvas


def peer(network: Classifier, side: int, crop: float):
    """Wrap a network as ttach's users do: the crops and their mirrors, probabilities averaged."""
    with_softmax = torch.nn.Sequential(network, torch.nn.Softmax(1))
    transforms = ttach.Compose([ttach.HorizontalFlip(), ttach.FiveCrops(side, side)])
    wrapped = ttach.ClassificationTTAWrapper(with_softmax, transforms, merge_mode="mean")

    def ask(picture: Picture) -> np.ndarray:
        with torch.inference_mode():
            return wrapped(canvas(picture, side, crop)[None])[0].numpy()

    return ask


def row(ms: np.ndarray, accuracy: float | None = None, passes: float | None = None) -> dict[str, float | None]:
    """Put a way's figures together."""
    spent = {"mean_ms": float(ms.mean()), "p50_ms": float(np.median(ms)), "p95_ms": float(np.percentile(ms, 95))}
    return {"accuracy": accuracy, "passes": passes, **spent, "per_second": float(1000 / ms.mean())}


def on_shapes(options: argparse.Namespace, threads: int, larger: Classifier | None) -> dict[str, dict[str, float | None]]:
    """Compare the ways on embedded pictures."""
    network = weights.load(Classifier, SHIPPED)
    val, test = shapes(1500, 1, None), shapes(2000, 2, None)
    asked = AdapTTA(network, Policy(SETS["crop10"], 2.0, side=network.side, crop=network.crop))
    logits = asked.all_passes(iter(val.pictures), 256)
    policy, _ = calibrate(logits, val.labels, SETS["crop10"], side=network.side, crop=network.crop)
    tta, other = AdapTTA(network, policy), peer(network, network.side, network.crop)
    pictures = [Picture(pixels) for pixels in test.pictures]
    ways = {
        "single": lambda p: tta(p, "single").p,
        "ttach": other,
        "static": lambda p: tta(p, "static").p,
        "adaptive": lambda p: tta(p).p,
    }
    if larger is not None:
        alone = AdapTTA(larger, policy)
        ways[f"larger: {larger.model}"] = lambda p: alone(p, "single").p
    apart = max(float(np.abs(ways["static"](p) - other(p)).max()) for p in pictures[:50])
    passes = {"single": 1.0, "ttach": 10.0, "static": 10.0, "adaptive": float(np.mean([tta(p).passes for p in pictures]))}
    times = interleaved(ways, pictures[: options.pictures], options.repeats)
    table = {}
    for name, way in ways.items():
        accuracy = float(np.mean([way(p).argmax() == label for p, label in zip(pictures, test.labels, strict=True)]))
        table[name] = row(times[name], accuracy, passes.get(name, 1.0))
    print(f"shapes, {threads} thread(s); ttach's probabilities and ours are {apart:.1g} apart")
    return table


def on_photographs(options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """Time the ways on photographs at 224 x 224."""
    network = Classifier("mobilenetv2_100", 1000).eval()
    tta = AdapTTA(network, Policy(SETS["crop10"], 2.0, side=224))
    pictures = [Picture(pixels) for part in ("train", "test") for pixels in photographs(part).values()][:10]
    views = {"views alone": lambda p: list(tta.views(p))}
    ways = {"single": lambda p: tta(p, "single"), "ttach": peer(network, 224, 0.875), "static": lambda p: tta(p, "static")}
    times = interleaved({**ways, **views}, pictures, options.repeats, warmup=2)
    return {name: row(ms) for name, ms in times.items()}


def main() -> None:
    """Run all ways in turn and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--larger", default="", help="a network that is trained to answer in one pass")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    larger = base(options.larger) if options.larger else None
    tables: dict[str, dict[str, dict[str, float | None]]] = {}
    for threads in (1, 2):
        with threads_of(threads):
            tables[f"shapes, {threads} threads"] = on_shapes(options, threads, larger if threads == 1 else None)
    with threads_of(1):
        tables["photographs, 1 threads"] = on_photographs(options)
    for title, table in tables.items():
        print(title)
        for name, figures in table.items():
            told = "" if figures["accuracy"] is None else f"{figures['accuracy']:7.2%} {figures['passes']:6.2f} passes"
            ratio = table["static"]["mean_ms"] / figures["mean_ms"]
            print(f"  {name:<24} {told:<22} {figures['mean_ms']:8.2f} ms {figures['per_second']:7.1f} /s {ratio:5.2f} x static")
    from foveate.evidence import machine, versions

    settings = {"pictures": options.pictures, "repeats": options.repeats, "ttach": ttach.__version__}
    content = {**settings, "tables": tables, "machine": machine(), "versions": versions()}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
