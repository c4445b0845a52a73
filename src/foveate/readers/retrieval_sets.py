"""Data sets of image retrieval and hashing, each split into training, query and database pictures by its usual protocol.

One function for each source. All return `Labelled` parts under these names: ``train`` (used without its labels), ``query``,
``database``, and ``val`` where there are queries for choosing among models. No query and no validation picture is in the
database or in the training part; the training part may lie within the database. The same seed gives the same parts.

Sizes default to the protocol's. A data set with less than half of the real one's pictures gives proportionally fewer queries,
and the training part is never larger than what is there. Sizes that are given are kept to, or refused.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError
from foveate.parts.progress import bar
from foveate.readers.cifar import CLASSES, read_cifar10
from foveate.readers.labelled import Labelled
from foveate.readers.pictures import find_pictures

PARTS = ("train", "val", "query", "database")
MAX_TEXT = 2**30  # bytes of a list, of a label file
MAX_JSON = 2**31  # the largest of MSCOCO has 448 MB
MAX_FEATURES = 2**33  # 8 GiB unpacked: 500,000 rows of 4,096

_LISTS = "database_img.txt, test_img.txt, database_label_onehot.txt and test_label_onehot.txt"


# Drawing
# ---------------------------------------------------------------------------------------------------------------------


def _size(name: str, given: int | None, default: int) -> int:
    """Take a given number of pictures, or the default."""
    if given is not None and given < 0:
        raise InputError(name, str(given), "0 or more")
    return default if given is None else given


def _scaled(size: int, held: int, whole: int) -> int:
    """Scale a protocol's number down for a data set that holds less than half of the whole."""
    return size if 2 * held >= whole else max(1, size * held // whole)


def _divide(
    everything: Labelled, where: Path, seed: int, query: int, val: int, train: int | None, at_most: int | None = None
) -> dict[str, Labelled]:
    """Draw queries and validation pictures; the rest is the database, and some of it the training part.

    Args:
        everything: The data set.
        where: What an error names.
        seed: Of the draw.
        query: Number of queries.
        val: Number of validation pictures.
        train: Number of training pictures, or None for as many as there are, up to `at_most`.
        at_most: See `train`.
    """
    if query + val >= len(everything):
        wrong = f"holds {len(everything)} pictures, and {query} queries and {val} validation pictures leave no database"
        raise InputError(where, wrong, "smaller numbers, or more pictures")
    order = np.random.default_rng(seed).permutation(len(everything))
    rest = order[query + val :]
    if train is not None and train > len(rest):
        raise InputError("train_size", f"{train}, and the database holds {len(rest)}", f"at most {len(rest)}")
    places = {"train": rest[: at_most if train is None else train], "val": order[query : query + val]}
    places |= {"query": order[:query], "database": rest}
    return _parts({name: everything.take(np.sort(index)) for name, index in places.items()}, where)


def _draw_each(members: np.ndarray, free: np.ndarray, count: int, exactly: str | None, draw: np.random.Generator) -> np.ndarray:
    """Draw pictures of each class, none of them twice; the rarest classes come first.

    Args:
        members: bool ``(N, C)``: which picture is of which class.
        free: bool ``(N,)``: which may be drawn.
        count: For each class.
        exactly: The argument to name if a class has fewer; None takes what is there.
        draw: Where chance comes from.

    Returns:
        The places, sorted.
    """
    free, drawn = free.copy(), []
    for column in np.argsort(members.sum(axis=0), kind="stable"):
        found = np.flatnonzero(members[:, column] & free)
        if exactly and len(found) < count:
            raise InputError(exactly, f"{count}, and a class has {len(found)} pictures for it", f"at most {len(found)}")
        drawn.append(draw.permutation(found)[:count])
        free[drawn[-1]] = False
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, int)


def _parts(parts: dict[str, Labelled], where: Path) -> dict[str, Labelled]:
    """Leave out parts that are empty and need not be; refuse those that must not be."""
    for name in ("train", "database"):
        if not len(parts[name]):
            raise InputError(
                where, f"leaves no pictures for the {name} part", "more pictures, or smaller numbers of the others"
            )
    return {name: parts[name] for name in PARTS if name in parts and len(parts[name])}


# CIFAR-10
# ---------------------------------------------------------------------------------------------------------------------


