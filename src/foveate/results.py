"""What `run` returns: named parts, each of which saves itself in its field's standard format."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from foveate.errors import InputError


class Part(Protocol):
    """One named piece of a result. Any class with these is one; a card's outputs name it by its kind.

    Attributes:
        suffix: Of the file that it writes.
        kind: What it is: ``picture``, ``table``, ``mesh`` ...
    """

    suffix: ClassVar[str]
    kind: ClassVar[str]

    def write(self, path: Path) -> None:
        """Write the part to a file that does not exist yet."""


@dataclass(frozen=True)
class Picture:
    """A picture as it lies in a file.

    Attributes:
        pixels: uint8 or uint16, ``(H, W)`` grey, ``(H, W, 2)`` grey and alpha, ``(H, W, 3)`` RGB or
            ``(H, W, 4)`` RGBA, upright.
        profile: The ICC colour profile, kept as it came.
    """

    pixels: np.ndarray
    profile: bytes | None = None
    suffix: ClassVar[str] = ".png"
    kind: ClassVar[str] = "picture"

    def __post_init__(self) -> None:
        """Refuse arrays that no picture file could hold."""
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype not in (np.uint8, np.uint16) or len(shape) not in (2, 3) or shape[2:] not in ((), (2,), (3,), (4,)):
            raise InputError("picture", f"{dtype} array of shape {shape}", "uint8 or uint16, (H, W) or (H, W, 2 to 4)")

    @classmethod
    def from_unit(cls, values: np.ndarray, bits: int = 8) -> Picture:
        """Make a picture of values in [0, 1], clipped and rounded, of shape ``(H, W)`` or ``(H, W, C)``."""
        return cls(quantised(values, bits))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def bits(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def grey(self) -> bool:
        """Whether the picture has one colour channel."""
        return self.pixels.ndim == 2 or self.pixels.shape[2] == 2

    @property
    def alpha(self) -> np.ndarray | None:
        """The alpha channel ``(H, W)``, or None."""
        return self.pixels[..., -1] if self.pixels.ndim == 3 and self.pixels.shape[2] in (2, 4) else None

    def colour(self) -> np.ndarray:
        """Return float32 ``(H, W, 3)`` in [0, 1]: grey repeated, alpha left out."""
        if self.pixels.ndim == 2:
            channels = self.pixels[..., None]
        else:
            channels = self.pixels[..., : 1 if self.grey else 3]
        unit = channels.astype(np.float32) / np.float32(2**self.bits - 1)
        return np.broadcast_to(unit, (*self.size, 3))

    def with_colour(self, colour: np.ndarray) -> Picture:
        """Replace the colours by others ``(H, W, 3)`` in [0, 1]; bit depth, grey, alpha and profile stay."""
        if self.grey:
            colour = colour.mean(axis=2, keepdims=True)
        pixels = quantised(colour, self.bits)
        if self.alpha is not None:
            pixels = np.concatenate([pixels, self.alpha[..., None]], axis=2)
        return replace(self, pixels=pixels[..., 0] if self.pixels.ndim == 2 else pixels)

    def crop(self, rows: slice, columns: slice) -> Picture:
        """Cut out a window (a view, not a copy)."""
        return replace(self, pixels=self.pixels[rows, columns])

    def write(self, path: Path) -> None:
        """Write a PNG."""
        if self.bits == 8:
            from PIL import Image

            # An empty profile keeps Pillow from writing any.
            Image.fromarray(self.pixels).save(path, format="PNG", icc_profile=self.profile or b"")
        else:
            path.write_bytes(encode_png16(self))


def quantised(values: np.ndarray, bits: int) -> np.ndarray:
    """Round values in [0, 1], clipped, to uint8 or uint16."""
    return np.round(np.clip(values, 0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def encode_png16(picture: Picture) -> bytes:
    """Encode a 16-bit picture as PNG.

    Pillow cannot write 16-bit colour, and no base dependency writes it with alpha and profile. Rows use the "up" filter
    (PNG specification, section 9), which suits photographs and vectorises.
    """
    height, width = picture.size
    rows = np.ascontiguousarray(picture.pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if picture.pixels.ndim == 2 else picture.pixels.shape[2]]

    profile = png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(picture.profile)) if picture.profile else b""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(filtered, 6))
    return b"\x89PNG\r\n\x1a\n" + header + profile + data + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, body: bytes) -> bytes:
    """Frame one chunk of a PNG file: length, name, body, checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@dataclass(frozen=True)
