"""Search among a million: 64-bit codes by Hamming distance, re-ranked by features, against exact search in the features.

``python benchmarks/search.py [--count 1000000] [--width 128] [--spreads 0.5 1] [--out benchmarks/search.json]``

Features are synthetic: clusters along 32 latent dimensions, turned into ``width`` and scaled to length 1, float32; the
queries are drawn alike and are not in the database. A spread is the deviation within a cluster where centres have 1: the
larger, the harder for codes. ITQ learns from 20 000 of the database. What is sought are the true nearest ten (and hundred)
by inner product, which faiss's IndexFlatIP finds by definition. The codes propose R candidates, which the inner product then
ranks; R is the smallest of a ladder that reaches the wanted recall@10 on one half of the queries, and everything is measured
on the other half. Rounds of all variants alternate, and the quickest of each counts, since a busy machine only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Threads that wait by spinning, which is the default, cost a busy machine a hundred times what the search does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from foveate.evidence import machine, versions
from foveate.parts.classical_hashing import ITQ
from foveate.parts.hashing import HammingIndex, pack

LADDER = (10, 30, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 10_000, 20_000)
LATENT, CLUSTERS, NOISE = 32, 5000, 0.05
CHUNK = 100_000
WANTED = 0.95
SINGLE = 10


def draw(count: int, width: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Draw features, float32 ``(count, width)`` of length 1, around centres that depend on the width alone."""
    fixed = np.random.default_rng(0)
    centres = fixed.standard_normal((CLUSTERS, LATENT), np.float32)
    turn = fixed.standard_normal((LATENT, width), np.float32) / np.sqrt(LATENT)
    latent = centres[rng.integers(0, CLUSTERS, count)] + spread * rng.standard_normal((count, LATENT), np.float32)
    features = latent @ turn + NOISE * rng.standard_normal((count, width), np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Compute the share of the true neighbours ``(Q, k)`` among those found ``(Q, any)``."""
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True)]))


def peak_mb() -> float:
    """Read the peak memory of this process in megabytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def seconds(work: Callable[[], object]) -> float:
    """Time a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(options: argparse.Namespace, spread: float) -> dict[str, Any]:
    """Build both indexes of one set of features, choose R, and measure recall and time of all variants."""
    rng, width, count = np.random.default_rng(1), options.width, options.count
    flat, packed, hasher = faiss.IndexFlatIP(width), [], ITQ(bits=options.bits)
    for start in range(0, count, CHUNK):
        chunk = draw(min(CHUNK, count - start), width, spread, rng)
        if not start:
            hasher.fit(chunk[:20_000])
        flat.add(chunk)
        packed.append(pack(hasher.transform(chunk)))
    codes = HammingIndex(np.concatenate(packed))
    features = faiss.rev_swig_ptr(flat.get_xb(), count * width).reshape(count, width)

    queries = draw(2 * options.queries, width, spread, rng)
    truth = flat.search(queries, 100)[1]
    chosen, measured = slice(0, options.queries), slice(options.queries, None)
    ladder = {}
    for candidates in (r for r in LADDER if r <= count // 10):
        found = codes.search(pack(hasher.transform(queries)), candidates)[0]
        # Re-ranking keeps every true neighbour that was proposed.
        ladder[candidates] = {
            "recall@10": recall(found[measured], truth[measured, :10]),
            "recall@100": recall(found[measured], truth[measured]),
            "recall@10 where R was chosen": recall(found[chosen], truth[chosen, :10]),
        }
    reaching = [r for r, row in ladder.items() if row["recall@10 where R was chosen"] >= WANTED]
    candidates = min(reaching, default=max(ladder))

    def rerank(asked: np.ndarray) -> np.ndarray:
        ranked = np.empty((len(asked), 10), np.int64)
        for row, near in enumerate(codes.search(pack(hasher.transform(asked)), candidates)[0]):
            scores = features[near] @ asked[row]
            best = np.argpartition(-scores, 9)[:10]
            ranked[row] = near[best[np.argsort(-scores[best])]]
        return ranked

    variants: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "features, exact (IndexFlatIP)": lambda asked: flat.search(asked, 10)[1],
        f"codes, best {candidates} re-ranked": rerank,
        "codes alone": lambda asked: codes.search(pack(hasher.transform(asked)), 10)[0],
        "codes alone, ties as faiss leaves them": lambda asked: codes.index.search(pack(hasher.transform(asked)), 10)[1],
    }
    asked = queries[measured]
    singles = [asked[row : row + 1] for row in range(SINGLE)]
    table = {name: {"recall@10": recall(search(asked), truth[measured, :10])} for name, search in variants.items()}
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        with threadpool_limits(threads):
            for _ in range(options.repeats):
                for name, search in variants.items():
                    row, key = table[name], f"{threads} threads, ms per query "
                    together = 1000 * seconds(lambda s=search: s(asked)) / len(asked)
                    singly = 1000 * seconds(lambda s=search: [s(one) for one in singles]) / SINGLE
                    row[key + "together"] = min(together, row.get(key + "together", together))
                    row[key + "singly"] = min(singly, row.get(key + "singly", singly))
    megabytes = {"features": features.nbytes / 1e6, "codes": len(codes) * options.bits / 8 / 1e6}
    return {"recall_by_candidates": ladder, "candidates": candidates, "variants": table, "megabytes": megabytes}


def show(options: argparse.Namespace, spread: float, made: dict[str, Any]) -> None:
    """Print what was measured of one set of features."""
    print(f"{options.count} features of {options.width} floats, spread {spread}; codes of {options.bits} bits")
    print(f"{'R':>7} {'recall@10':>10} {'recall@100':>11}   of the true neighbours among the best R by code")
    for number, row in made["recall_by_candidates"].items():
        print(f"{number:>7} {row['recall@10']:>10.3f} {row['recall@100']:>11.3f}")
    heads = [f"{threads} thr, {how}" for threads in (1, 2) for how in ("together", "singly")]
    print(f"{'milliseconds per query':<42}{'recall@10':>10}" + "".join(f"{head:>17}" for head in heads))
    for name, row in made["variants"].items():
        print(f"{name:<42}{row['recall@10']:>10.3f}" + "".join(f"{value:>17.2f}" for value in list(row.values())[1:]))
    size = made["megabytes"]
    print(f"memory: features {size['features']:.0f} MB, codes {size['codes']:.0f} MB; re-ranking needs both\n")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--queries", type=int, default=64, help="measured; as many again choose R")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()

    start, load, by_spread = time.perf_counter(), os.getloadavg()[0], {}
    for spread in options.spreads:
        by_spread[spread] = measure(options, spread)
        show(options, spread, by_spread[spread])
    elapsed = time.perf_counter() - start
    print(f"peak {peak_mb():.0f} MB, {elapsed:.0f} s in all; load of the machine at the start {load:.1f}")
    about = {name: value for name, value in vars(options).items() if name != "out"}
    about |= {"by_spread": by_spread, "peak_mb": peak_mb(), "seconds": elapsed, "load_at_start": load}
    about |= {"machine": machine(), "versions": versions(), "faiss": faiss.__version__}
    options.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
