"""Binary codes: packing, Hamming distance, the files that hold them, and exact search with faiss.

A code of K bits is packed into K/8 bytes, bit 0 first (the most significant bit of byte 0), as `numpy.packbits` does.
`faiss.real_to_binary` fills each byte from the other end: either order gives the same distances, but the two do not mix.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foveate.errors import InputError, MissingExtra

PAIRS = 2**20
"""Pairs of codes that are compared at a time: more would leave the processor's cache."""

HITS = 2**24
"""Neighbours that faiss may hold at a time in a search by radius."""

COUNTERS = 2**26
"""Bytes that faiss may spend on its counters of neighbours by distance."""


def pack(bits: np.ndarray) -> np.ndarray:
    """Pack codes of one value per bit into bytes.

    Args:
        bits: bool ``(N, K)``, K a multiple of 8.

    Returns:
        uint8 ``(N, K/8)``.

    Raises:
        InputError: If K is not a multiple of 8, or the array is not of that kind.

    Example:
        >>> pack(np.array([[True, False, False, False, False, False, True, True]]))
        array([[131]], dtype=uint8)
    """
    if bits.ndim != 2 or bits.dtype != bool:
        raise InputError("codes", f"{bits.dtype} array of shape {bits.shape}", "bool (N, K)")
    if not bits.shape[1] or bits.shape[1] % 8:
        raise InputError("bits", f"{bits.shape[1]} bits do not fill bytes", "a multiple of 8")
    return np.packbits(bits, axis=1)


def unpack(packed: np.ndarray) -> np.ndarray:
    """Undo `pack`: uint8 ``(N, K/8)`` to bool ``(N, K)``."""
    return np.unpackbits(check_packed(packed), axis=1).view(bool)


def check_packed(packed: np.ndarray, bits: int | None = None, where: object = "codes") -> np.ndarray:
    """Return packed codes as they came if they are well formed.

    Args:
        packed: What should be uint8 ``(N, K/8)``.
        bits: K, if it is known.
        where: What to blame: a file or an argument.

    Raises:
        InputError: If they are not uint8 ``(N, K/8)``, or not of that length.
    """
    if packed.dtype != np.uint8 or packed.ndim != 2 or not packed.shape[1]:
        raise InputError(where, f"{packed.dtype} array of shape {packed.shape}", "packed codes, uint8 (N, K/8)")
    if bits is not None and 8 * packed.shape[1] != bits:
        raise InputError(where, f"codes of {8 * packed.shape[1]} bits", f"codes of {bits} bits")
    return packed


def words(packed: np.ndarray) -> np.ndarray:
    """View packed codes ``(N, K/8)`` as the widest words that hold them, ``(W, N)``: fewer operations for each pair."""
    width = packed.shape[1]
    word = width if width in (1, 2, 4) else 8
    padded = np.pad(packed, ((0, 0), (0, -width % word)))
    return np.ascontiguousarray(np.ascontiguousarray(padded).view(f"u{word}").T)


