"""Time and memory of checking: operators, a brain's surface, and growth to five million cells.

``python benchmarks/polylogica.py [--largest 35] [--repeats 5] [--out benchmarks/polylogica.json]``

Every size runs in a process of its own, so that peak memory is its own too. Times are medians after one run to warm up, of
checking alone; loading, which builds the complex and its face poset, is told apart. The rival is what scipy.sparse offers:
products with the incidence matrix for near, and connected components of a submatrix for through.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOMS = (5, 8, 12, 18, 26, 35)  # along each side of the maze: 13 thousand to 5.1 million cells


def memory(what: str) -> float:
    """Read VmRSS (now) or VmHWM (peak) of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def median(work: Callable[[], object], repeats: int) -> float:
    """Time a function: the median of some runs after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def maze(n: int, repeats: int) -> dict[str, float]:
    """Load and check a maze."""
    from foveate.systems.structures.polylogica.method import warm_up
    from foveate.systems.structures.polylogica.reproduce import GROWTH, seconds_to_check, specified
    from foveate.systems.structures.polylogica.samples import white_maze

    warm_up()
    white_maze(2).frame.size  # noqa: B018  imports and caches are filled before the clock starts
    before = memory("VmRSS")
    start = time.perf_counter()
    model = white_maze(n)
    loading = time.perf_counter() - start
    asked = specified(GROWTH, model)
    checking = seconds_to_check(model, asked, repeats)
    both = seconds_to_check(model, asked, repeats, threads=2)
    return {
        "cells": model.size, "formulas": asked.size, "loading_seconds": loading, "checking_seconds": checking,
        "two_threads_seconds": both, "peak_mb": memory("VmHWM") - before,
    }  # fmt: skip


def surface(repeats: int) -> dict[str, float]:
    """Time 33 formulas on a brain's surface, and its loading; and the minimisation of the two smaller published mazes."""
    import tempfile

    from foveate.systems.structures.polylogica.bisimulation import minimise
    from foveate.systems.structures.polylogica.method import warm_up
    from foveate.systems.structures.polylogica.models import read_json
    from foveate.systems.structures.polylogica.output import compact
    from foveate.systems.structures.polylogica.reproduce import seconds_to_check, specified
    from foveate.systems.structures.polylogica.samples import BRAIN, brain, white_maze

    warm_up()
    model = brain()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "brain.json"
        compact(model).write(path)
        found = {"from_json_seconds": median(lambda: read_json(path), repeats), "json_mb": path.stat().st_size / 2**20}
    found |= {"cells": model.size, "from_gifti_seconds": median(brain, repeats)}
    asked = specified(BRAIN, model)
    found |= {"formulas": asked.size, "checking_seconds": seconds_to_check(model, asked, repeats)}
    found["specification_seconds"] = median(lambda: specified(BRAIN, model), repeats)
    for n in (3, 5):
        rooms = white_maze(n)
        for logic in ("gamma", "eta"):
            taken = median(lambda r=rooms, k=logic: minimise(r.frame, r.atoms, k), repeats)
            found[f"minimise_{n}x{n}x{n}_{logic}"] = {
                "seconds": taken, "cells": rooms.size, "classes": minimise(rooms.frame, rooms.atoms, logic).count,
            }  # fmt: skip
    return found


def operators(n: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time single operators on a maze against scipy.sparse."""
    import numpy as np
    from scipy.sparse import csr_array, eye_array
    from scipy.sparse.csgraph import connected_components

    from foveate.systems.structures.polylogica.method import warm_up
    from foveate.systems.structures.polylogica.samples import white_maze

    warm_up()
    model = white_maze(n)
    frame, size = model.frame, model.size
    faces = csr_array((np.ones(len(frame.below), np.int8), frame.below, frame.start), shape=(size, size))
    whole = (faces + eye_array(size, dtype=np.int8, format="csr")).tocsr()
    turned = whole.T.tocsr()
    safe, target = ~model.atoms["W"], model.atoms["W"]

    def through() -> np.ndarray:
        inside = np.flatnonzero(safe)
        _, label = connected_components(whole[inside][:, inside], directed=False)
        start = np.unique(label[(whole @ target.astype(np.int32) > 0)[inside]])
        flooded = np.zeros(size, np.int32)
        flooded[inside[np.isin(label, start)]] = 1
        return turned @ flooded > 0

    pairs = {
        "near": (lambda: frame.closure(safe), lambda: turned @ safe.astype(np.int32) > 0),
        "cvnear": (lambda: frame.star(target), lambda: whole @ target.astype(np.int32) > 0),
        "through": (lambda: frame.through(safe, target), through),
    }
    found = {}
    for name, (ours, theirs) in pairs.items():
        assert (ours() == theirs()).all()
        found[name] = {"seconds": median(ours, repeats), "scipy_seconds": median(theirs, repeats)}
    return {"cells": size, **found}


def main() -> None:
    """Run everything and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=35, help="rooms along a side of the largest maze")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, size = options.one
        work = {"maze": lambda: maze(int(size), options.repeats), "surface": lambda: surface(options.repeats)}
        work["operators"] = lambda: operators(int(size), options.repeats)
        print(json.dumps(work[what]()))
        return

    def fresh(what: str, size: int = 0) -> dict:
        call = [sys.executable, __file__, "--repeats", str(options.repeats), "--one", what, str(size)]
        return json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()[-1])

    import numpy as np

    growth = [fresh("maze", n) for n in ROOMS if n <= options.largest]
    print(f"{'cells':>10} {'loading':>9} {'checking':>9} {'2 threads':>9} {'ns a cell and formula':>22} {'peak':>8}")
    for row in growth:
        each = 1e9 * row["checking_seconds"] / row["cells"] / row["formulas"]
        print(
            f"{row['cells']:>10,} {row['loading_seconds']:>7.2f} s {row['checking_seconds']:>7.3f} s "
            f"{row['two_threads_seconds']:>7.3f} s {each:>22.1f} {row['peak_mb']:>5.0f} MB"
        )
    logs = [np.log([row[key] for row in growth]) for key in ("cells", "checking_seconds")]
    slope = float(np.polyfit(*logs, 1)[0])
    print(f"log-log slope {slope:.3f}")
    table = {"growth": growth, "slope": slope, "surface": fresh("surface"), "operators": fresh("operators", 12)}
    for name in ("surface", "operators"):
        print(name, json.dumps(table[name], indent=1))
    from foveate.evidence import machine, versions

    table |= {"machine": machine(), "versions": versions(), "threads": os.cpu_count()}
    options.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