def cifar10(
    root: str | Path,
    seed: int = 0,
    protocol: Literal["cibhash", "ssdh"] = "cibhash",
    train_per_class: int | None = None,
    query_size: int | None = None,
    queries_per_class: int | None = None,
) -> dict[str, Labelled]:
    """Read CIFAR-10 (see `foveate.readers.cifar`).

    Args:
        root: The folder of the batches, or the one above it.
        seed: Of the draws.
        protocol: ``cibhash``: the database is the training split, and training pictures are drawn from it; half of the test
            split are the queries, the other half is for validation. ``ssdh``: queries and training pictures are drawn from
            both splits together, and all but the queries are the database.
        train_per_class: Training pictures of each class (500).
        query_size: Queries of protocol ``cibhash`` (half of the test split); the rest of it is for validation.
        queries_per_class: Queries of each class of protocol ``ssdh`` (100).

    Raises:
        InputError: If batches are missing or damaged, or a class has fewer pictures than are asked for.

    Note:
        The released code of the second protocol sorts by class and takes the same places of every class; here each class is
        drawn by itself, which is the same for pictures in random order.
    """
    root, draw = Path(root), np.random.default_rng(seed)
    other = {"cibhash": ("queries_per_class", queries_per_class), "ssdh": ("query_size", query_size)}
    if protocol not in other:
        raise InputError("protocol", repr(protocol), "cibhash or ssdh")
    if other[protocol][1] is not None:
        raise InputError(other[protocol][0], f"is not of the protocol {protocol}", "none, or the other protocol")
    train_count = _size("train_per_class", train_per_class, 500)
    exactly = None if train_per_class is None else "train_per_class"
    splits = {part: Labelled(pixels, labels, CLASSES) for part, (pixels, labels) in read_cifar10(root).items()}
    if protocol == "cibhash":
        database, test = splits["train"], splits["test"]
        count = _size("query_size", query_size, len(test) // 2)
        if count > len(test):
            raise InputError("query_size", f"{count}, and the test split holds {len(test)}", f"at most {len(test)}")
        order = draw.permutation(len(test))
        everything = np.ones(len(database), bool)
        train = _draw_each(_members(database), everything, train_count, exactly, draw)
        queries, val = (test.take(np.sort(index)) for index in (order[:count], order[count:]))
        return _parts({"train": database.take(train), "val": val, "query": queries, "database": database}, root)
    whole = Labelled(*(np.concatenate([getattr(s, a) for s in splits.values()]) for a in ("items", "labels")), CLASSES)
    free, members = np.ones(len(whole), bool), _members(whole)
    count = _size("queries_per_class", queries_per_class, _scaled(100, len(whole), 60000))
    queries = _draw_each(members, free, count, None if queries_per_class is None else "queries_per_class", draw)
    free[queries] = False
    train = _draw_each(members, free, train_count, exactly, draw)
    places = {"train": train, "query": queries, "database": np.flatnonzero(free)}
    return _parts({name: whole.take(index) for name, index in places.items()}, root)


def _members(data: Labelled) -> np.ndarray:
    """Return bool ``(N, C)`` over the classes that occur."""
    return data.labels[:, None] == np.unique(data.labels)


# Lists of pictures and rows of labels
# ---------------------------------------------------------------------------------------------------------------------


def listed(root: str | Path, seed: int = 0, train_size: int | None = None, val_size: int = 0) -> dict[str, Labelled]:
    """Read the list files of the hashing community, as for NUS-WIDE with 21 concepts and MSCOCO.

    ``database_img.txt`` and ``test_img.txt`` have a path in each line, relative to the root or to ``images/``;
    ``database_label_onehot.txt`` and ``test_label_onehot.txt`` have a row of 0 and 1 for each. With ``train_img.txt`` (and
    ``train_label_onehot.txt``, if there is one) the training pictures are listed too.

    Args:
        root: The folder of the lists.
        seed: Of the draws.
        train_size: Training pictures to draw from the database if they are not listed (10,000, or all).
        val_size: Validation pictures to take out of the database.

    Raises:
        InputError: If a file is missing or wrong, a picture is not there, or a query is in the database too.
    """
    root = Path(root)
    parts, database = _read_lists(root)
    draw = np.random.default_rng(seed)
    database = _hold_out(parts, database, val_size, draw)
    if "train" in parts and train_size is not None:
        raise InputError("train_size", "is not free: train_img.txt lists the training pictures", "none")
    if "train" not in parts:
        count = _size("train_size", train_size, min(10_000, len(database)))
        if count > len(database):
            raise InputError("train_size", f"{count}, and the database holds {len(database)}", f"at most {len(database)}")
        parts["train"] = database.take(np.sort(draw.permutation(len(database))[:count]))
    return _parts(parts | {"database": database}, root)


def _hold_out(parts: dict[str, Labelled], database: Labelled, size: int, draw: np.random.Generator) -> Labelled:
    """Draw the validation part from the pictures of the database that are not listed for training; return the others."""
    if not _size("val_size", size, 0):
        return database
    trained = set(parts["train"].items) if "train" in parts else set()
    free = np.array([i for i, path in enumerate(database.items) if path not in trained], int)
    if size > len(free):
        raise InputError("val_size", f"{size}, and {len(free)} pictures are free for it", f"at most {len(free)}")
    val = np.sort(draw.permutation(free)[:size])
    parts["val"] = database.take(val)
    held_out = set(parts["val"].items)  # the list may have one of them twice
    return database.take(np.array([i for i, path in enumerate(database.items) if path not in held_out], int))


def _read_lists(root: Path) -> tuple[dict[str, Labelled], Labelled]:
    """Read the listed queries and training pictures (if they are listed) by part, and the database."""
    _check_folder(root, _LISTS)
    parts = {}
    for part, prefix in (("database", "database"), ("query", "test"), ("train", "train")):
        names, rows = root / f"{prefix}_img.txt", root / f"{prefix}_label_onehot.txt"
        if part == "train" and not names.exists():
            continue
        listed = _read_list(names)
        labels = None if part == "train" and not rows.exists() else _read_rows(rows, len(listed), names)
        parts[part] = Labelled(_locate(listed, root, _lines(names)), labels)
        columns = parts["database"].labels.shape[1]
        if labels is not None and labels.shape[1] != columns:
            raise InputError(
                rows, f"has rows of {labels.shape[1]} labels, those of the database have {columns}", "equally many"
            )
    for part, prefix in (("database", "database"), ("train", "train")):
        if part in parts:
            _refuse_common(parts["query"].items, parts[part].items, root / f"{prefix}_img.txt")
    return parts, parts.pop("database")


def _refuse_common(some: Sequence[Path], listed: Sequence[Path], where: Path) -> None:
    """Refuse a list that has one of some pictures."""
    held_out = set(some)
    for i, path in enumerate(listed if held_out else ()):
        if path in held_out:
            raise InputError(f"{where}:{i + 1}", f"lists {path.name}, which is a query", "queries outside the other parts")


def tc10(
    root: str | Path, seed: int = 0, query_size: int | None = None, train_size: int | None = None, val_size: int = 0
) -> dict[str, Labelled]:
    """Read the variant of NUS-WIDE with the 10 most frequent concepts: ``img_tc10.txt`` and ``targets_onehot_tc10.txt``.

    Args:
        root: The folder of the lists. Pictures are relative to it or to its ``images/``. One listed twice counts once.
        seed: Of the draws.
        query_size: Queries (5,000).
        train_size: Training pictures, drawn from the database (5,000, or all).
        val_size: Validation pictures to take out of the database.

    Raises:
        InputError: If a file is missing or wrong, or a picture is not there.
    """
    root = Path(root)
    whole = _read_one_list(root, "img_tc10.txt", "targets_onehot_tc10.txt")
    query = _size("query_size", query_size, _scaled(5000, len(whole), 186_577))
    return _divide(whole, root, seed, query, _size("val_size", val_size, 0), train_size, 5000)


def _read_one_list(root: Path, names: str, rows: str) -> Labelled:
    """Read a data set that one list and one label file describe; a picture listed twice counts once."""
    _check_folder(root, f"{names} and {rows}")
    listed = _read_list(root / names)
    labels = _read_rows(root / rows, len(listed), root / names)
    first = _first_of_each(listed)
    kept = [listed[i] for i in first]
    return Labelled(_locate(kept, root, _lines(root / names, first)), labels[first])


def _first_of_each(names: Sequence[str]) -> np.ndarray:
    """Return the place of each name's first occurrence, in order."""
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        first.setdefault(name, i)
    return np.fromiter(first.values(), int, len(first))


def _check_folder(root: Path, expected: str) -> None:
    if not root.is_dir():
        raise InputError(root, "is a file" if root.exists() else "there is no such folder", f"a folder with {expected}")


def _read_bytes(path: Path, limit: int, expected: str) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise InputError(path, f"is too large: {path.stat().st_size:,} bytes", f"at most {limit:,}")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(path, "there is no such file", expected) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", expected) from error
    if not content.strip():
        raise InputError(path, "the file is empty", expected)
    return content


def _read_list(path: Path) -> list[str]:
    """Read a list of paths, one in each line; lists made under Windows have backslashes."""
    expected = "a list of picture files, one path in each line"
    content = _read_bytes(path, MAX_TEXT, expected)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}", "is no UTF-8 text", expected) from error
    names = [line.strip().removeprefix("./") for line in text.rstrip().replace("\\", "/").split("\n")]
    for i, name in enumerate(names):
        if not name or "\0" in name:
            raise InputError(f"{path}:{i + 1}", "names no file", expected)
    return names


