"""Channels taken out of a network for good: smaller tensors, no masks. torch-pruning's dependency graph does the surgery.

A channel may go if nothing but its own layer, that layer's normalisations and depthwise convolutions, and the layers that read
it have a share in it. Where channels are added to others (residual sums), gated, concatenated, shared between two uses of one
layer or given out as the result, the layer is refused, with the reason.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foveate.errors import InputError, MissingExtra


@dataclass(frozen=True)
class Site:
    """A layer whose output channels can be removed one by one.

    Attributes:
        layer: Name of the convolution or linear layer that makes them.
        channels: How many there are.
        followers: Normalisations and depthwise convolutions that each channel passes, in order.
        consumers: Layers that read the channels, with the number of inputs that each channel has there (more than one where a
            linear layer reads flattened maps).
        depthwise: Those of the followers that are depthwise convolutions.
    """

    layer: str
    channels: int
    followers: tuple[str, ...]
    consumers: Mapping[str, int]
    depthwise: tuple[str, ...] = ()

    @property
    def last(self) -> str:
        """The depthwise convolution that the channels pass last, or the layer itself."""
        return self.depthwise[-1] if self.depthwise else self.layer


def prunable(network: nn.Module, example: Tensor) -> tuple[dict[str, Site], dict[str, str]]:
    """Find the layers whose channels can be removed, in the order in which they run.

    Args:
        network: Any network that autograd can follow.
        example: An input, a batch of one.

    Returns:
        The sites by name, and why the other convolutions and linear layers are refused.
    """
    network = copy.deepcopy(network).eval()
    calls = _calls(network, example)
    graph = _graph(network, example)
    names = {module: name for name, module in network.named_modules()}
    sites: dict[str, Site] = {}
    refused: dict[str, str] = {}
    for name in calls:
        module = network.get_submodule(name)
        if _is_depthwise(module):
            continue
        try:
            sites[name] = _site(graph, module, names, calls)
        except _Refused as reason:
            refused[name] = str(reason)
    return sites, refused


def shrunk(network: nn.Module, keep: Mapping[str, Sequence[int]], example: Tensor) -> nn.Module:
    """Return a smaller network with only some output channels of some layers.

    Args:
        network: The network; it stays as it is.
        keep: Indices of the channels that stay, by layer.
        example: An input, a batch of one.

    Raises:
        InputError: If a layer cannot be pruned, or an index is none of its.
    """
    sites, refused = prunable(network, example)
    for name, indices in keep.items():
        if name not in sites:
            raise InputError(name, refused.get(name, "there is no such layer"), f"one of {', '.join(sites) or 'none here'}")
        channels = sites[name].channels
        if not len(indices) or len(set(indices)) != len(indices) or not all(0 <= i < channels for i in indices):
            raise InputError(name, f"cannot keep {list(indices)[:8]}", f"at least one of 0 to {channels - 1}, each once")
    smaller = copy.deepcopy(network)
    training = smaller.training
    graph = _graph(smaller.eval(), example)
    for name, indices in keep.items():
        gone = sorted(set(range(sites[name].channels)) - {int(i) for i in indices})
        if gone:
            layer = smaller.get_submodule(name)
            graph.get_pruning_group(layer, _out(layer), idxs=gone).prune()
    return smaller.train(training)


class _Refused(Exception):
    """Why a layer cannot be pruned."""


def _calls(network: nn.Module, example: Tensor) -> Counter[str]:
    """Count how often each convolution and linear layer runs, in the order of their first run."""
    calls: Counter[str] = Counter()
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    hooks = [m.register_forward_hook(lambda *_, n=name: calls.update([n])) for name, m in layers.items()]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return calls


def _graph(network: nn.Module, example: Tensor) -> Any:
    """Follow the network's dependencies."""
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtra("torch_pruning", "efficiency") from error
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # of parameters that it leaves alone
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        return torch_pruning.DependencyGraph().build_dependency(network, example, verbose=False)


def _out(layer: nn.Module) -> Any:
    import torch_pruning

    linear = isinstance(layer, nn.Linear)
    return torch_pruning.prune_linear_out_channels if linear else torch_pruning.prune_conv_out_channels


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _site(graph: Any, layer: nn.Conv2d | nn.Linear, names: Mapping[nn.Module, str], calls: Counter[str]) -> Site:
    """Describe what hangs together with a layer's channels, or refuse it."""
    name = names[layer]
    if calls[name] > 1:
        raise _Refused(f"is used {calls[name]} times")
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        raise _Refused("is a grouped convolution")
    channels = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    followers: list[str] = []
    depthwise: list[str] = []
    consumers: dict[str, int] = {}
    try:
        group = graph.get_pruning_group(layer, _out(layer), idxs=list(range(channels)))
    except Exception as error:
        raise _Refused(f"cannot be followed ({type(error).__name__})") from error
    members = list(group)[1:]
    for dependency, _ in members:
        if dependency.handler in _outs() and not _is_depthwise(dependency.target.module):
            raise _Refused(f"is added to or gated by the output of {names.get(dependency.target.module, 'another layer')}")
    for dependency, indices in members:
        other = dependency.target.module
        where = names.get(other, "")
        if not isinstance(other, nn.Module) or not where:
            if _is_elementwise(dependency.target):
                continue
            raise _Refused("is padded, split, concatenated or tied to a parameter on its way")
        if _is_depthwise(other):
            followers.append(where)
            depthwise.append(where)
        elif isinstance(other, nn.BatchNorm2d | nn.BatchNorm1d):
            followers.append(where)
        elif not isinstance(other, nn.Conv2d | nn.Linear):
            if _is_elementwise(dependency.target):
                continue
            raise _Refused(f"passes {where}, a {type(other).__name__}")
        else:
            consumers[where] = _repeats(where, other, indices, channels, calls)
    if not consumers:
        raise _Refused("is the network's output")
    return Site(name, channels, tuple(dict.fromkeys(followers)), consumers, tuple(dict.fromkeys(depthwise)))


def _outs() -> tuple[Any, ...]:
    import torch_pruning

    return torch_pruning.prune_conv_out_channels, torch_pruning.prune_linear_out_channels


def _repeats(where: str, consumer: nn.Conv2d | nn.Linear, indices: Sequence[int], channels: int, calls: Counter[str]) -> int:
    """Count the inputs that each channel has at a layer that reads all of them and nothing else."""
    if calls[where] > 1:
        raise _Refused(f"is read by {where}, which is used {calls[where]} times")
    width = consumer.in_channels if isinstance(consumer, nn.Conv2d) else consumer.in_features
    if isinstance(consumer, nn.Conv2d) and consumer.groups > 1:
        raise _Refused(f"is read by {where}, a grouped convolution")
    if width % channels or sorted(int(i) for i in indices) != list(range(width)):
        raise _Refused(f"is concatenated with other channels before {where}")
    return width // channels


def _is_elementwise(node: Any) -> bool:
    """Whether a node of the graph treats channels one by one, without weights."""
    import torch_pruning

    return node.type in (torch_pruning.ops.OPTYPE.ELEMENTWISE, torch_pruning.ops.OPTYPE.RESHAPE)
