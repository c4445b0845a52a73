"""K-space, masks and named arrays from files: fastMRI's HDF5, MATLAB's ``.mat`` of all versions, NumPy's ``.npy``.

Slices are read one by one, so that a volume of many coils need not fit into memory. Whatever the file, a slice comes as fastMRI
stores it: complex64 ``(coils, H, W)``, DC in the middle, transformed as `foveate.parts.kspace.FASTMRI` says.

Note:
    h5py and ``scipy.io.loadmat`` do the reading; sizes are judged from headers first. The data sets of ``fastmri`` and deepinv
    read fastMRI's files only, and trust them. MATLAB 7.3 files are HDF5 with axes reversed and complex numbers as pairs, which
    is undone here in a few lines rather than with one more package.
"""

from __future__ import annotations

import math
import re
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from foveate.errors import InputError, MissingExtra
from foveate.parts.kspace import Place, fit_mask, locate_dc

if TYPE_CHECKING:
    import h5py

MAX_VALUES = 2**28  # that are read at once: 2 GiB of complex64. A slice of 15 coils and 640 x 372 has 3.6 million
EXPECTED = "fastMRI HDF5 (.h5), MATLAB (.mat) or NumPy (.npy)"
SUFFIXES = (".h5", ".hdf5", ".mat", ".npy")
KSPACE_KEYS = ("kspace", "rawdata")
COMPLEX = "complex k-space as measured (of an image take its Fourier transform)"
MASK_KEYS = ("mask", "mask_matrix")
LEAST_SIDE = 4

_INTEGER = re.compile("u?int(8|16|32|64)")

Axis = Literal["slices", "coils"]
Region = tuple[int | slice, ...]


# ---------------------------------------------------------------------------------------------------------------------
# named arrays
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArrayFile:
    """An array of numbers in a file, whose header is known; values are read when asked for.

    Attributes:
        path: The file.
        key: The array's name in it; empty for ``.npy``.
        shape: Of the array, in MATLAB's order for ``.mat``.
        dtype: Of the array. MATLAB files before 7.3 tell only while being read whether numbers are complex: then complex128.
        reversed_axes: Whether the file has the axes in reverse, as MATLAB 7.3 writes them.
        max_values: The most that is read at once.
        attributes: What HDF5 says of the file: plain values.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    reversed_axes: bool = False
    max_values: int = MAX_VALUES
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How errors call the array."""
        return f"{self.path}: {self.key}" if self.key else str(self.path)

    def read(self, *region: int | slice, told: str = "") -> np.ndarray:
        """Read all, or a region given by an index or a slice for each of the first axes.

        Args:
            region: Indices and slices.
            told: How errors call the region.

        Raises:
            InputError: If it is too large or damaged, or holds values that are not finite.
        """
        size = math.prod(self.shape)
        if not self._at_once:
            cut = [1 if isinstance(r, int) else len(range(n)[r]) for r, n in zip(region, self.shape, strict=False)]
            size = math.prod([*cut, *self.shape[len(cut) :]])
        if size > self.max_values:
            raise InputError(self.name, f"is too large: {size:,} values at once", f"at most {self.max_values:,}")
        try:
            values = np.asarray(self._values(region))
        except Exception as error:  # h5py and SciPy raise whatever the damage leads to
            raise InputError(self.name, f"is damaged or cut off: {error or type(error).__name__}", EXPECTED) from error
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            raise InputError(self.name, f"{told} holds values that are not finite".strip(), "numbers")
        return values

    @property
    def _at_once(self) -> bool:
        """Whether the file can only be read whole: MATLAB's before 7.3."""
        return self.path.suffix.lower() == ".mat" and not _is_hdf5(self.path)

    def _values(self, region: Region) -> np.ndarray:
        if self.path.suffix.lower() == ".npy":
            return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[region])
        if self._at_once:
            return _load_matlab(self.path, self.key, self.shape)[region]
        import h5py

        with h5py.File(self.path, "r") as file:
            if not self.reversed_axes:
                return _numbers(file[self.key][region])
            full = (*region, *[slice(None)] * (len(self.shape) - len(region)))
            return _numbers(file[self.key][full[::-1]]).T


