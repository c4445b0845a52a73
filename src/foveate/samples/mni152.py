"""The MNI152 template, an average head at one millimetre, from the files that the package nilearn ships."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from foveate.errors import InputError, MissingExtra


def mni152(kind: Literal["t1", "gm", "wm"] = "t1") -> np.ndarray:
    """Read one of its volumes.

    Args:
        kind: T1 values without the skull, or shares of grey or of white matter.

    Returns:
        uint8 ``(197, 233, 189)``, 0 to 255.

    Raises:
        MissingExtra: If nibabel or nilearn is not installed.
        InputError: If the installed nilearn ships no such file.
    """
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise MissingExtra("nibabel", "medical") from error
    found = find_spec("nilearn")  # importing it takes seconds
    if found is None or found.origin is None:
        raise MissingExtra("nilearn", "medical")
    path = Path(found.origin).parent / "datasets" / "data" / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise InputError(path, "is not among the data that nilearn ships", "another version of nilearn")
    return np.asarray(nibabel.load(path).dataobj)