def _read_rows(path: Path, count: int, names: Path) -> np.ndarray:
    """Read rows of 0 and 1.

    Args:
        path: The file: digits apart by blanks, tabs or commas.
        count: How many rows there must be.
        names: The list that they belong to.

    Returns:
        bool ``(count, C)``.
    """
    expected = "rows of 0 and 1 with blanks between"
    content = np.frombuffer(_read_bytes(path, MAX_TEXT, expected).rstrip(), np.uint8)
    ends, digit = content == ord("\n"), (content == ord("0")) | (content == ord("1"))
    # A digit beside a digit is another number.
    wrong = ~(digit | np.isin(content, np.frombuffer(b" \t,\r\n", np.uint8)))
    wrong[1:] |= digit[1:] & digit[:-1]
    if wrong.any():
        before = int(ends[: int(wrong.argmax())].sum())
        row = content.tobytes().split(b"\n")[before]
        word = next(w for w in re.finditer(rb"[^ \t,\r]+", row) if w[0] not in (b"0", b"1"))
        held = word[0].decode("utf-8", "replace")[:20]
        raise InputError(f"{path}:{before + 1}:{word.start() + 1}", f"holds {held}", expected)
    line = np.cumsum(ends, dtype=np.int32)[digit]
    lengths = np.bincount(line, minlength=int(ends.sum()) + 1)
    odd = np.flatnonzero(lengths != lengths[0])
    if odd.size or not lengths[0]:
        at = int(odd[0]) if odd.size else 0
        raise InputError(f"{path}:{at + 1}", f"has {lengths[at]} labels, the first row {lengths[0]}", "rows of equal length")
    if len(lengths) != count:
        raise InputError(path, f"has {len(lengths)} rows for the {count} pictures of {names.name}", "one row for each picture")
    return (content[digit] == ord("1")).reshape(count, -1)