def open_array(
    path: str | Path,
    keys: tuple[str, ...] = (),
    only: bool = True,
    wanted: str = "an array of numbers",
    kinds: str = "biufc",
    max_values: int = MAX_VALUES,
) -> ArrayFile:
    """Open an array in an HDF5, MATLAB or NumPy file.

    Args:
        path: The file; the suffix tells ``.npy`` and ``.mat`` from HDF5.
        keys: Names to look for, the first that is there.
        only: If none of them is there, whether the only array of the kinds will do.
        wanted: What it should be, for the error.
        kinds: Of numbers that will do, in NumPy's letters. Arrays of others are not looked at.
        max_values: The most that is read at once.

    Raises:
        InputError: If the file is missing, empty or damaged, has no such array, or several others.
        MissingExtra: If h5py is needed and not installed.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(path, "there is no such file", EXPECTED) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, "is not a file", EXPECTED)
    if status.st_size == 0:
        raise InputError(path, "the file is empty", EXPECTED)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(path, f"has the suffix {suffix or 'none'!r}", EXPECTED)
    try:
        if suffix == ".npy":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            array = ArrayFile(path, "", values.shape, values.dtype, max_values=max_values)
            if values.dtype.kind not in kinds:
                raise InputError(path, f"holds {values.dtype} values of shape {_told(values.shape)}", wanted)
            return array
        listed = _list_matlab(path) if suffix == ".mat" and not _is_hdf5(path) else _list_hdf5(path)
        key = _chosen(path, listed, keys, only, wanted, kinds)
        return replace(listed[key], max_values=max_values)
    except InputError:
        raise
    except Exception as error:  # h5py and SciPy raise whatever the damage leads to
        raise InputError(path, f"is damaged, cut off or of another kind: {error or type(error).__name__}", EXPECTED) from error


def read_array(path: str | Path, *keys: str, wanted: str = "an array of numbers", max_values: int = MAX_VALUES) -> np.ndarray:
    """Read an array whole, of one of the names, or the only one; see `open_array`. Axes of ``.mat`` are in MATLAB's order.

    Raises:
        InputError: As `open_array` and `ArrayFile.read` do.
        MissingExtra: If h5py is needed and not installed.
    """
    return open_array(path, keys, wanted=wanted, max_values=max_values).read()


def _is_hdf5(path: Path) -> bool:
    """Look for HDF5's signature, which stands at the start or, in MATLAB's files, after a block of 512 bytes."""
    with path.open("rb") as file:
        head = file.read(520)
    return b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:])


def _chosen(
    path: Path, listed: Mapping[str, ArrayFile | None], keys: tuple[str, ...], only: bool, wanted: str, kinds: str
) -> str:
    """Choose an array by its name, or the only one of the kinds."""
    fits = [name for name, array in listed.items() if array is not None and array.dtype.kind in kinds]
    for key in keys:
        if key in fits:
            return key
        if key in listed:
            found = listed[key]
            told = "no array of numbers" if found is None else f"{found.dtype} values of shape {_told(found.shape)}"
            raise InputError(f"{path}: {key}", f"holds {told}", wanted)
    if only and len(fits) == 1:
        return fits[0]
    names = " or ".join(repr(key) for key in keys)
    held = ", ".join(repr(name) for name in list(listed)[:8]) or "nothing"
    if keys:
        raise InputError(path, f"has no data set {names}; it holds {held}", f"{wanted} under {names}")
    raise InputError(path, f"holds {held}", f"a single array: {wanted}")


def _list_matlab(path: Path) -> dict[str, ArrayFile | None]:
    """List a MATLAB file before 7.3; None is what holds no numbers."""
    from scipy.io import whosmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is judged here
        listed = whosmat(path)
    arrays: dict[str, ArrayFile | None] = {}
    for name, shape, kind in listed:
        # Whether doubles and singles are complex is not told.
        dtype = {"double": "c16", "single": "c16", "logical": "?"}.get(kind, kind if _INTEGER.fullmatch(kind) else None)
        arrays[name] = ArrayFile(path, name, tuple(int(n) for n in shape), np.dtype(dtype)) if dtype else None
    return arrays


def _load_matlab(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray:
    from scipy.io import loadmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = loadmat(path, variable_names=[key])[key]
    if values.shape != shape:
        raise ValueError(f"{values.shape} where the header says {shape}")
    return values


def _list_hdf5(path: Path) -> dict[str, ArrayFile | None]:
    """List the data sets at the root of an HDF5 file; None is what holds no numbers, or lies in other files."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra("h5py", "medical") from error
    if not _is_hdf5(path):
        raise InputError(path, "is not HDF5", EXPECTED)
    arrays: dict[str, ArrayFile | None] = {}
    with h5py.File(path, "r") as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        for name in file:
            # A link would be followed to any file that it names, and a data set may say that its values lie in others.
            item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            arrays[name] = None
            if isinstance(item, h5py.Dataset) and item.shape and not item.is_virtual and item.external is None:
                dtype, matlab = _number_type(item.dtype), "MATLAB_class" in item.attrs
                shape = tuple(item.shape[::-1] if matlab else item.shape)
                if dtype is not None:
                    arrays[name] = ArrayFile(path, name, shape, dtype, matlab, attributes=attributes)
    return arrays


