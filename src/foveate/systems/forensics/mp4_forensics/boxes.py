"""The box tree of an ISO base media file (ISO/IEC 14496-12 and QuickTime), read without touching the media data.

The parser trusts nothing that a file says: sizes are compared with what is there, nesting, the number of boxes and the bytes
that are read are bounded, and whatever does not fit becomes a `Complaint` in a list.
"""

from __future__ import annotations

import contextlib
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from foveate.errors import InputError
from foveate.systems.forensics.mp4_forensics.fields import READERS, Context, fourcc, read_entry

WINDOW = 1 << 16  # bytes that are read ahead within a box that holds other boxes
PAYLOAD = 1 << 16  # bytes of a box's own fields that are looked at
RUNS = 1 << 22  # the same of a track run, whose sample durations are summed

# Boxes that hold nothing but other boxes.
CONTAINERS = frozenset({
    "moov", "trak", "edts", "mdia", "minf", "dinf", "stbl", "mvex", "moof", "traf", "mfra", "udta", "ilst", "gmhd", "tapt",
    "wave", "sinf", "schi", "rinf", "tref", "strk", "strd", "hnti", "hinf", "iprp", "ipco",
    "clip", "matt", "meco", "trgr", "grpl",
})  # fmt: skip
# Boxes with a version, flags and a count (8 bytes) before the boxes that they hold.
COUNTED = frozenset({"stsd", "dref"})
# Payloads that are media or padding, and are never read.
OPAQUE = frozenset({"mdat", "free", "skip", "wide", "idat", "junk", "PICT", "imda"})
# What a file of the family may begin with; files of before 2001 have no ftyp.
FIRST = frozenset({
    "ftyp", "styp", "moov", "moof", "mdat", "free", "skip", "wide", "pnot", "uuid", "udta", "meta", "sidx", "ssix", "prft",
    "emsg", "junk", "PICT",
})  # fmt: skip
SIGNATURES = (
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (b"RIFF", "RIFF (AVI, WAV or WebP)"),
    (b"OggS", "Ogg"),
    (b"FLV\x01", "Flash video"),
    (b"ID3", "MP3"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (ASF)"),
    (b"\x00\x00\x01\xba", "MPEG programme stream"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"G@", "MPEG transport stream"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
)
ISO = "an ISO base media file: MP4, MOV, M4A, 3GP"

Severity = Literal["broken", "odd"]


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a file.

    Attributes:
        severity: ``broken``: sizes contradict each other or the file; ``odd``: a box keeps its type and size only.
        kind: ``truncated``, ``overrun``, ``size``, ``depth``, ``boxes``, ``bytes``, ``fields`` or ``trailing``.
        path: Types from the top, as ``moov/trak``.
        offset: Where, in bytes from the start of the file.
        says: One clause.
    """

    severity: Severity
    kind: str
    path: str
    offset: int
    says: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.path or 'the file'} at byte {self.offset:,}: {self.says}"


@dataclass(slots=True)
class Box:
    r"""A node of the tree.

    Attributes:
        type: Four characters; those that cannot be printed as ``\\xNN``.
        start: Offset in the file.
        size: Bytes, header and all, as far as they are within the parent.
        header: Bytes of size, type, 64-bit size and UUID.
        fixed: Bytes of its own fields before its children.
        trailing: Bytes after its last child, a terminator or what could not be read.
        wide: Its size is written in 64 bits though 32 would do.
        fields: Name to number, text, or a list of them.
        children: The boxes in it.
        is_parent: Whether it holds boxes (perhaps none).
        key: Of an item in a metadata list that goes by a number or by a free form: what it is about.
        code: The type as it stands in the file.
    """

    type: str
    start: int
    size: int
    header: int
    fixed: int = 0
    trailing: int = 0
    wide: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    children: list[Box] = field(default_factory=list)
    is_parent: bool = False
    key: str = ""
    code: bytes = b""

    def first(self, path: str) -> Box | None:
        """Return the first box at a path of types below this one, or None."""
        found: Box | None = self
        for name in path.split("/"):
            found = next((child for child in found.children if child.type == name), None)
            if found is None:
                return None
        return found

    def all(self, name: str) -> list[Box]:
        """Return the children of a type."""
        return [child for child in self.children if child.type == name]

    def walk(self, path: str = "", depth: int = 0) -> Iterator[tuple[str, int, Box]]:
        """Go through this box and all in it: path, depth, box."""
        path = f"{path}/{self.type}" if path else self.type
        yield path, depth, self
        for child in self.children:
            yield from child.walk(path, depth + 1)


@dataclass(frozen=True)
class Tree:
    """A file's boxes.

    Attributes:
        name: The file's.
        size: Bytes of the file.
        boxes: Those at the top.
        complaints: What is wrong with it.
        bytes_read: How much of it was looked at.
    """

    name: str
    size: int
    boxes: tuple[Box, ...]
    complaints: tuple[Complaint, ...]
    bytes_read: int

    def walk(self) -> Iterator[tuple[str, int, Box]]:
        """Go through all boxes: path, depth, box."""
        for box in self.boxes:
            yield from box.walk()

    def first(self, path: str) -> Box | None:
        """Return the first box at a path, or None."""
        return Box("", 0, self.size, 0, children=list(self.boxes)).first(path)

    def mismatches(self) -> list[str]:
        """List the boxes whose header, own fields, children and terminator do not add up to their size."""
        found = []
        for path, _, box in self.walk():
            parts = box.header + box.fixed + sum(child.size for child in box.children) + box.trailing
            if box.is_parent and parts != box.size:
                found.append(f"{path} at {box.start}: {parts} of {box.size} bytes")
        whole = sum(box.size for box in self.boxes)
        trailing = sum(c.kind == "trailing" and not c.path for c in self.complaints)
        if whole != self.size and not trailing:
            found.append(f"the file: {whole} of {self.size} bytes")
        return found


# ---------------------------------------------------------------------------------------------------------------------
# where bytes come from
# ---------------------------------------------------------------------------------------------------------------------


class Source(Protocol):
    """Bytes at offsets."""

    size: int
    bytes_read: int

    def read(self, offset: int, count: int, limit: int) -> bytes:
        """Return up to ``count`` bytes; what is read ahead stays below ``limit``."""


class FileSource:
    """A file, of which a window is kept."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self.size = self.file.seek(0, 2)
        self.bytes_read, self.start, self.window = 0, 0, b""

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.file.close()

    def read(self, offset: int, count: int, limit: int) -> bytes:
        """Return up to ``count`` bytes; see `Source`."""
        inside = offset - self.start
        if not 0 <= inside <= len(self.window) - count:
            self.file.seek(offset)
            self.window = self.file.read(max(count, min(WINDOW, limit - offset)))
            self.start, inside = offset, 0
            self.bytes_read += len(self.window)
        return self.window[inside : inside + count]


class SparseSource:
    """A file of which only some ranges are kept; the rest is media or padding and reads as zeros.

    Args:
        size: Bytes of the whole file.
        ranges: Offset and content of each range that is kept, by offset, none touching the next.
    """

    def __init__(self, size: int, ranges: Sequence[tuple[int, bytes]]) -> None:
        self.size, self.ranges, self.bytes_read = size, ranges, 0
        self.starts = [start for start, _ in ranges]

    @classmethod
    def whole(cls, content: bytes) -> SparseSource:
        """Take a file that lies in memory."""
        return cls(len(content), [(0, content)])

    def read(self, offset: int, count: int, limit: int) -> bytes:
        """Return up to ``count`` bytes; see `Source`."""
        count = max(0, min(count, self.size - offset))
        self.bytes_read += count
        at = bisect_right(self.starts, offset) - 1
        if at >= 0:
            start, content = self.ranges[at]
            if offset + count <= start + len(content):
                return content[offset - start : offset - start + count]
        pieces = bytearray(count)
        for start, content in self.ranges:
            low, high = max(start, offset), min(start + len(content), offset + count)
            if low < high:
                pieces[low - offset : high - offset] = content[low - start : high - start]
        return bytes(pieces)


# ---------------------------------------------------------------------------------------------------------------------
# the parser
# ---------------------------------------------------------------------------------------------------------------------


_named = lru_cache(4096)(fourcc)


class _Stopped(Exception):
    """A bound was reached."""


class Parser:
    """Reads the tree of one file.

    Args:
        source: Its bytes.
        max_depth: Boxes deeper than this are kept as leaves.
        max_boxes: Boxes after which reading stops.
        max_bytes: Bytes of fields after which reading stops.
    """

    def __init__(self, source: Source, max_depth: int = 32, max_boxes: int = 300_000, max_bytes: int = 1 << 28) -> None:
        self.source, self.max_depth, self.max_boxes, self.max_bytes = source, max_depth, max_boxes, max_bytes
        self.complaints: list[Complaint] = []
        self.boxes = 0
        self.context = Context()

    def parse(self, name: str) -> Tree:
        """Read the whole tree."""
        top: list[Box] = []
        with contextlib.suppress(_Stopped):
            self._siblings(top, 0, self.source.size, 0, "")
        return Tree(name, self.source.size, tuple(top), tuple(self.complaints), self.source.bytes_read)

    def _complain(self, severity: Severity, kind: str, path: str, offset: int, says: str) -> None:
        if len(self.complaints) < 1000:
            self.complaints.append(Complaint(severity, kind, path, offset, says))

    def _siblings(self, found: list[Box], start: int, end: int, depth: int, path: str) -> int:
        """Read the boxes between two offsets into a list; return how many bytes are left over after the last."""
        position, read = start, self.source.read
        while position < end:
            left = end - position
            if left < 8:
                if not path:
                    self._complain("odd", "trailing", "", position, f"{left} bytes are no box")
                return left
            # At the top what follows the header may be media, which is not to be read.
            head = read(position, 8, end if path else position + 8)
            size, code = int.from_bytes(head[:4], "big"), head[4:8]
            header, stated = 8, size
            if size == 1:
                if left < 16:
                    self._complain("broken", "size", path, position, "the file ends within a 64-bit size")
                    return left
                stated = size = int.from_bytes(read(position + 8, 8, end if path else position + 16), "big")
                header = 16
            elif size == 0:
                if path:
                    return left
                if code == b"\0\0\0\0":
                    self._complain("odd", "trailing", "", position, f"{left:,} bytes of padding are no box")
                    return left
                size = left
            kind = _named(code)
            here = f"{path}/{kind}" if path else kind
            if code == b"uuid":
                if left < header + 16:
                    self._complain("broken", "size", here, position, "ends within its UUID")
                    return left
                kind = f"uuid[{read(position + header, 16, end if path else position + header + 16).hex()}]"
                header += 16
            if size < header:
                self._complain("broken", "size", here, position, f"says a size of {stated} bytes, less than its header has")
                return left
            if size > left:
                if path:
                    self._complain("broken", "overrun", here, position, f"says {stated:,} bytes where its parent has {left:,}")
                else:
                    self._complain("broken", "truncated", here, position, f"says {stated:,} bytes, the file has {left:,} left")
                size = left
            self.boxes += 1
            if self.boxes > self.max_boxes:
                self._complain("odd", "boxes", here, position, f"more than {self.max_boxes:,} boxes; the rest is not read")
                raise _Stopped
            if self.source.bytes_read > self.max_bytes:
                self._complain(
                    "odd", "bytes", here, position, f"more than {self.max_bytes:,} bytes of fields; the rest is not read"
                )
                raise _Stopped
            box = Box(kind, position, size, header, wide=header in (16, 32) and stated == size < 1 << 32, code=code)
            found.append(box)
            if kind not in OPAQUE:
                self._inside(box, depth, path, here)
            position += size
        return 0

    def _inside(self, box: Box, depth: int, path: str, here: str) -> None:
        """Read a box's fields and the boxes in it."""
        start, end = box.start + box.header, box.start + box.size
        kind, parent = box.type, path.rpartition("/")[2]
        if kind == "trak" or kind == "traf":
            self.context.handler = ""
        own = self._own_bytes(box, parent, start, end, here)
        if own is None:
            return
        if depth + 1 >= self.max_depth:
            self._complain("broken", "depth", here, box.start, f"nested deeper than {self.max_depth} boxes")
            return
        if end - start < own:
            self._complain("odd", "fields", here, box.start, f"{end - start} bytes are too few for its fields")
            return
        box.is_parent, box.fixed = True, own
        box.trailing = self._siblings(box.children, start + own, end, depth + 1, here)
        if kind == "meta":
            _name_items(box)

    def _own_bytes(self, box: Box, parent: str, start: int, end: int, here: str) -> int | None:
        """Read the fields of a box; return how many bytes stand before its children, None if it has none."""
        kind, count = box.type, min(end - start, RUNS if box.type == "trun" else PAYLOAD)
        if parent == "stsd":
            return self._fields(box, start, count, end, here, entry=True)
        if parent == "ilst":
            return 0
        if kind == "meta":
            if count < 8:
                return None
            # A FullBox in ISO files but not in QuickTime's: the type of the first child tells which.
            peek = self.source.read(start, min(count, 12), end)
            iso = peek[4:8] not in (b"hdlr", b"keys", b"ilst", b"mhdr", b"free")
            if iso:
                box.fields["version"], box.fields["flags"] = peek[0], int.from_bytes(peek[1:4], "big")
            box.fields["full_box"] = int(iso)
            return 4 if iso else 0
        if kind in CONTAINERS:
            return 0
        if kind in READERS or kind.startswith(("uuid[", "\xa9")) or (parent == "udta" and kind not in ("meta", "name")):
            self._fields(box, start, count, end, here, entry=False)
        return 8 if kind in COUNTED else None

    def _fields(self, box: Box, start: int, count: int, end: int, here: str, entry: bool) -> int | None:
        payload = self.source.read(start, count, end)
        try:
            if entry:
                box.fields, own = read_entry(box.type, payload, self.context)
                return own
            box.fields = self.context.read(box.type, payload, end - start)
        except (struct.error, IndexError, ValueError) as error:
            says = f"{end - start:,} bytes do not hold its fields ({error})"
            self._complain("odd", "fields", here, box.start, says)
            box.fields = {}
        return None


def _name_items(meta: Box) -> None:
    """Give the items of a metadata list their keys: those of QuickTime are numbers into a list, iTunes' own free forms."""
    listed = next((child.fields.get("key", []) for child in meta.all("keys")), [])
    numbers = {number.to_bytes(4, "big"): key for number, key in enumerate(listed, 1)}
    for item in (item for child in meta.all("ilst") for item in child.children):
        if item.type == "----":
            item.key = ":".join(part.fields.get("text", "") for kind in ("mean", "name") for part in item.all(kind))
        else:
            item.key = numbers.get(item.code, "")


def parse(source: Source, name: str = "", **bounds: int) -> Tree:
    """Read the tree of any bytes at all; whatever is wrong with them stands in its complaints.

    Args:
        source: The bytes.
        name: The file's.
        **bounds: See `Parser`.
    """
    return Parser(source, **bounds).parse(name)


def read_tree(path: Path, damaged: bool = False, movie: bool = True) -> Tree:
    """Read the tree of a file.

    Args:
        path: The file.
        damaged: Take what can be read of a file that is cut off or whose sizes contradict each other.
        movie: Refuse a file without a movie box.

    Raises:
        InputError: If the file is missing, is none of the family, has no movie, or is damaged.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(path, "is a folder", ISO)
    try:
        with FileSource(path) as source:
            start = source.read(0, 8, 8)
            _check_first(path, start)
            tree = parse(source, path.name)
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", ISO) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", ISO) from error
    broken = [c for c in tree.complaints if c.severity == "broken"]
    if broken and not damaged:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise InputError(path, f"is damaged: {broken[0]}{more}", "a whole file, or --damaged to see what is left of it")
    if movie and not any(box.type in ("moov", "moof") for box in tree.boxes):
        tops = ", ".join(dict.fromkeys(box.type for box in tree.boxes[:8]))
        raise InputError(path, f"has no movie box (only {tops})", f"{ISO}, whose recording was finished")
    return tree


def _check_first(path: Path, start: bytes) -> None:
    """Refuse a file that does not begin as one of the family does."""
    if not start:
        raise InputError(path, "is empty", ISO)
    for signature, name in SIGNATURES:
        if start.startswith(signature):
            raise InputError(path, f"is not an ISO base media file but {name}", ISO)
    if start[4:8].decode("latin-1") not in FIRST:
        raise InputError(path, "is not an ISO base media file: it begins with no box that is known", ISO)