def _lines(path: Path, places: np.ndarray | None = None) -> Callable[[int], str]:
    """Return what says the line of a list for the number of a picture, given the places of the pictures in the list."""
    return lambda i: f"{path}:{(i if places is None else int(places[i])) + 1}"


def _locate(
    names: Sequence[str], root: Path, where: Callable[[int], str], folders: Sequence[str] = ("", "images")
) -> list[Path]:
    """Find the folder that the listed pictures are relative to.

    The first, the last and up to 200 between are looked for; whichever else is missing shows when it is read.

    Args:
        names: The paths.
        root: The data set.
        where: Says which file (and line) lists the picture of a place.
        folders: Of the root, that may hold them.
    """
    sample = np.unique(np.linspace(0, len(names) - 1, 202).astype(int)).tolist() if names else []
    attempts = []
    for folder in folders:
        missing = [i for i in sample if not (root / folder / names[i]).is_file()]
        if not missing:
            return [root / folder / name for name in names]
        attempts.append(missing)
    first = min(attempts, key=len)[0]  # of the folder that holds most of them
    places = " or ".join(str(root / folder) for folder in folders)
    raise InputError(where(first), f"names {names[first]}, which is not there", f"picture files under {places}")


# NUS-WIDE as it was published
# ---------------------------------------------------------------------------------------------------------------------


def nus_wide(
    root: str | Path,
    seed: int = 0,
    concepts: int = 21,
    queries_per_class: int | None = None,
    train_per_class: int | None = None,
    val_size: int = 0,
) -> dict[str, Labelled]:
    """Read NUS-WIDE: its list files if they are there (see `listed`), or the layout in which it was published.

    That is ``ImageList/Imagelist.txt``, ``Groundtruth/AllLabels/Labels_<concept>.txt`` (0 or 1 in each line) and the pictures
    under ``Flickr/`` or ``images/``. Pictures with none of the most frequent concepts are left out.

    Args:
        root: The data set.
        seed: Of the draws.
        concepts: How many of the most frequent concepts count.
        queries_per_class: Queries of each concept (100).
        train_per_class: Training pictures of each concept, drawn from the database (500, or all).
        val_size: Validation pictures to take out of the database.

    Raises:
        InputError: If files are missing or wrong, or a concept has fewer pictures than are asked for.
    """
    root, draw = Path(root), np.random.default_rng(seed)
    train_count = _size("train_per_class", train_per_class, 500)
    if (root / "database_img.txt").exists():
        if queries_per_class is not None:
            raise InputError("queries_per_class", "is not free: test_img.txt lists the queries", "none")
        parts, database = _read_lists(root)
    else:
        whole = _read_nus_wide(root, concepts)
        count = _size("queries_per_class", queries_per_class, _scaled(100, len(whole), 195_834))
        exactly = None if queries_per_class is None else "queries_per_class"
        queries = _draw_each(whole.labels, np.ones(len(whole), bool), count, exactly, draw)
        parts, database = {"query": whole.take(queries)}, whole.take(np.delete(np.arange(len(whole)), queries))
    database = _hold_out(parts, database, val_size, draw)
    if "train" in parts and train_per_class is not None:
        raise InputError("train_per_class", "is not free: train_img.txt lists the training pictures", "none")
    if "train" not in parts:
        exactly = None if train_per_class is None else "train_per_class"
        train = _draw_each(database.labels, np.ones(len(database), bool), train_count, exactly, draw)
        parts["train"] = database.take(train)
    return _parts(parts | {"database": database}, root)


