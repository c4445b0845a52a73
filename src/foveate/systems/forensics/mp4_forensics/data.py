"""Files with what is known of them: the embedded ones, a manifest of one's own (EVA-7K), and VISION's folders."""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from foveate.errors import InputError
from foveate.results import write_atomically
from foveate.systems.forensics.mp4_forensics.boxes import OPAQUE, SparseSource, Tree, parse, read_tree
from foveate.systems.forensics.mp4_forensics.symbols import Document, prepare

HEADERS = Path(__file__).with_name("headers.xz")
MANIFEST = Path(__file__).with_name("manifest.csv")
DIGEST = "afdcaf437c4dca346966"  # of headers.xz and manifest.csv, which figures depend on as much as on code
COLUMNS = (
    "name",
    "brand",
    "device",
    "firmware",
    "tool",
    "version",
    "library",
    "network",
    "source_id",
    "action",
    "options",
    "probe",
)
FORMATS = ("mp4", "mov", "m4v", "m4a", "3gp")
MAGIC = b"foveate emptied headers 1\n"
MOST = 1 << 26  # bytes that the archive may unpack to

Task = Literal["brand", "tool", "library", "network", "altered", "brand_blind", "tool_blind"]
TASKS: tuple[Task, ...] = ("brand", "tool", "library", "network", "altered", "brand_blind", "tool_blind")
Part = Literal["train", "val", "test"]


# ---------------------------------------------------------------------------------------------------------------------
# emptied files
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hollow:
    """A file without its media and padding, whose sizes are kept.

    Attributes:
        size: Bytes of the whole file.
        ranges: Offset and content of what is kept.
    """

    size: int
    ranges: tuple[tuple[int, bytes], ...]

    def tree(self, name: str) -> Tree:
        """Read its boxes."""
        return parse(SparseSource(self.size, self.ranges), name)

    def content(self) -> bytes:
        """Return the whole file, zeros for what is gone."""
        whole = bytearray(self.size)
        for offset, kept in self.ranges:
            whole[offset : offset + len(kept)] = kept
        return bytes(whole)


def hollow(path: Path) -> Hollow:
    """Empty a file."""
    gaps = [(box.start + box.header, box.start + box.size) for _, _, box in read_tree(path).walk() if box.type in OPAQUE]
    content, ranges, position = path.read_bytes(), [], 0
    for start, end in [*gaps, (len(content), len(content))]:
        if start > position:
            ranges.append((position, content[position:start]))
        position = max(position, end)
    return Hollow(len(content), tuple(ranges))


def digest(*paths: Path) -> str:
    """Hash files."""
    made = hashlib.sha256()
    for path in paths:
        made.update(path.read_bytes())
    return made.hexdigest()[:20]


def pack(files: Sequence[Hollow], path: Path) -> None:
    """Write emptied files to one compressed archive."""
    index = json.dumps(
        [[f.size, [[offset, len(content)] for offset, content in f.ranges]] for f in files], separators=(",", ":")
    )
    body = b"".join(content for f in files for _, content in f.ranges)
    packed = MAGIC + struct.pack(">I", len(index)) + index.encode() + body
    write_atomically(path, lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME))


def unpack(path: Path) -> list[Hollow]:
    """Read an archive of `pack`.

    Raises:
        InputError: If it is missing or broken.
    """
    try:
        packed = lzma.LZMADecompressor().decompress(path.read_bytes(), MOST)
        if not packed.startswith(MAGIC):
            raise ValueError("another beginning")
        start = len(MAGIC) + 4
        (length,) = struct.unpack_from(">I", packed, len(MAGIC))
        position, found = start + length, []
        for size, ranges in json.loads(packed[start : start + length]):
            kept = []
            for offset, count in ranges:
                kept.append((int(offset), packed[position : position + count]))
                position += count
            found.append(Hollow(int(size), tuple(kept)))
    except (OSError, ValueError, lzma.LZMAError, struct.error) as error:
        raise InputError(path, f"is no archive of emptied files ({error})", "the one that foveate ships") from error
    return found


