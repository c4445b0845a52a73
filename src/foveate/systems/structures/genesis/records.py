"""Ready-made views from files: the TFRecords of the released pipeline, read without TensorFlow, and NumPy archives."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from foveate.errors import InputError

EXPECTED = "views: TFRecords of tf.train.Example, or .npz with an array 'view'"
MAX_RECORD = 2**24  # bytes of one example: a view of 2,001 floats takes 8 thousand
MAX_ARRAY = 2**32  # bytes of an archive, unpacked
PLANET, NOT, UNKNOWN = 1, 0, -1
LABELS = {"pc": PLANET, "planet": PLANET, "1": PLANET, "afp": NOT, "ntp": NOT, "fp": NOT, "0": NOT}


@dataclass(frozen=True)
class Views:
    """The views of many events.

    Attributes:
        view: Global views, float32 ``(N, 1, bins)``.
        local: Local views, float32 ``(N, 1, local_bins)``; ``local_bins`` may be 0.
        label: 1 for a planet candidate, 0 for none, -1 if it is not known; int64 ``(N,)``.
        id: What to call each event.
        star: The star that each belongs to.
    """

    view: np.ndarray
    local: np.ndarray
    label: np.ndarray
    id: tuple[str, ...]
    star: tuple[str, ...]

    def __len__(self) -> int:
        """Count the events."""
        return len(self.label)

    def take(self, chosen: Sequence[int] | np.ndarray) -> Views:
        """Pick events."""
        names = [tuple(names[i] for i in chosen) for names in (self.id, self.star)]
        return Views(self.view[chosen], self.local[chosen], self.label[chosen], *names)

    @classmethod
    def joined(cls, several: Sequence[Views]) -> Views:
        """Put several together."""
        arrays = [np.concatenate([getattr(v, name) for v in several]) for name in ("view", "local", "label")]
        return cls(*arrays, *(tuple(n for v in several for n in getattr(v, name)) for name in ("id", "star")))


def label_of(text: str) -> int:
    """Turn a label of the tables into a number: PC is a planet candidate, AFP and NTP are none, of others nothing is known.

    Example:
        >>> label_of("PC"), label_of("AFP"), label_of("UNK")
        (1, 0, -1)
    """
    return LABELS.get(text.strip().lower(), UNKNOWN)


def read_views(path: str | Path) -> Views:
    """Read views.

    Args:
        path: TFRecords as the released pipeline writes them, or ``.npz`` with ``view`` of ``(N, bins)`` or ``(N, 1, bins)``,
            and, if wanted, ``local`` alike, ``label`` (0 or 1), ``id`` and ``star``. What it holds counts, not its suffix.

    Raises:
        InputError: If the file is missing, damaged, too large, or holds no such views.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "is not a file" if path.exists() else "there is no such file", EXPECTED)
    with path.open("rb") as file:
        head = file.read(2)
    if not head:
        raise InputError(path, "the file is empty", EXPECTED)
    return _read_npz(path) if head == b"PK" else _from_examples(path)


def _whole(path: Path, view: Any, local: Any, label: Any, names: Sequence[str], stars: Sequence[str]) -> Views:
    """Bring arrays into shape and refuse what is no view."""
    arrays = []
    for what, given in (("view", view), ("local", local)):
        array = np.asarray(given)
        if array.dtype.kind not in "fiu" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[1] != 1):
            shape = "numbers, one view in a row"
            raise InputError(path, f"{what} is {array.dtype} of shape {array.shape}", f"{shape}: (N, bins) or (N, 1, bins)")
        array = array.reshape(len(array), 1, -1).astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array).all((1, 2)))[0])
            raise InputError(path, f"{what} number {bad + 1} holds values that are no numbers", "finite numbers")
        arrays.append(array)
    if len({len(a) for a in (*arrays, label, names, stars)}) != 1:
        raise InputError(path, "its arrays are of different lengths", "one entry for each event")
    if not len(arrays[0]) or arrays[0].shape[2] < 2:
        raise InputError(path, "holds no views", EXPECTED)
    return Views(*arrays, np.asarray(label, np.int64), tuple(names), tuple(stars))


# ---------------------------------------------------------------------------------------------------------------------
# NumPy archives
# ---------------------------------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Views:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_ARRAY:
            raise InputError(path, f"unpacks to {size:,} bytes", f"at most {MAX_ARRAY:,}")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("view", "local", "label", "id", "star") if name in arrays}
    except InputError:
        raise
    except Exception as error:  # zipfile and NumPy raise whatever the damage leads to
        raise InputError(path, f"is damaged or cut off: {error or type(error).__name__}", EXPECTED) from error
    if "view" not in found:
        raise InputError(path, "has no array 'view'", EXPECTED)
    count = len(found["view"]) if found["view"].ndim else 0
    label = found.get("label", np.full(count, UNKNOWN))
    if label.dtype.kind not in "iub" or not np.isin(label, (PLANET, NOT, UNKNOWN)).all():
        raise InputError(path, f"label is {label.dtype}: {label.reshape(-1)[:3]}", "1 for a planet, 0 for none, -1 for unknown")
    names = [str(n) for n in found["id"].reshape(-1)] if "id" in found else [str(i) for i in range(count)]
    stars = [str(n) for n in found["star"].reshape(-1)] if "star" in found else names
    return _whole(path, found["view"], found.get("local", np.zeros((count, 0))), label.reshape(-1), names, stars)


# ---------------------------------------------------------------------------------------------------------------------
# TFRecords
# ---------------------------------------------------------------------------------------------------------------------


