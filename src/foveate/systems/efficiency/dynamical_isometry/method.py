"""Pruning seen as an initialisation: what to cut, how isometric the rest is, how it is repaired (section 3)."""

from __future__ import annotations

import copy
import fnmatch
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts import pruning
from foveate.parts import weights as files
from foveate.parts.classifiers import EXPECTED, Classifier, open_classifier, prepare
from foveate.parts.counting import macs, parameters
from foveate.parts.progress import Tick
from foveate.systems.efficiency.dynamical_isometry import networks
from foveate.systems.efficiency.dynamical_isometry.jacobian import MOST_OUTPUTS, Isometry, isometry, singular_values, summary
from foveate.systems.efficiency.dynamical_isometry.networks import SmallClassifier
from foveate.systems.efficiency.dynamical_isometry.repairs import (
    STEPS,
    Repair,
    layers,
    natural_gain,
    orthogonalised,
    repair,
)

__all__ = [
    "Classifier", "Cut", "Isometry", "Repair", "SmallClassifier", "Subject", "cost", "example", "isometry", "kept_units",
    "natural_gain", "normalised", "opened", "orthogonalised", "prepare", "prunable", "pruned", "ratios", "recovered", "removed",
    "repair", "singular_values", "summary", "trainability", "weight_masks",
]  # fmt: skip

Criterion = Literal["l1", "random", "max"]


Subject = SmallClassifier | Classifier  # pictures in [0, 1] to logits; the network itself stands under `.network`


def normalised(subject: Subject, pictures: Tensor) -> Tensor:
    """Return what the network itself is given; by this its Jacobian is taken: by pictures it would be 1 / std times larger."""
    if isinstance(subject, SmallClassifier):
        return subject.normalised(pictures)
    return (pictures - subject.mean) / subject.std


def opened(model: str | Path, weights: Path | None = None, classes: int = 0, side: int = 0) -> Subject:
    """Open a network by its name or its file, in evaluation mode.

    Args:
        model: One of `networks.SMALL`, what `foveate.parts.classifiers.open_classifier` knows, or a file that foveate wrote.
        weights: A state dict for a name.
        classes: Of a network with random weights; by default its own number.
        side: Of the pictures; by default the network's own.

    Raises:
        InputError: If there is no such network or file, or the weights do not fit.
    """
    path, name = Path(model), str(model)
    if path.is_dir():
        raise InputError(path, "is a folder", EXPECTED)
    if name in networks.SMALL:
        small = SmallClassifier(name, classes or 10, side or 32)  # type: ignore[arg-type]
        return _filled(small, weights) if weights else small.eval()
    if path.is_file() and not weights:
        _, arguments = files.read(path)
        if arguments.get("model") in networks.SMALL:
            return files.load(SmallClassifier, path)
    return open_classifier(name, weights or "", classes, side)


def _filled(small: SmallClassifier, weights: Path) -> SmallClassifier:
    """Load a state dict of the bare network (``0.weight``, ``2.weight`` ...), or of the whole."""
    state = files.read_checkpoint(weights)
    state = state["state_dict"] if isinstance(state.get("state_dict"), dict) else state
    try:
        small.network.load_state_dict({str(key).removeprefix("network."): value for key, value in state.items()})
    except (RuntimeError, AttributeError, TypeError) as error:
        said = textwrap.shorten(str(error).partition(":")[2] or str(error), 200)
        model = small.arguments["model"]
        raise InputError(weights, f"does not fit {model}: {said}", "weights of that network") from error
    return small.eval()


def example(subject: Subject) -> Tensor:
    """Return a grey picture of the right size, normalised: ``(1, C, side, side)``."""
    place = next(subject.parameters())
    return normalised(subject, torch.full((1, 3, subject.side, subject.side), 0.5).to(place))


def cost(subject: Subject) -> dict[str, int]:
    """Count parameters, and multiply-accumulates for one picture."""
    return {"parameters": parameters(subject.network), "macs": macs(subject.network, tuple(example(subject).shape))}


def trainability(subject: Subject, pictures: Tensor, most: int = MOST_OUTPUTS, seed: int = 0) -> Isometry:
    """Measure the singular values of a classifier's Jacobian at pictures ``(B, 3, side, side)`` in [0, 1]."""
    return isometry(subject.network, normalised(subject, pictures), most, seed)


# ---------------------------------------------------------------------------------------------------------------------
# what is cut
# ---------------------------------------------------------------------------------------------------------------------


