"""A set of temporal networks as flat arrays: temporal edges with closed intervals, and their duration classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from foveate.errors import InputError

Iso = Literal["e", "i", "es", "is"]
Binning = Literal["gap", "width", "frequency"]
DECIMALS = 9  # finest time unit that is read
LARGEST = 2**60  # times beyond would overflow when two are added
EDGES = 5_000_000  # temporal edges that a database may hold


class Row(NamedTuple):
    """One temporal edge as it is read; times are integers or decimals."""

    network: str
    u: str
    v: str
    u_label: str
    v_label: str
    label: str
    start: int | Decimal
    end: int | Decimal
    where: str


class Columns(NamedTuple):
    """All temporal edges, field by field."""

    network: Sequence[str]
    u: Sequence[str]
    v: Sequence[str]
    u_label: Sequence[str]
    v_label: Sequence[str]
    label: Sequence[str]
    start: Sequence[int | Decimal]
    end: Sequence[int | Decimal]
    where: Sequence[str]


@dataclass(frozen=True)
class Database:
    """M temporal networks with E temporal edges in all, ordered by network, then by start (file order where starts are equal).

    Attributes:
        networks: Names of the networks ``(M,)``; one may have no edges.
        nodes: Names of the nodes; a node belongs to one network.
        node_labels: Names of the node labels.
        edge_labels: Names of the edge labels.
        net: Network of each edge ``(E,)``.
        u: First node of each edge ``(E,)``.
        v: Second node.
        u_label: Label of the first node, as an index into `node_labels`. It is kept per edge, so it may change over time.
        v_label: Label of the second node.
        label: Label of the edge, as an index into `edge_labels`.
        start: Start of the closed interval, int64, in units of ``1 / scale``.
        end: Its end, at least the start.
        row: Index of the edge in its network as it was read ``(E,)``.
        scale: Units in one time unit of the input: a power of ten.
        directed: Whether (u, v) and (v, u) differ.
    """

    networks: tuple[str, ...]
    nodes: tuple[str, ...]
    node_labels: tuple[str, ...]
    edge_labels: tuple[str, ...]
    net: np.ndarray
    u: np.ndarray
    v: np.ndarray
    u_label: np.ndarray
    v_label: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray
    row: np.ndarray
    scale: int = 1
    directed: bool = False

    def __len__(self) -> int:
        """Count the temporal edges."""
        return len(self.net)

    @property
    def duration(self) -> np.ndarray:
        """Duration of each edge ``(E,)``, in units of ``1 / scale``."""
        return self.end - self.start

    def time(self, units: int) -> int | float:
        """Give a time in the input's unit: an integer where it is one."""
        whole, rest = divmod(int(units), self.scale)
        return whole if rest == 0 else int(units) / self.scale

    @classmethod
    def of(cls, rows: Iterable[Row], networks: Sequence[str] = (), directed: bool = False) -> Database:
        """Build a database of temporal edges in any order.

        Args:
            rows: The temporal edges.
            networks: Names of the networks in order, for those without edges; the others follow as they come.
            directed: Whether (u, v) and (v, u) differ.

        Raises:
            InputError: If an edge ends before it starts, or a time is too fine or too large.
        """
        columns = tuple(zip(*islice(rows, EDGES + 1), strict=True))
        return cls.of_columns(Columns(*columns or [()] * len(Row._fields)), networks, directed)

    @classmethod
    def of_columns(cls, columns: Columns, networks: Sequence[str] = (), directed: bool = False) -> Database:
        """Build a database of temporal edges in any order; see `of`."""
        count = len(columns.network)
        if count > EDGES:
            raise InputError(columns.where[-1], f"more than {EDGES} temporal edges", "a smaller part of the data")
        names = {name: i for i, name in enumerate(dict.fromkeys((*networks, *columns.network)))}
        net = _coded(columns.network, names)
        # A node is a name in a network.
        calls = tuple(dict.fromkeys((*columns.u, *columns.v)))
        code = {name: i for i, name in enumerate(calls)}
        keys = np.concatenate([net.astype(np.int64) * len(calls) + _coded(column, code) for column in (columns.u, columns.v)])
        nodes, ends = np.unique(keys, return_inverse=True)
        node_labels, edge_labels = _ordered({*columns.u_label, *columns.v_label}), _ordered(set(columns.label))
        code = {name: i for i, name in enumerate(node_labels)}
        coded = [_coded(column, code) for column in (columns.u_label, columns.v_label)]
        coded.append(_coded(columns.label, {name: i for i, name in enumerate(edge_labels)}))
        scale, (start, end) = _scaled(columns)
        if (end < start).any():
            i = int(np.argmax(end < start))
            said = f"the edge ends at {columns.end[i]}, before it starts at {columns.start[i]}"
            raise InputError(columns.where[i], said, "an end at or after the start")
        order = np.lexsort((start, net))  # stable: in the order of the rows where starts are equal
        place = np.argsort(np.argsort(net, kind="stable"))  # of each row among all, network by network
        row = place - np.concatenate([[0], np.cumsum(np.bincount(net, minlength=len(names)))])[net]
        ends = ends.reshape(2, -1).astype(np.int32)
        small = (values[order] for values in (net, *ends, *coded, row.astype(np.int32)))
        labels = (tuple(names), tuple(calls[key % len(calls)] for key in nodes.tolist()), node_labels, edge_labels)
        *small, row = small
        return cls(*labels, *small, start[order], end[order], row, scale, directed)

    def rows(self) -> list[Row]:
        """List the temporal edges in the database's order."""
        found = []
        for i in range(len(self)):
            start, end = (_decimal(int(t[i]), self.scale) for t in (self.start, self.end))
            ends = (self.nodes[self.u[i]], self.nodes[self.v[i]])
            labels = (self.node_labels[self.u_label[i]], self.node_labels[self.v_label[i]], self.edge_labels[self.label[i]])
            found.append(Row(self.networks[self.net[i]], *ends, *labels, start, end, f"edge {i}"))
        return found

    def cut(self, length: float) -> Database:
        """Cut each network into consecutive ones of a length in time; an edge belongs to the one in which it starts.

        Raises:
            InputError: If the length is no positive number of units, or gives more than a million networks.
        """
        units = round(length * self.scale)
        if units < 1:
            raise InputError("cut", f"networks of length {length}", f"at least {self.time(1)}")
        if not len(self):
            return self
        first = np.full(len(self.networks), np.iinfo(np.int64).max)
        np.minimum.at(first, self.net, self.start)
        part = (self.start - first[self.net]) // units
        parts = np.zeros(len(self.networks), np.int64)
        np.maximum.at(parts, self.net, part + 1)
        if parts.sum() > 1_000_000:
            raise InputError("cut", f"gives {parts.sum()} networks", "a greater length")
        offset = np.concatenate([[0], np.cumsum(parts)])
        names = [
            f"{name}/{p}" if name else str(p) for name, count in zip(self.networks, parts, strict=True) for p in range(count)
        ]
        # A node of two parts is two nodes.
        rows = (r._replace(network=names[offset[n] + p]) for r, n, p in zip(self.rows(), self.net, part, strict=True))
        return Database.of(rows, names, self.directed)

    def rounded(self, step: float) -> Database:
        """Round starts and ends to multiples of a step, in the input's time unit (halves to even).

        Raises:
            InputError: If the step is not positive.
        """
        units = round(step * self.scale)
        if units < 1:
            raise InputError("round_to", f"{step}", f"at least {self.time(1)}")
        start, end = (np.rint(t / units).astype(np.int64) * units for t in (self.start, self.end))
        order = np.lexsort((self.row, start, self.net))
        arrays = {name: getattr(self, name)[order] for name in ("net", "u", "v", "u_label", "v_label", "label", "row")}
        return replace(self, **arrays, start=start[order], end=end[order])


