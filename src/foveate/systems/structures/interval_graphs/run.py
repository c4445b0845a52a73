"""Mine temporal networks from the command line or from Python."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Literal

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.results import Record, Result
from foveate.systems.structures.interval_graphs import data, formats, method, output, released
from foveate.systems.structures.interval_graphs.database import Binning, Database, Iso


def mine(
    network: Path,
    supp: float = 0.1,
    iso: Iso = "e",
    max_edges: int = 0,
    theta: float = 0.05,
    binning: Binning = "gap",
    nbins: int = 10,
    directed: bool = False,
    open_ends: bool = False,
    keep: method.Keep = "all",
    columns: str = "",
    resolution: float = 20,
    gap: float = -1,
    least: float = 0,
    cut: float = 0,
    round_to: float = 0,
    seconds: float = 0,
    megabytes: int = 4096,
    checkpoint: Path | None = None,
    compat: bool = False,
    draw: int = 6,
    graphs: int = 100,
) -> Result:
    """Find every temporal pattern that occurs in enough of a file's networks.

    Args:
        network: Text of the released package (t # 0; e U V ULABEL LABEL VLABEL START DURATION), contact lists (t i j), CSV,
            GraphML.
        supp: Smallest support: a number of networks, or a share of them below 1.
        iso: What counts as the same. `e`: equal durations and relative starts; `i`: durations of one bin, equal relative
            starts; `es`, `is`: likewise, but of the starts only their order.
        max_edges: Largest pattern; 0 sets no limit.
        theta: For `i` and `is`: durations fall into another bin where the next longer one is longer by more than this share.
        binning: `gap` cuts as theta says, `width` and `frequency` make bins of equal width or count.
        nbins: Bins of the latter two.
        directed: Whether an edge from U to V differs from one from V to U.
        open_ends: Edges that only touch in time do not overlap.
        keep: `closed` or `maximal` leave out patterns that larger ones make superfluous.
        columns: Columns of a contact list, as in "i j t" or "i j start end"; `t i j` by default, with four columns `start end
            i j`.
        resolution: How long a contact of a contact list lasts, up to its time.
        gap: Contacts of one pair with at most this between their times are one interval; the resolution if negative.
        least: Shortest interval made of contacts.
        cut: Cut each network into consecutive ones of this length.
        round_to: Round starts and ends to multiples of this.
        seconds: Stop after about so long, with what was found; 0 sets no limit.
        megabytes: Memory that occurrences may take at once.
        checkpoint: Folder for finished seeds; given again, an interrupted run goes on from there.
        compat: Also tell what the released package reports wrongly on this file.
        draw: Patterns to draw, the largest ones; 0 draws none.
        graphs: Patterns to write as GraphML, the largest ones; 0 writes none.

    Returns:
        The patterns as JSON Lines, the largest ones drawn and as GraphML, and a summary.
    """
    if min(draw, graphs, cut, round_to) < 0 or draw > 50:
        raise InputError(
            "draw, graphs, cut, round_to", f"{draw}, {graphs}, {cut}, {round_to}", "0 or more, and at most 50 drawings"
        )
    begun = time.monotonic()
    db = formats.read(network, columns, directed, resolution, gap, least)
    if round_to:
        db = db.rounded(round_to)
    if cut:
        db = db.cut(cut)
    binned = {"theta": theta, "binning": binning, "nbins": nbins}
    with bar("mining") as tick:
        found = method.mine(
            db, supp, iso, **binned, open_ends=open_ends, max_edges=max_edges, seconds=seconds, megabytes=megabytes, keep=keep,
            checkpoint=checkpoint, tick=tick,
        )  # fmt: skip
    listed = list(output.described(db, found, iso, found, open_ends))
    summary = {
        "networks": len(db.networks), "temporal_edges": len(db), "isomorphism": iso, "least_support": found.least,
        "patterns": len(found), "patterns_by_size": {str(k): len(level) for k, level in found.levels.items()},
        "duration_bins": len(found.classes.bins), "seeds": found.seeds, "seeds_finished": found.finished,
        "complete": not found.stopped,
    }  # fmt: skip
    if compat:
        summary["released_package"] = _difference(db, supp, iso, theta)
    parts = {"patterns": output.Lines(listed), "summary": Record(summary)}
    largest = sorted(listed, key=lambda p: (-p["size"], -p["support"], p["id"]))
    if listed and draw:
        parts["drawing"] = output.timelines(largest[:draw])
    if listed and graphs:
        parts["graphs"] = output.graphml(sorted(largest[:graphs], key=lambda p: p["id"]), directed)
    return Result(parts, tuple(_notes(db, found, time.monotonic() - begun)))


def _difference(db: Database, supp: float, iso: Iso, theta: float) -> dict[str, Any]:
    """Compare what the released package reports with all true patterns of any size."""
    exact = method.mine(db, supp, iso, theta=theta)
    reported = released.mine(db, supp, iso, theta)
    spurious, missed = released.difference(db, exact, reported, iso)
    wrong = output.described(db, exact, iso, (reported[i] for i in spurious))
    lacking = output.described(db, exact, iso, (exact.levels[k].pattern(i) for k, i in missed))
    return {"reported": len(reported), "true": len(exact), "spurious": list(wrong), "missed": list(lacking)}


def _notes(db: Database, found: method.Mined, took: float) -> list[str]:
    """Tell what a user should know of a run."""
    networks = f"{len(found)} patterns in at least {found.least} of {len(db.networks)} networks"
    notes = [f"{networks}, {took:.1f} s{_peak()}"]
    if found.stopped:
        limit = {"time": "--seconds", "memory": "--megabytes"}[found.stopped]
        left = f"{found.seeds - found.finished} of {found.seeds} seeds are unfinished"
        notes.append(f"stopped by {limit}: supports are right, but patterns may be missing, larger ones above all; {left}")
    if len(db.networks) == 1:
        notes.append("the file holds one network, so every pattern in it has support 1: --cut LENGTH makes several of it")
    elif not any(k > 1 for k in found.levels):
        notes.append("no pattern of two edges is frequent: a lower --supp, --iso is, or --round_to finds more")
    return notes


def _peak() -> str:
    """Tell the process's peak memory, where the system does."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return f", peak memory {peak:.0f} MB"


def sample(
    name: Literal["exact", "inexact", "seq_exact", "seq_inexact", "planted", "collegemsg"] = "exact",
    seed: int = 0,
    start_jitter: float = 0,
    duration_jitter: float = 0,
) -> Result:
    """Write embedded temporal networks as CSV, to try the system with.

    Args:
        name: One of the released package's four examples, networks with planted patterns, or CollegeMsg's messages by week.
        seed: Seed of `planted`.
        start_jitter: Noise on the starts of planted patterns, in units.
        duration_jitter: Relative noise on their durations.

    Returns:
        The networks.
    """
    if name == "collegemsg":
        db = data.collegemsg()
    elif name == "planted":
        db = data.planted(seed, start_jitter=start_jitter, duration_jitter=duration_jitter).db
    else:
        db = data.example(name)
    return Result({"networks": output.networks(db)})
