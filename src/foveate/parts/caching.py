"""What can be made again, kept on disk: features, simulated data, finished tasks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foveate.results import unwritable, write_atomically


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``FOVEATE_CACHE``, else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FOVEATE_CACHE") or Path(base) / "foveate")


def digest(key: Any) -> str:
    """Hash plain values of any depth.

    Example:
        >>> digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]


def cached(name: str, key: Any, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return arrays that were made once; of several processes that ask at the same time, one makes them.

    Args:
        name: What they are: names the folder.
        key: Plain values that they depend on, with a version of the code that makes them.
        make: Makes them.

    Raises:
        InputError: If the cache cannot be written.
    """
    from filelock import FileLock

    path = cache_folder() / name / f"{digest(key)}.npz"
    if (found := _read(path)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    with FileLock(path.with_suffix(".lock")):
        if (found := _read(path)) is None:
            found = {k: np.asarray(v) for k, v in make().items()}
            write_atomically(path, _packed(found))
    return found


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Read a cached file; one that is missing or broken is as if it had not been made."""
    try:
        # np.load leaves a file that is no archive open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
