"""How many filters each layer keeps: one share for all, by each layer's sensitivity, or as a file says."""

from __future__ import annotations

import csv
import heapq
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.parts import counting
from foveate.parts.pruning import Site

Of = Literal["macs", "parameters", "filters"]
LEVELS = (0.9, 0.7, 0.5, 0.3, 0.1)  # kept shares at which a layer's sensitivity is measured
_HALVINGS = 60  # of an interval that is searched for a share
_STEEPEST = 8.0  # exponents that are searched for a share by resolution


# ---------------------------------------------------------------------------------------------------------------------
# what a network with fewer filters costs
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates and parameters of a network, as a function of the filters that its layers keep.

    A layer's cost is proportional to the channels that it takes in and to those that it gives out; which of the two are pruned
    channels, and of which site, is what is kept here.

    Attributes:
        channels: Site to its number of channels.
        positions: Site to the pixels of its layer's output.
        terms: ``(macs, parameters, site of the inputs, site of the outputs)`` of each layer; a site is "" where there is none.
        other_macs: Multiply-accumulates outside of convolutions and linear layers.
        other_parameters: Parameters outside of what the sites touch.
    """

    channels: Mapping[str, int]
    positions: Mapping[str, int]
    terms: Sequence[tuple[int, int, str, str]]
    other_macs: int
    other_parameters: int

    @classmethod
    def of(cls, network: nn.Module, sites: Mapping[str, Site], example: Tensor) -> Costs:
        """Count what a network costs.

        Args:
            network: The network before anything is removed.
            sites: The layers.
            example: A picture ``(1, 3, H, W)``.
        """
        reads = {consumer: name for name, site in sites.items() for consumer in site.consumers}
        gives = {member: name for name, site in sites.items() for member in (site.layer, *site.followers)}
        pixels = _pixels(network, example)
        terms = []
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, nn.Conv2d | nn.Linear):
                # A depthwise convolution has one input channel to an output channel, so it is charged by its outputs alone.
                terms.append((pixels.get(name, 0) * weight.numel(), weight.numel(), reads.get(name, ""), gives.get(name, "")))
                if module.bias is not None:
                    terms.append((0, module.bias.numel(), "", gives.get(name, "")))
            elif name in gives:
                terms.append((0, sum(p.numel() for p in module.parameters(recurse=False)), "", gives[name]))
        macs = counting.macs(network, tuple(example.shape)) - sum(term[0] for term in terms)
        parameters = counting.parameters(network) - sum(term[1] for term in terms)
        sizes = {name: site.channels for name, site in sites.items()}
        return cls(sizes, {name: pixels[name] for name in sites}, terms, macs, parameters)

    def macs(self, counts: Mapping[str, float]) -> float:
        """Count multiply-accumulates if each site keeps so many filters (fractions are allowed)."""
        return self.other_macs + self._sum(0, counts)

    def parameters(self, counts: Mapping[str, float]) -> float:
        """Count parameters."""
        return self.other_parameters + self._sum(1, counts)

    def total(self, of: Of, counts: Mapping[str, float] | None = None) -> float:
        """Count one or the other, or the filters themselves; without counts, those of the whole network."""
        counts = self.channels if counts is None else counts
        return {"macs": self.macs, "parameters": self.parameters, "filters": lambda c: sum(c.values())}[of](counts)

    def saved(self, of: Of, counts: Mapping[str, float], site: str) -> float:
        """Tell what one filter less of a site saves."""
        if of == "filters":
            return 1.0
        column = 0 if of == "macs" else 1
        found = 0.0
        for term in self.terms:
            if site in term[2:]:
                other = term[2] if term[3] == site else term[3]
                found += term[column] / self.channels[site] * self._share(counts, other)
        return found

    def _sum(self, column: int, counts: Mapping[str, float]) -> float:
        shares = {"": 1.0, **{name: counts[name] / n for name, n in self.channels.items()}}
        return sum(term[column] * shares[term[2]] * shares[term[3]] for term in self.terms)

    def _share(self, counts: Mapping[str, float], site: str) -> float:
        return counts[site] / self.channels[site] if site else 1.0


def _pixels(network: nn.Module, example: Tensor) -> dict[str, int]:
    """Count how often each layer's weights are applied to one picture."""
    found: dict[str, int] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def see(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            width = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
            found[name] = found.get(name, 0) + output.numel() // width

        return see

    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return found


# ---------------------------------------------------------------------------------------------------------------------
# one share for all
# ---------------------------------------------------------------------------------------------------------------------


def uniform(costs: Costs, keep: float, of: Of = "macs") -> dict[str, int]:
    """Keep the same share of every layer's filters, so that a share of the cost is left: as much of it as whole filters allow.

    Args:
        costs: Of the network.
        keep: Share of ``of`` that the smaller network may have.
        of: What it is a share of.

    Raises:
        InputError: If one filter in each layer is more than that.
    """
    limit = keep * costs.total(of)
    check_reachable(costs, keep, of)
    share = _largest(lambda share: costs.total(of, _shared(costs, share)) <= limit)
    return _rounded(costs, _shared(costs, share), {of: limit})


def by_resolution(costs: Costs, keep: float, parameters: float) -> dict[str, int]:
    """Meet two budgets: layers of one resolution share one rate, which is a power of the number of pixels.

    Layers with many pixels hold most of the multiply-accumulates and few of the parameters, so one exponent trades one for the
    other.

    Args:
        costs: Of the network.
        keep: Share of the multiply-accumulates that is left.
        parameters: Share of the parameters that is left.

    Raises:
        InputError: If the two cannot be met together.
    """
    for of, wanted in (("macs", keep), ("parameters", parameters)):
        check_reachable(costs, wanted, of)
    limits: dict[Of, float] = {"macs": keep * costs.total("macs"), "parameters": parameters * costs.total("parameters")}
    most = max(costs.positions.values())

    def counts(exponent: float) -> dict[str, float]:
        rates = {name: (pixels / most) ** exponent for name, pixels in costs.positions.items()}
        top = max(rates.values())

        def scaled(share: float) -> dict[str, float]:
            # The share of the largest rate; others follow until they, too, are whole.
            factor = share / (1 - share) if share < 1 else np.inf
            return {n: c * float(np.clip(factor * rates[n] / top, 1 / c, 1)) for n, c in costs.channels.items()}

        return scaled(_largest(lambda share: costs.macs(scaled(share)) <= limits["macs"]))

    # More pixels kept for the same multiply-accumulates is fewer parameters: they fall as the exponent rises.
    low, high = -_STEEPEST, _STEEPEST
    if not costs.parameters(counts(high)) <= limits["parameters"] <= costs.parameters(counts(low)):
        between = sorted(costs.parameters(counts(e)) / costs.total("parameters") for e in (low, high))
        expected = f"{between[0]:.3f} to {between[1]:.3f} at this share of the multiply-accumulates"
        raise InputError("parameters", f"{parameters:g} cannot be met together with keep {keep:g}", expected)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if costs.parameters(counts(middle)) > limits["parameters"]:
            low = middle
        else:
            high = middle
    return _rounded(costs, counts(high), limits)


def _shared(costs: Costs, share: float) -> dict[str, float]:
    return {name: max(1.0, share * channels) for name, channels in costs.channels.items()}


def _largest(fits: Callable[[float], bool]) -> float:
    """Find the largest share in [0, 1] that fits, of a property that smaller shares have if larger ones do."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _rounded(costs: Costs, wanted: Mapping[str, float], limits: Mapping[Of, float]) -> dict[str, int]:
    """Make whole numbers: what rounding down loses goes on to the next layer of the same resolution.

    So every resolution, and with it every cost, gets what it should. Single filters are then taken or given where a limit is
    missed.
    """
    counts: dict[str, int] = {}
    carry, pixels = 0.0, 0
    for name, value in wanted.items():
        carry = carry + value if costs.positions[name] == pixels else value
        pixels = costs.positions[name]
        counts[name] = int(np.clip(int(carry + 1e-9), 1, costs.channels[name]))
        carry -= counts[name]

    def fits(found: Mapping[str, int]) -> bool:
        return all(costs.total(of, found) <= limit * (1 + 1e-12) for of, limit in limits.items())

    while not fits(counts):
        name = max((n for n in counts if counts[n] > 1), key=lambda n: counts[n] - wanted[n])
        counts[name] -= 1
    for name in sorted(wanted, key=lambda n: counts[n] - wanted[n]):
        more = {**counts, name: min(counts[name] + 1, costs.channels[name])}
        counts = more if fits(more) else counts
    return counts


def check_reachable(costs: Costs, keep: float, of: Of) -> None:
    """Refuse a share that no network with at least one filter in each layer has.

    Raises:
        InputError: If ``keep`` is no share, or too small a one.
    """
    name = "keep" if of != "parameters" else "parameters"
    if not 0 < keep <= 1:
        raise InputError(name, f"{keep:g}", "a share above 0, at most 1")
    least = costs.total(of, dict.fromkeys(costs.channels, 1)) / costs.total(of)
    if keep < least:
        wrong = f"{keep:g} cannot be reached: one filter in each layer that can be pruned leaves {least:.3f} of the {of}"
        raise InputError(name, wrong, f"at least {np.ceil(least * 1000) / 1000:g}")


# ---------------------------------------------------------------------------------------------------------------------
# by sensitivity
# ---------------------------------------------------------------------------------------------------------------------


def by_sensitivity(costs: Costs, losses: Mapping[str, Sequence[float]], keep: float, of: Of = "macs") -> dict[str, int]:
    """Remove single filters where they cost least for what they save, until a share of the cost is left.

    Args:
        costs: Of the network.
        losses: Site to what the network loses with ``LEVELS`` of its filters alone; between the levels it is interpolated, and
            never falls as filters go.
        keep: Share of ``of`` that the smaller network may have.
        of: What it is a share of.

    Raises:
        InputError: If one filter in each layer is more than that.
    """
    check_reachable(costs, keep, of)
    limit = keep * costs.total(of)
    steps = {}
    for name, channels in costs.channels.items():
        rising = np.maximum.accumulate([0.0, *losses[name]])
        shares = np.arange(1, channels + 1) / channels
        curve = np.interp(-shares, [-1.0, *(-s for s in LEVELS)], rising)
        # Below the last level nothing is known but that it gets worse; the last slope goes on.
        slope = (rising[-1] - rising[-2]) / (LEVELS[-2] - LEVELS[-1])
        curve += np.maximum(0, LEVELS[-1] - shares) * max(slope, rising[-1] / LEVELS[-1])
        steps[name] = curve[:-1] - curve[1:]  # at k - 1: what the step from k + 1 to k filters costs
    counts: dict[str, int] = dict(costs.channels)
    total = costs.total(of)

    def price(name: str) -> float:
        return float(steps[name][counts[name] - 2]) / max(costs.saved(of, counts, name), 1e-12)

    queue = [(price(name), name) for name, count in counts.items() if count > 1]
    heapq.heapify(queue)
    while total > limit * (1 + 1e-12):
        was, name = heapq.heappop(queue)
        # What neighbours saved changes with each removal; a price that rose goes back into the queue.
        now = price(name)
        if now > was * (1 + 1e-9) and queue and now > queue[0][0]:
            heapq.heappush(queue, (now, name))
            continue
        total -= costs.saved(of, counts, name)
        counts[name] -= 1
        if counts[name] > 1:
            heapq.heappush(queue, (price(name), name))
    # The last filter was perhaps a large one: what there is room for comes back, the most missed first.
    short = [name for name, count in counts.items() if count < costs.channels[name]]
    for name in sorted(short, key=lambda n: -float(steps[n][counts[n] - 1])):
        more = {**counts, name: counts[name] + 1}
        counts = more if costs.total(of, more) <= limit * (1 + 1e-12) else counts
    return counts


# ---------------------------------------------------------------------------------------------------------------------
# as a file says
# ---------------------------------------------------------------------------------------------------------------------


def read_counts(path: Path, sites: Mapping[str, Site]) -> dict[str, int]:
    """Read how many filters each layer keeps: a JSON object, or a CSV with the columns layer and filters.

    Layers that it does not name keep all.

    Args:
        path: The file.
        sites: The layers that can be pruned.

    Raises:
        InputError: If the file is missing or broken, names a layer that cannot be pruned, or counts that it does not have.
    """
    expected = 'a JSON object such as {"layer1.0.conv1": 8}, or a CSV with the columns layer and filters'
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", expected) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "cannot be read as text", expected) from error
    given: list[tuple[str, str, object]] = []
    if text.lstrip().startswith("{"):
        try:
            given = [(str(path), name, count) for name, count in json.loads(text).items()]
        except ValueError as error:
            raise InputError(path, f"is not valid JSON: {error}", expected) from error
    else:
        reader = csv.DictReader(io.StringIO(text))
        if not {"layer", "filters"} <= set(reader.fieldnames or ()):
            raise InputError(path, f"has the columns {', '.join(reader.fieldnames or ()) or 'none'}", expected)
        for row in reader:
            number = row["filters"] or ""
            given.append((f"{path}:{reader.line_num}", row["layer"], int(number) if number.isdigit() else number))
    counts = {name: site.channels for name, site in sites.items()}
    for where, name, count in given:
        if name not in counts:
            raise InputError(where, f"{name!r} is no layer that can be pruned", f"one of {', '.join(sites)}")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= sites[name].channels:
            raise InputError(where, f"{name} cannot keep {count!r} filters", f"1 to {sites[name].channels}")
        counts[name] = count
    return counts