def removed(ratio: float, units: int) -> int:
    """Count the units that a ratio removes: rounded up, but never all.

    Example:
        >>> removed(0.8, 100), removed(0.55, 100), removed(0.3, 16), removed(0.99, 4)
        (80, 55, 5, 3)
    """
    # 0.55 times 100 is a little over 55 in floating point.
    return max(0, min(math.ceil(ratio * units - 1e-9), units - 1))


def prunable(subject: Subject) -> tuple[dict[str, int], dict[str, str]]:
    """Tell which layers have units of their own to cut, by their names within ``subject.network``.

    Returns:
        Layer to number of units, in the network's order; and layer to why it is left alone: its units are added to others'
        (the last convolution of a residual block), or are the classes.
    """
    if isinstance(subject, SmallClassifier):
        names = [str(i) for i, m in enumerate(subject.network) if isinstance(m, nn.Linear | nn.Conv2d)]
        found = dict(zip(names[:-1], networks.widths_of(subject), strict=True))
        return found, {names[-1]: "its units are the classes"}
    sites, refused = pruning.prunable(subject.network, example(subject))
    return {name: site.channels for name, site in sites.items()}, refused


def ratios(found: Mapping[str, int], ratio: float | str, model: str = "") -> dict[str, float]:
    """Give each prunable layer its ratio.

    Args:
        found: Layer to units; see `prunable`.
        ratio: One for all layers, or patterns with ratios, ``*layer1*.conv1:0.3,*layer2*:0.5``, of which the last that fits
            counts; layers that none fits stay whole.
        model: The network's name: with one ratio for all, the first convolution of a VGG stays whole, as in the paper.

    Raises:
        InputError: If a ratio is not from 0 to 1, a pattern fits no layer, or nothing can be pruned at all.
    """
    if not found:
        wanted = "a network with convolutions or linear layers between its first and its last layer"
        raise InputError(model or "model", "has no layer whose units can be cut", wanted)
    text = str(ratio)
    if ":" not in text:
        value = _ratio(text)
        chosen = dict.fromkeys(found, value)
        if "vgg" in model:
            chosen[next(iter(found))] = 0.0
        return chosen
    chosen = dict.fromkeys(found, 0.0)
    for entry in text.split(","):
        pattern, _, value = entry.strip().rpartition(":")
        hits = [name for name in found if fnmatch.fnmatchcase(name, pattern)]
        if not hits:
            shown = ", ".join(list(found)[:6]) + (" ..." if len(found) > 6 else "")
            raise InputError("ratio", f"{pattern!r} fits no layer that can be pruned", f"a pattern of names such as {shown}")
        chosen.update(dict.fromkeys(hits, _ratio(value)))
    return chosen


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise InputError("ratio", f"{text!r} is no share", "a number from 0 to less than 1, or patterns such as *conv1:0.5")
    return value


def kept_units(
    subject: Subject, chosen: Mapping[str, float], criterion: Criterion = "l1", seed: int = 0
) -> dict[str, list[int]]:
    """Choose the units to keep, all layers at once: each one's score is the L1 norm of its incoming weights.

    All of the incoming weights count, also those from units that go in the same shot.

    Args:
        subject: The dense one.
        chosen: Layer to ratio; see `ratios`.
        criterion: ``l1`` removes the units with the least norms; ``max``, those with the greatest; ``random``, any.
        seed: Of ``random``.

    Returns:
        Layer to the positions of its kept units, ascending.
    """
    generator = torch.Generator().manual_seed(seed)
    keep = {}
    for name, ratio in chosen.items():
        weight = subject.network.get_submodule(name).weight.detach()
        score = weight.flatten(1).abs().sum(1).cpu()
        if criterion == "random":
            score = torch.rand(len(weight), generator=generator)
        elif criterion == "max":
            score = -score
        order = torch.argsort(score, stable=True)
        keep[name] = sorted(order[removed(ratio, len(weight)) :].tolist())
    return keep


def pruned(subject: Subject, keep: Mapping[str, Sequence[int]]) -> Subject:
    """Cut units out for good: a smaller network of dense layers; the given one stays as it is.

    Args:
        subject: The dense one.
        keep: Layer to kept units; see `kept_units`.
    """
    sizes = {name: len(subject.network.get_submodule(name).weight) for name in keep}
    cut = {name: list(units) for name, units in keep.items() if len(units) < sizes[name]}
    if isinstance(subject, SmallClassifier):
        return networks.shrunk(subject, cut)
    return subject.with_network(pruning.shrunk(subject.network, cut, example(subject)))


