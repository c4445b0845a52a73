"""Metadata forensics: typed symbols of the box tree, selected, projected by linear discriminants, matched to the nearest file.

Paper: Xiang, Horváth, Baireddy, Bestagini, Tubaro, Delp, "Forensic Analysis of Video Files Using Metadata", arXiv 2105.06361.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from foveate.errors import InputError
from foveate.results import write_atomically
from foveate.systems.forensics.mp4_forensics.symbols import Document, Settings, Tracks, Typing, prepare, unlogged

__all__ = ["ContainerForensics", "Evidence", "Neighbour", "Verdict", "prepare"]

Reduce = Literal["lda", "pca", "nca", "none"]
VERSION = 1  # of the model file


@dataclass(frozen=True)
class Neighbour:
    """A known file near to the one in question."""

    file: str
    label: str
    distance: float


@dataclass(frozen=True)
class Evidence:
    """What one feature says.

    Attributes:
        symbol: The feature.
        weight: Its part of the difference between the squared distances to the nearest file of another class and to the
            nearest file; over all features the parts add up to that difference.
        here: Its value in the file in question: a count, a number, or None where it is missing.
        nearest: Its value in the nearest file (the mean of all, where that has none).
        other: Its value in the nearest file of another class.
        same: Features that go along with it in all training files.
    """

    symbol: str
    weight: float
    here: float | None
    nearest: float | None
    other: float | None
    same: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What is said of a file.

    Attributes:
        label: Class of the nearest known files.
        unknown: The nearest is farther than known files are from each other.
        distance: To the nearest file.
        threshold: Beyond which a file is unknown; infinite without rejection.
        other: The nearest other class.
        margin: By how much farther its nearest file is.
        neighbours: The nearest files, of whatever class.
        unseen: Share of the file's symbols that no training file has.
        evidence: Features by how much they speak for the label and against the other class.
    """

    label: str
    unknown: bool
    distance: float
    threshold: float
    other: str
    margin: float
    neighbours: tuple[Neighbour, ...]
    unseen: float
    evidence: tuple[Evidence, ...]

    def record(self, most: int = 20) -> dict[str, Any]:
        """Return plain values, with the features that say most."""
        plain = asdict(self) | {"evidence": [asdict(e) for e in self.evidence[:most]]}
        return plain | {"features": len(self.evidence)}


# ---------------------------------------------------------------------------------------------------------------------
# columns, selection, projection
# ---------------------------------------------------------------------------------------------------------------------


class Columns:
    """The vocabulary: a column for each symbol, and one more that tells where a continuous one is missing.

    Args:
        documents: Files whose symbols it holds.
        settings: How leaves become symbols.
    """

    def __init__(self, documents: Sequence[Document], settings: Settings) -> None:
        found = [document.symbols(settings) for document in documents]
        counts, values = {s for f in found for s in f.counts}, {s for f in found for s in f.values}
        plain = [(s, "count") for s in counts] + [(s, "value") for s in values] + [(s, "missing") for s in values]
        # Near the root first: of columns that say the same, the shortest is kept.
        self.columns = sorted(plain, key=lambda c: (c[0].count("/") + 100 * (c[1] == "missing"), c[0]))
        self.settings = settings

    @classmethod
    def of(cls, columns: Sequence[tuple[str, str]], settings: Settings) -> Columns:
        """Make a vocabulary of columns that are known."""
        made = cls([], settings)
        made.columns = [(symbol, kind) for symbol, kind in columns]
        return made

    def matrix(self, documents: Sequence[Document]) -> np.ndarray:
        """Return float64 ``(N, P)``, NaN where a continuous symbol is missing."""
        rows = np.zeros((len(documents), len(self.columns)))
        for row, document in zip(rows, documents, strict=True):
            symbols = document.symbols(self.settings)
            counts, values = symbols.counts, symbols.values
            for j, (symbol, kind) in enumerate(self.columns):
                if kind == "count":
                    row[j] = counts.get(symbol, 0)
                elif kind == "value":
                    row[j] = values.get(symbol, np.nan)
                else:
                    row[j] = symbol not in values
        return rows


