"""Time and memory of mining interval graphs: against the released package, as networks grow, and on CollegeMsg.

``python benchmarks/interval_graphs.py [--repeats 3] [--limit 120] [--out benchmarks/interval_graphs.json]``

Every run is a process of its own that does its work three times and tells the median; kernels are compiled before the clock
starts. Times are of the processor, of which each program uses one core, so a busy machine matters little; they count from the
file to the patterns, reading included. ``wrong`` counts patterns that the released package reports although they are infrequent
or a repetition, and those that it misses.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ISOS = ("e", "i", "es", "is")


def write(path: Path, edges: int = 200, seed: int = 0) -> Path:
    """Write the generator's 50 networks in the released package's format; density stays the same whatever their size."""
    from foveate.systems.structures.interval_graphs.data import planted

    db = planted(seed, edges=edges, nodes=max(40, edges // 5), horizon=1000).db
    lines, last = [], None
    for r in db.rows():
        if r.network != last:
            lines.append(f"t # {r.network}")
        last = r.network
        lines.append(f"e {r.u} {r.v} {r.u_label} {r.label} {r.v_label} {r.start} {r.end - r.start}")
    path.write_text("\n".join(lines) + "\n")
    return path


def timed(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Do some work three times."""
    runs = []
    for _ in range(3):
        start, clock = time.process_time(), time.perf_counter()
        found = work()
        runs.append(found | {"seconds": time.process_time() - start, "wall": time.perf_counter() - clock})
    return median(runs)


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Take the run of median time."""
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def ours(path: Path, supp: float, iso: str, most: int) -> dict[str, float]:
    """Read and mine."""
    from foveate.systems.structures.interval_graphs.data import example
    from foveate.systems.structures.interval_graphs.formats import read
    from foveate.systems.structures.interval_graphs.method import mine

    def work() -> dict[str, float]:
        start = time.process_time()
        db = read(path)
        reading = time.process_time() - start
        found = mine(db, supp, iso, max_edges=most)
        return {"reading": reading, "patterns": len(found), "tried": found.tried}

    mine(example("exact"), 2)
    return timed(work)


def released(path: Path, supp: float, iso: str, most: int) -> dict[str, float]:
    """Let the released package read and mine."""
    import matplotlib

    matplotlib.use("Agg")
    import tempowork

    least = round(supp * path.read_text().count("t #"))
    return timed(lambda: {"patterns": tempowork.frequent(str(path), least, isomorphism=iso).frequent_cntr})


def wrong(path: Path, supp: float, iso: str, most: int) -> dict[str, float]:
    """Count what the released package reports wrongly."""
    from foveate.systems.structures.interval_graphs import released as rule
    from foveate.systems.structures.interval_graphs.formats import read
    from foveate.systems.structures.interval_graphs.method import mine

    db = read(path)
    reported = rule.mine(db, supp, iso)
    spurious, missed = rule.difference(db, mine(db, supp, iso), reported, iso)
    return {"seconds": 0.0, "reported": len(reported), "spurious": len(spurious), "missed": len(missed)}


def static(path: Path, supp: float, iso: str, most: int) -> dict[str, float]:
    """Cut into snapshots of 5 units and mine their sequences of 200 units with the same search."""
    from foveate.systems.structures.interval_graphs.data import example
    from foveate.systems.structures.interval_graphs.formats import read
    from foveate.systems.structures.interval_graphs.method import mine
    from foveate.systems.structures.interval_graphs.snapshots import snapshots

    mine(example("exact"), 2)
    cut = snapshots(read(path), 5, 200)
    return timed(lambda: {"patterns": len(mine(cut.db, supp, "e", max_edges=most)), "static_edges": len(cut.db)})


PROGRAMS = {"ours": ours, "released": released, "wrong": wrong, "static": static}


def fresh(program: str, path: Path, supp: float, iso: str, most: int = 0, limit: float = 600) -> dict[str, float] | None:
    """Run a program in a process of its own; None if it takes longer than the limit."""
    call = [sys.executable, __file__, "--one", program, str(path), str(supp), iso, str(most)]
    try:
        done = subprocess.run(call, check=True, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run everything and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120, help="seconds for a run of the released package")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        program, path, supp, iso, most = options.one
        found = PROGRAMS[program](Path(path), float(supp), iso, int(most))
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = measure(Path(folder), options.repeats, options.limit)
    from foveate.evidence import machine, versions

    options.out.write_text(json.dumps({**table, "machine": machine(), "versions": versions()}, indent=1) + "\n")


def measure(folder: Path, repeats: int, limit: float) -> dict[str, object]:
    """Measure the three tables."""
    path = write(folder / "planted.txt")
    print("50 networks of 200 edges and planted patterns, any size")
    peers = []
    for iso, supp in (("e", 0.5), ("e", 0.2), ("e", 0.1), ("es", 0.2), ("i", 0.2), ("is", 0.2)):
        mine, theirs = [], []
        for _ in range(repeats):
            mine.append(fresh("ours", path, supp, iso))
            if None not in theirs:
                theirs.append(fresh("released", path, supp, iso, limit=limit))
        row = {"iso": iso, "supp": supp, "ours": median(mine), "released": None if None in theirs else median(theirs)}
        said = f"over {limit:.0f} s"
        if row["released"]:
            row["wrong"] = fresh("wrong", path, supp, iso)
            row["ratio"] = row["released"]["seconds"] / row["ours"]["seconds"]
            said = f"{row['released']['seconds']:7.2f} s, {row['ratio']:5.0f} x, {row['wrong']['spurious']} spurious, "
            said += f"{row['wrong']['missed']} missed"
        done = f"{row['ours']['patterns']:>5} patterns  ours {row['ours']['seconds']:6.3f} s"
        print(f"{iso:>2} supp {supp:4}  {done}  released {said}")
        peers.append(row)

    growth = []
    for edges in (100, 200, 400, 800, 1600):
        larger = write(folder / f"{edges}.txt", edges)
        row = {"edges": edges}
        for iso in ISOS:
            row[iso] = fresh("ours", larger, 0.2, iso, 4)
        if edges <= 400:
            row["static"] = fresh("static", larger, 0.2, "e", 4)
        print(f"{edges:>5} edges a network, up to 4 edges: {told(row)}")
        growth.append(row)
    support = []
    for supp in (0.5, 0.2, 0.1, 0.06):
        row = {"supp": supp, **{iso: fresh("ours", path, supp, iso, 4) for iso in ISOS}}
        row["static"] = fresh("static", path, supp, "e", 4)
        print(f"supp {supp}, up to 4 edges: {told(row)}")
        support.append(row)

    from foveate.systems.structures.interval_graphs.data import collegemsg
    from foveate.systems.structures.interval_graphs.output import networks

    networks(collegemsg()).write(folder / "collegemsg.csv")
    college = []
    for supp in (0.5, 0.25, 0.1):
        for iso in ISOS:
            runs = [fresh("ours", folder / "collegemsg.csv", supp, iso, 4) for _ in range(repeats)]
            college.append({"supp": supp, "iso": iso, **median(runs), "spread": statistics.pstdev(r["seconds"] for r in runs)})
            print(f"CollegeMsg by week, supp {supp}: {told({iso: college[-1]})}")
    exponents = {iso: exponent(growth[1:], iso) for iso in ISOS}
    print(
        "seconds grow with the number of edges to the power of " + ", ".join(f"{x:.2f} ({iso})" for iso, x in exponents.items())
    )
    return {"peers": peers, "growth": growth, "exponents": exponents, "support": support, "collegemsg": college}


def told(row: dict[str, dict[str, float]]) -> str:
    """Put a row of runs into words."""
    runs = ((name, run) for name, run in row.items() if isinstance(run, dict))
    return ", ".join(f"{name} {r['seconds']:.3f} s ({r['patterns']} patterns, {r['peak_mb']:.0f} MB)" for name, r in runs)


def exponent(rows: list[dict[str, dict[str, float]]], iso: str) -> float:
    """Fit time = c edges^x."""
    import numpy as np

    return float(np.polyfit(np.log([r["edges"] for r in rows]), np.log([r[iso]["seconds"] for r in rows]), 1)[0])


if __name__ == "__main__":
    main()
