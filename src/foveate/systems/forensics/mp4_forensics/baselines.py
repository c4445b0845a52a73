"""The methods that the paper is compared with, as scikit-learn style classifiers of documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from foveate.systems.forensics.mp4_forensics.method import ContainerForensics
from foveate.systems.forensics.mp4_forensics.symbols import TRACK, Document, Settings, fields_and_values

Classifier = Literal["nn", "tree", "llr", "llr_smoothed", "svm", "rf"]


def make(classifier: Classifier, seed: int = 0, **arguments: Any) -> Any:
    """Build a classifier: the paper's (``nn``, with its arguments) or one that it is compared with."""
    if classifier == "nn":
        return ContainerForensics(seed=seed, **arguments)
    if classifier in ("llr", "llr_smoothed"):
        return LikelihoodRatio(0.5 if classifier == "llr_smoothed" else 0.0)
    return CountTree(seed) if classifier == "tree" else StreamDescriptors(classifier, seed)


class LikelihoodRatio(ClassifierMixin, BaseEstimator):
    """Iuliani et al. 2018: the log-likelihood ratio of a container's symbols, each class against all others.

    log L(X) = sum over the symbols of X of log(W_A / W_B), where W is the share of reference containers that have the symbol;
    symbols that either side lacks say nothing.

    Args:
        smoothing: Containers that are added to either side, half of them with the symbol; then symbols that one side lacks
            do say something. 0 as published.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def fit(self, files: Sequence[Document], label: Sequence[str]) -> Self:
        """Count in how many containers of each class each symbol is."""
        named = np.asarray(label)
        self.classes_, index = np.unique(named, return_inverse=True)
        sets = [fields_and_values(document) for document in files]
        self.symbols_ = {symbol: i for i, symbol in enumerate(sorted(set().union(*sets)))}
        counts = np.zeros((len(self.classes_), len(self.symbols_)))
        for found, k in zip(sets, index, strict=True):
            counts[k, [self.symbols_[s] for s in found]] += 1
        total = np.bincount(index).astype(float)
        more = self.smoothing
        inside = (counts + more) / (total + 2 * more)[:, None]
        outside = (counts.sum(axis=0) - counts + more) / (total.sum() - total + 2 * more)[:, None]
        both = (inside > 0) & (outside > 0)
        self.ratio_ = np.zeros_like(counts)
        self.ratio_[both] = np.log(inside[both] / outside[both])
        return self

    def scores(self, files: Sequence[Document]) -> np.ndarray:
        """Return the log-likelihood ratios ``(N, classes)``."""
        rows = [[self.symbols_[s] for s in fields_and_values(document) if s in self.symbols_] for document in files]
        return np.array([self.ratio_[:, row].sum(axis=1) for row in rows])

    def predict(self, files: Sequence[Document]) -> np.ndarray:
        """Name the class of the largest ratio."""
        return self.classes_[self.scores(files).argmax(axis=1)]


def dissimilarity(document: Document, reference: Document) -> float:
    """Return the share of a container's symbols that a reference lacks (Iuliani et al. 2018): 0 alike, 1 nothing in common."""
    own, other = fields_and_values(document), fields_and_values(reference)
    return len(own - other) / len(own)


