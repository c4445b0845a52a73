"""How long ways to classify take, one picture at a time, one way beside the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def interleaved(
    calls: Mapping[str, Callable[[Any], Any]], inputs: Sequence[Any], repeats: int = 3, warmup: int = 20
) -> dict[str, np.ndarray]:
    """Time several functions on the same inputs; their calls alternate, so that a busy machine slows all of them alike.

    Args:
        calls: Name to function of one input.
        inputs: The inputs.
        repeats: Rounds over the inputs, of which each input's median counts.
        warmup: Calls of each function before that.

    Returns:
        Name to float64 ``(N,)``, milliseconds for each input.
    """
    names = list(calls)
    for i in range(min(warmup, len(inputs))):
        for name in names:
            calls[name](inputs[i])
    spent = {name: np.zeros((repeats, len(inputs))) for name in names}
    for turn in range(repeats):
        for i, given in enumerate(inputs):
            shift = (turn + i) % len(names)  # none is always the one that finds a cold cache
            for name in names[shift:] + names[:shift]:
                start = time.perf_counter()
                calls[name](given)
                spent[name][turn, i] = 1000 * (time.perf_counter() - start)
    return {name: np.median(rounds, axis=0) for name, rounds in spent.items()}


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads meanwhile; 0 leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def told(milliseconds: Sequence[float]) -> str:
    """Say times in words.

    Example:
        >>> told([1.0, 2.0, 3.0, 10.0])
        'median 2.5 ms, 95 % within 8.9 ms, 250 pictures per second'
    """
    times = np.asarray(milliseconds, float)
    rate = 1000 / times.mean()
    return f"median {np.median(times):.1f} ms, 95 % within {np.percentile(times, 95):.1f} ms, {rate:.0f} pictures per second"