def _read_nus_wide(root: Path, concepts: int) -> Labelled:
    """Read the pictures that have any of the most frequent concepts."""
    if concepts < 1:
        raise InputError("concepts", str(concepts), "1 to 81")
    expected = f"ImageList/Imagelist.txt and Groundtruth/AllLabels/Labels_<concept>.txt, or {_LISTS}"
    _check_folder(root, expected)
    places = [root / name for name in ("ImageList/Imagelist.txt", "ImageList/ImageList.txt", "Imagelist.txt")]
    image_list = next((path for path in places if path.is_file()), None)
    if image_list is None:
        found = ", ".join(sorted(p.name for p in root.iterdir())[:5])
        raise InputError(root, f"holds {found or 'nothing'}", expected)
    names = _read_list(image_list)
    folder = next(
        (root / f for f in ("Groundtruth/AllLabels", "AllLabels") if (root / f).is_dir()), root / "Groundtruth/AllLabels"
    )
    files = sorted(folder.glob("Labels_*.txt"))
    if not files:
        raise InputError(folder, "holds no Labels_<concept>.txt" if folder.is_dir() else "there is no such folder", expected)
    columns = []
    for path in files:
        column = _read_rows(path, len(names), image_list)
        if column.shape[1] != 1:
            raise InputError(f"{path}:1", f"has {column.shape[1]} labels in a row", "one 0 or 1 in each line")
        columns.append(column[:, 0])
    often = np.sort(np.argsort([-int(column.sum()) for column in columns], kind="stable")[:concepts])
    labels = np.stack([columns[i] for i in often], axis=1)
    first = _first_of_each(names)
    kept = first[labels[first].any(axis=1)]
    if not kept.size:
        raise InputError(folder, "gives no picture a concept", expected)
    items = _locate([names[i] for i in kept], root, _lines(image_list, kept), ("Flickr", "images", "Images", ""))
    return Labelled(items, labels[kept], tuple(files[i].stem.removeprefix("Labels_") for i in often))


# MSCOCO
# ---------------------------------------------------------------------------------------------------------------------


def coco(
    root: str | Path,
    seed: int = 0,
    year: int | None = None,
    query_size: int | None = None,
    train_size: int | None = None,
    val_size: int = 0,
) -> dict[str, Labelled]:
    """Read MSCOCO: ``annotations/instances_{train,val}{2014,2017}.json`` and the folders of their pictures.

    The pictures of both splits (or of the one that is there) with at least one of the 80 labels are taken together.

    Args:
        root: The data set. Pictures lie in ``train2014/`` and so on, or in ``images/train2014/``, or together in ``images/``.
        seed: Of the draws.
        year: 2014 or 2017, whose pictures are the same; None takes the one that is there.
        query_size: Queries (5,000).
        train_size: Training pictures, drawn from the database (10,000, or all).
        val_size: Validation pictures to take out of the database.

    Raises:
        InputError: If annotations are missing, cut off or laid out in another way, or a picture is not there.
    """
    root = Path(root)
    expected = "annotations/instances_train2014.json and instances_val2014.json, or those of 2017"
    _check_folder(root, expected)
    for one in (2014, 2017) if year is None else (year,):
        files = {f"{part}{one}": root / "annotations" / f"instances_{part}{one}.json" for part in ("train", "val")}
        files = {split: path for split, path in files.items() if path.is_file()}
        if files:
            break
    else:
        raise InputError(root, "has no such annotations", expected if year is None else expected.replace("2014", str(year)))
    with bar("annotations") as tick:
        tick(0, len(files))
        splits = []
        for split, path in files.items():
            splits.append(_read_instances(path, root, split))
            tick(1)
    if any(s.classes != splits[0].classes for s in splits):
        raise InputError(list(files.values())[1], "has other categories than the other split", "annotations of one data set")
    items = [path for split in splits for path in split.items]
    whole = Labelled(items, np.concatenate([split.labels for split in splits]), splits[0].classes)
    query = _size("query_size", query_size, _scaled(5000, len(whole), 122_218))
    return _divide(whole, root, seed, query, _size("val_size", val_size, 0), train_size, 10_000)


