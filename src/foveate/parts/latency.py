"""How long one call takes, one input at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch


def latency(call: Callable[[Any], Any], inputs: Iterable[Any], warmup: int = 20, threads: int = 1) -> np.ndarray:
    """Measure calls one after the other; medians of them are what reports give, since a machine is now and then busy.

    Args:
        call: What is measured; gradients are off.
        inputs: One for each measured call.
        warmup: Calls before that, with the first input.
        threads: PyTorch's threads meanwhile.

    Returns:
        float64 ``(N,)``, milliseconds.
    """
    items = list(inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for _ in range(warmup if items else 0):
                call(items[0])
            measured = []
            for item in items:
                start = time.perf_counter()
                call(item)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                measured.append(1000 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return np.array(measured)