@dataclass(frozen=True)
class Space:
    """Selected, standardised and projected features, as training files fix them.

    Attributes:
        kept: Indices of the selected columns ``(K,)``.
        same: Indices of the columns that each of them stands for.
        mean: Of the selected columns ``(K,)``.
        scale: Their standard deviations ``(K,)``.
        projection: Standardised features to the space of distances ``(K, D)``.
    """

    kept: np.ndarray
    same: tuple[tuple[int, ...], ...]
    mean: np.ndarray
    scale: np.ndarray
    projection: np.ndarray

    def standardised(self, matrix: np.ndarray) -> np.ndarray:
        """Return ``(N, K)``, 0 where a value is missing."""
        return np.nan_to_num((matrix[:, self.kept] - self.mean) / self.scale)

    def project(self, matrix: np.ndarray) -> np.ndarray:
        """Return ``(N, D)``."""
        return self.standardised(matrix) @ self.projection


def select(
    matrix: np.ndarray, present: np.ndarray, correlated: float = 0.999
) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """Leave out columns that are constant, rare, or that another column goes along with.

    Args:
        matrix: ``(N, P)`` without NaN.
        present: In how many files each column's symbol is ``(P,)``.
        correlated: Absolute correlation from which two columns say the same.

    Returns:
        Indices of the columns that are kept, and of those that each of them stands for.
    """
    varied = np.flatnonzero((np.ptp(matrix, axis=0) > 1e-12) & (present >= 2))
    z = matrix[:, varied] - matrix[:, varied].mean(axis=0)
    z /= np.linalg.norm(z, axis=0)
    free = np.ones(len(varied), bool)
    kept, same = [], []
    for i in range(len(varied)):
        if not free[i]:
            continue
        alike = free & (np.abs(z.T @ z[:, i]) >= correlated)
        alike[: i + 1] = False
        free &= ~alike
        kept.append(varied[i])
        same.append(tuple(varied[alike].tolist()))
    return np.array(kept, dtype=int), tuple(same)


# ---------------------------------------------------------------------------------------------------------------------
# the classifier
# ---------------------------------------------------------------------------------------------------------------------


