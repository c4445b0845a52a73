"""What the contract feeds Genesis: light curves, views, and each data set's layout in miniature."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from foveate.systems.structures.genesis.records import crc32c, masked
from foveate.systems.structures.genesis.synthetic import simulate
from foveate.systems.structures.genesis.views import Ephemeris, LightCurve, check_ephemeris

BINS = 33  # of ready views, short so that cross-validation is quick


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a light curve with a planet, ready views, a table of events, or a data set."""
    path = folder / f"star.{suffix}"
    if action == "mccv":
        layout("tfrecords", folder)
        return folder
    if action == "classify":
        if suffix == "csv":
            layout("own", folder)
            return (folder / "events.csv").rename(path)
        view, local, label = _views(12, 501)
        if suffix == "npz":
            np.savez(path, view=view, local=local, label=label)
        else:
            path.write_bytes(b"".join(_record(_example(*row, i)) for i, row in enumerate(zip(view, local, label, strict=True))))
        return path
    curve, _ = planet(0, days=45)
    (write_fits if suffix == "fits" else write_csv)(curve, path)
    return path


def planet(star: int, days: float = 90) -> tuple[LightCurve, Ephemeris]:
    """Simulate the beginning of a light curve with a planet that passes within it."""
    curve, (event,) = simulate(star, ["PC"], seed=1, quarters=1)
    time, flux = curve.pieces[0]
    kept = time < time[0] + days
    curve = LightCurve(((time[kept], flux[kept]),), curve.name, curve.reference)
    check_ephemeris(curve, event.ephemeris)
    return curve, event.ephemeris


def write_fits(curve: LightCurve, path: Path) -> None:
    """Write a light curve as Kepler's archive does, a point without flux among the others."""
    from astropy.io import fits

    flux = curve.flux.astype(np.float32)
    flux[5] = np.nan
    columns = [
        fits.Column("TIME", "D", unit="BJD - 2454833", array=curve.time),
        fits.Column("PDCSAP_FLUX", "E", unit="e-/s", array=flux),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="LIGHTCURVE")
    table.header["BJDREFI"], table.header["BJDREFF"] = 2454833, 0.0
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def write_csv(curve: LightCurve, path: Path) -> None:
    """Write a light curve as CSV."""
    lines = (f"{t:.8f},{f:.6f}\n" for t, f in zip(curve.time, curve.flux, strict=True))
    path.write_text("# a simulated star\ntime,flux\n" + "".join(lines), encoding="utf-8")


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set of a dozen events in its real layout.

    Returns:
        For one's own light curves the first validation item's file, whose ephemeris is to be searched; else None.
    """
    return {"tfrecords": _tfrecords, "kepler": _kepler, "own": _own}[name](folder)


def _tfrecords(folder: Path) -> None:
    view, local, label = _views(20, BINS)
    shards = {"train-00000-of-00002": (0, 9), "train-00001-of-00002": (9, 16), "val-00000-of-00001": (16, 18)}
    for name, (first, last) in {**shards, "test-00000-of-00001": (18, 20)}.items():
        content = [_record(_example(view[i], local[i], label[i], i)) for i in range(first, last)]
        (folder / name).write_bytes(b"".join(content))


def _kepler(folder: Path) -> None:
    rows = ["# q1_q17_dr24_tce", "rowid,kepid,tce_plnt_num,tce_period,tce_time0bk,tce_duration,av_training_set"]
    for i in range(12):
        star = f"{757450 + i:09d}"
        curve, event = planet(i)
        place = folder / star[:4] / star
        place.mkdir(parents=True)
        write_fits(curve, place / f"kplr{star}-2009166043257_llc.fits")
        label = ("PC", "AFP", "NTP", "UNK")[i % 4]
        rows.append(f"{i + 1},{int(star)},1,{event.period},{event.t0},{24 * event.duration},{label}")
    (folder / "q1_q17_dr24_tce.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _own(folder: Path) -> Path:
    rows = ["file,label,period,t0,duration,part"]
    for i, part in enumerate(("train", "train", "train", "val", "test")):
        curve, event = planet(i, days=45)
        write_csv(curve, folder / f"star{i}.csv")
        when = f"{event.period},{event.t0},{24 * event.duration}" if part != "val" else ",,"
        rows.append(f"star{i}.csv,{'PC' if i % 2 else 'AFP'},{when},{part}")
    (folder / "events.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "star3.csv"


def _views(count: int, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw views with a dip in the middle, wide for planets and narrow for the others."""
    rng = np.random.default_rng(0)
    label = (np.arange(count) % 3 == 0).astype(int)
    made = []
    for length in (bins, 201):
        x = np.abs(np.linspace(-1, 1, length))
        width = np.where(label == 1, 0.3, 0.1)[:, None]
        made.append((rng.normal(0, 0.05, (count, length)) - (x < width)).astype(np.float32))
    return made[0], made[1], label


def _example(view: np.ndarray, local: np.ndarray, label: int, number: int) -> bytes:
    """Encode a tf.train.Example with the features that the released pipeline writes."""

    def field(tag: int, body: bytes) -> bytes:
        return bytes([tag << 3 | 2]) + _varint(len(body)) + body

    def feature(name: str, kind: int, body: bytes) -> bytes:
        return field(1, field(1, name.encode()) + field(2, field(kind, field(1, body))))

    features = [
        feature("global_view", 2, view.astype("<f4").tobytes()),
        feature("local_view", 2, local.astype("<f4").tobytes()),
        feature("kepid", 3, _varint(1000 + number)),
        feature("tce_plnt_num", 3, _varint(1)),
        feature("av_training_set", 1, b"PC" if label else b"AFP"),
    ]
    return field(1, b"".join(features))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _record(payload: bytes) -> bytes:
    """Frame a TFRecord."""
    length = struct.pack("<Q", len(payload))
    return b"".join(part + struct.pack("<I", masked(crc32c(part))) for part in (length, payload))
