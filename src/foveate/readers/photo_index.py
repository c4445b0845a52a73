"""A folder of photographs as binary codes: made once, searched in an instant, judged by labels."""

from __future__ import annotations

import csv
import hashlib
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
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture, Record, Result, Table, staging

KEPT = 512  # pictures between two savings
TILE, LINE, COLUMNS = 160, 34, 6  # of a contact sheet, in pixels

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
    codes, unreadable = _encoded(photos, network, prepare, batch, precision)
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
    photos: Path, network: HashNetwork, prepare: Prepare, batch: int, precision: Precision
) -> tuple[Codes, dict[Path, InputError]]:
    """Encode the pictures under a folder, and tell those that could not be read."""
    if not photos.is_dir():
        raise InputError(photos, "is no folder" if photos.exists() else "there is no such folder", "a folder with pictures")
    files = find_pictures(photos.resolve())
    if not files:
        raise InputError(photos, "has no pictures in it", "PNG, JPEG, WebP, TIFF or BMP files, at any depth")
    kept = _Kept(network.name, photos)
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
    return Codes(packed, network.bits, [str(path) for path in readable], network.name), unreadable


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
    with ThreadPoolExecutor() as pool:
        for some in _chunks(paths, batch):
            read_ones = list(pool.map(read, some))
            good = [x for x in read_ones if not isinstance(x, InputError)]
            packed = iter(pack((encode(torch.stack(good)) >= 0).numpy()) if good else [])
            yield from (x if isinstance(x, InputError) else next(packed) for x in read_ones)


def _chunks(paths: Iterable[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(paths)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _key(path: Path) -> str:
    status = path.stat()
    return hashlib.sha256(f"{path}:{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()[:24]


class _Kept:
    """Codes of a folder's pictures that were made before, by name, size and time of the file; one file for each saving.

    Args:
        model: What makes the codes.
        photos: The folder.
    """

    def __init__(self, model: str, photos: Path) -> None:
        self.folder = cache_folder() / "index" / digest([model, str(photos.resolve())])
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
            self.folder.mkdir(parents=True, exist_ok=True)
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
    codes = _read_codes(index, network) if index else None
    indexes = {None: HammingIndex(codes.packed)} if codes else {}
    for path, code in zip(queries, _outcomes(queries, network, prepare, batch, precision), strict=True):
        if isinstance(code, InputError):
            yield code
            continue
        place = None if index else path.resolve().parent
        if not index and place not in indexes:
            codes, _ = _encoded(path.parent, network, prepare, batch, precision)
            indexes = {place: HammingIndex(codes.packed)}
        positions, distances = indexes[place].search(code[None], nearest)
        files = [codes.names[p] for p in positions[0]]
        yield _matches(path, files, distances[0].tolist(), codes, () if index else (f"searched {len(codes)} of its folder",))


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
        "sheet": contact_sheet(query, files, [f"{rank}.  {d} of {codes.bits} bits apart" for _, rank, _, d in rows]),
    }
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
            shown = Image.fromarray(np.uint8(255 * read_picture(path).colour()))
        except InputError:
            shown, name = Image.new("RGB", (1, 1), "white"), f"(gone) {name}"
        shown.thumbnail((TILE - 8, TILE - 8))
        sheet.paste(shown, (left + (TILE - shown.width) // 2, top + (TILE - shown.height) // 2))
        draw.text((left + 4, top + TILE), f"{caption}\n{name}", fill="black", font=font, spacing=1)
    draw.rectangle((1, 1, TILE - 2, TILE - 2), outline=(200, 30, 30), width=2)
    return Picture(np.asarray(sheet))


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
    codes = Codes.read(index)
    rows, classes, query = _read_labels(labels, codes)
    packed = codes.packed[rows]
    searched = ~query if query.any() else np.ones(len(rows), bool)
    asking = np.flatnonzero(query if query.any() else searched)
    if not searched.any() or len(asking) < 1 or len(rows) < 2:
        raise InputError(labels, f"leaves {searched.sum()} pictures to search by {len(asking)} queries", "some of each")
    hits, total, relevant = (np.zeros((len(asking), codes.bits + 1)) for _ in range(3))
    precisions, means = [], []
    for block, distances in hamming_blocks(packed[asking], packed[searched], 256):
        wanted = relevance(classes[asking[block]], classes[searched])
        if not query.any():  # all but itself
            others = np.arange(len(rows)) != asking[block][:, None]
            distances, wanted = (x[others].reshape(len(x), -1) for x in (distances, wanted))
        means.append(average_precision(distances, wanted, k))
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        precisions.append(np.take_along_axis(wanted, order, 1).mean(axis=1))
        for radius in range(codes.bits + 1):
            near = distances <= radius
            hits[block, radius], total[block, radius] = (near & wanted).sum(1), near.sum(1)
        relevant[block] = wanted.sum(axis=1, keepdims=True)
    precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    recall = np.divide(hits, relevant, out=np.zeros_like(hits), where=relevant > 0)
    scores = {
        "queries": len(asking), "searched": int(searched.sum()) - (not query.any()), "bits": codes.bits, "k": k,
        "map": float(np.concatenate(means).mean()), "precision": float(np.concatenate(precisions).mean()),
        "precision_within_radius_2": float(precision[:, min(2, codes.bits)].mean()),
    }  # fmt: skip
    curve = [(r, *point) for r, point in enumerate(zip(precision.mean(0).tolist(), recall.mean(0).tolist(), strict=True))]
    parts = {"scores": Record(scores), "curve": Table(("radius", "precision", "recall"), curve), "figure": _figure(curve)}
    return Result(parts)


def _read_labels(path: Path, codes: Codes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read labels: rows of the index, bool ``(N, classes)``, and which are queries."""
    expected = "a CSV with the columns file and label, and perhaps role"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"file", "label"} <= set(reader.fieldnames or ()):
                raise InputError(
                    path, f"has the columns {', '.join(map(str, reader.fieldnames or ())) or 'none'}"[:120], expected
                )
            entries = list(reader)
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", expected) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read: {error}", expected) from error
    places = {name: i for i, name in enumerate(codes.names)}
    for i, name in enumerate(codes.names):
        parts = Path(name).parts
        for tail in range(1, len(parts)):
            places.setdefault("/".join(parts[-tail:]), i)
    rows, sets, roles = [], [], []
    for line, entry in enumerate(entries, 2):
        if entry["file"] not in places:
            raise InputError(f"{path}:{line}", f"{entry['file']!r} is not in the index", "names as in the index")
        rows.append(places[entry["file"]])
        sets.append(set(str(entry["label"] or "").split("|")))
        roles.append((entry.get("role") or "").strip() == "query")
    if not rows:
        raise InputError(path, "labels nothing", "a row for each picture")
    names = sorted(set().union(*sets))
    return np.array(rows), np.array([[n in s for n in names] for s in sets]), np.array(roles)


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
