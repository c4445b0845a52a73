"""Hostile files: mutations of real headers, and what the parser makes of them."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from foveate.systems.forensics.mp4_forensics.boxes import SparseSource, parse
from foveate.systems.forensics.mp4_forensics.fields import READERS
from foveate.systems.forensics.mp4_forensics.symbols import Settings, prepare

Mutation = Callable[[bytearray, list[int], np.random.Generator], bytearray]
SIZES = (0, 1, 4, 7, 8, 15, 16, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def _pick(content: bytearray, starts: list[int], rng: np.random.Generator) -> int:
    """Choose where a box begins, or began before other mutations."""
    return min(starts[rng.integers(len(starts))], max(0, len(content) - 8))


def _flip(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Set some bytes to anything."""
    for _ in range(int(rng.integers(1, 24))):
        content[rng.integers(len(content))] = rng.integers(256)
    return content


def _cut(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Cut the file off."""
    return content[: rng.integers(1, len(content))]


def _lie(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Write a wrong size into a box, or several."""
    for _ in range(int(rng.integers(1, 4))):
        at = _pick(content, starts, rng)
        size = int(rng.choice(SIZES)) if rng.random() < 0.6 else int(rng.integers(0, 2 * len(content)))
        content[at : at + 4] = struct.pack(">I", size)
    return content


def _widen(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Give a box a size in 64 bits, small or of up to 2^64 - 1."""
    at = _pick(content, starts, rng)
    size = (0, 8, 15, 16, 1 << 62, 1 << 63, (1 << 64) - 1)[rng.integers(7)]
    content[at : at + 8] = struct.pack(">I", 1) + bytes(content[at + 4 : at + 8]) + struct.pack(">Q", size)
    return content


def _count(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Let a table promise more entries than there are."""
    at = _pick(content, starts, rng)
    content[at + 12 : at + 16] = struct.pack(">I", int(rng.choice(SIZES)))
    return content


def _nest(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Wrap a box in many others."""
    at = _pick(content, starts, rng)
    tail = bytes(content[at:])
    for _ in range(int(rng.integers(2, 200))):
        kind = (b"moov", b"trak", b"udta", b"meta", b"wave", b"ilst")[rng.integers(6)]
        tail = struct.pack(">I", 8 + len(tail)) + kind + tail
    return content[:at] + tail


def _repeat(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Copy a piece of the file to somewhere else."""
    start, at = rng.integers(len(content), size=2)
    piece = content[start : start + rng.integers(1, 600)]
    return content[:at] + piece * int(rng.integers(1, 8)) + content[at:]


def _drop(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Leave out a piece of the file."""
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 200)) :]


def _rename(content: bytearray, starts: list[int], rng: np.random.Generator) -> bytearray:
    """Give a box another's type, whose fields are then looked for in it."""
    kinds = [*READERS, "moov", "stbl", "stsd", "ilst", "meta", "uuid", "trak", "mdat"]
    at = _pick(content, starts, rng)
    content[at + 4 : at + 8] = kinds[rng.integers(len(kinds))].encode("latin-1")
    return content


MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _lie, _widen, _count, _nest, _repeat, _drop, _rename)


@dataclass
class Outcome:
    """What many hostile files led to.

    Attributes:
        files: How many there were.
        crashes: Messages of exceptions, which there should be none of.
        complained: Files with at least one complaint.
        slowest: Seconds of the slowest file.
        most_boxes: Boxes of the largest tree.
        deepest: Levels of the deepest tree.
    """

    files: int = 0
    crashes: list[str] = field(default_factory=list)
    complained: int = 0
    slowest: float = 0.0
    most_boxes: int = 0
    deepest: int = 0


def attack(seeds: Sequence[bytes], count: int, seed: int) -> Outcome:
    """Parse mutated files, and turn what comes out into symbols.

    Args:
        seeds: Files to mutate.
        count: How many to make.
        seed: Of the mutations.
    """
    found = Outcome()
    rng = np.random.default_rng(seed)
    places = [[box.start for _, _, box in parse(SparseSource.whole(content)).walk()] for content in seeds]
    for _ in range(count):
        chosen = rng.integers(len(seeds))
        content = bytearray(seeds[chosen])
        for _ in range(int(rng.integers(1, 4))):
            content = MUTATIONS[rng.integers(len(MUTATIONS))](content, places[chosen], rng) or bytearray(b"\0")
        started = time.perf_counter()
        try:
            tree = parse(SparseSource.whole(bytes(content)), "hostile.mp4")
            prepare(tree).symbols(Settings())
        except Exception as error:  # whatever it is, it is what is looked for
            found.crashes.append(f"{type(error).__name__}: {error}")
            continue
        finally:
            found.slowest = max(found.slowest, time.perf_counter() - started)
            found.files += 1
        depths = [depth for _, depth, _ in tree.walk()]
        found.most_boxes = max(found.most_boxes, len(depths))
        found.deepest = max(found.deepest, 1 + max(depths, default=0))
        found.complained += bool(tree.complaints)
    return found