def hamming_blocks(a: np.ndarray, b: np.ndarray, rows: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Compute Hamming distances of packed codes a few rows at a time.

    Args:
        a: uint8 ``(A, K/8)``.
        b: uint8 ``(B, K/8)``.
        rows: Rows of ``a`` in a block; by default so many that a block has about a million pairs.

    Yields:
        The rows as a slice, and their distances to all of ``b``: uint8, or uint16 from 256 bits on.

    Raises:
        InputError: If the codes are not packed, or differ in length.
    """
    bits = 8 * check_packed(a).shape[1]
    check_packed(b, bits)
    left, right = words(a), words(b)
    few = max(1, PAIRS // max(1, len(b)))
    rows = rows or few
    for start in range(0, len(a), rows):
        block = slice(start, min(start + rows, len(a)))
        distances = np.zeros((block.stop - start, len(b)), np.uint8 if bits < 256 else np.uint16)
        for first in range(0, len(distances), few):
            inner = distances[first : first + few]
            for one, other in zip(left[:, start + first :], right, strict=True):
                inner += np.bitwise_count(one[: len(inner), None] ^ other)
        yield block, distances


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Count the bits in which packed codes differ, for every pair.

    Args:
        a: uint8 ``(A, K/8)``.
        b: uint8 ``(B, K/8)``.

    Returns:
        int32 ``(A, B)``. Where that is too much to hold, use `hamming_blocks`.

    Raises:
        InputError: If the codes are not packed, or differ in length.
    """
    distances = np.empty((len(a), len(b)), np.int32)
    for block, values in hamming_blocks(a, b):
        distances[block] = values
    return distances


def bit_balance(packed: np.ndarray) -> np.ndarray:
    """Compute the share of ones of every bit of packed codes: float64 ``(K,)``; 0 or 1 is a bit that tells nothing."""
    ones = np.zeros(8 * check_packed(packed).shape[1], np.int64)
    if not len(packed):
        raise InputError("codes", "there are none", "at least one code")
    rows = max(1, PAIRS // len(ones))
    for start in range(0, len(packed), rows):
        ones += unpack(packed[start : start + rows]).sum(0)
    return ones / len(packed)


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a collection, written as ``.npz``: ``codes``, ``bits``, ``names`` and ``model``.

    Attributes:
        packed: uint8 ``(N, K/8)``.
        bits: K.
        names: What each code stands for, N of them; usually file names.
        model: Identifies the weights that made the codes; codes of different weights cannot be compared.
    """

    packed: np.ndarray
    bits: int
    names: Sequence[str]
    model: str
    suffix: ClassVar[str] = ".npz"
    kind: ClassVar[str] = "codes"

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        check_packed(self.packed, self.bits)
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        if len(self.names) != len(self.packed):
            raise InputError("codes", f"{len(self.packed)} codes and {len(self.names)} names", "a name for each code")

    def __len__(self) -> int:
        """Count the codes."""
        return len(self.packed)

    def write(self, path: Path) -> None:
        """Write the ``.npz``; same codes, same bytes."""
        # numpy dates each array in the archive 1980, so that no time of writing gets in.
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                codes=self.packed,
                bits=np.int64(self.bits),
                names=np.array(self.names, np.str_),
                model=np.array(self.model, np.str_),
            )

    @classmethod
    def read(cls, path: Path, limit: int = 2**32) -> Codes:
        """Read codes from a file that `write` or somebody else made.

        Args:
            path: A ``.npz``.
            limit: Bytes that it may unpack to.

        Raises:
            InputError: If the file is missing, not such an archive, too large, or its arrays do not fit together.
        """
        good = "an .npz with codes (uint8 (N, K/8)), bits, names and model"
        if not path.is_file():
            raise InputError(path, "does not exist or is no file", good)
        try:
            with zipfile.ZipFile(path) as archive:
                # What the directory says is also the most that zipfile will unpack.
                size = sum(member.file_size for member in archive.infolist())
            if size > limit:
                raise InputError(path, f"unpacks to {size} bytes", f"at most {limit}")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("codes", "bits", "names", "model")}
        except InputError:
            raise
        except Exception as error:  # zipfile, zlib, tokenize and numpy each have their own for a damaged file
            raise InputError(path, f"cannot be read: {error}", good) from error

        for name, kinds, dimensions in (("codes", "u", 2), ("bits", "iu", 0), ("names", "U", 1), ("model", "U", 0)):
            array = arrays[name]
            if array.dtype.kind not in kinds or array.ndim != dimensions:
                raise InputError(path, f"{name} is {array.dtype} of shape {array.shape}", good)
        try:
            return cls(arrays["codes"], int(arrays["bits"]), arrays["names"].tolist(), str(arrays["model"]))
        except InputError as error:
            raise InputError(path, error.wrong, error.expected) from error


def _faiss() -> Any:
    """Import faiss, or say how to install it."""
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra("faiss", "embedding") from error
    return faiss


class HammingIndex:
    """Exact search by Hamming distance, with faiss's `IndexBinaryFlat` on all threads that OpenMP has.

    Neighbours are ordered by distance, and at equal distance by position, also where the last place is shared: faiss
    promises no order there.

    Args:
        packed: uint8 ``(N, K/8)``, the codes to search in; position i is row i.

    Attributes:
        index: The `faiss.IndexBinaryFlat`.

    Raises:
        InputError: If the codes are not packed.
        MissingExtra: If faiss is not installed.
    """

    def __init__(self, packed: np.ndarray) -> None:
        faiss = _faiss()
        self.index = faiss.IndexBinaryFlat(8 * check_packed(packed).shape[1])
        self.index.add(np.ascontiguousarray(packed))

    @classmethod
    def _of(cls, index: Any) -> HammingIndex:
        """Wrap an index of faiss's."""
        made = cls.__new__(cls)
        made.index = index
        return made

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.index.d

    def __len__(self) -> int:
        """Count the codes."""
        return self.index.ntotal

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest k codes of each query.

        Args:
            queries: uint8 ``(Q, K/8)``.
            k: Neighbours; never more than there are codes.

        Returns:
            Positions int64 ``(Q, k)`` and distances int32 ``(Q, k)``, nearest first.

        Raises:
            InputError: If the queries are not codes of this length, or k is less than 1.
        """
        if k < 1:
            raise InputError("k", f"is {k}", "at least 1")
        k = min(k, len(self))
        queries = np.ascontiguousarray(check_packed(queries, self.bits, "queries"))
        if not len(queries) or not k:
            return np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.int32)

        # One place more shows whether the last one is shared. Counting is quicker than heaps, but takes a counter of
        # k places for each distance and query of a batch.
        places = min(k + 1, len(self))
        counters = 8 * places * (self.bits + 1) * self.index.query_batch_size
        self.index.use_heap = counters > COUNTERS
        distances, positions = self.index.search(queries, places)
        # One number orders by distance, then position, and is quicker to sort than two.
        ordered = np.sort(distances * np.int64(len(self)) + positions, axis=1)
        distances, positions = np.divmod(ordered, len(self))
        shared = distances[:, -1] == distances[:, k - 1] if places > k else np.zeros(len(queries), bool)
        distances, positions = distances[:, :k].astype(np.int32), positions[:, :k]

        for radius in np.unique(distances[shared, -1]):
            rows = np.flatnonzero(shared & (distances[:, -1] == radius))
            for block, (offsets, found, _) in self._within(queries[rows], int(radius)):
                positions[rows[block]] = found[offsets[:-1, None] + np.arange(k)]
        return positions, distances

    def within(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find all codes that differ from each query in at most ``radius`` bits.

        Args:
            queries: uint8 ``(Q, K/8)``.
            radius: Bits, 0 or more.

        Returns:
            Offsets int64 ``(Q + 1,)``, positions int64 ``(M,)`` and distances int32 ``(M,)``: those of query i stand at
            ``offsets[i]:offsets[i + 1]``, nearest first.

        Raises:
            InputError: If the queries are not codes of this length, or the radius is negative.
        """
        if radius < 0:
            raise InputError("radius", f"is {radius}", "0 or more")
        queries = np.ascontiguousarray(check_packed(queries, self.bits, "queries"))
        found = [part for _, part in self._within(queries, min(radius, self.bits))]
        counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(offsets) for offsets, _, _ in found)])
        positions = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in found)])
        distances = np.concatenate([np.zeros(0, np.int32), *(part[2] for part in found)])
        return np.cumsum(counts), positions, distances

    def _within(self, queries: np.ndarray, radius: int) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """Search by radius, so few queries at a time that even a hit of everything fits into memory."""
        rows = max(1, HITS // max(1, len(self)))
        for start in range(0, len(queries), rows):
            block = slice(start, min(start + rows, len(queries)))
            # faiss takes the distances below its radius.
            limits, distances, positions = self.index.range_search(queries[block], radius + 1)
            offsets = limits.astype(np.int64)
            groups = np.repeat(np.arange(len(offsets) - 1) * (self.bits + 1), np.diff(offsets)) + distances.astype(np.int64)
            ordered, positions = np.divmod(np.sort(groups * len(self) + positions), len(self))
            yield block, (offsets, positions, (ordered % (self.bits + 1)).astype(np.int32))


@dataclass(frozen=True, eq=False)
class IndexFile:
    """A search index as a file of faiss's own, which `faiss.read_index_binary` opens too.

    Attributes:
        index: The index.
    """

    index: HammingIndex
    suffix: ClassVar[str] = ".faiss"
    kind: ClassVar[str] = "index"

    def write(self, path: Path) -> None:
        """Write the file; same codes, same bytes."""
        path.write_bytes(_faiss().serialize_index_binary(self.index.index).tobytes())

    @classmethod
    def read(cls, path: Path) -> IndexFile:
        """Read an index that `write`, or `faiss.write_index_binary` of an `IndexBinaryFlat`, made.

        Raises:
            InputError: If the file is missing, not such an index, or cut short.
            MissingExtra: If faiss is not installed.
        """
        faiss, good = _faiss(), "a file that faiss.write_index_binary made of an IndexBinaryFlat"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(path, f"cannot be read: {error.strerror or error}", good) from error
        # The sizes are checked here, so that faiss never allocates what a damaged header asks for.
        header = struct.Struct("<4siiqBiQ")
        if len(content) < header.size or content[:4] != b"IBxF":
            raise InputError(path, "is not a flat binary index", good)
        _, bits, width, count, _, _, size = header.unpack_from(content)
        if bits < 8 or bits != 8 * width or size != count * width or len(content) != header.size + size:
            wrong = f"is damaged: {count} codes of {bits} bits in a file of {len(content)} bytes"
            raise InputError(path, wrong, good)
        try:
            return cls(HammingIndex._of(faiss.deserialize_index_binary(np.frombuffer(content, np.uint8))))
        except RuntimeError as error:
            raise InputError(path, f"faiss cannot read it: {error}", good) from error