def _from_examples(path: Path) -> Views:
    """Read the examples of the released pipeline: ``global_view``, ``local_view`` and the columns of the table of events."""
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    labels, names, stars = [], [], []
    for number, example in enumerate(examples(path), 1):
        where = f"{path}, record {number}"
        if "global_view" not in example:
            raise InputError(where, f"has no global_view but {', '.join(list(example)[:6])}", EXPECTED)
        views = tuple(np.asarray(example.get(name, ()), np.float32) for name in ("global_view", "local_view"))
        if rows and [len(v) for v in views] != [len(v) for v in rows[0]]:
            raise InputError(where, f"has views of {[len(v) for v in views]} bins", f"{[len(v) for v in rows[0]]}, as record 1")
        rows.append(views)  # type: ignore[arg-type]
        labels.append(label_of(_text(example, "av_training_set")))
        star = _text(example, "kepid") or str(number)
        stars.append(star)
        names.append(f"{star}-{_text(example, 'tce_plnt_num') or number}")
    if not rows:
        raise InputError(path, "holds no records", EXPECTED)
    views = [np.stack([row[i] for row in rows]) for i in (0, 1)]
    return _whole(path, views[0], views[1], labels, names, stars)


def _text(example: dict[str, Any], name: str) -> str:
    """Return the first value of a feature as text, or nothing."""
    values = example.get(name, ())
    if not len(values):
        return ""
    first = values[0]
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


def examples(path: Path) -> Iterator[dict[str, np.ndarray | list[bytes]]]:
    """Read the tf.train.Examples of a TFRecord file.

    Yields:
        For each record feature to values: float32 and int64 arrays, or lists of bytes.

    Raises:
        InputError: If the file is no TFRecord, is cut off, or a checksum does not fit.
    """
    for number, payload in enumerate(records(path), 1):
        try:
            yield _example(payload)
        except (ValueError, IndexError, struct.error) as error:
            raise InputError(f"{path}, record {number}", f"is no tf.train.Example: {error}", EXPECTED) from error


def records(path: Path) -> Iterator[bytes]:
    """Read the payloads of a TFRecord file: length, its checksum, payload, its checksum; all little-endian.

    Raises:
        InputError: If the file is cut off or a checksum does not fit.
    """
    with path.open("rb") as file:
        number = 0
        while head := file.read(12):
            number += 1
            where = f"{path}, record {number}"
            if len(head) < 12:
                raise InputError(where, "is cut off", "the whole file")
            length, checksum = struct.unpack("<QI", head)
            if masked(crc32c(head[:8])) != checksum:
                raise InputError(where if number > 1 else path, "is no TFRecord: a checksum does not fit", EXPECTED)
            if length > MAX_RECORD:
                raise InputError(where, f"promises {length:,} bytes", f"at most {MAX_RECORD:,}")
            body = file.read(length + 4)
            if len(body) < length + 4:
                raise InputError(where, "is cut off", "the whole file")
            if masked(crc32c(body[:-4])) != struct.unpack("<I", body[-4:])[0]:
                raise InputError(where, "is damaged: a checksum does not fit", "the file as it was written")
            yield body[:-4]


def crc32c(data: bytes) -> int:
    """Compute Castagnoli's checksum.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    return int(_crc32c(np.frombuffer(data, np.uint8), _TABLE))


def masked(checksum: int) -> int:
    """Turn a checksum as TFRecords do, so that checksums of what holds checksums stay sound."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> np.ndarray:
    """Tabulate the checksum of every byte (polynomial 0x1EDC6F41, its bits reflected)."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(0x82F63B78), values >> 1).astype(np.uint32)
    return values


_TABLE = _table()


@njit(cache=True)
def _crc32c(data: np.ndarray, table: np.ndarray) -> np.uint32:
    checksum = np.uint32(0xFFFFFFFF)
    for byte in data:
        checksum = table[(checksum ^ byte) & np.uint32(0xFF)] ^ (checksum >> np.uint32(8))
    return checksum ^ np.uint32(0xFFFFFFFF)


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Go through the fields of a protocol buffer: number, wire type, and an integer or the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("a field goes beyond the end")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("an integer of more than ten bytes")


def _example(payload: bytes) -> dict[str, np.ndarray | list[bytes]]:
    """Parse Example { features = 1: { feature = 1, a map: { key = 1, value = 2 } } }."""
    found: dict[str, np.ndarray | list[bytes]] = {}
    for number, _, features in _fields(memoryview(payload)):
        if number != 1:
            continue
        for inner, _, entry in _fields(features):
            if inner == 1:
                parts = {field: value for field, _, value in _fields(entry)}
                found[bytes(parts.get(1, b"")).decode()] = _feature(parts.get(2, memoryview(b"")))
    return found


def _feature(data: memoryview) -> np.ndarray | list[bytes]:
    """Parse Feature { bytes_list = 1 | float_list = 2 | int64_list = 3 }, each with values = 1, packed or one by one."""
    for kind, _, values in _fields(data):
        items = [(wire, value) for number, wire, value in _fields(values) if number == 1]
        if kind == 1:
            return [bytes(value) for _, value in items]
        if kind == 2:
            return np.frombuffer(b"".join(bytes(value) for _, value in items), "<f4")
        if kind == 3:
            numbers: list[int] = []
            for wire, value in items:
                if wire == 0:
                    numbers.append(value)
                    continue
                at = 0
                while at < len(value):
                    number, at = _varint(value, at)
                    numbers.append(number)
            return np.array(numbers, np.uint64).astype(np.int64)
    return []
