"""Medical volumes from files: NIfTI, DICOM series, NumPy arrays with a spacing; and a volume as part of a result, as NIfTI."""

from __future__ import annotations

import gzip
import json
import math
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from foveate.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header
    from pydicom.dataset import FileDataset

MAX_VOXELS = 2**28  # 1 GiB of float32: four times a head CT of 512 x 512 x 256
EXPECTED = "a NIfTI volume (.nii, .nii.gz), a folder with one DICOM series, or a NumPy array (.npy) and its spacing"
EVEN = 0.1  # share of the distance between slices by which single distances may differ from it
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")


@dataclass(frozen=True)
class Volume:
    """A three-dimensional scan with its place in the world.

    Attributes:
        values: float32 ``(X, Y, Z)``, rescaled as the file says.
        affine: float64 ``(4, 4)``: voxel indices to millimetres, x to the patient's right-left as in NIfTI (RAS+).
        shape: As it stood in the file, with axes of length one that `values` lacks.
        modality: What DICOM calls it, such as ``CT``; empty if the file does not say.
        header: The NIfTI header, if it stems from one: its units and codes go into what is written.
        notes: What the user should know of how it was read.
    """

    values: np.ndarray
    affine: np.ndarray
    shape: tuple[int, ...]
    modality: str = ""
    header: Nifti1Header | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Side lengths of a voxel in millimetres."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres; a gantry's tilt is accounted for."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def upright(self) -> Volume:
        """Turn the volume so that its axes run most nearly to the patient's right, front and top."""
        from nibabel.orientations import apply_orientation, inv_ornt_aff

        turn = self._turn()
        values = apply_orientation(self.values, turn)
        affine = self.affine @ inv_ornt_aff(turn, self.values.shape)
        return Volume(np.ascontiguousarray(values), affine, values.shape, self.modality, notes=self.notes)

    def turned_back(self, values: np.ndarray) -> np.ndarray:
        """Turn values on the grid of `upright` back to this volume's axes."""
        from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

        return np.ascontiguousarray(apply_orientation(values, ornt_transform(axcodes2ornt("RAS"), self._orientation())))

    def _orientation(self) -> np.ndarray:
        from nibabel.orientations import io_orientation

        return io_orientation(self.affine)

    def _turn(self) -> np.ndarray:
        from nibabel.orientations import axcodes2ornt, ornt_transform

        return ornt_transform(self._orientation(), axcodes2ornt("RAS"))

    def like(self, values: np.ndarray) -> Nifti:
        """Make a part of a result of values ``(X, Y, Z)`` on the same grid: same shape, same affine."""
        return Nifti(values.reshape(self.shape), self.affine, self.header)


@dataclass(frozen=True)
class Nifti:
    """A volume as part of a result.

    Attributes:
        values: Of a type that NIfTI has, such as uint8, uint16 or float32.
        affine: float64 ``(4, 4)``: voxel indices to millimetres.
        header: Header whose units and codes are taken over.
    """

    values: np.ndarray
    affine: np.ndarray
    header: Nifti1Header | None = field(default=None, compare=False)
    suffix: ClassVar[str] = ".nii.gz"
    kind: ClassVar[str] = "volume"

    def write(self, path: Path) -> None:
        """Write NIfTI-1, compressed, without the time of writing, so that equal volumes are equal files."""
        path.write_bytes(gzip.compress(self.encoded(), 6, mtime=0))

    def encoded(self) -> bytes:
        """Return the file's content before compression."""
        import nibabel

        header = None
        if self.header is not None:
            header = self.header.copy()
            header.set_data_dtype(self.values.dtype)
            header.set_slope_inter(1, 0)
            header["cal_min"] = header["cal_max"] = 0
        return nibabel.Nifti1Image(self.values, self.affine, header, dtype=self.values.dtype).to_bytes()


def read_volume(path: str | Path, spacing: Sequence[float] | None = None, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read a volume of any of the formats. Headers are judged before anything is decompressed.

    Args:
        path: The file, or the folder of a DICOM series.
        spacing: Side lengths of a voxel in millimetres, for a NumPy array; without it a file ``NAME.json`` beside
            ``NAME.npy`` is read for ``{"spacing": [x, y, z]}``.
        max_voxels: The largest size that is read.

    Raises:
        InputError: If the file is missing, empty, truncated, too large, or no volume; if a series lacks a slice.
        MissingExtra: If the format's package is not installed.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(path, "there is no such file or folder", EXPECTED) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
    if stat.S_ISDIR(status.st_mode):
        return read_series(path, max_voxels)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, "is not a file", EXPECTED)
    if status.st_size == 0:
        raise InputError(path, "the file is empty", EXPECTED)
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if f".{suffix}" in PICTURES:
        raise InputError(path, "is a picture, not a volume", EXPECTED)
    if spacing is not None and suffix != "npy":
        raise InputError(path, "has a spacing of its own", "a spacing with NumPy arrays only")
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        wanted = f"the folder of the whole series, {path.resolve().parent}"
        raise InputError(path, "is a single DICOM file, of which a series has one for each slice", wanted)
    if suffix == "npy":
        return _read_array(path, spacing, max_voxels)
    return _read_nifti(path, max_voxels)


