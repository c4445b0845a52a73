"""QSFM: filters whose feature maps are like those of others are removed, for good.

A layer's output is a stack of maps. Where two of them show the same, one is enough: measure how alike all pairs are on some
pictures, remove one of the most similar pair, and so on until each layer has what its budget allows. What is left is an
ordinary, smaller network.

Paper: arXiv 2105.06052.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveate.errors import InputError
from foveate.parts.classifiers import Classifier
from foveate.parts.classifiers import prepare as prepare
from foveate.parts.progress import bar
from foveate.parts.pruning import Site, prunable, shrunk
from foveate.systems.efficiency.qsfm import budget, merging, selection
from foveate.systems.efficiency.qsfm.budget import Costs, Of
from foveate.systems.efficiency.qsfm.merging import Merge
from foveate.systems.efficiency.qsfm.selection import Criterion, Drop
from foveate.systems.efficiency.qsfm.similarity import Alikeness, Quantifier, Tap, Window, evaluating, measure

Ratio = Literal["sensitivity", "uniform"]


@dataclass(frozen=True)
class Settings:
    """The method's switches.

    Attributes:
        quantifier: How alike two maps are: ``ssim`` or ``psnr``, the paper's; ``l2``; ``cosine``.
        window: Of ``ssim``: statistics of the whole map, or of a moving Gaussian window of 11 pixels.
        tap: Where maps are taken: after the activation, the normalisation or the convolution.
        criterion: What goes first; ``qsfm`` is the paper's, see `selection.removal_order` for the others.
        drop: ``pair`` or ``rank``; see `selection.by_pairs` and `selection.by_rank`.
        merge: Whether the kept channels take over what the removed ones did; see `merging.expressed`.
        ratio: How the budget is divided among the layers.
        recalibrate: Measure the batch normalisations' statistics anew afterwards. It is no fine-tuning, but not nothing either.
        seed: Of the criterion ``random``.
    """

    quantifier: Quantifier = "ssim"
    window: Window = "global"
    tap: Tap = "act"
    criterion: Criterion = "qsfm"
    drop: Drop = "pair"
    merge: Merge = "lsq"
    ratio: Ratio = "sensitivity"
    recalibrate: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Twin:
    """A kept filter that stands for a removed one: its index, and how alike their maps are."""

    index: int
    similarity: float


@dataclass(frozen=True)
class Pruned:
    """A smaller network, and how it came about.

    Attributes:
        network: The smaller network.
        kept: Layer to the indices of its kept filters.
        twins: Layer to removed filter to the kept one that is most like it.
        order: Layer to all of its channels, the first removed first.
        similarity: Layer to its matrix, float64 ``(C, C)``.
        refused: Convolution to why it was left alone.
    """

    network: nn.Module
    kept: Mapping[str, np.ndarray]
    twins: Mapping[str, Mapping[int, Twin]]
    order: Mapping[str, np.ndarray]
    similarity: Mapping[str, np.ndarray]
    refused: Mapping[str, str]


def prune(
    network: nn.Module,
    pictures: Tensor,
    keep: float = 0.5,
    of: Of = "macs",
    parameters: float | None = None,
    counts: Mapping[str, int] | None = None,
    held_out: Tensor | None = None,
    settings: Settings | None = None,
    batch: int = 32,
) -> Pruned:
    """Make a network smaller by removing filters; see `Study` to compare settings on one network.

    Args:
        network: A `foveate.parts.classifiers.Classifier`, or any network that turns pictures into logits. It stays as it is.
        pictures: What it sees, ``(N, 3, H, W)``, about a hundred of the kind that it will see. No labels are needed.
        keep: Share of the cost that is left.
        of: Of what: multiply-accumulates, parameters, or filters of the layers that can be pruned.
        parameters: Share of the parameters, as a second budget beside ``keep`` of the multiply-accumulates; ``ratio`` is then
            not used.
        counts: Filters that each layer keeps, in place of any budget.
        held_out: Other pictures, on which each layer's sensitivity is measured; ``pictures`` by default.
        settings: The switches.
        batch: Pictures at a time.

    Raises:
        InputError: If nothing can be pruned, or the budget cannot be met.
    """
    study = Study(network, pictures, settings or Settings(), batch)
    if counts is None:
        counts = study.counts(keep, of, parameters, pictures if held_out is None else held_out)
    return study.pruned(counts)


class Study:
    """A network and what some pictures tell of it: measured once, used for any number of budgets, criteria and merges.

    Args:
        network: See `prune`.
        pictures: See `prune`.
        settings: The switches.
        batch: Pictures at a time.
        name: What errors call the network.

    Attributes:
        sites: The convolutions that can be pruned, by name.
        refused: The others, each with the reason.

    Raises:
        InputError: If nothing can be pruned, or there are no pictures.
    """

    def __init__(
        self, network: nn.Module, pictures: Tensor, settings: Settings | None = None, batch: int = 32, name: str = ""
    ) -> None:
        self.given, self.settings, self.batch = network, settings or Settings(), batch
        self.name = name or getattr(network, "model", type(network).__name__)
        self.network = network.network if isinstance(network, Classifier) else network
        if not len(pictures):
            raise InputError("pictures", "there are none", "some pictures of the kind that the network will see")
        self.pictures = self._seen(pictures)
        if not any(isinstance(m, nn.Conv2d) for m in self.network.modules()):
            raise InputError(self.name, "has no convolution, so no filters that could be removed", "a convolutional network")
        sites, refused = prunable(self.network, self.pictures[:1])
        self.sites: dict[str, Site] = {n: s for n, s in sites.items() if self._is_convolution(n) and s.channels > 1}
        self.refused = {n: reason for n, reason in refused.items() if self._is_convolution(n)}
        if not self.sites:
            layer, reason = next(iter(self.refused.items()), ("its only one", "has a single filter"))
            wrong = f"none of its convolutions can be pruned: {layer} {reason}"
            raise InputError(self.name, wrong, "a network with convolutions whose width is free, as in residual blocks")

    def _is_convolution(self, name: str) -> bool:
        return isinstance(self.network.get_submodule(name), nn.Conv2d)

    def _seen(self, pictures: Tensor) -> Tensor:
        """Turn pictures into what the bare network sees, where it is."""
        place = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        given = pictures.to(place)
        return (given - self.given.mean) / self.given.std if isinstance(self.given, Classifier) else given

    def under(self, **changes: str | int | bool) -> Study:
        """Return a study of the same network under other settings; what does not depend on them is not measured again."""
        other = object.__new__(Study)
        other.__dict__.update(self.__dict__)
        other.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        if {"quantifier", "window", "tap"} & changes.keys() or (changes.get("criterion") == "hrank" and not self._has_ranks):
            other.__dict__.pop("alikeness", None)
        return other

    @property
    def _has_ranks(self) -> bool:
        known: dict[str, Alikeness] = self.__dict__.get("alikeness", {})
        return any(a.ranks is not None for a in known.values())

    @cached_property
    def costs(self) -> Costs:
        """What the network costs with fewer filters."""
        return Costs.of(self.network, self.sites, self.pictures[:1])

    @cached_property
    def alikeness(self) -> dict[str, Alikeness]:
        """How alike the maps of each layer are."""
        s = self.settings
        ranks = s.criterion == "hrank"
        return measure(self.network, self.sites, self.pictures, s.quantifier, s.window, s.tap, self.batch, ranks)

    @cached_property
    def products(self) -> dict[str, dict[str, np.ndarray]]:
        """Products of the channels of each layer, where they are read."""
        return merging.products(self.network, self.sites, self.pictures, self.batch)

    def order(self) -> dict[str, np.ndarray]:
        """Order the channels of each layer: the first is removed first."""
        s = self.settings
        found = {}
        for number, name in enumerate(self.sites):
            filters = self.network.get_submodule(name).weight.detach().float().cpu().numpy()
            seed = int(np.random.SeedSequence((s.seed, number)).generate_state(1)[0])
            found[name] = selection.removal_order(s.criterion, filters, self.alikeness[name], s.drop, seed)
        return found

    def counts(
        self, keep: float, of: Of = "macs", parameters: float | None = None, held_out: Tensor | None = None
    ) -> dict[str, int]:
        """Divide a budget among the layers.

        Args:
            keep: Share of the cost that is left.
            of: Of what.
            parameters: A second budget; see `prune`.
            held_out: Pictures on which sensitivities are measured; those of the study by default.

        Returns:
            Layer to the filters that it keeps.

        Raises:
            InputError: If the budget cannot be met.
        """
        if parameters is not None:
            if of != "macs":
                raise InputError("parameters", f"a second budget beside one of {of}", "one beside of=macs")
            return budget.by_resolution(self.costs, keep, parameters)
        budget.check_reachable(self.costs, keep, of)
        if self.settings.ratio == "uniform" or keep == 1:
            return budget.uniform(self.costs, keep, of)
        return budget.by_sensitivity(self.costs, self.sensitivities(held_out), keep, of)

    def sensitivities(self, held_out: Tensor | None = None) -> dict[str, list[float]]:
        """Tell what the network loses if one layer alone is pruned, at each of `budget.LEVELS`.

        Args:
            held_out: Pictures to judge by, not labelled; those of the study by default.

        Returns:
            Layer to the mean divergence of the pruned network's class probabilities from the whole network's, in nats.
        """
        pictures = self.pictures if held_out is None else self._seen(held_out)
        order = self.order()
        found: dict[str, list[float]] = {name: [] for name in self.sites}
        with bar("measuring sensitivity") as tick, evaluating(self.network):
            tick(0, len(self.sites) * len(budget.LEVELS))
            whole = self._logits(pictures)
            for name, site in self.sites.items():
                for level in budget.LEVELS:
                    kept, removed = _split(order[name], max(1, round(level * site.channels)))
                    coefficients = self._coefficients(name, kept, removed)
                    with merging.folded(self.network, site, kept, removed, coefficients):
                        found[name].append(_divergence(whole, self._logits(pictures)))
                    tick(1)
        return found

    def _logits(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.network(part) for part in pictures.split(self.batch)])

    def _coefficients(self, name: str, kept: np.ndarray, removed: np.ndarray) -> dict[str, np.ndarray]:
        if self.settings.merge == "off":
            nothing = np.zeros((len(removed), len(kept)))
            return dict.fromkeys(self.sites[name].consumers, nothing)
        twin = selection.twins(self.alikeness[name].similarity, kept)
        return {
            consumer: merging.expressed(product, kept, removed, twin, self.settings.merge)
            for consumer, product in self.products[name].items()
        }

    def pruned(self, counts: Mapping[str, int]) -> Pruned:
        """Remove filters.

        Args:
            counts: Layer to the filters that it keeps; layers that are not named keep all.
        """
        order = self.order()
        parts = {name: _split(order[name], counts.get(name, site.channels)) for name, site in self.sites.items()}
        changed = copy.deepcopy(self.network)
        for name, (kept, removed) in parts.items():
            if len(removed) and self.settings.merge != "off":
                for consumer, coefficients in self._coefficients(name, kept, removed).items():
                    layer = changed.get_submodule(consumer)
                    merging.fold(layer, self.sites[name].channels, kept, removed, coefficients)
        smaller = shrunk(changed, {name: kept.tolist() for name, (kept, _) in parts.items()}, self.pictures[:1])
        if self.settings.recalibrate:
            merging.recalibrate(smaller, self.pictures, self.batch)
        similarity = {name: found.similarity for name, found in self.alikeness.items()}
        twins = {
            name: {j: Twin(i, float(similarity[name][j, i])) for j, i in selection.twins(similarity[name], kept).items()}
            for name, (kept, _) in parts.items()
        }
        whole = self.given.with_network(smaller) if isinstance(self.given, Classifier) else smaller
        kept_by_layer = {name: kept for name, (kept, _) in parts.items()}
        return Pruned(whole, kept_by_layer, twins, order, similarity, self.refused)


def _split(order: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide a layer's channels into the kept, sorted, and the removed, in the order of their removal."""
    removed = order[: len(order) - count]
    return np.sort(order[len(order) - count :]), removed


def _divergence(whole: Tensor, pruned: Tensor) -> float:
    """Return the mean Kullback-Leibler divergence of class probabilities, in nats."""
    expected, found = (functional.log_softmax(logits.double(), 1) for logits in (whole, pruned))
    return float(functional.kl_div(found, expected, reduction="batchmean", log_target=True))