def number(text: str, where: str, name: str) -> int | Decimal:
    """Read a time: an integer, or a decimal where it has to be.

    Raises:
        InputError: If it is none.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = Decimal(text)
        if value.is_finite() and abs(value) < LARGEST:
            return int(value) if value == value.to_integral_value() else value
    except InvalidOperation:
        pass
    raise InputError(where, f"the {name} {text!r} is no time", "a number")


def _coded(column: Sequence[str], code: Mapping[str, int]) -> np.ndarray:
    """Replace names by their numbers."""
    return np.fromiter(map(code.__getitem__, column), np.int32, len(column))


def _scaled(columns: Columns) -> tuple[int, list[np.ndarray]]:
    """Turn starts and ends into whole numbers of the finest unit that occurs; tell how many of it the input's unit has."""
    scale = 1
    both = (columns.start, columns.end)
    fine = (column for column in both if not set(map(type, column)) <= {int})
    for i, time in ((i, t) for column in fine for i, t in enumerate(column) if isinstance(t, Decimal)):
        scale = max(scale, 10 ** max(0, -int(time.normalize().as_tuple().exponent)))
        if scale > 10**DECIMALS:
            raise InputError(columns.where[i], f"the time {time} is too fine", f"at most {DECIMALS} decimals")
    large = max((t for column in both if column for t in (max(column), -min(column))), default=0)
    if large * scale > LARGEST:
        i = next(i for column in both for i, t in enumerate(column) if abs(t) == large)
        wrong = f"the time {large} is too large for {scale} parts of a unit"
        raise InputError(columns.where[i], wrong, "smaller or coarser times")
    return scale, [np.array([int(t * scale) for t in column] if scale > 1 else column, np.int64) for column in both]