def weight_masks(network: nn.Module, ratio: float) -> dict[str, Tensor]:
    """Choose single weights to keep, the greatest ones of every layer but the last: ``True`` in masks of their shapes."""
    found = layers(network)
    masks = {}
    for name, layer in list(found.items())[:-1]:
        size = layer.weight.detach().abs().flatten()
        mask = torch.ones(len(size), dtype=torch.bool)
        mask[torch.argsort(size, stable=True)[: removed(ratio, len(size))].cpu()] = False
        masks[name] = mask.reshape(layer.weight.shape)
    return masks


@torch.no_grad()
def apply_masks(subject: Subject, masks: Mapping[str, Tensor]) -> None:
    """Set the weights that are not kept to 0, in place."""
    for name, mask in masks.items():
        weight = subject.network.get_submodule(name).weight
        weight.mul_(mask.to(weight.device))


# ---------------------------------------------------------------------------------------------------------------------
# cut and repaired
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A network that was pruned, and perhaps repaired.

    Attributes:
        subject: The network, compact if units were cut.
        keep: Layer to kept units.
        masks: Layer to the weights that are kept, if single weights were cut.
        gain: Of orthogonal weights.
        notes: What the user should know.
    """

    subject: Subject
    keep: Mapping[str, list[int]]
    masks: dict[str, Tensor]
    gain: float
    notes: tuple[str, ...] = ()


def recovered(
    subject: Subject,
    ratio: float | str = 0.8,
    unit: Literal["filter", "weight"] = "filter",
    criterion: Criterion = "l1",
    how: Repair = "none",
    gain: float | Literal["auto"] = "auto",
    seed: int = 0,
    steps: int = STEPS,
    tick: Tick | None = None,
) -> Cut:
    """Prune a network in one shot, and repair what is left of it.

    Args:
        subject: The dense one; it stays as it is.
        ratio: Share of units (or weights) to cut, or patterns; see `ratios`.
        unit: ``filter`` cuts units of layers out, filters or neurons; ``weight`` sets single weights to 0.
        criterion: Which units; see `kept_units`. Single weights go by their size.
        how: See `repairs.repair`.
        gain: Of orthogonal weights; ``auto`` asks `natural_gain`.
        seed: Of what is drawn.
        steps: Of ``approx_isometry``.
        tick: Told of repaired layers.

    Raises:
        InputError: If nothing can be pruned, or single weights were cut and shall be repaired.
    """
    if unit == "weight" and how != "none":
        wrong = f"{how} would fill in again the single weights that unit=weight has set to 0"
        raise InputError("repair", wrong, "none with unit=weight, or unit=filter")
    masks: dict[str, Tensor] = {}
    keep: dict[str, list[int]] = {}
    if unit == "weight":
        smaller = copy.deepcopy(subject)
        masks = weight_masks(smaller.network, _ratio(str(ratio)))
        if not masks:
            raise InputError("model", "has fewer than two layers with weights", "a network of several layers")
        apply_masks(smaller, masks)
    elif ratio:
        found, _ = prunable(subject)
        keep = kept_units(subject, ratios(found, ratio, subject.arguments["model"]), criterion, seed)
        smaller = pruned(subject, keep)
    else:
        smaller = copy.deepcopy(subject)
    factor = natural_gain(smaller.network, example(smaller)) if gain == "auto" else float(gain)
    notes = repair(smaller.network, how, factor, seed, steps, tick)
    if how == "orthp" and isinstance(smaller, SmallClassifier):
        widths, classes = networks.widths_of(smaller), smaller.arguments["classes"]
        if min(widths) < classes:
            notes.append(
                f"a width of {min(widths)} is less than the {classes} classes: singular values of 0 are bound to remain"
            )
    return Cut(smaller, keep, masks, factor, tuple(notes))


@dataclass(frozen=True)
class Layer:
    """The singular values of one layer's weight, as a matrix of outputs by everything else.

    Attributes:
        name: The layer.
        shape: Of its weight.
        mean: Mean of the singular values.
        min: The least.
        max: The greatest.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    min: float
    max: float


@torch.no_grad()
def by_layer(network: nn.Module) -> list[Layer]:
    """Take the singular values of every layer's weight, of each group of a grouped convolution by itself."""
    found = []
    for name, layer in layers(network).items():
        groups = getattr(layer, "groups", 1)
        values = torch.linalg.svdvals(layer.weight.reshape(groups, len(layer.weight) // groups, -1).float())
        found.append(Layer(name, tuple(layer.weight.shape), float(values.mean()), float(values.min()), float(values.max())))
    return found