class ContainerForensics(ClassifierMixin, BaseEstimator):
    """The paper's classifier: it takes documents (`prepare`) and names their class.

    Args:
        typing: Continuous fields are one column each (``typed``), or each value is a symbol (``all_categorical``).
        tracks: Tracks go by their media, by their position, or are not told apart.
        order_features: The order of boxes is a symbol, too.
        drop_identifying: What identifies the recording is left out: dates, places, titles, sizes of padding.
        picture_size: Width and height are continuous, or symbols.
        select: Leave out constant, rare and repeated columns.
        reduce: Projection: linear discriminants, principal components, neighbourhood components, or none.
        max_components: Dimensions at most (d_max); fewer where there are fewer classes.
        variance: Share that the principal components keep before the discriminants are found.
        n_neighbors: Known files that vote.
        reject: Say "unknown" beyond the threshold.
        quantile: Of the distances within a class between held-out and training files, which is the threshold.
        folds: Parts of the training files, by group, that are held out for that.
        seed: Of the folds and of the neighbourhood components.

    Note:
        The paper names feature selection, dimensionality reduction and the nearest neighbour; the rules are ours.
    """

    def __init__(
        self,
        typing: Typing = "typed",
        tracks: Tracks = "by_handler",
        order_features: bool = False,
        drop_identifying: bool = True,
        picture_size: Literal["continuous", "categorical"] = "continuous",
        select: bool = True,
        reduce: Reduce = "lda",
        max_components: int = 16,
        variance: float = 0.99,
        n_neighbors: int = 1,
        reject: bool = True,
        quantile: float = 0.95,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.typing, self.tracks, self.order_features, self.drop_identifying = typing, tracks, order_features, drop_identifying
        self.picture_size, self.select, self.reduce, self.max_components = picture_size, select, reduce, max_components
        self.variance, self.n_neighbors, self.reject, self.quantile = variance, n_neighbors, reject, quantile
        self.folds, self.seed = folds, seed

    @property
    def settings(self) -> Settings:
        """How leaves become symbols."""
        return Settings(self.typing, self.tracks, self.order_features, self.drop_identifying, self.picture_size)

    def fit(self, files: Sequence[Document], label: Sequence[str], groups: Sequence[str] | None = None) -> Self:
        """Learn from files.

        Args:
            files: Documents ``(N,)``.
            label: Their classes ``(N,)``.
            groups: Sources or devices ``(N,)``: none is on both sides when the threshold is found.

        Raises:
            InputError: If there are too few files or classes, or no symbol tells any of them apart.
        """
        named = np.asarray(label)
        self.classes_, self.label_ = np.unique(named, return_inverse=True)
        if len(self.classes_) < 2 or len(named) <= len(self.classes_):
            said = f"{len(named)} files of {len(self.classes_)} classes"
            raise InputError("training files", said, "two classes or more, and more files than classes")
        if self.n_neighbors < 1 or self.max_components < 1 or not 0 < self.variance < 1 or not 0 < self.quantile <= 1:
            raise InputError(
                "settings", "n_neighbors, max_components, variance or quantile is out of range", "at least 1; a share"
            )
        self.names_ = [document.name for document in files]
        self.columns_ = Columns(files, self.settings)
        matrix = self.columns_.matrix(files)
        self.space_ = self._space(matrix, self.label_)
        self.standardised_ = self.space_.standardised(matrix)
        self.projected_ = self.standardised_ @ self.space_.projection
        self.threshold_ = self._threshold(matrix, groups) if self.reject else np.inf
        return self

    def _space(self, matrix: np.ndarray, label: np.ndarray) -> Space:
        """Select, standardise and project."""
        missing = np.isnan(matrix)
        known = ~missing.all(axis=0)
        mean = np.zeros(matrix.shape[1])
        mean[known] = np.nanmean(matrix[:, known], axis=0)
        filled = np.where(missing, mean, matrix)
        if self.select:
            # A column that tells where values are missing is as common as the values are.
            present = np.array([
                (~missing[:, j]).sum() if kind == "value" else (filled[:, j] != 0).sum() if kind == "count"
                else (filled[:, j] == 0).sum() for j, (_, kind) in enumerate(self.columns_.columns)
            ])  # fmt: skip
            kept, same = select(filled, present)
        else:
            kept = np.flatnonzero((filled != 0).any(axis=0))
            same = ((),) * len(kept)
        if not len(kept):
            raise InputError("training files", "are all alike: no symbol differs", "files of several tools or cameras")
        deviation = filled[:, kept].std(axis=0)
        # A column whose deviation is rounding only would be blown up.
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        made = Space(kept, same, mean[kept], scale, np.eye(len(kept)))
        return Space(kept, same, made.mean, scale, self._projection(made.standardised(matrix), label))

    def _projection(self, z: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Find the projection of standardised features: ``(K, D)``."""
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.neighbors import NeighborhoodComponentsAnalysis

        if self.reduce == "none":
            return np.eye(z.shape[1])
        wanted = min(len(np.unique(label)) - 1, self.max_components)
        principal = PCA(self.variance, svd_solver="full").fit(z)
        axes = principal.components_.T
        if self.reduce == "pca":
            return axes[:, : self.max_components]
        inner = z @ axes
        if self.reduce == "nca":
            dimensions = min(wanted, axes.shape[1])
            nca = NeighborhoodComponentsAnalysis(dimensions, init="pca", max_iter=60, random_state=self.seed).fit(inner, label)
            return axes @ nca.components_.T
        with warnings.catch_warnings():
            # Of a class with one file the covariance is not known; the others' serves.
            warnings.filterwarnings("ignore", message="Only one sample available")
            lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(inner, label)
        return axes @ lda.scalings_[:, :wanted]

    def _threshold(self, matrix: np.ndarray, groups: Sequence[str] | None) -> float:
        """Find how far a held-out file is from the nearest one of its class: the quantile over group folds."""
        from sklearn.model_selection import GroupKFold

        group = np.arange(len(matrix)) if groups is None else np.asarray(groups)
        count = min(self.folds, len(np.unique(group)))
        if count < 2:
            return np.inf
        distances = []
        for train, held in GroupKFold(count, shuffle=True, random_state=self.seed).split(matrix, self.label_, group):
            label = self.label_[train]
            if len(np.unique(label)) < 2 or len(train) <= len(np.unique(label)):
                continue
            space = self._space(matrix[train], label)
            apart = _distances(space.project(matrix[held]), space.project(matrix[train]))
            apart[self.label_[held][:, None] != label[None]] = np.inf
            nearest = apart.min(axis=1)
            distances.append(nearest[np.isfinite(nearest)])
        found = np.concatenate(distances) if distances else np.empty(0)
        return float(np.quantile(found, self.quantile)) if len(found) else np.inf

    # -----------------------------------------------------------------------------------------------------------------
    # verdicts
    # -----------------------------------------------------------------------------------------------------------------

    def transform(self, files: Sequence[Document]) -> np.ndarray:
        """Project files: ``(N, D)``."""
        return self.space_.project(self.columns_.matrix(files))

    def predict(self, files: Sequence[Document]) -> np.ndarray:
        """Name the class of the nearest known files: ``(N,)``."""
        return self.classes_[self._vote(_distances(self.transform(files), self.projected_))]

    def _vote(self, apart: np.ndarray) -> np.ndarray:
        """Count the classes of the nearest files; of as many votes, the nearest file's class wins."""
        order = np.argsort(apart, axis=1, kind="stable")[:, : self.n_neighbors]
        nearest = self.label_[order]
        votes = (nearest[:, :, None] == nearest[:, None, :]).sum(axis=2)
        return nearest[np.arange(len(nearest)), votes.argmax(axis=1)]

    def distance(self, files: Sequence[Document]) -> np.ndarray:
        """Return how far the nearest known file is: ``(N,)``."""
        return _distances(self.transform(files), self.projected_).min(axis=1)

    def judge(self, files: Sequence[Document], neighbours: int = 5) -> list[Verdict]:
        """Say of each file what it is, how sure that is, and which features spoke for it."""
        matrix = self.columns_.matrix(files)
        z = self.space_.standardised(matrix)
        projected = z @ self.space_.projection
        apart = _distances(projected, self.projected_)
        chosen = self._vote(apart)
        found = []
        for i, document in enumerate(files):
            of_label = np.where(self.label_ == chosen[i], apart[i], np.inf)
            of_others = np.where(self.label_ != chosen[i], apart[i], np.inf)
            near, other = int(of_label.argmin()), int(of_others.argmin())
            order = np.argsort(apart[i], kind="stable")[:neighbours]
            nearest = float(apart[i].min())
            found.append(
                Verdict(
                    str(self.classes_[chosen[i]]), nearest > self.threshold_, nearest, self.threshold_,
                    str(self.classes_[self.label_[other]]), float(of_others[other] - of_label[near]),
                    tuple(Neighbour(self.names_[j], str(self.classes_[self.label_[j]]), float(apart[i, j])) for j in order),
                    self._unseen(document), self._evidence(matrix[i], projected[i], near, other),
                )
            )  # fmt: skip
        return found

    def _evidence(self, row: np.ndarray, projected: np.ndarray, near: int, other: int) -> tuple[Evidence, ...]:
        """Part the difference of two squared distances by features.

        With a linear projection, |z - z_other|^2 - |z - z_near|^2 = (z_near - z_other) . (2 z - z_near - z_other), and the
        first factor is a sum over the features.
        """
        towards = self.space_.projection @ (2 * projected - self.projected_[near] - self.projected_[other])
        parts = (self.standardised_[near] - self.standardised_[other]) * towards

        def value(number: float, k: int) -> float | None:
            """Undo the logarithm; rounding that standardisation left behind is taken off."""
            if np.isnan(number):
                return None
            kind = self.columns_.columns[self.space_.kept[k]][1]
            return float(f"{unlogged(number) if kind == 'value' else number:.6g}") if abs(number) > 1e-9 else 0.0

        def trained(item: int, k: int) -> float | None:
            return value(self.standardised_[item, k] * self.space_.scale[k] + self.space_.mean[k], k)

        found = []
        for k in np.argsort(-np.abs(parts), kind="stable"):
            if parts[k] == 0:
                continue
            j = self.space_.kept[k]
            found.append(
                Evidence(
                    self._told(j), float(parts[k]), value(row[j], k), trained(near, k), trained(other, k),
                    tuple(self._told(s) for s in self.space_.same[k]),
                )
            )  # fmt: skip
        return tuple(found)

    def _told(self, column: int) -> str:
        symbol, kind = self.columns_.columns[column]
        return f"{symbol} (missing)" if kind == "missing" else symbol

    def _unseen(self, document: Document) -> float:
        """Return the share of a file's symbols that no training file has."""
        known = {symbol for symbol, _ in self.columns_.columns}
        symbols = document.symbols(self.settings)
        own = [*symbols.counts, *symbols.values]
        return sum(symbol not in known for symbol in own) / max(1, len(own))

    @property
    def columns_seen(self) -> int:
        """Columns before the selection."""
        return len(self.columns_.columns)

    @property
    def columns_kept(self) -> int:
        """Columns after it."""
        return len(self.space_.kept)

    # -----------------------------------------------------------------------------------------------------------------
    # files
    # -----------------------------------------------------------------------------------------------------------------

    def save(self, path: Path, task: str = "") -> None:
        """Write the fitted model as safetensors; `load` reads it to the same bits.

        Args:
            path: Where to.
            task: What it tells of files.
        """
        write_atomically(path, self.to_bytes(task))

    def to_bytes(self, task: str = "") -> bytes:
        """Return the content of a model file."""
        from safetensors.numpy import save

        space = self.space_
        arrays = {
            "kept": space.kept, "mean": space.mean, "scale": space.scale, "projection": space.projection,
            "standardised": self.standardised_, "projected": self.projected_, "label": self.label_,
            "threshold": np.array([self.threshold_]),
        }  # fmt: skip
        about = {
            "version": VERSION, "task": task, "arguments": self.get_params(), "columns": self.columns_.columns,
            "same": space.same, "names": self.names_, "classes": self.classes_.tolist(),
        }  # fmt: skip
        # The format stores memory as it lies, so that another order than C's would be read back wrong.
        ordered = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return save(ordered, metadata={"mp4_forensics": json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> tuple[ContainerForensics, str]:
        """Read a fitted model, and what it tells of files.

        Raises:
            InputError: If the file is missing, broken, of another version, or no model of this system.
        """
        from safetensors import SafetensorError, safe_open

        expected = "a model that `foveate run mp4_forensics fit` wrote"
        try:
            with safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {})["mp4_forensics"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["version"] != VERSION:
                raise InputError(path, f"is of version {about['version']}", f"version {VERSION}; fit it again")
            made = cls(**about["arguments"])
            made.classes_, made.names_ = np.array(about["classes"]), about["names"]
            made.columns_ = Columns.of(about["columns"], made.settings)
            same = tuple(tuple(s) for s in about["same"])
            made.space_ = Space(arrays["kept"], same, arrays["mean"], arrays["scale"], arrays["projection"])
            made.standardised_, made.projected_ = arrays["standardised"], arrays["projected"]
            made.label_, made.threshold_ = arrays["label"], float(arrays["threshold"][0])
            fits = made.standardised_.shape == (len(made.names_), len(made.space_.kept)) and len(same) == len(made.space_.kept)
            if not fits or len(made.label_) != len(made.names_):
                raise ValueError("its arrays do not fit each other")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise InputError(path, "there is no such file", expected) from error
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(path, f"is no model of this system ({type(error).__name__}: {error})", expected) from error
        return made, str(about["task"])


def _distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return Euclidean distances ``(N, M)``."""
    from scipy.spatial.distance import cdist

    return cdist(some, others)