# ---------------------------------------------------------------------------------------------------------------------
# files and labels
# ---------------------------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """A file and what is known of it.

    Attributes:
        document: What it says.
        row: Its line of the manifest.
    """

    document: Document
    row: Mapping[str, str]


class Labelled(NamedTuple):
    """The items of a task.

    Attributes:
        files: Documents, an object array ``(N,)``.
        label: Class names ``(N,)``.
        group: What must not be on both sides of a split ``(N,)``: a source, or a device.
        rows: Their lines of the manifest.
    """

    files: np.ndarray
    label: np.ndarray
    group: np.ndarray
    rows: list[Mapping[str, str]]

    def take(self, chosen: np.ndarray) -> Labelled:
        """Keep some of them, by index or mask."""
        index = np.arange(len(self.label))[chosen]
        return Labelled(self.files[index], self.label[index], self.group[index], [self.rows[i] for i in index])


@cache
def hollows() -> tuple[tuple[dict[str, str], Hollow], ...]:
    """Return the embedded files, emptied, each with its line of the manifest."""
    if not (HEADERS.is_file() and MANIFEST.is_file()) or digest(HEADERS, MANIFEST) != DIGEST:
        raise InputError(HEADERS, "is not what data.py was written for", "the files that foveate ships; install it anew")
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = unpack(HEADERS)
    if len(rows) != len(files):
        raise InputError(MANIFEST, f"has {len(rows)} lines for {len(files)} files", "the files that foveate ships")
    return tuple(zip(rows, files, strict=True))


@cache
def embedded() -> tuple[Known, ...]:
    """Return what the embedded files say."""
    return tuple(Known(prepare(made.tree(row["name"])), row) for row, made in hollows())


def label_of(row: Mapping[str, str], task: Task) -> str:
    """Return a file's class in a task, empty if the task is not about it."""
    tool, network = row.get("tool", "") or "native", row.get("network", "")
    if task == "brand":
        return row.get("brand", "") if tool == "native" and not network else ""
    if task == "network":
        return network or ("none" if tool == "native" else "")
    if task == "brand_blind":
        return row.get("brand", "") if network else ""
    if task == "tool_blind":
        return tool if network else ""
    if network:
        return ""
    if task == "altered":
        return "native" if tool == "native" else "altered"
    return row.get("library", "") if task == "library" else tool


def labelled(known: Iterable[Known], task: Task) -> Labelled:
    """Select the items of a task.

    Raises:
        InputError: If there are fewer than two classes.
    """
    kept = [(k.document, label, k.row) for k in known if (label := label_of(k.row, task))]
    names = sorted({label for _, label, _ in kept})
    if len(names) < 2:
        said = f"{len(kept)} files, of {'the class ' + names[0] if names else 'no class'}"
        raise InputError(f"task {task}", said, "files of two classes or more")
    files = np.empty(len(kept), object)
    files[:] = [document for document, _, _ in kept]
    groups = [row.get("source_id") or row.get("device") or document.name for document, _, row in kept]
    return Labelled(files, np.array([label for _, label, _ in kept]), np.array(groups), [row for _, _, row in kept])


