"""MNIST's format: IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from foveate.errors import InputError

EXPECTED = "an IDX file of bytes, such as train-images-idx3-ubyte or train-labels-idx1-ubyte.gz"
MAX_BYTES = 2**31
_UBYTE = 8  # the format's number for unsigned bytes, the only kind that MNIST and its successors hold


def read_idx(path: str | Path) -> np.ndarray:
    """Read an array of bytes.

    Args:
        path: The file; gzipped or not, whatever its suffix.

    Returns:
        uint8, of the shape that the file names.

    Raises:
        InputError: If the file is missing, no IDX file, cut off, or larger than it says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", EXPECTED) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, f"is damaged or cut off: {error}", EXPECTED) from error
    if len(content) > MAX_BYTES:
        raise InputError(path, "is too large", f"at most {MAX_BYTES:,} bytes")
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UBYTE:
        raise InputError(path, f"starts with {content[:4].hex() or 'nothing'}", EXPECTED)
    dimensions = content[3]
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise InputError(path, "is cut off within its head", EXPECTED)
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    if math.prod(shape) != len(content) - head:
        raise InputError(path, f"holds {len(content) - head:,} values", f"{math.prod(shape):,}, as its head says")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