def _checked(path: Path, volume: Volume) -> Volume:
    """Refuse values that are not finite, and an affine that places all voxels in a plane."""
    if not np.isfinite(volume.values).all():
        raise InputError(path, "holds values that are not finite", "numbers")
    if not np.isfinite(volume.affine).all() or volume.voxel_ml < 1e-9:
        raise InputError(path, f"its voxels have no size (spacing {_told(volume.spacing)} mm)", "a volume with a valid affine")
    return volume


def _told(numbers: Sequence[float]) -> str:
    return " x ".join(f"{n:.4g}" for n in numbers)


def _volume_shape(path: Path, shape: tuple[int, ...], most: int) -> tuple[int, int, int]:
    """Reduce a shape to three axes."""
    reduced = tuple(shape[:3]) + tuple(n for n in shape[3:] if n != 1)
    if len(reduced) != 3 or min(reduced) < 2:
        raise InputError(path, f"has the shape {_told(shape)}", "a volume of three dimensions")
    if math.prod(reduced) > most:
        raise InputError(path, f"is too large: {_told(shape)} voxels", f"at most {most:,} voxels")
    return reduced  # type: ignore[return-value]


# ---------------------------------------------------------------------------------------------------------------------
# NIfTI and NumPy
# ---------------------------------------------------------------------------------------------------------------------


def _read_nifti(path: Path, most: int) -> Volume:
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise MissingExtra("nibabel", "medical") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd headers, which are judged here
            image = nibabel.load(path)
            if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti1Pair):  # NIfTI-2 is a subclass of it
                raise InputError(path, f"is a {type(image).__name__}, not NIfTI", EXPECTED)
            shape = tuple(int(n) for n in image.shape)
            reduced = _volume_shape(path, shape, most)
            if image.get_data_dtype().kind not in "iuf":
                raise InputError(path, f"holds values of type {image.get_data_dtype()}", "numbers")
            values = image.get_fdata(dtype=np.float32).reshape(reduced)
    except InputError:
        raise
    except Exception as error:  # nibabel raises whatever the damage leads to
        raise InputError(path, f"is damaged, cut off or no NIfTI file: {error or type(error).__name__}", EXPECTED) from error
    version_1 = type(image.header) is nibabel.Nifti1Header
    return _checked(path, Volume(values, image.affine.astype(np.float64), shape, header=image.header if version_1 else None))


def _read_array(path: Path, spacing: Sequence[float] | None, most: int) -> Volume:
    if spacing is None:
        beside = path.with_suffix(".json")
        wanted = f'--spacing [x,y,z] in millimetres, or {beside.name} with {{"spacing": [x, y, z]}} beside it'
        try:
            spacing = [float(s) for s in json.loads(beside.read_text(encoding="utf-8"))["spacing"]]
        except FileNotFoundError as error:
            raise InputError(path, "has no spacing", wanted) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(beside, f"tells no spacing of {path.name}", wanted) from error
    if len(spacing) != 3 or not all(0.01 <= s <= 100 for s in spacing):
        raise InputError(path, f"has the spacing {list(spacing)}", "three numbers of millimetres, each from 0.01 to 100")
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, f"is damaged, cut off or no NumPy array: {error}", EXPECTED) from error
    if not isinstance(mapped, np.ndarray) or mapped.dtype.kind not in "iuf":
        raise InputError(path, "holds no array of numbers", EXPECTED)
    reduced = _volume_shape(path, mapped.shape, most)
    values = np.array(mapped, np.float32).reshape(reduced)
    return _checked(path, Volume(values, np.diag([*spacing, 1.0]), mapped.shape))


# ---------------------------------------------------------------------------------------------------------------------
# DICOM
# ---------------------------------------------------------------------------------------------------------------------

_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SeriesInstanceUID")


