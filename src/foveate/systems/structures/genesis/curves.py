"""Light curves from files: FITS of Kepler, K2 and TESS, and CSV."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foveate.errors import InputError
from foveate.systems.structures.genesis.views import LightCurve, check_curve

EXPECTED = "a light curve of Kepler, K2 or TESS in FITS, or CSV with columns time and flux"
MAX_POINTS = 2**24  # 16 million: a star at TESS's 20 seconds for ten years
FLUXES = ("pdcsap_flux", "flux", "sap_flux", "kspsap_flux", "det_flux", "corrected_flux", "fcor")  # the first that is there
TIMES = ("time", "time_bkjd", "time_btjd", "bkjd", "btjd", "bjd", "jd", "t")

# Names under which the archives keep several files of one star: Kepler's quarters, K2's campaigns, TESS's sectors.
_STARS = (
    re.compile(r"(?P<star>kplr\d{9})-\d+_llc\.fits", re.IGNORECASE),
    re.compile(r"(?P<star>ktwo\d{9})-c\d+_llc\.fits", re.IGNORECASE),
    re.compile(r"tess\d+-s\d+-(?P<star>\d{16})-\d+-s_lc\.fits", re.IGNORECASE),
)


def read_curve(path: str | Path, flux: str = "") -> LightCurve:
    """Read a light curve.

    Args:
        path: FITS with a table of columns TIME and PDCSAP_FLUX, as Kepler, K2 and TESS give it, or CSV with a line of names.
            What it holds counts, not its suffix.
        flux: Name of the column of the flux; by default the first of PDCSAP_FLUX, FLUX, SAP_FLUX and such that is there.

    Returns:
        Its points of finite time and flux, in order of time.

    Raises:
        InputError: If the file is missing, empty, truncated, too large, or no light curve.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "is not a file" if path.exists() else "there is no such file", EXPECTED)
    with path.open("rb") as file:
        head = file.read(30)
    if not head:
        raise InputError(path, "the file is empty", EXPECTED)
    return _read_fits(path, flux) if head.startswith(b"SIMPLE  =") else _read_csv(path, flux)


def read_star(paths: Sequence[Path], flux: str = "") -> LightCurve:
    """Join the files of one star: each is a piece of its own, since the star sits on other pixels in each.

    Raises:
        InputError: If one of them is wrong, or they do not count time from one day.
    """
    curves = sorted((read_curve(path, flux) for path in paths), key=lambda curve: curve.time[0])
    zeros = {curve.reference for curve in curves}
    if len(zeros) > 1:
        raise InputError(paths[0], f"its files count from {', '.join(f'{z:g}' for z in sorted(zeros))}", "one zero of time")
    return LightCurve(tuple(piece for curve in curves for piece in curve.pieces), curves[0].name, curves[0].reference)


def same_star(path: Path) -> list[Path]:
    """Find the other files of a star beside one: by the archive's names; the file alone if it has another."""
    for pattern in _STARS:
        given = pattern.fullmatch(path.name)
        if given:
            found = ((p, pattern.fullmatch(p.name)) for p in path.parent.iterdir())
            return sorted(p for p, match in found if match and match["star"].lower() == given["star"].lower())
    return [path]


def _made(path: Path, time: np.ndarray, flux: np.ndarray, reference: float = 0.0) -> LightCurve:
    """Drop what is not finite, bring the rest into order, and see whether it is a light curve."""
    finite = np.isfinite(time) & np.isfinite(flux)
    if not finite.any():
        what = "flux" if np.isfinite(time).any() else "time"
        raise InputError(path, f"none of its {len(time)} values of {what} is a finite number", EXPECTED)
    time, flux = time[finite].astype(np.float64), flux[finite].astype(np.float64)
    order = np.argsort(time, kind="stable")
    curve = LightCurve(((time[order], flux[order]),), path.name, reference)
    try:
        check_curve(curve)
    except InputError as error:
        raise InputError(path, error.wrong, error.expected) from error
    return curve


