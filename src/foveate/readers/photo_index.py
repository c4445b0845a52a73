"""A folder of photographs as binary codes: made once, searched in an instant, judged by labels."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from foveate.errors import InputError
from foveate.parts.caching import cache_folder, digest
from foveate.parts.hash_network import HashNetwork
from foveate.parts.hashing import Codes, HammingIndex, IndexFile, bit_balance, hamming_blocks, pack
from foveate.parts.inference import Precision, quick
from foveate.parts.progress import bar
from foveate.parts.retrieval import average_precision, relevance
from foveate.parts.scaling import scaled
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture, Record, Result, Table, staging, unwritable

KEPT = 512  # pictures between two savings
TILE, LINE, COLUMNS = 160, 34, 6  # of a contact sheet, in pixels
SHOWN = 59  # pictures on it beside the query

Prepare = Callable[[Picture], Tensor]


def index_photos(
    photos: Path, network: HashNetwork, prepare: Prepare, batch: int = 32, precision: Precision = "float32"
) -> Result:
    """Encode every picture under a folder.

    What was encoded is kept: an interrupted call goes on where it was, and a folder that has grown costs only what is new.

    Args:
        photos: The folder.
        network: Gives a logit for each bit.
        prepare: Makes its input of a picture.
        batch: Pictures per forward pass.
        precision: Arithmetic.

    Returns:
        ``codes`` (`Codes`, whose names are the files), ``index`` (for faiss) and ``report``.

    Raises:
        InputError: If the folder is missing or has no picture that can be read.
    """
    if not photos.is_dir():
        raise InputError(photos, "is no folder" if photos.exists() else "there is no such folder", "a folder with pictures")
    codes, unreadable = _encoded(photos, find_pictures(photos.resolve()), network, prepare, batch, precision)
    balance = bit_balance(codes.packed)
    constant = np.flatnonzero((balance == 0) | (balance == 1))
    report = {
        "pictures": len(codes),
        "bits": codes.bits,
        "bytes": codes.packed.nbytes,
        "model": codes.model,
        "share_of_ones": balance,
        "constant_bits": constant,
        "unreadable": {str(path): str(error) for path, error in unreadable.items()},
    }
    notes = [f"{len(unreadable)} of {len(codes) + len(unreadable)} pictures could not be read"] if unreadable else []
    notes += [str(error) for error in list(unreadable.values())[:3]]
    if len(constant) and len(codes) > 1:
        notes.append(f"{len(constant)} of {codes.bits} bits are the same in all pictures: they tell nothing apart here")
    parts = {"codes": codes, "index": IndexFile(HammingIndex(codes.packed)), "report": Record(report)}
    return Result(parts, tuple(notes))


def _encoded(
    photos: Path, files: Sequence[Path], network: HashNetwork, prepare: Prepare, batch: int, precision: Precision
) -> tuple[Codes, dict[Path, InputError]]:
    """Encode the pictures of a folder, and tell those that could not be read."""
    if not files:
        raise InputError(photos, "has no pictures in it", "PNG, JPEG, WebP, TIFF or BMP files, at any depth")
    name = network.name
    kept = _Kept(f"{name}-{precision}", photos)
    keys = {path: _key(path) for path in files}
    waiting = [path for path in files if keys[path] not in kept.codes]
    unreadable: dict[Path, InputError] = {}
    with bar(f"encoding {photos.name}") as tick:
        tick(len(files) - len(waiting), len(files))
        for chunk in _chunks(waiting, KEPT):
            fresh: dict[str, np.ndarray] = {}
            try:
                for path, outcome in zip(chunk, _outcomes(chunk, network, prepare, batch, precision), strict=True):
                    if isinstance(outcome, InputError):
                        unreadable[path] = outcome
                    else:
                        fresh[keys[path]] = outcome
                    tick(1)
            finally:  # also if the user has had enough
                kept.add(fresh)
    readable = [path for path in files if path not in unreadable]
    if not readable:
        raise InputError(photos, f"has no picture that can be read; the first: {next(iter(unreadable.values()))}", "pictures")
    packed = np.stack([kept.codes[keys[path]] for path in readable])
    return Codes(packed, network.bits, [str(path) for path in readable], name), unreadable


def _outcomes(
    paths: Sequence[Path], network: HashNetwork, prepare: Prepare, batch: int, precision: Precision
) -> Iterator[np.ndarray | InputError]:
    """Encode pictures, read ahead on other threads: for each its packed code, or what is wrong with it."""

    def read(path: Path) -> Tensor | InputError:
        try:
            return prepare(read_picture(path))
        except InputError as error:
            return error

    encode = quick(network, precision)
    # Few threads: each holds a whole photograph.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        chunks = _chunks(paths, batch)
        ahead = [pool.submit(read, path) for path in next(chunks, [])]
        while ahead:
            read_ones = [future.result() for future in ahead]
            ahead = [pool.submit(read, path) for path in next(chunks, [])]
            good = [x for x in read_ones if not isinstance(x, InputError)]
            packed = iter(pack((encode(torch.stack(good)) >= 0).numpy()) if good else [])
            yield from (x if isinstance(x, InputError) else next(packed) for x in read_ones)


def _chunks(paths: Iterable[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _key(path: Path) -> str:
    status = path.stat()
    return hashlib.sha256(os.fsencode(path) + f":{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()[:24]


class _Kept:
    """Codes of a folder's pictures that were made before, by name, size and time of the file; one file for each saving.

    Args:
        model: What makes the codes.
        photos: The folder.
    """

    def __init__(self, model: str, photos: Path) -> None:
        self.folder = cache_folder() / "index" / digest([model, str(photos.resolve())])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self.model = model
        self.codes: dict[str, np.ndarray] = {}
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found = Codes.read(path)
            except InputError:  # a broken one is made again
                continue
            self.codes.update(zip(found.names, found.packed, strict=True))

    def add(self, fresh: dict[str, np.ndarray]) -> None:
        """Keep more, whole or not at all."""
        self.codes |= fresh
        if fresh:
            packed = np.stack(list(fresh.values()))
            with staging(self.folder) as temporary:
                Codes(packed, 8 * packed.shape[1], list(fresh), self.model).write(temporary / "codes.npz")
                (temporary / "codes.npz").replace(self.folder / f"{digest(list(fresh))}.npz")


def search_photos(
    queries: Sequence[Path],
    index: Path | None,
    network: HashNetwork,
    prepare: Prepare,
    nearest: int = 12,
    batch: int = 32,
    precision: Precision = "float32",
) -> Iterator[Result | InputError]:
    """Find the indexed pictures that are nearest to each query.

    Args:
        queries: Pictures.
        index: Codes that `index_photos` wrote; without, the pictures in the query's own folder are encoded.
        network: What made the codes.
        prepare: Makes its input of a picture.
        nearest: Pictures to find.
        batch: Pictures per forward pass.
        precision: Arithmetic.

    Yields:
        For each query ``matches`` (a table of rank, file and Hamming distance), ``found`` (the same as a record) and ``sheet``
        (the pictures), or what is wrong with it.

    Raises:
        InputError: If the index is broken or was made by other weights.
    """
    if nearest < 1:
        raise InputError("nearest", f"{nearest} pictures", "at least one")
    shelves = {None: _Shelf(_read_codes(index, network))} if index else {}
    for path, code in zip(queries, _outcomes(queries, network, prepare, batch, precision), strict=True):
        if isinstance(code, InputError):
            yield code
            continue
        place = None if index else path.resolve().parent
        try:
            if place not in shelves:
                files = [p for p in find_pictures(place) if p.parent == place and not p.stem.endswith("_sheet")]
                shelves = {place: _Shelf(_encoded(path.parent, files, network, prepare, batch, precision)[0])}
        except InputError as error:
            yield error
            continue
        shelf = shelves[place]
        rows, distances = shelf.nearest(code, path, nearest)
        files = [shelf.codes.names[row] for row in rows]
        yield _matches(
            path, files, distances, shelf.codes, () if index else (f"searched the {len(shelf.codes)} of its folder",)
        )


class _Shelf:
    """Codes that are searched by pictures, some of which may stand on it."""

    def __init__(self, codes: Codes) -> None:
        self.codes, self.index = codes, HammingIndex(codes.packed)
        self.rows = {name: row for row, name in enumerate(codes.names)}

    def nearest(self, code: np.ndarray, path: Path, count: int) -> tuple[list[int], list[int]]:
        """Return rows and distances; a picture that is indexed is the first of those with its code."""
        positions, distances = self.index.search(code[None], count)
        rows, own = positions[0].tolist(), self.rows.get(str(path.resolve()))
        if own is not None and np.array_equal(self.codes.packed[own], code):
            others = [row for row in rows if row != own]
            rows = [own, *others][: len(rows)]
        return rows, distances[0].tolist()


def _read_codes(path: Path, network: HashNetwork) -> Codes:
    codes = Codes.read(path)
    if codes.bits != network.bits:
        raise InputError(
            path, f"has codes of {codes.bits} bits, the weights make {network.bits}", "an index by the same weights"
        )
    if codes.model != network.name:
        raise InputError(
            path, f"was made by other weights ({codes.model}, not {network.name})", "--weights with those that made it"
        )
    if not len(codes):
        raise InputError(path, "has no codes in it", "an index of at least one picture")
    return codes


def _matches(query: Path, files: list[str], distances: list[int], codes: Codes, notes: tuple[str, ...]) -> Result:
    rows = [(str(query), rank, file, d) for rank, (file, d) in enumerate(zip(files, distances, strict=True), 1)]
    found = {"query": str(query), "bits": codes.bits, "searched": len(codes)}
    found["matches"] = [{"rank": rank, "file": file, "hamming": d} for _, rank, file, d in rows]
    parts = {
        "matches": Table(("query", "rank", "file", "hamming"), rows),
        "found": Record(found),
        "sheet": contact_sheet(
            query, files[:SHOWN], [f"{rank}.  {d} of {codes.bits} bits apart" for _, rank, _, d in rows[:SHOWN]]
        ),
    }
    if len(rows) > SHOWN:
        notes = (*notes, f"the sheet shows the first {SHOWN}, the table all")
    return Result(parts, notes)


def contact_sheet(query: Path, files: Sequence[str | Path], captions: Sequence[str]) -> Picture:
    """Draw a picture and its neighbours: six to a row, each with two lines of text. Files that are gone stay blank."""
    cells = [("query", Path(query)), *((caption, Path(file)) for caption, file in zip(captions, files, strict=True))]
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(cells)) * TILE, rows * (TILE + LINE)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (caption, path) in enumerate(cells):
        left, top = i % COLUMNS * TILE, i // COLUMNS * (TILE + LINE)
        name = path.name if len(path.name) <= 24 else f"{path.name[:12]}…{path.name[-11:]}"
        try:
            shown = _thumbnail(read_picture(path))
        except InputError:
            shown, name = Image.new("RGB", (1, 1), "white"), f"(gone) {name}"
        sheet.paste(shown, (left + (TILE - shown.width) // 2, top + (TILE - shown.height) // 2))
        draw.text((left + 4, top + TILE), f"{caption}\n{name}", fill="black", font=font, spacing=1)
    draw.rectangle((1, 1, TILE - 2, TILE - 2), outline=(200, 30, 30), width=2)
    return Picture(np.asarray(sheet))


def _thumbnail(picture: Picture) -> Image.Image:
    factor = (TILE - 8) / max(picture.size)
    small = scaled(picture, *(max(1, round(n * factor)) for n in picture.size))
    return Image.fromarray((255 * small).round().to(torch.uint8).permute(1, 2, 0).numpy())


def evaluate_codes(index: Path, labels: Path, k: int = 1000) -> Result:
    """Tell how well an index retrieves, if labels are known: each labelled picture searches all others.

    Args:
        index: Codes that `index_photos` wrote.
        labels: CSV with the columns ``file`` and ``label``: names as in the index, or the last parts of them; several labels
            of a picture are separated by ``|``. With a column ``role``, the pictures of role ``query`` search the others.
        k: Of MAP@k and precision at k.

    Returns:
        ``scores`` (MAP@k, precision at k, precision within radius 2), ``curve`` (precision and recall at each radius) and
        ``figure`` (the same drawn).

    Raises:
        InputError: If a file is broken, or they do not fit each other.
    """
    if k < 1:
        raise InputError("k", str(k), "at least 1")
    codes = Codes.read(index)
    rows, classes, query = _read_labels(labels, codes)
    # One order for all, so that pictures at equal distance stand by chance and not by label.
    order = np.random.default_rng(0).permutation(len(rows))
    rows, classes, query = rows[order], classes[order], query[order]
    packed, alone = codes.packed[rows], not query.any()
    searched = np.ones(len(rows), bool) if alone else ~query
    asking = np.flatnonzero(searched if alone else query)
    if not searched.any() or len(rows) < 2:
        raise InputError(labels, f"leaves {searched.sum()} pictures to search by {len(asking)} queries", "some of each")
    hits, total = (np.zeros((len(asking), codes.bits + 1)) for _ in range(2))
    precisions, means = [], []
    for block, distances in hamming_blocks(packed[asking], packed[searched], 256):
        wanted = relevance(classes[asking[block]], classes[searched])
        if alone:  # all but itself
            others = np.arange(len(rows)) != asking[block][:, None]
            distances, wanted = (x[others].reshape(len(x), -1) for x in (distances, wanted))
        means.append(average_precision(distances, wanted, k, ties="stable"))
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
        precisions.append(np.take_along_axis(wanted, nearest, 1).mean(axis=1))
        for i, (apart, good) in enumerate(zip(distances, wanted, strict=True), block.start):
            total[i] = np.bincount(apart, minlength=codes.bits + 1).cumsum()
            hits[i] = np.bincount(apart[good], minlength=codes.bits + 1).cumsum()
    precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    possible = hits[:, -1] > 0  # a query with nothing to find has no recall
    recall = (hits[possible] / hits[possible, -1:]).mean(0) if possible.any() else np.zeros(codes.bits + 1)
    scores = {
        "queries": len(asking), "searched": int(searched.sum()) - alone, "bits": codes.bits, "k": k,
        "map": float(np.concatenate(means).mean()), "precision": float(np.concatenate(precisions).mean()),
        "precision_within_radius_2": float(precision[:, min(2, codes.bits)].mean()),
    }  # fmt: skip
    curve = [(r, *point) for r, point in enumerate(zip(precision.mean(0).tolist(), recall.tolist(), strict=True))]
    parts = {"scores": Record(scores), "curve": Table(("radius", "precision", "recall"), curve), "figure": _figure(curve)}
    return Result(parts)


def _read_labels(path: Path, codes: Codes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read labels: rows of the index, bool ``(N, classes)``, and which are queries."""
    expected = "a CSV with the columns file and label, and perhaps role"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if not {"file", "label"} <= set(reader.fieldnames or ()):
                columns = ", ".join(map(str, reader.fieldnames or ())) or "none"
                raise InputError(path, f"has the columns {columns[:80]}", expected)
            entries = [(reader.line_num, {k: (v or "") for k, v in row.items() if isinstance(v, str | None)}) for row in reader]
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", expected) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read: {error}", expected) from error
    places, tails = {name: row for row, name in enumerate(codes.names)}, {}
    for name, row in places.items():
        parts = Path(name).parts
        for tail in ("/".join(parts[-n:]) for n in range(1, len(parts))):
            tails[tail] = -1 if tail in tails else row
    rows: dict[int, tuple[set[str], bool]] = {}
    for line, entry in entries:
        where, file, role = f"{path}:{line}", entry["file"], entry.get("role", "").strip()
        row = places.get(file, tails.get(file))
        names = {label.strip() for label in entry["label"].split("|")} - {""}
        if row is None:
            raise InputError(where, f"{file!r} is not in the index", "names as in the index, or their last parts")
        if row < 0:
            raise InputError(where, f"{file!r} names several pictures of the index", "more of its path")
        if row in rows:
            raise InputError(where, f"{file!r} is labelled twice", "a row for each picture, several labels separated by |")
        if not names:
            raise InputError(where, f"{file!r} has no label", "a label")
        if role not in ("", "query", "database"):
            raise InputError(where, f"role is {role!r}", "query, database or nothing")
        rows[row] = names, role == "query"
    if not rows:
        raise InputError(path, "labels nothing", "a row for each picture")
    classes = sorted(set().union(*(names for names, _ in rows.values())))
    members = np.array([[c in names for c in classes] for names, _ in rows.values()])
    return np.array(list(rows)), members, np.array([asks for _, asks in rows.values()])


def _figure(curve: Sequence[tuple[int, float, float]]) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([recall for *_, recall in curve], [precision for _, precision, _ in curve], marker=".")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), title="by Hamming radius")
    axes.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(np.asarray(canvas.buffer_rgba())[..., :3].copy())