def _number_type(dtype: np.dtype) -> np.dtype | None:
    """Return the type of numbers that HDF5 holds; MATLAB's pairs of real and imaginary parts are complex."""
    if dtype.names is not None and len(dtype.names) == 2 and dtype.names in (("real", "imag"), ("r", "i")):
        part = dtype[0]
        return np.dtype(np.complex64 if part.itemsize <= 4 else np.complex128) if part.kind in "iuf" else None
    return dtype if dtype.names is None and dtype.kind in "biufc" else None


def _numbers(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.names is None:
        return values
    real, imaginary = values.dtype.names
    number = _number_type(values.dtype)
    assert number is not None  # it was when the file was opened
    made = np.empty(values.shape, number)
    made.real, made.imag = values[real], values[imaginary]
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


# ---------------------------------------------------------------------------------------------------------------------
# k-space
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KSpaceFile:
    """Slices of k-space in a file.

    Attributes:
        array: What lies in the file.
        axes: What its axes mean: of ``slices``, ``coils``, ``H`` and ``W``.
        dc: Where DC lies in the file.
    """

    array: ArrayFile
    axes: tuple[str, ...]
    dc: Place

    @property
    def path(self) -> Path:
        """The file."""
        return self.array.path

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What HDF5 says of the file, such as ``acquisition``, ``max``, ``norm`` and ``patient_id`` of fastMRI."""
        return self.array.attributes

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Slices, coils, height and width."""
        sizes = dict(zip(self.axes, self.array.shape, strict=True))
        return sizes.get("slices", 1), sizes.get("coils", 1), sizes["H"], sizes["W"]

    def __len__(self) -> int:
        """How many slices there are."""
        return self.shape[0]

    def slice(self, index: int) -> np.ndarray:
        """Read a slice: complex64 ``(coils, H, W)``, DC in the middle.

        Raises:
            IndexError: If there is no such slice.
            InputError: If it is damaged, or holds values that are not finite.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of {len(self)}")
        region = tuple(index if name == "slices" else slice(None) for name in self.axes) if "slices" in self.axes else ()
        values = self.array.read(*region, told=f"slice {index}")
        if values.dtype.kind != "c":  # MATLAB's files before 7.3 do not tell earlier
            raise InputError(self.array.name, "holds real values", COMPLEX)
        order = [name for name in self.axes if name != "slices"]
        values = values.transpose([order.index(name) for name in ("coils", "H", "W") if name in order])
        with np.errstate(over="ignore"):
            values = values.reshape(self.shape[1:]).astype(np.complex64)
        if not np.isfinite(values).all():
            raise InputError(self.array.name, f"slice {index} holds values beyond single precision", "numbers up to 1e38")
        return np.fft.fftshift(values, axes=(-2, -1)) if self.dc == "corner" else values

    def reconstruction(self, index: int) -> np.ndarray | None:
        """Read fastMRI's reconstruction of a slice, float32 ``(h, w)``: emulated single coil, or root sum of squares.

        Returns:
            None if the file has none.

        Raises:
            InputError: If it is damaged or of another shape.
        """
        if self.path.suffix.lower() in (".npy", ".mat"):
            return None
        names = ("reconstruction_esc", "reconstruction_rss") if self.shape[1] == 1 else ("reconstruction_rss",)
        held = _list_hdf5(self.path)
        found = next((array for name in names if (array := held.get(name)) is not None), None)
        if found is None:
            return None
        if len(found.shape) != 3 or found.shape[0] != len(self) or found.dtype.kind != "f":
            told = f"has the shape {_told(found.shape)} of {found.dtype}"
            raise InputError(found.name, told, f"real numbers, ({len(self)} slices, height, width)")
        return found.read(index, told=f"slice {index}").astype(np.float32)


def open_kspace(
    path: str | Path,
    key: str | None = None,
    third: Axis = "slices",
    dc: Place | Literal["auto"] = "auto",
    max_values: int = MAX_VALUES,
) -> KSpaceFile:
    """Open k-space in a file.

    ``.h5`` has ``kspace``, ``(slices, H, W)`` or ``(slices, coils, H, W)``; ``.mat`` has ``rawdata`` ``(H, W, coils)`` as in
    Hammernik's knees, or a matrix; ``.npy`` is ``(H, W)``, ``(slices or coils, H, W)`` or ``(slices, coils, H, W)``.

    Args:
        path: The file.
        key: The array's name; by default ``kspace``, ``rawdata``, or the only array.
        third: What the first of three axes is, and of ``.mat`` the last; ``rawdata`` has coils in any case.
        dc: Where DC lies in the file. ``auto`` looks where the middle slice is strong; for many files with DC in the middle, as
            in fastMRI, ``centre`` saves reading it.
        max_values: The most that is read at once.

    Raises:
        InputError: If the file is missing or damaged, has no such array, or one of another rank, or of no complex numbers.
        MissingExtra: If h5py is needed and not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    array = open_array(path, KSPACE_KEYS if key is None else (key,), key is None, COMPLEX, "c", max_values)
    known: dict[int, tuple[str, ...]]
    if suffix == ".mat":
        known = {2: ("H", "W"), 3: ("H", "W", "coils" if array.key == "rawdata" else third)}
    else:
        known = {2: ("H", "W"), 3: (third, "H", "W"), 4: ("slices", "coils", "H", "W")}
        if suffix != ".npy":
            del known[2]
    rank = len(array.shape)
    if rank not in known:
        layouts = " or ".join(f"({', '.join(axes)})" for axes in known.values())
        raise InputError(array.name, f"has {rank} axes, {_told(array.shape)}", f"k-space of {layouts}")
    found = KSpaceFile(array, known[rank], "centre")
    if min(array.shape) < 1 or min(found.shape[2:]) < LEAST_SIDE:
        raise InputError(array.name, f"has the shape {_told(array.shape)}", f"sides of at least {LEAST_SIDE} samples")
    return replace(found, dc=locate_dc(found.slice(len(found) // 2)) if dc == "auto" else dc)


def read_mask(
    path: str | Path, size: tuple[int, int], key: str | None = None, dc: Place | Literal["auto"] = "auto", out: Place = "centre"
) -> np.ndarray:
    """Read a sampling mask, of ``.h5``, ``.mat`` or ``.npy``.

    Args:
        path: The file.
        size: Height and width of the k-space that it belongs to.
        key: The array's name; by default ``mask``, ``mask_matrix``, or the only array.
        dc: Where DC lies in the file; ``auto`` looks where the mask is dense, and takes the middle if that cannot be told.
        out: Where DC lies in the result.

    Returns:
        bool ``(H, W)``; a row of lines is repeated along the height.

    Raises:
        InputError: If the file is missing or damaged, has no such array, or one of another size or with other values than 0
            and 1.
    """
    array = open_array(path, MASK_KEYS if key is None else (key,), key is None, "a mask", max_values=4 * math.prod(size))
    mask = fit_mask(array.read(), size, array.name)
    found = locate_dc(mask) if dc == "auto" else dc
    if found != out:
        mask = np.fft.ifftshift(mask) if out == "corner" else np.fft.fftshift(mask)
    return mask


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of one number"


# ---------------------------------------------------------------------------------------------------------------------
# what is written
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """An array as part of a result, written as ``.npy``."""

    values: np.ndarray
    suffix: ClassVar[str] = ".npy"
    kind: ClassVar[str] = "array"

    def write(self, path: Path) -> None:
        """Write the array; no pickles."""
        with path.open("wb") as file:
            np.save(file, self.values, allow_pickle=False)


@dataclass(frozen=True)
class Hdf5:
    """Named arrays as part of a result, written as HDF5 in fastMRI's way.

    Attributes:
        arrays: Data sets by name, such as ``reconstruction``.
        attributes: Of the file: numbers and texts.
    """

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, int | float | str] = field(default_factory=dict)
    suffix: ClassVar[str] = ".h5"
    kind: ClassVar[str] = "hdf5"

    def write(self, path: Path) -> None:
        """Write the file, without the time of writing.

        Raises:
            MissingExtra: If h5py is not installed.
        """
        file = _created(path)
        with file:
            for name, values in self.arrays.items():
                file.create_dataset(name, data=values)
            file.attrs.update(self.attributes)


def _created(path: Path, **arguments: Any) -> h5py.File:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra("h5py", "medical") from error
    return h5py.File(path, "w", **arguments)


def write_as(kspace: np.ndarray, path: Path, key: str | None = None, matlab73: bool = False) -> Path:
    """Write k-space in the format that the suffix names, for fixtures.

    Args:
        kspace: complex64 ``(slices, coils, H, W)``, DC in the middle, orthonormal. A single coil has no axis in ``.h5`` and
            ``.npy``; ``.mat`` takes the first slice.
        path: ``.h5`` as fastMRI's (with reconstruction, ``max`` and ``norm``), ``.mat`` as Hammernik's, or ``.npy``.
        key: The array's name: ``kspace`` and ``rawdata`` by default.
        matlab73: Write the ``.mat`` as MATLAB 7.3 does.

    Returns:
        The path.
    """
    suffix = path.suffix.lower()
    alone = kspace[:, 0] if kspace.shape[1] == 1 else kspace
    if suffix == ".npy":
        Array(alone).write(path)
    elif suffix == ".mat":
        raw = np.ascontiguousarray(kspace[0].transpose(1, 2, 0))
        if matlab73:
            write_matlab73(path, key or "rawdata", raw)
        else:
            from scipy.io import savemat

            savemat(path, {key or "rawdata": raw}, do_compression=True)
    else:
        axes = (-2, -1)
        images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)
        combined = np.sqrt((np.abs(images) ** 2).sum(axis=1)).astype(np.float32)
        arrays = {key or "kspace": alone, "reconstruction_rss": combined}
        if kspace.shape[1] == 1:
            arrays["reconstruction_esc"] = combined
        about = {
            "max": float(combined.max()),
            "norm": float(np.linalg.norm(combined)),
            "acquisition": "made up",
            "patient_id": "0",
        }
        Hdf5(arrays, about).write(path)
    return path


def write_matlab73(path: Path, key: str, values: np.ndarray) -> Path:
    """Write an array as MATLAB 7.3 does, for fixtures: HDF5 behind 512 bytes, axes reversed, complex numbers as pairs."""
    stored = values.T
    if np.iscomplexobj(values):
        part = values.real.dtype
        pairs = np.empty(stored.shape, [("real", part), ("imag", part)])
        pairs["real"], pairs["imag"] = stored.real, stored.imag
        stored, kind = pairs, part
    else:
        kind = values.dtype
    names = {"float64": "double", "float32": "single", "bool": "logical"}
    with _created(path, userblock_size=512) as file:
        item = file.create_dataset(key, data=stored.astype(np.uint8) if stored.dtype == bool else stored)
        item.attrs["MATLAB_class"] = np.bytes_(names.get(str(kind), str(kind)))
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, made up".ljust(116) + bytes(8) + b"\0\2IM")
    return path