def _ordered(names: set[str]) -> tuple[str, ...]:
    """Order labels: by value where all are integers."""
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))


def _decimal(units: int, scale: int) -> int | Decimal:
    return units // scale if units % scale == 0 else Decimal(units) / scale


# ---------------------------------------------------------------------------------------------------------------------
# duration classes
# ---------------------------------------------------------------------------------------------------------------------


class Classes(NamedTuple):
    """What two temporal edges must share to be taken for the same: labels of ends and edge, and duration or its bin.

    Attributes:
        of: Class of each edge ``(E,)``.
        labels: Label of the first end, of the edge and of the second end, and bin, of each class ``(C, 4)``. For undirected
            networks the ends are ordered by their label.
        bins: Shortest and longest duration of each bin ``(B, 2)``, in units of ``1 / scale``.
        swapped: Edges whose ends are taken in the other order ``(E,)``.
        loose: Classes of undirected edges whose ends have the same label and may therefore change places ``(C,)``.
    """

    of: np.ndarray
    labels: np.ndarray
    bins: np.ndarray
    swapped: np.ndarray
    loose: np.ndarray


def classify(db: Database, iso: Iso = "e", theta: float = 0.05, binning: Binning = "gap", nbins: int = 10) -> Classes:
    """Find the class of each temporal edge: the label of its vertex of the constrained interval graph.

    Args:
        db: The database.
        iso: ``e`` and ``es`` compare durations, ``i`` and ``is`` their bins.
        theta: With ``gap``, durations are cut apart where the next one is longer by more than this share.
        binning: ``gap``, ``width`` (bins of equal width) or ``frequency`` (of about equal counts).
        nbins: Bins of the latter two.

    Raises:
        InputError: If theta is negative or there is no bin.
    """
    if theta < 0 or nbins < 1:
        raise InputError("theta, nbins", f"{theta}, {nbins}", "a share of 0 or more, at least one bin")
    durations, inverse = np.unique(db.duration, return_inverse=True)
    if iso in ("e", "es"):
        bin_of = np.arange(len(durations))
    elif binning == "gap":
        # d[k+1] - d[k] > theta d[k]; every cut begins a bin.
        bin_of = np.concatenate([[0], np.cumsum(np.diff(durations) > theta * durations[:-1])])[: len(durations)]
    elif binning == "width":
        span = max(int(durations[-1] - durations[0]), 1) if len(durations) else 1
        bin_of = np.minimum((durations - durations[:1]) * nbins // span, nbins - 1)
    else:
        cuts = np.quantile(db.duration, np.arange(1, nbins) / nbins) if len(durations) else []
        bin_of = np.searchsorted(cuts, durations, side="right")
    _, bin_of = np.unique(bin_of, return_inverse=True)
    count = int(bin_of.max(initial=-1)) + 1
    ends = [np.searchsorted(bin_of, np.arange(count), side=side) for side in ("left", "right")]
    bins = np.stack([durations[ends[0]], durations[ends[1] - 1]], axis=1) if count else np.zeros((0, 2), np.int64)
    swapped = ~np.bool_(db.directed) & (db.u_label > db.v_label)
    low, high = np.where(swapped, db.v_label, db.u_label), np.where(swapped, db.u_label, db.v_label)
    shape = (len(db.node_labels) or 1, len(db.edge_labels) or 1, len(db.node_labels) or 1, count or 1)
    keys, of = np.unique(np.ravel_multi_index((low, db.label, high, bin_of[inverse]), shape), return_inverse=True)
    labels = np.stack(np.unravel_index(keys, shape), axis=1)
    loose = (labels[:, 0] == labels[:, 2]) & ~np.bool_(db.directed)
    return Classes(of.reshape(-1).astype(np.int32), labels, bins, swapped, loose)
