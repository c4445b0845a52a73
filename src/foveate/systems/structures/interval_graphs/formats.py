"""Reads temporal networks: the released package's text, CSV, contact lists, and GraphML of NetworkX multigraphs."""

from __future__ import annotations

import csv
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from foveate.errors import InputError
from foveate.systems.structures.interval_graphs.database import Columns, Database, Row, number

Time = int | Decimal
EXPECTED = "t # NETWORK and e U V U_LABEL LABEL V_LABEL START DURATION lines, contacts T I J, CSV with a header, or GraphML"
HEADER = "a header with u, v, start, and end or duration (and network, u_label, v_label, edge_label)"
LARGEST = 2**30  # bytes of a file
COLUMNS = {"t", "i", "j", "ci", "cj", "start", "end", "duration", "label", "-"}


class Places(Sequence[str]):
    """Lines of a file, as an error names them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[int] = []

    def __len__(self) -> int:
        """Count the lines."""
        return len(self.lines)

    def __getitem__(self, i: Any) -> Any:
        """Name the file and the line of an edge."""
        return f"{self.path}:{self.lines[i]}"


def read(
    path: Path, columns: str = "", directed: bool = False, resolution: float = 20, gap: float = -1, least: float = 0
) -> Database:
    """Read a file of temporal networks.

    Args:
        path: ``.graphml``, ``.csv``, or text: what it holds is told by its first line.
        columns: Names of the columns of a contact list, out of ``t i j ci cj start end duration label -``; by default those of
            its first line if that names them, else ``t i j`` or ``t i j ci cj`` by their number, and ``start end i j`` for
            four.
        directed: Whether (u, v) and (v, u) differ.
        resolution: How long a contact without duration lasts up to its time t, in the file's unit.
        gap: Contacts of a pair become one interval if no more than this is between their times; the resolution if negative.
        least: Shortest interval made of contacts.

    Raises:
        InputError: If it is no such file; the line is named.
    """
    if resolution < 0 or least < 0:
        raise InputError("resolution, least", f"{resolution}, {least}", "no negative numbers")
    if not path.is_file():
        raise InputError(path, "is a folder" if path.is_dir() else "there is no such file", f"a file: {EXPECTED}")
    if path.stat().st_size > LARGEST:
        raise InputError(path, f"has {path.stat().st_size} bytes", f"at most {LARGEST}")
    if path.suffix.lower() in (".graphml", ".xml"):
        return _graphml(path, directed)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, "is not text", EXPECTED) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", "a file that can be read") from error
    if path.suffix.lower() == ".csv":
        return _table(path, text, directed)
    lines = ((i, words) for i, words in enumerate(map(str.split, text.splitlines()), 1) if words and words[0][0] not in "#%")
    first = next(lines, None)
    if first is None:
        raise InputError(path, "is empty", EXPECTED)
    lines = chain([first], lines)
    if {"i", "j"} <= {word.lower() for word in first[1]}:
        columns = columns or " ".join(next(lines)[1])
        lines = _more(path, lines)
    elif first[1][0] in ("t", "e"):
        return _text(path, lines, directed)
    return _contacts(path, lines, columns, directed, *(_exactly(x) for x in (resolution, gap, least)))


def _more(path: Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Make sure that something follows a header."""
    first = next(lines, None)
    if first is None:
        raise InputError(path, "holds no contacts", "a line for each after the header")
    return chain([first], lines)


def _exactly(value: float) -> Time:
    """Turn an option's number into the decimal that was typed."""
    return int(value) if value == int(value) else Decimal(str(value))


def _text(path: Path, lines: Iterator[tuple[int, list[str]]], directed: bool) -> Database:
    """Read the released package's format; labels may be left out."""
    networks: dict[str, None] = {}
    words_of: list[str] = []  # eight for each edge: one long list costs less than many short ones
    owner: list[str] = []
    where = Places(path)
    network = None
    for i, words in lines:
        if words[0] == "e" and len(words) in (5, 8) and network is not None:
            words_of += words if len(words) == 8 else [*words[:3], "", "", "", *words[3:]]
            owner.append(network)
            where.lines.append(i)
        elif words[0] == "t":
            network = words[-1]
            if network in ("t", "#") or network in networks:
                said = f"{' '.join(words)!r} begins no new network"
                raise InputError(f"{path}:{i}", said, "t # NUMBER, each network another number")
            networks[network] = None
        elif words[0] == "e" and network is None:
            raise InputError(f"{path}:{i}", "an edge before any network", "a line t # NUMBER before it")
        else:
            wanted = "t # NETWORK, e U V U_LABEL LABEL V_LABEL START DURATION, or e U V START DURATION"
            raise InputError(f"{path}:{i}", f"{' '.join(words)[:60]!r} is neither a network nor an edge", wanted)
    _, u, v, u_label, label, v_label, *times = (words_of[i::8] for i in range(8))
    start, duration = (_numbers(column, where, name) for column, name in zip(times, ("start", "duration"), strict=True))
    if min(duration, default=0) < 0:
        i = next(i for i, d in enumerate(duration) if d < 0)
        raise InputError(where[i], f"the duration is {duration[i]}", "0 or more")
    end = list(map(operator.add, start, duration))
    return Database.of_columns(Columns(owner, u, v, u_label, v_label, label, start, end, where), tuple(networks), directed)


def _numbers(column: Sequence[str], where: Sequence[str], name: str) -> list[Time]:
    """Read a column of times."""
    try:
        return list(map(int, column))
    except ValueError:
        return [number(text, at, name) for text, at in zip(column, where, strict=True)]


