"""Finished seeds on disk: an interrupted search goes on from them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from foveate.errors import InputError
from foveate.results import unwritable, write_atomically
from foveate.systems.structures.interval_graphs.growth import Count
from foveate.systems.structures.interval_graphs.search import Edges


class Checkpoint:
    """Finished seeds in a folder: one file for each block of them, written whole or not at all.

    Args:
        folder: The folder, or None to keep nothing.
        edges: The temporal edges.
        call: What else the seeds depend on.

    Raises:
        InputError: If the folder holds seeds of another call, or cannot be written.
    """

    def __init__(self, folder: Path | None, edges: Edges, call: dict[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        digest = hashlib.sha256(edges.table.tobytes() + edges.loose.tobytes() + bytes([edges.ordered, edges.open])).hexdigest()
        path, told = folder / "call.json", json.dumps({"edges": digest, **call})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_atomically(path, told)
            elif path.read_text(encoding="utf-8") != told:
                raise InputError(folder, "holds finished seeds of another network or other options", "another folder")
        except OSError as error:
            raise unwritable(folder, error) from error

    def load(self, first: int, last: int) -> dict[int, Count] | None:
        """Return what a block of seeds gave, or None if it is not finished."""
        if self.folder is None or not (path := self._path(first, last)).exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                sizes = sorted({int(name.partition("_")[0]) for name in file})
                return {k: Count(*(file[f"{k}_{column}"] for column in Count._fields)) for k in sizes}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(
                path, f"is broken: {error}", "a file that this wrote; without it the seeds are searched again"
            ) from error

    def save(self, first: int, last: int, found: dict[int, Count]) -> None:
        """Keep what a block of seeds gave."""
        if self.folder is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **{f"{k}_{column}": value for k, c in found.items() for column, value in c._asdict().items()})
            write_atomically(self._path(first, last), buffer.getvalue())

    def _path(self, first: int, last: int) -> Path:
        return self.folder / f"seeds-{first:06d}-{last:06d}.npz"
