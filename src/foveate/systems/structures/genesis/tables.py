"""Tables of events: Kepler's DR24 table of threshold-crossing events, and one's own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveate.errors import InputError
from foveate.systems.structures.genesis.records import label_of
from foveate.systems.structures.genesis.views import Ephemeris

MAX_ROWS = 2**21
DR24 = ("kepid", "tce_plnt_num", "tce_period", "tce_time0bk", "tce_duration", "av_training_set")
OWN = "CSV with columns file, label, and period [days], t0 [the file's own time], duration [hours] or none of the three"


@dataclass(frozen=True)
class Event:
    """One event of a table.

    Attributes:
        id: What to call it.
        star: The star that it belongs to.
        label: 1 for a planet candidate, 0 for none, -1 if it is not known.
        files: Light curves of the star.
        ephemeris: When it happens, or None where that is to be searched.
        part: ``train``, ``val`` or ``test`` if the table says so.
    """

    id: str
    star: str
    label: int
    files: tuple[Path, ...] = ()
    ephemeris: Ephemeris | None = None
    part: str = ""


def read_events(path: Path) -> list[Event]:
    """Read a table of one's own events.

    Args:
        path: CSV with a column ``file`` (a light curve, relative to the table's folder; several with ``;`` between them), and,
            if wanted, ``label`` (PC, AFP, NTP, 1, 0), ``period`` (days), ``t0`` (the file's own time), ``duration`` (hours),
            ``id``, ``star`` and ``part`` (train, val, test). Where period, t0 and duration are empty they are searched.

    Raises:
        InputError: With line and column, if something is missing or no number.
    """
    rows = _rows(path, OWN)
    if "file" not in rows[0][1]:
        raise InputError(path, f"has no column file; it has {', '.join(rows[0][1])[:80]}", OWN)
    events = []
    for line, row in rows:
        where = f"{path}, line {line}"
        files = tuple(path.parent / name.strip() for name in row["file"].split(";") if name.strip())
        if not files:
            raise InputError(where, "names no file", OWN)
        given = [name for name in ("period", "t0", "duration") if row.get(name)]
        if given and len(given) < 3:
            raise InputError(where, f"gives {' and '.join(given)} alone", "all of period, t0 and duration, or none")
        ephemeris = None
        if given:
            period, t0, hours = (_number(where, name, row) for name in ("period", "t0", "duration"))
            ephemeris = Ephemeris(period, t0, hours / 24)
        if row.get("part", "") not in ("", "train", "val", "test"):
            raise InputError(where, f"part is {row['part']!r}", "train, val or test")
        name = row.get("id") or files[0].stem
        events.append(
            Event(name, row.get("star") or files[0].stem, label_of(row.get("label", "")), files, ephemeris, row.get("part", ""))
        )
    return events


def read_dr24(path: Path) -> list[Event]:
    """Read the Q1-Q17 DR24 table: every event that is labelled, in the table's order; its files are not looked for here.

    Raises:
        InputError: If a column is missing, or a cell is no number.
    """
    expected = f"the Q1-Q17 DR24 table of the NASA Exoplanet Archive in CSV, with columns {', '.join(DR24)}"
    rows = _rows(path, expected)
    missing = [name for name in DR24 if name not in rows[0][1]]
    if missing:
        raise InputError(path, f"has no column {', '.join(missing)}", expected)
    events = []
    for line, row in rows:
        label = label_of(row["av_training_set"])
        if label < 0:
            continue
        where = f"{path}, line {line}"
        period, t0, hours = (_number(where, name, row) for name in ("tce_period", "tce_time0bk", "tce_duration"))
        star = f"{int(_number(where, 'kepid', row)):09d}"
        events.append(Event(f"{star}-{row['tce_plnt_num']}", star, label, (), Ephemeris(period, t0, hours / 24)))
    if not events:
        raise InputError(path, "labels no event PC, AFP or NTP", expected)
    return events


def is_dr24(path: Path) -> bool:
    """Whether a CSV file's line of names is that of the DR24 table."""
    try:
        return set(DR24) <= set(_rows(path, "", limit=1)[0][1])
    except InputError:
        return False


def _rows(path: Path, expected: str, limit: int = MAX_ROWS) -> list[tuple[int, Mapping[str, str]]]:
    """Read CSV: the number of each line, and column to cell; lines that start with # are comments."""
    if not path.is_file():
        raise InputError(path, "is not a file" if path.exists() else "there is no such file", expected)
    rows: list[tuple[int, Mapping[str, str]]] = []
    names: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                (cells,) = csv.reader([line])
                if not names:
                    names = [cell.strip().lower() for cell in cells]
                    continue
                if len(rows) == limit:
                    break
                rows.append((number, {n: c.strip() for n, c in zip(names, cells, strict=False)}))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"is not CSV: {error}", expected) from error
    if not rows:
        raise InputError(path, "has no rows", expected)
    return rows


def _number(where: str, name: str, row: Mapping[str, str]) -> float:
    try:
        return float(row[name])
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}, column {name}", f"{row.get(name, '')!r} is no number", "a number") from error
