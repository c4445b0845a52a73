"""The claims as experiments, on the embedded files: real tools' headers, made-up cameras and networks."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.systems.forensics.mp4_forensics.boxes import read_tree
from foveate.systems.forensics.mp4_forensics.data import Labelled, Task, embedded, hollows, labelled
from foveate.systems.forensics.mp4_forensics.evaluation import CLASSIFIERS, held_out_predictions, scores, splits
from foveate.systems.forensics.mp4_forensics.fuzz import attack
from foveate.systems.forensics.mp4_forensics.method import ContainerForensics
from foveate.systems.forensics.mp4_forensics.streams import agrees
from foveate.systems.forensics.mp4_forensics.templates import box

Budget = Literal["quick", "full"]
Metrics = dict[str, dict[str, Any]]
# Writers whose boxes are their own; the others write with libavformat, or change tags of a file that another wrote.
OWN = ("gstreamer", "vlc", "mediabunny", "mp4-muxer", "mp4box.js")
SHARED = ("ffmpeg", "imageio-ffmpeg", "pyav", "opencv", "melt", "handbrake")
EDITORS = ("exiftool", "kid3", "mutagen", "atomicparsley")


def _drawn(task: Task, seed: int, budget: Budget) -> Labelled:
    """Take the files of some sources, others at each seed: three quarters of them, a third if quick."""
    items = labelled(embedded(), task)
    groups = np.unique(items.group)
    count = len(groups) // 3 if budget == "quick" else 3 * len(groups) // 4
    chosen = np.random.default_rng([seed, 45]).permutation(groups)[:count]
    return items.take(np.isin(items.group, chosen))


def _folds(budget: Budget) -> int:
    return 2 if budget == "quick" else 5


# ---------------------------------------------------------------------------------------------------------------------
# the four tasks, and after a network
# ---------------------------------------------------------------------------------------------------------------------

# What is switched in our classifier besides: one switch apart from it.
SWITCHES: dict[str, dict[str, Any]] = {
    "all_categorical": {"typing": "all_categorical"},
    "pca": {"reduce": "pca"},
    "no_projection": {"reduce": "none"},
    "no_selection": {"select": False},
    "by_index": {"tracks": "by_index"},
    "order": {"order_features": True},
    "identifying": {"drop_identifying": False},
}


def tasks(
    seed: int, budget: Budget, group: Literal["brand", "tool", "network", "altered", "brand_blind", "tool_blind", "switches"]
) -> Metrics:
    """Compare the classifiers in group folds (claims C1, C2): no source is on both sides, all see the same files.

    ``switches`` are variants of ours at telling tools apart. ``altered tools`` tells tools apart and then only whether one was
    at work: the same classifier with finer classes.
    """
    if group == "switches":
        items = _drawn("tool", seed, budget)
        chosen = ("all_categorical", "pca") if budget == "quick" else tuple(SWITCHES)
        return {
            f"tool {n}": scores(items.label, held_out_predictions(items, "nn", _folds(budget), seed, **SWITCHES[n]))
            for n in chosen
        }
    items = _drawn(group, seed, budget)
    found: Metrics = {}
    for name in CLASSIFIERS:
        found[f"{group} {name}"] = scores(items.label, held_out_predictions(items, name, _folds(budget), seed))
    if group == "altered":
        tools = _drawn("tool", seed, budget)
        said = held_out_predictions(tools, "nn", _folds(budget), seed)
        found["altered tools"] = scores(_altered(tools.label), _altered(said))
    return found


def _altered(tools: np.ndarray) -> np.ndarray:
    return np.where(tools == "native", "native", "altered")


def columns(seed: int, budget: Budget) -> Metrics:
    """Count columns with continuous fields as one each, and with every value a symbol (claim C1)."""
    items = _drawn("tool", seed, budget) if budget == "quick" else labelled(embedded(), "tool")
    found: Metrics = {}
    for typing in ("typed", "all_categorical"):
        made = ContainerForensics(typing=typing, reject=False, reduce="none").fit(items.files, items.label)
        found[typing] = {"columns": made.columns_seen, "columns_kept": made.columns_kept}
    most = found["all_categorical"]
    for entry in found.values():
        entry["share"] = entry["columns_kept"] / most["columns_kept"]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# maps, traces, unknown tools
# ---------------------------------------------------------------------------------------------------------------------


def maps(seed: int, budget: Budget) -> Metrics:
    """Place held-out files in the plane, by discriminants and by principal components (claim C3)."""
    from sklearn.metrics import silhouette_score

    items = _drawn("tool", seed, budget)
    found: Metrics = {}
    for reduce in ("lda", "pca"):
        right, clear = [], []
        for train, test in splits(items, _folds(budget), seed):
            made = ContainerForensics(reduce=reduce, max_components=2, reject=False).fit(items.files[train], items.label[train])
            right.append(float(np.mean(made.predict(items.files[test]) == items.label[test])))
            clear.append(float(silhouette_score(made.transform(items.files[test]), items.label[test])))
        found[reduce] = {"accuracy": float(np.mean(right)), "silhouette": float(np.mean(clear))}
    return found


def traces(seed: int, budget: Budget) -> Metrics:
    """Tell altered files from native ones, by what was done to them (claim C4).

    The classifier tells tools apart, and whatever is not ``native`` is altered. An arm's balanced accuracy is over the native
    files and the altered ones of its kind; ``constant`` says the same of every file. ``copy or re-encode`` tells apart what
    ffmpeg did.
    """
    items = _drawn("tool", seed, budget)
    right = _altered(held_out_predictions(items, "nn", _folds(budget), seed)) == _altered(items.label)
    action = np.array([row["action"] for row in items.rows])
    options = np.array([row["options"] for row in items.rows])
    native = float(right[action == "native"].mean())
    found: Metrics = {"constant": {"balanced_accuracy": 0.5}}
    dates = np.array(["CreateDate" in o for o in options])
    kinds = {
        "copy": action == "copy", "reencode": action == "reencode", "edit": (action == "edit") & ~dates,
        "exiftool tags": (items.label == "exiftool") & ~dates, "exiftool dates": (items.label == "exiftool") & dates,
    }  # fmt: skip
    for name, chosen in kinds.items():
        if chosen.any():
            found[name] = {
                "balanced_accuracy": (native + float(right[chosen].mean())) / 2,
                "recall": float(right[chosen].mean()),
            }
    made = items.take(np.isin(items.label, ("ffmpeg", "imageio-ffmpeg")))
    made = made._replace(label=np.array([row["action"] for row in made.rows]))
    found["copy or re-encode"] = scores(made.label, held_out_predictions(made, "nn", _folds(budget), seed))
    return found


def unknown(seed: int, budget: Budget) -> Metrics:
    """Leave one tool out of training and see whether its files are farther from the known ones than others are (claim R1).

    Area under the ROC curve of the distance to the nearest known file: files of the tool that was left out against files of
    the other tools, all of sources that were not trained on.
    """
    from sklearn.metrics import roc_auc_score

    items = _drawn("tool", seed, budget)
    train, test = next(iter(splits(items, 2, seed)))
    kinds = {"own writer": OWN, "shared writer": SHARED, "tag editor": EDITORS}
    found: Metrics = {}
    for kind, names in kinds.items():
        each = []
        for name in names if budget == "full" else names[:2]:
            kept = train[items.label[train] != name]
            made = ContainerForensics(reject=False).fit(items.files[kept], items.label[kept])
            strange = items.label[test] == name
            if strange.any():
                each.append(float(roc_auc_score(strange, made.distance(items.files[test]))))
                found[name] = {"auroc": each[-1]}
        found[kind] = {"auroc": float(np.mean(each))}
    return found


# ---------------------------------------------------------------------------------------------------------------------
# cost and safety
# ---------------------------------------------------------------------------------------------------------------------


def cost(seed: int, budget: Budget) -> Metrics:
    """Read a movie with a kilobyte of media and with a gigabyte (claim C5): bytes that are read, and seconds."""
    _row, file = next((row, file) for row, file in hollows() if row["tool"] == "ffmpeg")
    whole = file.content()
    movie = next(b for b in file.tree("").boxes if b.type == "moov")
    content = whole[movie.start : movie.start + movie.size]
    found: Metrics = {}
    with tempfile.TemporaryDirectory(prefix="foveate-") as folder:
        for name, length in (("1 kB", 1 << 10), ("1 GB", 1 << 30)):
            path = Path(folder) / f"{length}.mp4"
            with path.open("wb") as out:
                out.write(box("ftyp", b"isom", bytes(4), b"isom") + (8 + length).to_bytes(4, "big") + b"mdat")
                out.truncate(out.tell() + length)
                out.seek(0, 2)
                out.write(content)
            seconds = []
            for _ in range(30 if budget == "full" else 5):
                started = time.perf_counter()
                tree = read_tree(path)
                seconds.append(time.perf_counter() - started)
            found[name] = {"seconds": min(seconds), "bytes_read": tree.bytes_read}
    small = found["1 kB"]
    for entry in found.values():
        entry["times"], entry["more_bytes"] = entry["seconds"] / small["seconds"], entry["bytes_read"] - small["bytes_read"]
    return found


def hostile(seed: int, budget: Budget) -> Metrics:
    """Parse mutated files: 100,000, a thousand if quick (the fuzz of claim S1)."""
    files = [file.content() for _, file in hollows() if file.size < 40_000][::7]
    outcome = attack(files, 1000 if budget == "quick" else 100_000, seed)
    return {
        "parser": {
            "crashes": len(outcome.crashes), "slowest": outcome.slowest, "deepest": outcome.deepest, "files": outcome.files,
            "complained": outcome.complained / outcome.files, "boxes": outcome.most_boxes,
        }
    }  # fmt: skip


def agreement(seed: int, budget: Budget) -> Metrics:
    """Compare codec, size, time scale and length of every track with what ffprobe said of the whole files (claim S2)."""
    wrong = sum(not agrees(file.tree(row["name"]), row["probe"]) for row, file in hollows())
    sizes = sum(len(file.tree(row["name"]).mismatches()) for row, file in hollows())
    return {"parser": {"disagreements": wrong, "mismatches": sizes, "files": len(hollows())}}
