"""Cross-validation in which no source or device is on both sides, and its scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from foveate.errors import InputError
from foveate.systems.forensics.mp4_forensics.baselines import Classifier, make
from foveate.systems.forensics.mp4_forensics.data import Labelled

CLASSIFIERS: tuple[Classifier, ...] = ("nn", "tree", "llr", "llr_smoothed", "svm", "rf")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what is wrong with the items of a table name the table."""
    try:
        yield
    except InputError as error:
        if path.name in str(error):
            raise
        raise InputError(path, f"{error.where}: {error.wrong}", error.expected) from error


def splits(items: Labelled, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Split by group, the classes spread as evenly as that allows.

    Raises:
        InputError: If there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    groups = len(set(items.group.tolist()))
    if not 2 <= folds <= groups:
        raise InputError("folds", f"{folds} of {groups} sources or devices", f"2 to {groups}" if groups > 1 else "more sources")
    with warnings.catch_warnings():
        # A class that is rarer than there are folds is missing in some of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(items.files, items.label, items.group)


def held_out_predictions(items: Labelled, classifier: Classifier, folds: int, seed: int, **arguments: Any) -> np.ndarray:
    """Predict every file by a classifier that saw none of its group: classes ``(N,)``."""
    said = np.empty(len(items.label), object)
    if classifier == "nn":
        arguments = {"reject": False, **arguments}
    for train, test in splits(items, folds, seed):
        said[test] = make(classifier, seed, **arguments).fit(items.files[train], items.label[train]).predict(items.files[test])
    return said.astype(str)


def scores(label: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Return accuracy, balanced accuracy and macro F1."""
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    return {
        "macro_f1": float(f1_score(label, said, average="macro", labels=np.unique(label), zero_division=0)),
        "balanced_accuracy": float(recall_score(label, said, average="macro", labels=np.unique(label), zero_division=0)),
        "accuracy": float(accuracy_score(label, said)),
    }