def read_manifest(path: Path) -> list[Known]:
    """Read files by a table with a column ``path`` and any of brand, device, tool, network, source_id, library, action.

    Paths are relative to the table. An empty tool means a file as its camera wrote it, an empty network one that was not sent.

    Raises:
        InputError: If the table is missing or broken, or a file that it names is.
    """
    expected = "a CSV table with the columns path, and brand, device, tool, network, source_id as far as known"
    if path.is_dir():
        raise InputError(path, "is a folder", expected)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", expected) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "is not a table", expected) from error
    try:
        reader = csv.DictReader(text.splitlines())
        columns = reader.fieldnames or []
        if "path" not in columns:
            raise InputError(f"{path}:1", "has no column 'path'", expected)
        if not {"brand", "tool", "network"} & set(columns):
            raise InputError(f"{path}:1", "has no column brand, tool or network", expected)
        rows = list(reader)
    except csv.Error as error:
        raise InputError(path, f"is not a table: {error}", expected) from error
    found = []
    for line, row in enumerate(rows, 2):
        if not row["path"]:
            raise InputError(f"{path}:{line}", "names no file", expected)
        try:
            document = prepare(read_tree(path.parent / row["path"]))
        except InputError as error:
            raise InputError(f"{path}:{line}", str(error), "files that can be read") from error
        found.append(Known(document, {name: value or "" for name, value in row.items() if name}))
    if not found:
        raise InputError(path, "has no lines", expected)
    return found


VISION_FOLDER = re.compile(r"(D\d+)_([^_]+)_(.+)")
VISION_NETWORKS = {"YT": "YouTube", "WA": "WhatsApp"}


def read_vision(root: Path) -> list[Known]:
    """Read VISION: ``D01_Samsung_GalaxyS3Mini/videos/flatYT/D01_V_flatYT_still_0001.mp4``.

    Raises:
        InputError: If the folder has no such files.
    """
    found = []
    for path in sorted(root.glob("D*_*/videos/*/*")):
        folder = VISION_FOLDER.fullmatch(path.parts[-4])
        if folder is None or path.suffix.lower()[1:] not in FORMATS:
            continue
        where = path.parts[-2]
        network = VISION_NETWORKS.get(where[-2:], "")
        row = {
            "brand": folder[2], "device": folder[1], "tool": "native", "network": network,
            # All that one device filmed is one group, sent or not.
            "source_id": folder[1],
        }  # fmt: skip
        found.append(Known(prepare(read_tree(path)), row))
    if not found:
        raise InputError(root, "holds no videos of VISION", "D01_Brand_Model/videos/flat/*.mp4 and so on")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# sources for training
# ---------------------------------------------------------------------------------------------------------------------


class Source:
    """Files in three parts, no group in two of them.

    Args:
        known: The files.
        task: What is to be told of them.
        where: Named in errors.
    """

    def __init__(self, known: Iterable[Known], task: Task, where: str) -> None:
        self.items = labelled(known, task)
        self.where = where

    def parts(self) -> dict[str, list[str]]:
        """Return the names of the files of each part."""
        return {part: [document.name for document in self.arrays(part)["files"]] for part in ("train", "val", "test")}

    def arrays(self, part: Part) -> dict[str, np.ndarray]:
        """Return the files, classes and groups of a part: three of five groups to train, one each to validate and test."""
        groups = sorted(set(self.items.group.tolist()))
        if len(groups) < 5:
            raise InputError(self.where, f"has {len(groups)} sources or devices", "five, so that none is in two parts")
        turn = {group: ("train", "val", "train", "test", "train")[i % 5] for i, group in enumerate(groups)}
        chosen = self.items.take(np.array([turn[g] == part for g in self.items.group]))
        return {"files": chosen.files, "label": chosen.label, "group": chosen.group}


class Sample(Source):
    """The embedded files.

    Args:
        task: What is to be told of them.
    """

    def __init__(self, task: Task = "tool") -> None:
        super().__init__(embedded(), task, "the embedded files")


class Manifest(Source):
    """One's own files, or EVA-7K: ``manifest.csv`` in a folder.

    Args:
        root: The folder.
        task: What is to be told of them.
    """

    def __init__(self, root: str, task: Task = "tool") -> None:
        super().__init__(read_manifest(Path(root) / "manifest.csv"), task, root)


class Vision(Source):
    """VISION's folders, as they unpack.

    Args:
        root: The folder that holds them.
        task: What is to be told of them.
    """

    def __init__(self, root: str, task: Task = "brand") -> None:
        super().__init__(read_vision(Path(root)), task, root)
