"""The box parser: files and megabytes per second against pymp4, ExifTool and MediaInfo on the same files.

``python benchmarks/mp4_forensics.py [--files 500] [--repeats 3] [--out benchmarks/mp4_forensics.json]``

The files are the embedded ones of real tools, written whole (media as zeros), and copies of some whose media were made
``--media`` bytes long, as a camera's would be. ``foveate`` reads every box and field; ``foveate, features`` makes the symbols,
too. pymp4 is told to read the same trees, as it does, media and all; a file that it fails at counts as read, and how many those
are is told. ExifTool and MediaInfo are programs: each is started once for all files and its start counted (ExifTool's
``-fast2`` leaves out what stands after the media). Megabytes are those of the whole files, whatever of them is read. Rounds
alternate, so that a busy machine slows all alike; medians are told.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from foveate.systems.forensics.mp4_forensics.boxes import read_tree
from foveate.systems.forensics.mp4_forensics.data import hollows
from foveate.systems.forensics.mp4_forensics.method import prepare
from foveate.systems.forensics.mp4_forensics.symbols import Settings

Work = Callable[[Sequence[Path]], None]
failed: dict[str, int] = {}


def ours(files: Sequence[Path]) -> None:
    """Read all trees."""
    for path in files:
        read_tree(path)


def features(files: Sequence[Path]) -> None:
    """Read all trees and turn them into symbols."""
    for path in files:
        prepare(read_tree(path)).symbols(Settings())


def peer(files: Sequence[Path]) -> None:
    """Read all trees with pymp4."""
    from pymp4.parser import Box

    failed["pymp4"] = 0
    for path in files:
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                while file.tell() < size:
                    Box.parse_stream(file)
        except Exception:  # of many kinds; what is timed is how far it came
            failed["pymp4"] += 1


def program(*command: str) -> Work:
    """Make a work of a program that is given all files at once."""

    def work(files: Sequence[Path]) -> None:
        subprocess.run([*command, *map(str, files)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    return work


def lengthened(content: bytes, more: int, path: Path) -> None:
    """Write a file with longer media: its last box, an mdat with a size in 64 bits, is a hole."""
    with path.open("wb") as file:
        file.write(content + (1).to_bytes(4, "big") + b"mdat" + (16 + more).to_bytes(8, "big"))
        file.truncate(len(content) + 16 + more)


def main() -> None:
    """Run all readers in turn and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--long", type=int, default=10, help="files with long media")
    parser.add_argument("--media", type=int, default=1 << 26, help="bytes of their media")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    readers: dict[str, Work] = {"foveate": ours, "foveate, features": features}
    if importlib.util.find_spec("pymp4"):
        readers["pymp4"] = peer
    else:
        print("pymp4 is not installed, left out")
    for name, command in (
        ("exiftool", ("exiftool", "-json")),
        ("exiftool -fast2", ("exiftool", "-json", "-fast2")),
        ("mediainfo", ("mediainfo", "--Output=JSON")),
    ):
        if shutil.which(command[0]):
            readers[name] = program(*command)
        else:
            print(f"{command[0]} is not installed, left out")
    table: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="foveate-bench-") as folder:
        sets: dict[str, list[Path]] = {"short clips": [], "long media": []}
        for row, file in hollows()[: options.files]:
            path = Path(folder) / row["name"]
            path.write_bytes(file.content())
            sets["short clips"].append(path)
        for i, (_, file) in enumerate(hollows()[: options.long]):
            path = Path(folder) / f"long-{i}.mp4"
            lengthened(file.content(), options.media, path)
            sets["long media"].append(path)
        for what, files in sets.items():
            for work in readers.values():
                work(files[:2])
            rounds: list[dict[str, float]] = []
            for _ in range(options.repeats):
                taken = {}
                for name, work in readers.items():
                    started = time.perf_counter()
                    work(files)
                    taken[name] = time.perf_counter() - started
                rounds.append(taken)
            total = sum(path.stat().st_size for path in files) / 1e6
            table[what] = {}
            for name in readers:
                seconds = statistics.median(r[name] for r in rounds)
                table[what][name] = {"files_per_second": len(files) / seconds, "megabytes_per_second": total / seconds}
            print(f"{what}: {len(files)} files, {total:,.1f} MB, medians of {options.repeats}")
            for name, rates in table[what].items():
                print(f"  {name:<18} {rates['files_per_second']:10,.1f} files/s {rates['megabytes_per_second']:12,.1f} MB/s")
            for name, count in failed.items():
                table[what][name]["failed"] = count
                print(f"  {name} failed at {count} of them")
    from foveate.evidence import machine, versions

    settings = {"files": options.files, "long": options.long, "media": options.media}
    content = {**settings, "rates": table, "machine": machine(), "versions": versions()}
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
