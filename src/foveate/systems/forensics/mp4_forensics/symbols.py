"""From the box tree to symbols: what the paper's feature vector is made of.

A symbol is a box's path (the box is there), a path with a field and its value (categorical fields), or a path with a field
(continuous ones, which keep their number). Tracks go by their media, not by their position, since the order varies; repeated
boxes of one kind are counted, not numbered.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from foveate.systems.forensics.mp4_forensics.boxes import OPAQUE, Box, Tree
from foveate.systems.forensics.mp4_forensics.fields import TYPES, WRITERS, FieldType

Typing = Literal["typed", "all_categorical"]
Tracks = Literal["by_handler", "by_index", "flat"]
TRACK = re.compile(r"\[([^#\]]*)#(\d+)\]")  # as paths address a track: its media and its index
_PLAIN = str.maketrans("/#[]", "____")  # a key must not look like a path


class Leaf(NamedTuple):
    """One thing that a file says.

    Attributes:
        path: Of the box; a track as ``trak[vide#0]``.
        field: Its field, empty for the box itself.
        kind: ``b`` for a box, else the field's type: ``c``, ``n`` or ``d``.
        value: Text or number; None for a box.
        count: How often.
    """

    path: str
    field: str
    kind: str
    value: str | float | None
    count: int


@dataclass(frozen=True)
class Settings:
    """How leaves become symbols.

    Attributes:
        typing: ``typed`` as in the paper, or every value a symbol of its own.
        tracks: Tracks by their media, by their position, or all alike.
        order_features: Symbols for the order of boxes, too.
        drop_identifying: Leave out what identifies the recording rather than the process.
        picture_size: Whether the picture's width and height are continuous.
    """

    typing: Typing = "typed"
    tracks: Tracks = "by_handler"
    order_features: bool = False
    drop_identifying: bool = True
    picture_size: Literal["continuous", "categorical"] = "continuous"


@dataclass(frozen=True)
class Document:
    """What a file says, whatever the settings: the item that the classifiers take.

    Attributes:
        name: The file's.
        leaves: Without repetition, sorted.
        order: The order of boxes: path of a parent to the types in it.
    """

    name: str
    leaves: tuple[Leaf, ...]
    order: tuple[tuple[str, str], ...]

    @cached_property
    def _made(self) -> dict[Settings, Symbols]:
        return {}

    def symbols(self, settings: Settings) -> Symbols:
        """Return its symbols (kept, since experiments ask again and again)."""
        if settings not in self._made:
            self._made[settings] = _symbols(self, settings)
        return self._made[settings]


@dataclass(frozen=True)
class Symbols:
    """A file's symbols.

    Attributes:
        counts: Box and categorical symbols, each with its number of occurrences.
        values: Continuous symbols, each with the mean of its signed log1p values.
    """

    counts: Mapping[str, int]
    values: Mapping[str, float]


def prepare(tree: Tree) -> Document:
    """Turn a file's tree into the item that the classifiers take.

    Args:
        tree: As `foveate.systems.forensics.mp4_forensics.boxes.read_tree` gives it.
    """
    found: Counter[tuple[str, str, str, str | float | None]] = Counter()
    order: list[tuple[str, str]] = [("", ">".join(box.type for box in tree.boxes if box.type != "moof"))]
    media = _media(tree)
    for box in tree.boxes:
        _visit(box, "", "", media, [0], found, order)
    found["", "size", "d", float(tree.size)] += 1
    leaves = sorted((Leaf(*key, count) for key, count in found.items()), key=lambda v: (v.path, v.field, str(v.value)))
    return Document(tree.name, tuple(leaves), tuple(sorted(set(order))))


def _media(tree: Tree) -> dict[int, str]:
    """Map track IDs to media and index, as ``vide#0``."""
    movie = tree.first("moov")
    found = {}
    for index, track in enumerate(movie.all("trak") if movie else ()):
        header = track.first("tkhd")
        identity = header.fields.get("track_ID", -index) if header else -index
        found[identity] = f"{handler_of(track)}#{index}"
    return found


def handler_of(track: Box) -> str:
    """Return a track's media: ``vide``, ``soun``, ``text`` ..., or ``?``."""
    handler = track.first("mdia/hdlr")
    return handler.fields.get("handler", "?") if handler else "?"


def _visit(
    box: Box,
    path: str,
    parent: str,
    media: Mapping[int, str],
    tracks: list[int],
    found: Counter[tuple[str, str, str, str | float | None]],
    order: list[tuple[str, str]],
) -> None:
    """Gather a box and all in it."""
    name = f"[{box.key.translate(_PLAIN)}]" if box.key else box.type
    if box.type == "trak" and parent == "moov":
        name = f"trak[{handler_of(box)}#{tracks[0]}]"
        tracks[0] += 1
    elif box.type in ("traf", "trex"):
        says = box if box.type == "trex" else box.first("tfhd")
        name = f"{box.type}[{media.get(says.fields.get('track_ID', 0) if says else 0, '?#0')}]"
    here = f"{path}/{name}" if path else name
    found[here, "", "b", None] += 1
    if box.wide:
        found[here, "wide", "c", 1] += 1
    if box.type in OPAQUE and box.type != "mdat":
        found[here, "size", "d", float(box.size)] += 1
    for field, value in box.fields.items():
        kind: str = field_type(box.type, parent, field)
        if kind == "w":
            # A text that names the software is categorical; others identify the recording.
            about = path.rpartition("/")[2].strip("[]") if box.type == "data" else box.type
            kind = "c" if about in WRITERS else "d"
        for single in value if isinstance(value, list) else (value,):
            if kind == "n" or (kind == "d" and not isinstance(single, str)):
                found[here, field, kind, float(single)] += 1
            else:
                found[here, field, kind, f"{single:g}" if isinstance(single, float) else str(single)] += 1
    if box.is_parent and box.children:
        order.append((TRACK.sub("", here), ">".join(child.type for child in box.children)))
    for child in box.children:
        _visit(child, here, box.type, media, tracks, found, order)


def field_type(kind: str, parent: str, field: str) -> FieldType | Literal["w"]:
    """Return the type of a field; ``w`` for a text whose type depends on what it is about.

    Raises:
        KeyError: If the table does not know the field, which would be a mistake of ours.
    """
    if parent == "stsd":
        for name in ("visual", "sound", "entry"):
            if field in TYPES[name]:
                return TYPES[name][field]
    if kind.startswith("uuid["):
        return TYPES["uuid"][field]
    if kind.startswith("\xa9"):
        return "w" if field == "value" else TYPES["text"][field]
    if kind == "data" and field == "value":
        return "w"
    return TYPES[kind][field]


# ---------------------------------------------------------------------------------------------------------------------
# symbols
# ---------------------------------------------------------------------------------------------------------------------


def signed_log(value: float) -> float:
    """Squeeze a number of any size: sign(v) log(1 + |v|)."""
    return math.copysign(math.log1p(abs(value)), value)


def unlogged(value: float) -> float:
    """Undo `signed_log`."""
    return math.copysign(math.expm1(abs(value)), value)


@lru_cache(1 << 15)
def _addressed(path: str, tracks: Tracks) -> str:
    """Write a path with its tracks as the settings want them."""
    if "#" not in path:
        return path
    if tracks == "by_handler":
        return TRACK.sub(r"[\1]", path)
    return TRACK.sub(r"[\2]" if tracks == "by_index" else "", path)


def _symbols(document: Document, settings: Settings) -> Symbols:
    counts: Counter[str] = Counter()
    values: dict[str, list[float]] = {}
    for path, field, kind, value, count in document.leaves:
        if kind == "d" and settings.drop_identifying:
            continue
        where = _addressed(path, settings.tracks)
        if kind == "b":
            counts[where] += count
            continue
        symbol = f"{where}/@{field}"
        number = not isinstance(value, str) and (kind in ("n", "d"))
        if (
            number
            and settings.typing == "typed"
            and not (settings.picture_size == "categorical" and field in ("width", "height"))
        ):
            total = values.setdefault(symbol, [0.0, 0.0])
            total[0] += count * signed_log(float(value or 0))
            total[1] += count
        else:
            counts[f"{symbol}={value:.15g}" if isinstance(value, float) else f"{symbol}={value}"] += count
    if settings.order_features:
        for path, said in document.order:
            counts[f"{path}/#order={said}"] += 1
    return Symbols(counts, {symbol: total / count for symbol, (total, count) in values.items()})


def fields_and_values(document: Document, drop_identifying: bool = True) -> frozenset[str]:
    """Return all boxes and field-value pairs as a set: what the likelihood ratio and the dissimilarity are taken over."""
    return frozenset(document.symbols(Settings(typing="all_categorical", drop_identifying=drop_identifying)).counts)


def difference(one: Document, other: Document, settings: Settings) -> dict[str, list[str]]:
    """List the symbols that only one of two files has, and the continuous ones whose values differ."""
    first, second = one.symbols(settings), other.symbols(settings)
    apart = sorted(
        f"{s}: {unlogged(first.values[s]):g} and {unlogged(second.values[s]):g}"
        for s in first.values.keys() & second.values.keys()
        if not math.isclose(first.values[s], second.values[s], rel_tol=1e-12)
    )
    return {
        "only_first": sorted(first.counts.keys() - second.counts.keys()) + sorted(first.values.keys() - second.values.keys()),
        "only_second": sorted(second.counts.keys() - first.counts.keys()) + sorted(second.values.keys() - first.values.keys()),
        "values": apart,
        "counts": sorted(
            f"{s}: {first.counts[s]} and {second.counts[s]} times"
            for s in first.counts.keys() & second.counts.keys()
            if first.counts[s] != second.counts[s]
        ),
    }