class Record:
    """Named values of any depth, written as JSON; numbers that are not finite, which JSON does not have, as null."""

    values: Mapping[str, Any]
    suffix: ClassVar[str] = ".json"
    kind: ClassVar[str] = "record"

    def write(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps(_plain(self.values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Turn a value of any depth into what JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Table:
    """Rows under named columns, written as CSV."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    suffix: ClassVar[str] = ".csv"
    kind: ClassVar[str] = "table"

    def write(self, path: Path) -> None:
        """Write CSV."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)


@dataclass(frozen=True)
class Text:
    """Plain text."""

    text: str
    suffix: ClassVar[str] = ".txt"
    kind: ClassVar[str] = "text"

    def write(self, path: Path) -> None:
        """Write UTF-8 text."""
        path.write_text(self.text, encoding="utf-8")


@dataclass(frozen=True)
class Curve:
    """A curve that an experiment shows beside its numbers, most often a learning curve.

    Attributes:
        x: Steps, or what else it runs over.
        y: Value at each of them.
        label: What y is, with its unit.
        across: What x is, with its unit.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str
    across: str = "step"


@dataclass(frozen=True)
class Result(Mapping[str, Part]):
    """The named parts that an action made of one input.

    Attributes:
        parts: Name to part, in the order in which they are told to the user.
        notes: Lines that the user should read: what weights were used, that the input is not of the right kind ...
        name: Stem of the files that `save` writes; the frame sets it to the input's.

    Example:
        >>> result = Result({"greeting": Text("hello")}, name="world")
        >>> result["greeting"].text
        'hello'
        >>> [path.name for path in result.save(getfixture("tmp_path"))]
        ['world_greeting.txt']
    """

    parts: Mapping[str, Part]
    notes: tuple[str, ...] = ()
    name: str = ""

    def __getitem__(self, key: str) -> Part:
        """Return a part by its name."""
        return self.parts[key]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self.parts)

    def __len__(self) -> int:
        """Count the parts."""
        return len(self.parts)

    def save(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write every part into a folder as ``<name>_<part><suffix>``, or nothing at all.

        Everything is written to a temporary folder beside the target first and then renamed into place.

        Returns:
            The files.

        Raises:
            InputError: If the folder cannot be written or the disk is full.
        """
        folder = Path(out)
        names = {(f"{self.name}_{name}" if self.name else name) + part.suffix: part for name, part in self.parts.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                if Path(name).name != name or (folder / name).is_dir():
                    raise InputError(folder / name, "cannot be written: it is a folder, or below one", "a name that is free")
            with staging(folder) as temporary:
                for name, part in names.items():
                    part.write(temporary / name)
                for name in names:
                    os.replace(temporary / name, folder / name)
        except OSError as error:
            raise unwritable(folder, error) from error
        return [folder / name for name in names]


class staging:
    """A temporary folder inside ``folder`` that is gone afterwards, whatever happens: ``with staging(out) as temporary``.

    It lies on the same file system as its parent, so that a rename out of it is atomic.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        """Make the folder."""
        self.path = Path(tempfile.mkdtemp(prefix=".foveate-", dir=self.folder))
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it with all that is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: If it cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staging(path.parent) as temporary:
            fresh = temporary / path.name
            fresh.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(fresh, path)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> InputError:
    """Say in one line why something could not be written."""
    return InputError(path, f"cannot be written: {error.strerror or error}", "a folder that can be written, with free space")
