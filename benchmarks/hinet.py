"""Time per megapixel and peak memory of HINet's inference: the plain module against what `foveate run` does.

``python benchmarks/hinet.py [--side 1024] [--repeats 3] [--out benchmarks/hinet.json]``

Every variant restores the same photograph with the same weights, in windows of 256, in a process of its own, so that peak
memory is its own too; rounds of all variants alternate, so that a busy machine slows them alike. ``plain`` is what a reader of
the paper would write: a loop over the windows, float32, one at a time, their outputs averaged where they overlap.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = {
    "plain": {},
    "tiled": {"precision": "float32", "batch": 1, "channels_last": False},
    "tiled, channels last": {"precision": "float32", "batch": 1, "channels_last": True},
    "tiled, channels last, batch 4": {"precision": "float32", "batch": 4, "channels_last": True},
    "tiled, channels last, bf16": {"precision": "bfloat16", "batch": 1, "channels_last": True},
    "tiled, channels last, bf16, batch 4": {"precision": "bfloat16", "batch": 4, "channels_last": True},
    "tiled, channels last, bf16, batch 8": {"precision": "bfloat16", "batch": 8, "channels_last": True},
    "tiled, channels last, bf16, batch 4, compiled": {
        "precision": "bfloat16", "batch": 4, "channels_last": True, "compiled": True,
    },
}  # fmt: skip


def memory(what: str) -> float:
    """Read VmRSS (now) or VmHWM (peak) of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def measure(name: str, height: int, width: int) -> dict[str, float]:
    """Restore a photograph once to warm up and once to measure: seconds per megapixel, peak megabytes beyond the start."""
    import numpy as np
    import torch

    from foveate.parts import tiling
    from foveate.parts.degradations import signal_noise
    from foveate.parts.inference import quick
    from foveate.parts.weights import load
    from foveate.results import Picture
    from foveate.samples.photographs import photograph
    from foveate.systems.restoration.hinet.method import HINet, canvas_of, prepare
    from foveate.systems.restoration.hinet.run import SHIPPED

    network, settings = load(HINet, SHIPPED), VARIANTS[name]
    clean = np.tile(photograph("china"), (height // 427 + 1, width // 640 + 1, 1))[:height, :width]
    picture = Picture.from_unit(signal_noise(Picture(clean).colour(), 0.1, np.random.default_rng(0)))
    clean = None  # the photograph itself is held by both; what was needed to make it is not counted
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew (Linux)

    def plain() -> None:
        image = prepare(picture)
        total, count = torch.zeros_like(image), torch.zeros_like(image)
        with torch.inference_mode():
            for top in tiling.offsets(height, 256, 32):
                for left in tiling.offsets(width, 256, 32):
                    window = (..., slice(top, top + 256), slice(left, left + 256))
                    total[window] += network(image[window][None])[0]
                    count[window] += 1
        Picture.from_unit((total / count).permute(1, 2, 0).numpy())

    if name != "plain":
        if settings["channels_last"]:
            network = network.to(memory_format=torch.channels_last)
        forward = torch.compile(network) if settings.get("compiled") else network.forward
        run = quick(forward, settings["precision"], channels_last=settings["channels_last"])

    def tiled() -> None:
        made = [np.empty_like(picture.pixels)]
        for _ in tiling.stream(run, [canvas_of(picture, made, 256, 32)], settings["batch"]):
            pass

    work = plain if name == "plain" else tiled
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    peak = memory("VmHWM")
    megapixels = height * width / 1e6
    return {"seconds_per_megapixel": times[1] / megapixels, "first_seconds": times[0], "peak_mb": peak - before}


def main() -> None:
    """Run all variants in turn and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one", nargs=3, metavar=("VARIANT", "HEIGHT", "WIDTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, height, width = options.one
        print(json.dumps(measure(name, int(height), int(width))))
        return

    def fresh(name: str, height: int, width: int) -> dict[str, float]:
        call = [sys.executable, __file__, "--one", name, str(height), str(width)]
        return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    rounds = [{name: fresh(name, options.side, options.side) for name in VARIANTS} for _ in range(options.repeats)]
    table = {
        name: {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]} for name in VARIANTS
    }  # fmt: skip
    print(f"{options.side} x {options.side}, windows of 256, medians of {options.repeats}")
    for name, row in table.items():
        speed = table["plain"]["seconds_per_megapixel"] / row["seconds_per_megapixel"]
        print(f"{name:<48} {row['seconds_per_megapixel']:7.2f} s/MP  {speed:5.2f} x  {row['peak_mb']:7.0f} MB")
    best = "tiled, channels last, bf16, batch 4"
    growth = {}
    for height in (1024, 4096):
        growth[height] = {name: fresh(name, height, 1024)["peak_mb"] for name in ("plain", best)}
        print(f"{height:>5} x 1024: peak plain {growth[height]['plain']:.0f} MB, streamed {growth[height][best]:.0f} MB")
    from foveate.evidence import machine, versions

    options.out.write_text(
        json.dumps(
            {"side": options.side, "variants": table, "peak_mb_by_height": growth, "machine": machine(),
             "versions": versions(), "threads": os.cpu_count()}, indent=1,
        ) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