class CountTree(ClassifierMixin, BaseEstimator):
    """Yang et al. 2020 (EVA): how often each path with field and value occurs, and a decision tree with balanced classes.

    Args:
        seed: Of ties.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _counts(self, files: Sequence[Document]) -> list[dict[str, float]]:
        settings = Settings(typing="all_categorical")
        return [{s: float(n) for s, n in document.symbols(settings).counts.items()} for document in files]

    def fit(self, files: Sequence[Document], label: Sequence[str]) -> Self:
        """Grow the tree."""
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(class_weight="balanced", random_state=self.seed)
        self.pipeline_ = make_pipeline(DictVectorizer(), tree).fit(self._counts(files), np.asarray(label))
        self.classes_ = tree.classes_
        return self

    def predict(self, files: Sequence[Document]) -> np.ndarray:
        """Name the class of the leaf."""
        return self.pipeline_.predict(self._counts(files))


# What a stream's description tells: the last box of the path, its field, and the descriptor's name.
DESCRIBED = {
    ("ftyp", "major"): "major_brand", ("ftyp", "minor"): "minor_version", ("ftyp", "brand"): "compatible_brand",
    ("mvhd", "duration"): "duration", ("mvhd", "timescale"): "timescale", ("tkhd", "duration"): "track_duration",
    ("mdhd", "timescale"): "time_base", ("mdhd", "duration"): "duration_ts", ("mdhd", "language"): "language",
    ("hdlr", "name"): "handler_name", ("stsz", "entry_count"): "frames",
    ("avcC", "profile"): "profile", ("avcC", "level"): "level",
    ("hvcC", "profile"): "profile", ("hvcC", "level"): "level", ("btrt", "avg_bitrate"): "bit_rate",
    ("esds", "avg_bitrate"): "bit_rate", ("esds", "object_type"): "object_type", ("esds", "audio_object"): "profile",
    ("colr", "primaries"): "color_primaries", ("colr", "transfer"): "color_transfer", ("colr", "matrix"): "color_space",
    ("colr", "full_range"): "color_range", ("pasp", "horizontal"): "sample_aspect_ratio", ("tkhd", "matrix"): "rotation",
}  # fmt: skip
IN_ENTRY = {
    "width": "width", "height": "height", "channels": "channels", "rate": "sample_rate", "compressor": "encoder",
    "vendor": "vendor_id",
}  # fmt: skip


def descriptors(document: Document) -> dict[str, float | str]:
    """Return what a description of the streams tells, as a player's would: flat, without boxes."""
    found: dict[str, float | str] = {}
    streams: Counter[str] = Counter()
    for path, field, kind, value, count in document.leaves:
        media = TRACK.search(path)
        stream = f"{media[1]}." if media else "format."
        parts = path.split("/")
        if kind == "b":
            if len(parts) == 2 and parts[1].startswith("trak["):
                streams[stream] += count
            if len(parts) > 2 and parts[-2] == "stsd":
                found[f"{stream}codec={parts[-1]}"] = 1.0
            continue
        name = DESCRIBED.get((parts[-1], field)) or (IN_ENTRY.get(field) if parts[-2:-1] == ["stsd"] else None)
        if parts[-1] == "data" and field == "value" and kind == "c":
            name, stream = f"tag.{parts[-2]}", "format."
        if parts[-1] == "hdlr" and parts[-2] != "mdia":
            name = None
        if name is None or value is None:
            continue
        if isinstance(value, str) and not _is_number(value):
            found[f"{stream}{name}={value}"] = 1.0
        else:
            found[f"{stream}{name}"] = float(value)
    return found | {f"{stream}streams": float(n) for stream, n in streams.items()}


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


class StreamDescriptors(ClassifierMixin, BaseEstimator):
    """Güera et al. 2019: the streams' flat description, one-hot and ordinal, and a support vector machine or a random forest.

    Args:
        model: Which.
        seed: Of the forest.
    """

    def __init__(self, model: Literal["svm", "rf"] = "rf", seed: int = 0) -> None:
        self.model, self.seed = model, seed

    def fit(self, files: Sequence[Document], label: Sequence[str]) -> Self:
        """Fit the model."""
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        last = SVC(C=10.0, class_weight="balanced")
        steps: list[Any] = [DictVectorizer(sparse=False), StandardScaler(), last]
        if self.model == "rf":
            steps = [DictVectorizer(sparse=False), RandomForestClassifier(100, class_weight="balanced", random_state=self.seed)]
        self.pipeline_ = make_pipeline(*steps).fit([descriptors(d) for d in files], np.asarray(label))
        self.classes_ = self.pipeline_.classes_
        return self

    def predict(self, files: Sequence[Document]) -> np.ndarray:
        """Name the class."""
        return self.pipeline_.predict([descriptors(d) for d in files])