def _table(path: Path, text: str, directed: bool) -> Database:
    """Read CSV with columns u, v, start, and end or duration; network, u_label, v_label and edge_label as there are."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        names = [name.strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = names
        lacking = [name for name in ("u", "v", "start") if name not in names]
        if lacking or not {"end", "duration"} & set(names):
            raise InputError(f"{path}:1", f"the header has no {', '.join(lacking) or 'end or duration'}", HEADER)
        for record in reader:
            where = f"{path}:{reader.line_num}"
            if None in record or None in record.values():
                raise InputError(where, "has another number of columns than the header", f"{len(names)} columns")
            given = [record.get(name, "").strip() for name in ("network", "u", "v", "u_label", "v_label", "edge_label")]
            if not given[1] or not given[2]:
                raise InputError(where, "a node has no name", "a name for u and for v")
            rows.append(Row(*given, *_interval(record, where), where))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}", f"is no CSV: {error}", HEADER) from error
    if not rows:
        raise InputError(path, "holds no temporal edges", "a line for each after the header")
    return Database.of(rows, (), directed)


def _interval(record: Mapping[str, str], where: str) -> tuple[Time, Time]:
    """Read start, and end or duration, of one edge."""
    start = number(record["start"].strip(), where, "start")
    if "end" in record:
        return start, number(record["end"].strip(), where, "end")
    return start, start + number(record["duration"].strip(), where, "duration")


def _contacts(
    path: Path, lines: Iterator[tuple[int, list[str]]], columns: str, directed: bool, resolution: Time, gap: Time, least: Time
) -> Database:
    """Read a contact list: one network, a contact or an interval in each line."""
    first = next(lines)
    width = len(first[1])
    names = (columns or {3: "t i j", 4: "start end i j", 5: "t i j ci cj"}.get(width, "")).lower().split()
    unknown = sorted(set(names) - COLUMNS)
    if unknown:
        raise InputError("columns", f"{', '.join(unknown)} is no column", " ".join(sorted(COLUMNS)))
    timed = "t" in names or ("start" in names and ("end" in names or "duration" in names))
    if not {"i", "j"} <= set(names) or not timed:
        if columns:
            raise InputError("columns", f"{columns!r} gives no contact", "i and j, and t, or start and end or duration")
        raise InputError(f"{path}:{first[0]}", f"{' '.join(first[1])[:60]!r} is no contact", EXPECTED)
    events, rows, labels = [], [], {}
    for i, words in chain([first], lines):
        where = f"{path}:{i}"
        if len(words) != len(names):
            raise InputError(where, f"has {len(words)} columns", f"{len(names)}: {' '.join(names)}")
        record = dict(zip(names, words, strict=True))
        u, v = record["i"], record["j"]
        ends = (record.get("ci", ""), record.get("cj", ""))
        if "t" in names:
            events.append((number(record["t"], where, "time"), u, v))
            labels[u], labels[v] = ends
        else:
            rows.append(Row("", u, v, *ends, record.get("label", ""), *_interval(record, where), where))
    merged = sessions(events, resolution if gap < 0 else gap, least, resolution, directed)
    rows += [Row("", u, v, labels[u], labels[v], "", start, end, str(path)) for start, end, u, v in merged]
    return Database.of(rows, (), directed)


def sessions(
    events: Iterable[tuple[Time, str, str]], gap: Time, least: Time = 0, resolution: Time = 0, directed: bool = False
) -> Iterator[tuple[Time, Time, str, str]]:
    """Merge the events of each pair into intervals.

    Args:
        events: Time t and pair; each was going on during [t - resolution, t].
        gap: Most time between the times of two events of one interval.
        least: Shortest interval: what is shorter ends later.
        resolution: How long an event lasts.
        directed: Whether (u, v) and (v, u) are two pairs.

    Yields:
        Start, end and pair, in the order in which the intervals end for each pair.
    """
    times: dict[tuple[str, str], list[Time]] = {}
    for time, u, v in events:
        times.setdefault((u, v) if directed or u <= v else (v, u), []).append(time)
    for (u, v), moments in times.items():
        moments.sort()
        first = last = moments[0]
        for moment in [*moments[1:], None]:
            if moment is None or moment - last > gap:
                start = first - resolution
                yield start, max(last, start + least), u, v
                first = moment
            last = moment


def _graphml(path: Path, directed: bool) -> Database:
    """Read GraphML: edges with start, and end or duration; nodes and edges may have a label, edges a network."""
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    try:
        graph: Any = nx.read_graphml(path, force_multigraph=True)
    except (ParseError, nx.NetworkXError, ValueError, KeyError, AttributeError, TypeError) as error:
        line = f":{error.position[0]}" if isinstance(error, ParseError) else ""
        raise InputError(f"{path}{line}", f"is no GraphML: {error}", "what networkx.write_graphml writes") from error
    rows = []
    for count, (u, v, edge) in enumerate(graph.edges(data=True), 1):
        where = f"{path}, edge {count}"
        if "start" not in edge or not {"end", "duration"} & edge.keys():
            raise InputError(where, f"has the attributes {', '.join(edge) or 'none'}", "start, and end or duration")
        given = {name: str(value) for name, value in edge.items()}
        ends = (str(graph.nodes[n].get("label", "")) for n in (u, v))
        times = _interval(given, where)
        rows.append(Row(given.get("network", ""), str(u), str(v), *ends, given.get("label", ""), *times, where))
    if not rows:
        raise InputError(path, "holds no temporal edges", "edges with start, and end or duration")
    return Database.of(rows, (), directed)