def read_series(folder: Path, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read the DICOM series in a folder, at any depth, its slices sorted by their position.

    The affine follows the slices' positions, so that a tilted gantry gives a sheared one (DICOM PS3.3, C.7.6.2).

    Raises:
        InputError: If there is none or more than one, a slice is missing, doubled or damaged, or they do not fit together.
        MissingExtra: If pydicom is not installed.
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise MissingExtra("pydicom", "medical") from error
    wanted = "the slices of one DICOM series"
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not any(x[0] == "." for x in p.relative_to(folder).parts))
    slices: list[tuple[Path, FileDataset]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard's rules and mean what they say
        for file in files:
            with file.open("rb") as opened:
                if opened.read(132)[128:] != b"DICM":
                    continue
            try:
                header = pydicom.dcmread(file, stop_before_pixels=True)
            except Exception as error:  # pydicom raises whatever the damage leads to
                raise InputError(file, f"is damaged or cut off: {error or type(error).__name__}", wanted) from error
            if "Rows" in header:  # what else lies in such folders: directories, reports
                slices.append((file, header))
        if not slices:
            raise InputError(folder, "holds no DICOM slices", wanted)
        if len(slices) * int(slices[0][1].Rows) * int(slices[0][1].Columns) > max_voxels:
            raise InputError(folder, f"is too large: {len(slices)} slices", f"at most {max_voxels:,} voxels")
        _check_series(folder, slices)
        slices, step = _in_order(folder, slices)
        values = np.stack([_pixels(file) for file, _ in slices], axis=2)
    first = slices[0][1]
    right, down = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = (float(s) for s in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = right * between_columns, down * between_rows, step
    affine[:3, 3] = np.array(first.ImagePositionPatient, float)
    affine[:2] *= -1  # DICOM's x and y run to the patient's left and back, NIfTI's to the right and front
    normal = np.cross(right, down)
    tilt = math.degrees(math.acos(min(1.0, abs(float(step @ normal)) / float(np.linalg.norm(step)))))
    notes = (f"the gantry was tilted by {tilt:.0f} degrees; distances across slices are a little off",) if tilt > 1 else ()
    modality = str(first.get("Modality", ""))
    return _checked(folder, Volume(values, affine, values.shape, modality, notes=notes))


def _check_series(folder: Path, slices: list[tuple[Path, FileDataset]]) -> None:
    """Refuse slices that lack what places them, or that belong to different series."""
    for file, header in slices:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise InputError(file, "is a DICOM file of several frames", "one file for each slice, or NIfTI")
        missing = [name for name in _NEEDED if not header.get(name)]
        if missing:
            raise InputError(file, f"lacks {', '.join(missing)}", "slices that tell their position")
    series: dict[str, list[FileDataset]] = {}
    for _, header in slices:
        series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    if len(series) > 1:
        told = "; ".join(f"{h[0].get('SeriesDescription', '') or 'no name'}, {len(h)} slices" for h in series.values())
        raise InputError(folder, f"holds {len(series)} series ({told})", "one series in a folder of its own")
    (file, first), *others = slices
    for other, header in others:
        for name in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
            if not np.allclose(np.array(first[name].value, float), np.array(header[name].value, float), atol=1e-3):
                raise InputError(other, f"has another {name} than {file.name}", "slices of one size and orientation")
    if len(slices) < 2:
        raise InputError(folder, "holds a single slice", "the slices of a volume")


def _in_order(folder: Path, slices: list[tuple[Path, FileDataset]]) -> tuple[list[tuple[Path, FileDataset]], np.ndarray]:
    """Sort slices along their normal; return them, and the step from one to the next in millimetres ``(3,)``.

    Raises:
        InputError: If the slices are not evenly spaced, as they are not when one is missing.
    """
    right, down = np.reshape(np.array(slices[0][1].ImageOrientationPatient, float), (2, 3))
    normal = np.cross(right, down)
    place = np.array([np.array(header.ImagePositionPatient, float) for _, header in slices])
    order = np.argsort(place @ normal, kind="stable")
    slices = [slices[i] for i in order]
    gaps = np.diff((place @ normal)[order])
    usual = float(np.median(gaps))
    for gap, (file, _), (following, _) in zip(gaps, slices, slices[1:], strict=False):
        between = f"between {file.name} and {following.name}"
        if gap < 0.01:
            raise InputError(folder, f"{file.name} and {following.name} lie in one place", "each slice once")
        if gap > 1.5 * usual:
            missing = round(float(gap) / usual) - 1
            told = f"{missing} slice{'s' if missing > 1 else ''} missing {between}"
            raise InputError(folder, f"{told}: {gap:.4g} mm apart, the others {usual:.4g}", "a series without gaps")
        if abs(gap - usual) > EVEN * usual:
            raise InputError(folder, f"is not evenly spaced: {gap:.4g} mm {between}, else {usual:.4g}", "evenly spaced slices")
    return slices, (place[order[-1]] - place[order[0]]) / (len(slices) - 1)


def _pixels(file: Path) -> np.ndarray:
    """Read and rescale the pixels of a slice: float32 ``(columns, rows)``."""
    import pydicom

    try:
        slice_ = pydicom.dcmread(file)
        values = slice_.pixel_array.astype(np.float32)
    except Exception as error:  # pydicom and its decoders raise whatever the damage leads to
        if "missing dependencies" in str(error) or "plugin" in str(error):
            raise InputError(
                file, f"is compressed in a way that is not known here: {error}", "an uncompressed series"
            ) from error
        raise InputError(file, f"is damaged or cut off: {error or type(error).__name__}", "a whole slice") from error
    if values.ndim != 2:
        raise InputError(file, f"has pixels of the shape {_told(values.shape)}", "grey values")
    return (values * float(slice_.get("RescaleSlope", 1)) + float(slice_.get("RescaleIntercept", 0))).T
