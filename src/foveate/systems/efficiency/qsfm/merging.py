"""Let the kept channels take over what the removed ones did: the next layer's weights are changed, the kept filters are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from foveate.parts.progress import bar
from foveate.parts.pruning import Site
from foveate.systems.efficiency.qsfm.similarity import evaluating

Merge = Literal["off", "twin", "lsq"]
RIDGE = 1e-6  # of the mean diagonal


def products(
    network: nn.Module, sites: Mapping[str, Site], pictures: Tensor, batch: int = 32
) -> dict[str, dict[str, np.ndarray]]:
    """Sum the products of all pairs of channels, where the next layer takes them in.

    Args:
        network: In evaluation mode while it is measured.
        sites: The layers.
        pictures: What the network sees, ``(N, 3, H, W)``.
        batch: Pictures at a time.

    Returns:
        Layer to consumer to G, float64 ``(C, C)``: products summed over pictures and pixels.
    """
    sums: dict[tuple[str, str], Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        tick = stack.enter_context(bar("measuring products"))
        for name, site in sites.items():
            for consumer in site.consumers:
                module = network.get_submodule(consumer)

                def hook(_: nn.Module, given: tuple[Tensor, ...], key: tuple[str, str] = (name, consumer)) -> None:
                    flat = _by_channel(given[0], sites[key[0]].channels)
                    sums[key] = sums.get(key, 0) + flat @ flat.T

                stack.callback(module.register_forward_pre_hook(hook).remove)
        tick(0, len(pictures))
        for part in pictures.split(batch):
            network(part)
            tick(len(part))
    return {name: {c: sums[name, c].cpu().numpy() for c in site.consumers} for name, site in sites.items()}


def _by_channel(x: Tensor, channels: int) -> Tensor:
    """Turn what a layer takes in into float64 ``(C, all else)``: maps, vectors, or maps that were made flat."""
    exact = x.cpu().double() if x.device.type == "mps" else x.double()
    if x.ndim == 4 and x.shape[1] == channels:
        return exact.transpose(0, 1).flatten(1)
    if x.shape[-1] == channels:
        return exact.reshape(-1, channels).T
    return exact.reshape(len(x), channels, -1).transpose(0, 1).flatten(1)


def expressed(product: np.ndarray, kept: np.ndarray, removed: np.ndarray, twin: Mapping[int, int], merge: Merge) -> np.ndarray:
    """Express removed channels by kept ones: A with ``F_removed ~ A F_kept``.

    Args:
        product: G of `products`.
        kept: Indices.
        removed: Indices.
        twin: Of every removed channel, the kept one that takes it over with ``merge="twin"``.
        merge: ``off``: A is zero. ``twin``: one coefficient each, the regression of the removed on its twin. ``lsq``: least
            squares on all kept channels (ridge of 1e-6 of the mean diagonal).

    Returns:
        float64 ``(removed, kept)``.
    """
    found = np.zeros((len(removed), len(kept)))
    if merge == "twin":
        place = {int(k): n for n, k in enumerate(kept)}
        for row, j in enumerate(removed):
            i = twin[int(j)]
            if product[i, i] > 0:
                found[row, place[i]] = product[i, j] / product[i, i]
    elif merge == "lsq" and len(removed):
        within = product[np.ix_(kept, kept)]
        ridge = RIDGE * np.trace(within) / len(kept)
        if ridge > 0:
            found = np.linalg.solve(within + ridge * np.eye(len(kept)), product[np.ix_(kept, removed)]).T
    return found


@torch.no_grad()
def fold(consumer: nn.Module, channels: int, kept: np.ndarray, removed: np.ndarray, coefficients: np.ndarray) -> None:
    """Change a layer's weights so that kept channels stand in for removed ones, whose own weights become zero.

    What the layer then computes is what it computes once the removed channels are gone: so it can be judged before any surgery.

    Args:
        consumer: A convolution, or a linear layer behind maps that were pooled or made flat.
        channels: C of the layer in front.
        kept: Indices.
        removed: Indices.
        coefficients: Of `expressed`.
    """
    weight = consumer.weight
    # A linear layer behind flat maps has a column for every pixel of every channel.
    columns = weight.reshape(weight.shape[0], channels, -1)
    exact = columns.double() if weight.device.type != "mps" else columns.cpu().double()
    take = torch.from_numpy(coefficients).to(exact.device)
    k, r = (torch.from_numpy(np.asarray(part, np.int64)).to(exact.device) for part in (kept, removed))
    exact[:, k] += torch.einsum("orp,rk->okp", exact[:, r], take)
    exact[:, r] = 0
    weight.copy_(exact.reshape(weight.shape))


@contextmanager
def folded(
    network: nn.Module, site: Site, kept: np.ndarray, removed: np.ndarray, coefficients: Mapping[str, np.ndarray]
) -> Iterator[None]:
    """Do without some channels of one layer for a while: its consumers' weights are put back afterwards."""
    consumers = [network.get_submodule(name) for name in site.consumers]
    before = [consumer.weight.detach().clone() for consumer in consumers]
    try:
        for name, consumer in zip(site.consumers, consumers, strict=True):
            fold(consumer, site.channels, kept, removed, coefficients[name])
        yield
    finally:
        with torch.no_grad():
            for consumer, weight in zip(consumers, before, strict=True):
                consumer.weight.copy_(weight)


def recalibrate(network: nn.Module, pictures: Tensor, batch: int = 32, batches: int = 10) -> None:
    """Measure the running mean and variance of all batch normalisations anew, on pictures without labels, in place.

    Args:
        network: Its weights stay as they are.
        pictures: What it sees, ``(N, 3, H, W)``.
        batch: Pictures at a time.
        batches: At most so many.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(network):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        try:
            for part in pictures.split(batch)[:batches]:
                if len(part) > 1 or len(pictures) == 1:
                    network(part)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.eval()
