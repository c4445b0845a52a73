"""QSFM's claims as experiments."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from foveate.parts.classification import base_classifier, correct, evaluate
from foveate.parts.classifiers import Classifier
from foveate.parts.counting import macs, parameters
from foveate.parts.latency import latency as timed
from foveate.parts.pruning import prunable, shrunk
from foveate.results import Curve
from foveate.systems.efficiency.qsfm.budget import Costs, by_resolution
from foveate.systems.efficiency.qsfm.data import Sample
from foveate.systems.efficiency.qsfm.merging import recalibrate
from foveate.systems.efficiency.qsfm.method import Settings, Study
from foveate.systems.efficiency.qsfm.output import ONNX
from foveate.systems.efficiency.qsfm.selection import Criterion
from foveate.systems.efficiency.qsfm.similarity import Quantifier
from foveate.systems.efficiency.qsfm.train import fine_tuned

Budget = Literal["quick", "full"]

ARMS: dict[str, tuple[Criterion, Quantifier]] = {
    "ssim": ("qsfm", "ssim"),
    "psnr": ("qsfm", "psnr"),
    "l1": ("l1", "ssim"),
    "fpgm": ("fpgm", "ssim"),
    "hrank": ("hrank", "ssim"),
    "random": ("random", "ssim"),
    "anti": ("most_dissimilar", "ssim"),
}
MERGES: tuple[Literal["off", "twin", "lsq"], ...] = ("off", "twin", "lsq")
METRICS = ("off_half", "twin_half", "lsq_half", "off_most", "lsq_most")  # top-1 by merge and by the share that is kept
PAPER = {"keep": 1 - 0.4827, "parameters": 1 - 0.5790}  # of ResNet-56, no fine-tuning
WIDTHS = {"7/25/21": (7, 25, 21), "9/20/23": (9, 20, 23), "12/12/26": (12, 12, 26)}  # inner, by stage: near the paper's budget


def sample(seed: int, budget: Budget) -> Sample:
    """Return the embedded pictures of a seed, each seed its own."""
    count, held_out = {"quick": (256, 128), "full": (6000, 1000)}[budget]
    return Sample(count, held_out, draw=seed, batch_size=32, seed=seed)


def base(seed: int, budget: Budget) -> tuple[Classifier, Sample]:
    """Return the dense network of a seed: trained once for all experiments, with the pictures that it was trained on."""
    data = sample(seed, budget)
    model, steps = {"quick": ("resnet14x0.5_cifar", 30), "full": ("resnet14_cifar", 1100)}[budget]
    return base_classifier(
        model, data, ["qsfm", data.count, data.draw, data.batch_size], steps, seed, 0.05, precision="bf16-mixed"
    ), data


def criteria(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Prune one network by every criterion, with and without merging, and judge at once, without fine-tuning (claim C2).

    All arms keep the same number of filters in each layer: half of them, and three quarters. 128 training pictures, without
    their labels, are what similarities and merges are measured on; the test pictures are only judged on.
    """
    network, data = base(seed, budget)
    pictures = data.tensors("train")[0][:128]
    tested, labels = data.tensors("test")
    study = Study(network, pictures, Settings(criterion="hrank"))  # its measurement brings the ranks, too
    _ = study.alikeness, study.products
    dense = float(correct(evaluate(network, tested), labels).mean())
    found: dict[str, dict[str, Any]] = {"dense": dict.fromkeys(METRICS, dense)}
    for arm, (criterion, quantifier) in ARMS.items():
        mine = study if quantifier == "ssim" else study.under(quantifier=quantifier)
        found[arm] = {}
        for share, rate in (("half", 0.5), ("most", 0.75)):
            counts = {name: max(1, round(rate * channels)) for name, channels in study.costs.channels.items()}
            for merge in MERGES if share == "half" else ("off", "lsq"):
                pruned = mine.under(criterion=criterion, merge=merge, seed=seed).pruned(counts).network
                found[arm][f"{merge}_{share}"] = float(correct(evaluate(pruned, tested), labels).mean())
        shares = [100 * found[arm][f"{merge}_half"] for merge in MERGES]
        found[arm]["curve"] = Curve([0, 1, 2], shares, "top-1, %", "merge: off, twin, lsq")
    return found