def _read_instances(path: Path, root: Path, split: str) -> Labelled:
    """Read the pictures of one split that have a label."""
    expected = "MSCOCO's instances: images, annotations and categories"
    content = _read_bytes(path, MAX_JSON, expected)

    def slim(entry: dict[str, Any]) -> dict[str, Any]:
        entry.pop("segmentation", None)  # nearly all of the memory
        return entry

    try:
        data = json.loads(content, object_hook=slim)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}", f"is cut off or no JSON: {error.msg}", expected) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(path, f"is no JSON: {error}", expected) from error
    try:
        names = {int(entry["id"]): str(entry["file_name"]) for entry in data["images"]}
        pairs = np.array([(a["image_id"], a["category_id"]) for a in data["annotations"]], np.int64).reshape(-1, 2)
        categories = {int(entry["id"]): str(entry["name"]) for entry in data["categories"]}
        ids, columns = (np.array(sorted(known), np.int64) for known in (names, categories))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        wrong = f"lacks {error}" if isinstance(error, KeyError) else f"is laid out in another way: {error}"
        raise InputError(path, wrong, expected) from error
    for kind, known, used in (("picture", ids, pairs[:, 0]), ("category", columns, pairs[:, 1])):
        strange = used[~np.isin(used, known)]
        if strange.size:
            raise InputError(path, f"has an annotation of {kind} {strange[0]}, which it does not list", expected)
    labels = np.zeros((len(ids), len(columns)), bool)
    labels[np.searchsorted(ids, pairs[:, 0]), np.searchsorted(columns, pairs[:, 1])] = True
    kept = np.flatnonzero(labels.any(axis=1))
    listed = [names[i] for i in ids[kept].tolist()]
    places = (split, f"images/{split}", "images", "")
    return Labelled(
        _locate(listed, root, lambda _: str(path), places), labels[kept], tuple(categories[c] for c in columns.tolist())
    )


# MIRFlickr-25k
# ---------------------------------------------------------------------------------------------------------------------


def mirflickr(
    root: str | Path,
    seed: int = 0,
    tags: Literal[24, 38] = 24,
    query_size: int | None = None,
    train_size: int | None = None,
    val_size: int = 0,
) -> dict[str, Labelled]:
    """Read MIRFlickr-25k (FLICKR25K): pictures ``im1.jpg``, ``im2.jpg`` ... and an annotation file for each tag.

    A file ``<tag>.txt`` has the number of a picture in each line; ``<tag>_r1.txt`` those that show the tag strongly. The
    hashing community's ``img.txt`` and ``targets.txt`` (see `tc10`) are read if they are there. Pictures without a tag are
    kept.

    Args:
        root: The folder of the pictures, or one that holds them in ``mirflickr/`` or ``images/``; annotations beside
            them, or in ``annotations/`` or ``mirflickr25k_annotations_v080/``.
        seed: Of the draws.
        tags: 24, or 38 with the strong ones.
        query_size: Queries (2,000).
        train_size: Training pictures, drawn from the database (10,000, or all).
        val_size: Validation pictures to take out of the database.

    Raises:
        InputError: If pictures or annotations are missing, or an annotation is wrong.
    """
    root = Path(root)
    if (root / "img.txt").exists():
        whole = _read_one_list(root, "img.txt", "targets.txt")
    else:
        whole = _read_mirflickr(root, tags)
    query = _size("query_size", query_size, _scaled(2000, len(whole), 25_000))
    return _divide(whole, root, seed, query, _size("val_size", val_size, 0), train_size, 10_000)