def _read_fits(path: Path, flux: str) -> LightCurve:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # astropy only warns of files that are cut off
            with fits.open(path, memmap=False, lazy_load_hdus=True) as units:
                for unit in units:
                    if isinstance(unit, fits.BinTableHDU):
                        return _from_table(path, unit, flux)
    except InputError:
        raise
    except Exception as error:  # astropy raises whatever the damage leads to
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, f"is damaged or cut off: {said}", EXPECTED) from error
    raise InputError(path, "holds no table", EXPECTED)


def _from_table(path: Path, unit: Any, flux: str) -> LightCurve:
    """Take a light curve out of a FITS table; the header is judged before anything is read."""
    rows, width = unit.header.get("NAXIS2", 0), unit.header.get("NAXIS1", 0)
    if rows > MAX_POINTS:
        raise InputError(path, f"promises {rows:,} points", f"at most {MAX_POINTS:,}")
    start = unit.fileinfo()["datLoc"]
    if start + rows * width > path.stat().st_size:
        raise InputError(path, f"is cut off: {rows:,} points of {width} bytes are promised", "the whole file")
    names = {name.lower(): name for name in unit.columns.names}
    time, chosen = _pick(path, names, TIMES, ""), _pick(path, names, FLUXES, flux)
    kind = str(unit.columns[chosen].unit or "")
    if kind.lower() in ("mag", "magnitude"):
        raise InputError(path, f"{chosen} is in magnitudes", "flux, in proportion to the star's light")
    spelled = str(unit.columns[time].unit or "")
    if spelled and "d" not in spelled.lower().replace("second", ""):
        raise InputError(path, f"{time} is in {spelled}", "days")
    values = [np.asarray(unit.data[name], np.float64) for name in (time, chosen)]
    if any(v.ndim != 1 for v in values):
        raise InputError(path, f"{chosen} holds several numbers in a row", "one flux for each time")
    reference = float(unit.header.get("BJDREFI", 0)) + float(unit.header.get("BJDREFF", 0))
    return _made(path, *values, reference)


def _read_csv(path: Path, flux: str) -> LightCurve:
    """Read columns by the names in the first line that is no comment; an empty cell is a point that was not measured."""
    time: list[float] = []
    light: list[float] = []
    columns: tuple[int, int] | None = None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                (row,) = csv.reader([line])
                if columns is None:
                    columns = _columns(path, row, flux)
                elif len(time) >= MAX_POINTS:
                    raise InputError(path, f"has more than {MAX_POINTS:,} points", f"at most {MAX_POINTS:,}")
                else:
                    time.append(_number(path, number, row, columns[0]))
                    light.append(_number(path, number, row, columns[1]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"is not CSV: {error}", EXPECTED) from error
    if not time:
        raise InputError(path, "has no lines of numbers", EXPECTED)
    return _made(path, np.asarray(time), np.asarray(light))


def _columns(path: Path, row: list[str], flux: str) -> tuple[int, int]:
    """Find the columns of time and flux in the line of names."""
    order = [name.strip() for name in row]
    names = {name.lower(): name for name in order}
    if {"mag", "magnitude"} & names.keys() and not set(FLUXES) & names.keys():
        raise InputError(path, "is in magnitudes", "flux, in proportion to the star's light")
    return order.index(_pick(path, names, TIMES, "")), order.index(_pick(path, names, FLUXES, flux))


def _number(path: Path, line: int, row: list[str], column: int) -> float:
    """Read one cell."""
    text = row[column].strip() if column < len(row) else ""
    try:
        return float(text or "nan")
    except ValueError as error:
        raise InputError(
            f"{path}, line {line}, column {column + 1}", f"{text[:40]!r} is no number", "a number or nothing"
        ) from error


def _pick(path: Path, names: dict[str, str], known: Sequence[str], wanted: str) -> str:
    """Choose a column: the one that is asked for, or the first of the known names.

    Raises:
        InputError: If it is not there.
    """
    choices = [wanted.lower()] if wanted else known
    for name in choices:
        if name in names:
            return names[name]
    shown = ", ".join(list(names.values())[:8])
    raise InputError(path, f"has no column {wanted or known[0]}; it has {shown[:80]}", EXPECTED)