def finetuning(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Fine-tune what was pruned to half of the filters, all arms alike (fine-tuning mode of the paper)."""
    network, data = base(seed, budget)
    pictures = data.tensors("train")[0][:128]
    tested, labels = data.tensors("test")
    study = Study(network, pictures, Settings())
    counts = {name: max(1, channels // 2) for name, channels in study.costs.channels.items()}
    found: dict[str, dict[str, Any]] = {}
    for arm in ("ssim", "l1", "random", "anti"):
        pruned = study.under(criterion=ARMS[arm][0], merge="lsq", seed=seed).pruned(counts).network
        before = float(correct(evaluate(pruned, tested), labels).mean())
        tuned = fine_tuned(pruned, data, {"quick": 4, "full": 90}[budget], seed=seed)  # type: ignore[arg-type]
        after = float(correct(evaluate(tuned, tested), labels).mean())
        found[arm] = {"top1": after, "gain": after - before}
    return found


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count what surgery leaves at the paper's budget, and the dense networks (claims C1)."""
    found: dict[str, dict[str, float]] = {}
    shape = (1, 3, 32, 32)
    for name in ("resnet56_cifar", "vgg16_bn_cifar"):
        network = Classifier(name).network.eval()
        found[name] = {"parameters": parameters(network), "macs": macs(network, shape)}
        if name.startswith("resnet"):
            resnet = network
    example = torch.zeros(shape)
    sites, _ = prunable(resnet, example)
    costs = Costs.of(resnet, sites, example)
    wanted = {arm: {name: widths[int(name[5]) - 1] for name in sites} for arm, widths in WIDTHS.items()}
    wanted["found"] = by_resolution(costs, **PAPER)
    for arm, counts in wanted.items():
        smaller = shrunk(resnet, {name: list(range(count)) for name, count in counts.items()}, example)
        size = {"parameters": parameters(smaller), "macs": macs(smaller, shape)}
        before = found["resnet56_cifar"]
        cut = {f"{metric}_cut": 100 * (1 - value / before[metric]) for metric, value in size.items()}
        found[arm] = {**size, **cut}
    return found


def planted(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Plant exact copies of filters, and see whether they go first and are missed by nobody (claim C6)."""
    network = lively(seed)
    copies = plant(network.network, seed)
    pictures = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    found: dict[str, dict[str, float]] = {}
    for arm in ("ssim", "psnr"):
        study = Study(network, pictures, Settings(ARMS[arm][1], merge="twin"))
        counts = {name: channels - len(copies[name]) for name, channels in study.costs.channels.items()}
        pruned = study.pruned(counts)
        missed = sum(
            len(pair & set(pruned.kept[name].tolist())) != 1 for name, pairs in copies.items() for pair in map(set, pairs)
        )
        apart = float((evaluate(network, pictures) - evaluate(pruned.network, pictures)).abs().max())
        found[arm] = {"missed": missed, "error": apart}
    return found


def lively(seed: int) -> Classifier:
    """Make an untrained ResNet-20 whose normalisations have weights and statistics of their own, so that no map is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier("resnet20_cifar").eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
        pictures = torch.rand(32, 3, 32, 32)
    recalibrate(network, pictures)
    # Logits of about one, so that errors are in units that mean something.
    network.network.fc.weight.data /= float(evaluate(network, pictures).std())
    return network


@torch.no_grad()
def plant(network: nn.Module, seed: int, pairs: int = 3) -> dict[str, list[tuple[int, int]]]:
    """Overwrite some filters of each layer that can be pruned, and what normalises them, by copies of others.

    Args:
        network: Changed in place.
        seed: Which.
        pairs: In each layer.

    Returns:
        Layer to pairs of channels that are now the same.
    """
    draw = np.random.default_rng(seed)
    sites, _ = prunable(network, torch.zeros(1, 3, 32, 32))
    found = {}
    for name, site in sites.items():
        chosen = draw.permutation(site.channels)[: 2 * pairs].reshape(-1, 2)
        found[name] = [(int(i), int(j)) for i, j in chosen]
        for i, j in found[name]:
            for member in (site.layer, *site.followers):
                for value in network.get_submodule(member).state_dict().values():
                    if value.ndim:
                        value[j] = value[i]
    return found


def depthwise(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Prune a MobileNetV2's hidden channels and see that everything still fits (claims C3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier("mobilenetv2_050_cifar").eval()
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    study = Study(network, pictures, Settings(ratio="uniform"))
    pruned = study.pruned(study.counts(0.5)).network
    convolutions = {n: m for n, m in pruned.named_modules() if isinstance(m, nn.Conv2d)}
    before = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    grouped = [m for m in convolutions.values() if m.groups > 1]
    wrong = sum(not m.groups == m.in_channels == m.out_channels for m in grouped)
    fixed = [n for n in study.refused if not before[f"network.{n}"].groups > 1]  # what is added to others keeps its width
    sums = sum(convolutions[f"network.{n}"].out_channels != before[f"network.{n}"].out_channels for n in fixed)
    logits = pruned.train()(pictures)
    logits.sum().backward()
    without = sum(p.grad is None for p in pruned.parameters())
    left = 100 * macs(pruned, (1, 3, 32, 32)) / network.macs()
    return {"mobilenetv2": {"mismatches": wrong + sums + without, "depthwise": len(grouped), "macs_left": left}}


def export(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Export a pruned network and run it elsewhere (claim C5)."""
    import onnxruntime

    network = lively(seed)
    pictures = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    study = Study(network, pictures, Settings(ratio="uniform"))
    pruned = study.pruned(study.counts(0.5)).network
    assert isinstance(pruned, Classifier)
    known = {type(m) for m in network.modules()}
    strange = sum(type(m) not in known for m in pruned.modules()) + sum(v.is_sparse for v in pruned.state_dict().values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        ONNX(pruned).write(path)
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"image": pictures.numpy()})
    apart = float(np.abs(answer - evaluate(pruned, pictures).numpy()).max())
    return {"onnx": {"error": apart, "strange": float(strange)}}


def speed(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Time one picture at a time on one thread: ResNet-56 whole and at the paper's budget (claim C4 on this machine)."""
    network = _dense_and_pruned(seed)
    picture = torch.rand(1, 3, 32, 32)
    found: dict[str, list[float]] = {arm: [] for arm in network}
    for _ in range(4):  # in turns: a machine that is busy for a while slows both
        for arm, one in network.items():
            found[arm] += timed(one, [picture] * {"quick": 5, "full": 50}[budget], 5).tolist()
    return {arm: {"latency": float(np.median(values))} for arm, values in found.items()}


def _dense_and_pruned(seed: int) -> Mapping[str, nn.Module]:
    network = Classifier("resnet56_cifar").network.eval()
    example = torch.zeros(1, 3, 32, 32)
    sites, _ = prunable(network, example)
    counts = by_resolution(Costs.of(network, sites, example), **PAPER)
    return {"dense": network, "pruned": shrunk(network, {n: list(range(c)) for n, c in counts.items()}, example)}