def _read_mirflickr(root: Path, tags: int) -> Labelled:
    """Read numbered pictures and the numbers of each tag."""
    expected = "pictures im1.jpg, im2.jpg ... and annotation files <tag>.txt"
    if tags not in (24, 38):
        raise InputError("tags", str(tags), "24 or 38")
    _check_folder(root, expected)
    numbered: dict[int, Path] = {}
    for folder in (root / f for f in ("", "mirflickr", "mirflickr25k", "images")):
        if folder.is_dir():
            numbered = {int(p.stem[2:]): p for p in folder.glob("im*.jpg") if re.fullmatch(r"im[0-9]{1,9}", p.stem)}
        if numbered:
            break
    else:
        raise InputError(root, "holds no im1.jpg, and neither do mirflickr/ and images/ in it", expected)
    files: list[Path] = []
    for place in (root / f for f in ("mirflickr25k_annotations_v080", "annotations", "")):
        found = sorted(p for p in place.glob("*.txt") if p.stem.lower() != "readme")
        files = [p for p in found if tags == 38 or not p.stem.endswith("_r1")]
        if files:
            break
    else:
        raise InputError(root, "has no annotations", expected)
    numbers = np.array(sorted(numbered))
    labels = np.zeros((len(numbers), len(files)), bool)
    for column, path in enumerate(files):
        used = _read_numbers(path)
        strange = np.flatnonzero(~np.isin(used, numbers))
        if strange.size:
            raise InputError(
                f"{path}:{strange[0] + 1}", f"names picture {used[strange[0]]}, and there is no such file", expected
            )
        labels[np.searchsorted(numbers, used), column] = True
    return Labelled([numbered[n] for n in numbers.tolist()], labels, tuple(path.stem for path in files))


def _read_numbers(path: Path) -> np.ndarray:
    """Read a whole number from each line."""
    expected = "the number of a picture in each line"
    lines = _read_bytes(path, MAX_TEXT, expected).decode("latin1").rstrip().split("\n")
    for i, line in enumerate(lines):
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", line):
            raise InputError(f"{path}:{i + 1}", f"holds {line.strip()[:20] or 'nothing'}", expected)
    return np.array(lines, dtype=np.int64)


# A user's own
# ---------------------------------------------------------------------------------------------------------------------


def folder(root: str | Path, seed: int = 0, query_size: int = 0, val_size: int = 0) -> dict[str, Labelled]:
    """Read a folder of pictures, at any depth.

    With folders ``train/``, ``database/``, ``query/`` and ``val/`` (some of them and no other) these are the parts; a missing
    database is the training part, and the other way about. Else every picture is in both. Labels are the names of the
    sub-folders below that, where every picture of a part lies in one.

    Args:
        root: The folder.
        seed: Of the draws.
        query_size: Queries to draw from a folder that has no parts, out of the database.
        val_size: Validation pictures to draw likewise.

    Raises:
        InputError: If there are no pictures, or some lie beside the folders of the parts.
    """
    root = Path(root)
    _check_folder(root, "pictures: PNG, JPEG, WebP, TIFF or BMP files")
    paths = find_pictures(root)
    if not paths:
        raise InputError(root, "holds no pictures", "PNG, JPEG, WebP, TIFF or BMP files")
    inner = [path.relative_to(root).parts for path in paths]
    tops = {parts[0] for parts in inner if len(parts) > 1}
    split = tops & set(PARTS)
    beside = next((path for path, parts in zip(paths, inner, strict=True) if parts[0] not in split or len(parts) == 1), None)
    # One folder of such a name among others may be a class.
    if len(split) > 1 and beside is not None:
        raise InputError(
            beside, f"lies beside the folders {', '.join(sorted(split))}", "all pictures in folders of parts, or none"
        )
    if not split or beside is not None:
        whole = _label_by_folder({"": (paths, inner)})[""]
        return _divide(whole, root, seed, _size("query_size", query_size, 0), _size("val_size", val_size, 0), None)
    if query_size or val_size:
        raise InputError("query_size", f"is not free: {root} has folders of parts", "none")
    groups: dict[str, tuple[list[Path], list[tuple[str, ...]]]] = {}
    for path, (part, *below) in zip(paths, inner, strict=True):
        groups.setdefault(part, ([], []))
        groups[part][0].append(path)
        groups[part][1].append(tuple(below))
    return _complete(_label_by_folder(groups), root)


def _label_by_folder(groups: dict[str, tuple[list[Path], list[tuple[str, ...]]]]) -> dict[str, Labelled]:
    """Label the pictures of each part by the first folder that they lie in; the classes are those of all parts."""
    classes = sorted({parts[0] for _, inner in groups.values() for parts in inner if len(parts) > 1})
    number = {name: i for i, name in enumerate(classes)}
    labelled = {}
    for part, (paths, inner) in groups.items():
        known = all(len(parts) > 1 for parts in inner)
        labels = np.array([number[parts[0]] for parts in inner], np.int64) if known else None
        labelled[part] = Labelled(paths, labels, tuple(classes) if known else ())
    return labelled


def _complete(parts: dict[str, Labelled], where: Path) -> dict[str, Labelled]:
    """Let the training part stand for a missing database, and the other way about."""
    for missing, present in (("train", "database"), ("database", "train")):
        if missing not in parts:
            if present not in parts:
                raise InputError(where, f"has only {' and '.join(parts)}", "a train or a database part")
            parts[missing] = parts[present]
    return _parts(parts, where)


def features(path: str | Path, seed: int = 0, query_size: int = 0, val_size: int = 0) -> dict[str, Labelled]:
    """Read features that were extracted before, from an ``.npz``.

    Args:
        path: The file: ``features``, numbers ``(N, D)``; if wanted ``labels``, whole numbers or text ``(N,)`` or 0 and 1
            ``(N, C)``; ``names``, text ``(N,)``; ``part``, text ``(N,)``: train, val, query or database.
        seed: Of the draws.
        query_size: Queries to draw from features that have no ``part``, out of the database.
        val_size: Validation rows to draw likewise.

    Returns:
        The parts. Without ``part`` all but the queries are both ``train`` and ``database``. Items are float32.

    Raises:
        InputError: If an array is missing, of another shape or kind, or not finite, or the file is damaged or too large.
    """
    path = Path(path)
    held = _read_npz(path)
    rows = held["features"]
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "fiub":
        raise InputError(path, f"its features are {rows.dtype} of shape {rows.shape}", "numbers of shape (N, D)")
    with np.errstate(over="ignore"):  # what does not fit is not finite, and refused
        rows = rows.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise InputError(path, f"row {bad[0]} of its features is not finite", "finite numbers")
    labels, classes = _labels_of(path, held["labels"], len(rows)) if "labels" in held else (None, ())
    names = _words(path, "names", held["names"], len(rows)) if "names" in held else ()
    whole = Labelled(rows, labels, classes, names)
    if "part" not in held:
        return _divide(whole, path, seed, _size("query_size", query_size, 0), _size("val_size", val_size, 0), None)
    if query_size or val_size:
        raise InputError("query_size", f"is not free: {path} has an array part", "none")
    part = _words(path, "part", held["part"], len(rows))
    strange = sorted(set(part) - set(PARTS))
    if strange:
        raise InputError(path, f"has a part {strange[0]!r}", ", ".join(PARTS))
    index = {name: np.flatnonzero(np.array(part) == name) for name in PARTS}
    parts = {name: whole.take(places) for name, places in index.items() if places.size}
    stored = {name for p in ("train", "database") if p in parts for name in parts[p].names}
    both = stored & {name for p in ("val", "query") if p in parts for name in parts[p].names}
    if both:
        raise InputError(path, f"has {min(both)} as a query and in another part", "queries outside the other parts")
    return _complete(parts, path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` that are known by name."""
    expected = "an .npz with an array named features"
    if not path.is_file():
        raise InputError(path, "is no file" if path.exists() else "there is no such file", expected)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_FEATURES:
            raise InputError(path, f"is too large: {unpacked:,} bytes unpacked", f"at most {MAX_FEATURES:,}")
        with np.load(path, allow_pickle=False) as file:
            if "features" not in file.files:
                raise InputError(path, f"holds {', '.join(file.files[:5]) or 'nothing'}", expected)
            return {name: file[name] for name in ("features", "labels", "names", "part") if name in file.files}
    except InputError:
        raise
    except Exception as error:  # zip and array readers raise whatever the damage leads to
        raise InputError(path, f"is damaged or no .npz: {error or type(error).__name__}", expected) from error


def _words(path: Path, name: str, array: np.ndarray, count: int) -> tuple[str, ...]:
    """Return an array of text as strings."""
    if array.shape != (count,) or array.dtype.kind not in "US":
        raise InputError(path, f"its {name} are {array.dtype} of shape {array.shape}", f"text of shape ({count},)")
    try:
        return tuple((np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array).tolist())
    except UnicodeDecodeError as error:
        raise InputError(path, f"its {name} are no UTF-8 text", f"text of shape ({count},)") from error


def _labels_of(path: Path, array: np.ndarray, count: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels as int64 ``(N,)`` or bool ``(N, C)``, and the classes of text."""
    if array.dtype.kind in "US":
        classes, number = np.unique(np.array(_words(path, "labels", array, count)), return_inverse=True)
        return number.astype(np.int64), tuple(classes.tolist())
    if array.shape == (count,) and array.dtype.kind in "iu":
        return array.astype(np.int64), ()
    if array.ndim == 2 and len(array) == count and array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all():
        return array.astype(bool), ()
    held = f"{array.dtype} of shape {array.shape}"
    raise InputError(
        path, f"its labels are {held}", f"whole numbers or text of shape ({count},), or 0 and 1 of shape ({count}, C)"
    )
