"""What only the mining of interval graphs must do: the sharp checks of its sheet."""

import json
import warnings
import zipfile
from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.systems.structures.interval_graphs import bruteforce, formats, method, output, released, reproduce, search
from foveate.systems.structures.interval_graphs.canonical import canonical, pair
from foveate.systems.structures.interval_graphs.data import collegemsg, example, planted, random_networks
from foveate.systems.structures.interval_graphs.database import Database, Row, classify
from foveate.systems.structures.interval_graphs.graph import interval_graph, temporal_network
from foveate.systems.structures.interval_graphs.method import arrays, mine, threshold
from foveate.systems.structures.interval_graphs.snapshots import shown, snapshots

ISOS = ["e", "i", "es", "is"]


def networks(*several, directed=False):
    """Make a database of networks, each a list of (u, v, label, start, end); all node labels are alike."""
    rows = [
        Row(str(n), str(u), str(v), "a", "a", str(label), s, e, "here")
        for n, one in enumerate(several)
        for u, v, label, s, e in one
    ]
    return Database.of(rows, [str(n) for n in range(len(several))], directed)


def sizes(found):
    return [len(level) for level in found.levels.values()]


def write_text(db, path):
    """Write a database in the released package's format."""
    with path.open("w") as file:
        for name in db.networks:
            file.write(f"t # {name}\n")
            for r in db.rows():
                if r.network == name:
                    file.write(f"e {r.u} {r.v} {r.u_label} {r.label} {r.v_label} {r.start} {r.end - r.start}\n")
    return path


# --- the expected numbers, and completeness ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "iso", "theta", "counts"), reproduce.EXPECTED)
def test_released_examples_give_the_expected_patterns(name, iso, theta, counts):
    found = mine(example(name), 2, iso, theta=theta)
    assert sizes(found) == counts
    assert all(p.networks == (0, 1) and p.occurrences == 2 for p in found)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    iso=st.sampled_from(ISOS),
    open_ends=st.booleans(),
    max_edges=st.sampled_from([0, 1, 2, 4]),
    binned=st.sampled_from(
        [{"theta": 0.05}, {"theta": 0.6}, {"binning": "width", "nbins": 2}, {"binning": "frequency", "nbins": 3}]
    ),
)
def test_search_finds_what_trying_everything_finds(seed, iso, open_ends, max_edges, binned):
    db = random_networks(seed)
    options = {"open_ends": open_ends, **binned}
    found = mine(db, 2, iso, max_edges=max_edges, **options)
    expected = bruteforce.mine(db, 2, iso, max_edges=max_edges, **options)
    assert bruteforce.unmatched(bruteforce.Definitions(db, iso, **options), found, expected) == 0
    assert not found.stopped
    assert found.finished == found.seeds


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), iso=st.sampled_from(ISOS), keep=st.sampled_from(["closed", "maximal"]))
def test_closed_and_maximal_patterns_are_those_no_larger_one_makes_superfluous(seed, iso, keep):
    db = random_networks(seed)
    rules, everything = bruteforce.Definitions(db, iso), bruteforce.mine(db, 2, iso)

    def inside(small, large):
        parts = combinations(large.occurrence, len(small.occurrence))
        return len(small.occurrence) < len(large.occurrence) and any(
            rules.same(frozenset(small.occurrence), frozenset(part)) for part in parts
        )

    expected = [
        p for p in everything if not any(inside(p, q) and (keep == "maximal" or q.support == p.support) for q in everything)
    ]
    assert bruteforce.unmatched(rules, mine(db, 2, iso, keep=keep), expected) == 0


# --- isomorphism ------------------------------------------------------------------------------------------------------


def as_graph(rules, members):
    """Draw a pattern as an ordinary graph, for the isomorphism test of networkx."""
    graph = nx.DiGraph()
    for i in members:
        graph.add_node(("edge", i), kind=("edge", rules.label[i], rules.bin[i]))
        for side, node in enumerate(rules.ends[i]):
            graph.add_node(("node", node), kind="node")
            end = ("end", i, side)
            graph.add_node(end, kind=("end", rules.labels[i][side], side if rules.db.directed else 0))
            graph.add_edge(("edge", i), end, kind="end")
            graph.add_edge(end, ("node", node), kind="node")
    for i, j in combinations(members, 2):
        if rules.adjacent(i, j):
            for a, b in ((i, j), (j, i)):
                delta = rules.start[b] - rules.start[a]
                graph.add_edge(("edge", a), ("edge", b), kind=delta if rules.iso in ("e", "i") else (delta > 0) - (delta < 0))
    return graph


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), iso=st.sampled_from(ISOS))
def test_canonical_codes_are_equal_exactly_where_networkx_finds_an_isomorphism(seed, iso):
    db = random_networks(seed)
    rules, edges = bruteforce.Definitions(db, iso), arrays(db, classify(db, iso), iso)
    rng = np.random.default_rng(seed)
    found = [s for s in rules.connected(4) if len(s) in (3, 4)]
    for _ in range(min(12, len(found))):
        one, other = (sorted(found[rng.integers(len(found))]) for _ in range(2))
        if len(one) == len(other):
            codes = [canonical(search.spell(edges, np.array([s], np.int32))[0], len(s), edges.loose)[0] for s in (one, other)]
            alike = nx.is_isomorphic(
                as_graph(rules, one), as_graph(rules, other),
                node_match=lambda a, b: a["kind"] == b["kind"], edge_match=lambda a, b: a["kind"] == b["kind"],
            )  # fmt: skip
            assert np.array_equal(*codes) == alike


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 9), loose=st.booleans())
def test_canonical_code_does_not_depend_on_order_or_names(seed, k, loose):
    rng = np.random.default_rng(seed)
    ends = np.array([(0, i + 1) for i in range(k)] if seed % 3 else rng.integers(4, size=(k, 2)))
    cls, start = rng.integers(2, size=k), rng.integers(2, size=k) * (seed % 2)
    related = rng.integers(4, size=(k, k)) if seed % 5 == 0 else np.full((k, k), 2)

    def code(order, names, turned):
        made = np.zeros(4 * k + k * (k - 1) // 2, np.int64)
        for place, i in enumerate(order):
            a, b = names[ends[i]][:: -1 if turned[i] else 1]
            made[4 * place : 4 * place + 4] = cls[i], a, b, start[i]
        for p, q in combinations(range(k), 2):
            i, j = order[p], order[q]
            value = related[min(i, j), max(i, j)]
            made[pair(k, p, q)] = value if i < j or not value else 4 - value
        return made

    several = [code(rng.permutation(k), rng.permutation(k + 4), loose & (rng.random(k) < 0.5)) for _ in range(3)]
    # Node names are numbered from 0 in a code.
    numbered = []
    for one in several:
        seen = {}
        for place in range(k):
            for side in (1, 2):
                one[4 * place + side] = seen.setdefault(int(one[4 * place + side]), len(seen))
        numbered.append(one)
    found, places = canonical(np.array(numbered), k, np.array([loose, loose]))
    assert (found == found[0]).all()
    assert (np.sort(places, axis=1) == np.arange(k)).all()


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        # Triangle and star: their line graphs are one.
        ([(0, 1, 1, 0, 9), (1, 2, 1, 0, 9), (0, 2, 1, 0, 9)], [(0, 1, 1, 0, 9), (0, 2, 1, 0, 9), (0, 3, 1, 0, 9)], [1, 1]),
        # Two parallel edges and a path.
        ([(0, 1, 1, 0, 9), (0, 1, 1, 2, 11)], [(0, 1, 1, 0, 9), (1, 2, 1, 2, 11)], [1]),
        # A chain in time whose ends share a node, and one whose ends do not.
        ([(0, 1, 1, 0, 5), (1, 2, 1, 4, 9), (2, 0, 1, 8, 13)], [(0, 1, 1, 0, 5), (1, 2, 1, 4, 9), (2, 3, 1, 8, 13)], [1, 1]),
    ],
)
@pytest.mark.parametrize("iso", ISOS)
def test_node_identity_counts(one, other, shared, iso):
    assert sizes(mine(networks(one, other), 2, iso)) == shared
    assert len(mine(networks(one, one), 2, iso).levels) == len(one)


def test_directed_edges_differ_by_direction_and_undirected_ones_do_not():
    one, other = [(0, 1, 1, 0, 9), (1, 2, 1, 3, 9)], [(0, 1, 1, 0, 9), (2, 1, 1, 3, 9)]
    assert sizes(mine(networks(one, other), 2)) == [2, 1]
    assert sizes(mine(networks(one, other, directed=True), 2)) == [2]


def test_closed_intervals_touch_and_open_ones_do_not():
    touching = [(0, 1, 1, 0, 5), (1, 2, 2, 5, 9)]
    assert sizes(mine(networks(touching), 1)) == [2, 1]
    assert sizes(mine(networks(touching), 1, open_ends=True)) == [2]


def test_equal_starts_are_simultaneous_whatever_their_order_in_the_file():
    one, two = (0, 1, 1, 0, 9), (1, 2, 2, 0, 9)
    for iso in ISOS:
        assert sizes(mine(networks([one, two], [two, one]), 2, iso)) == [2, 1]
    later = (1, 2, 2, 1, 10)
    assert sizes(mine(networks([one, two], [one, later]), 2, "es")) == [2]


def test_bins_change_classes_but_not_overlaps():
    # All durations share a bin; the second pair overlaps and the first does not, as their own durations say.
    apart, near = [(0, 1, 1, 0, 10), (1, 2, 1, 12, 22)], [(0, 1, 1, 0, 13), (1, 2, 1, 12, 22)]
    assert sizes(mine(networks(apart, near), 2, "i", theta=0.5)) == [1]
    assert sizes(mine(networks(near, near), 2, "i", theta=0.5)) == [1, 1]


def test_support_counts_networks_and_not_occurrences():
    twice = [(0, 1, 1, 0, 9), (2, 3, 1, 0, 9)]
    (pattern,) = mine(networks(twice, twice[:1], []), 2)
    assert (pattern.support, pattern.occurrences, pattern.networks) == (2, 3, (0, 1))
    assert not mine(networks(twice), 2)
    assert [threshold(s, 28) for s in (0.1, 0.25, 1, 3.0)] == [3, 7, 1, 3]
    for wrong in (0, -1, 1.5, float("nan")):
        with pytest.raises(InputError):
            threshold(wrong, 5)


# --- the graph --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), open_ends=st.booleans())
def test_interval_graph_is_right_and_loses_no_time(seed, open_ends):
    made = random_networks(seed)
    db = Database.of([r for r in made.rows() if r.network == "0"], ["0"], made.directed)
    rules = bruteforce.Definitions(db, open_ends=open_ends)
    graph = interval_graph(db, open_ends)
    expected = {frozenset(db.row[[i, j]].tolist()) for i, j in combinations(range(len(db)), 2) if rules.adjacent(i, j)}
    assert {frozenset(p) for p in graph.pairs.tolist()} == expected
    assert len(expected) == len(graph.pairs)
    assert (graph.delta >= 0).all()
    rows, component = temporal_network(graph)
    assert interval_graph(Database.of(rows, [""], db.directed), open_ends) == graph
    shift = np.array([int(r.start) for r in rows], np.int64) - db.start[np.argsort(db.row)]
    assert all(len(set(shift[component == c])) == 1 for c in set(component.tolist()))


def test_incidence_tells_which_ends_meet():
    graph = interval_graph(networks([(0, 1, 1, 0, 9), (2, 1, 1, 3, 9), (1, 2, 1, 4, 9)], directed=True))
    codes = {tuple(p): graph.incidence(i) for i, p in enumerate(graph.pairs.tolist())}
    assert codes == {(0, 1): ["22"], (0, 2): ["21"], (1, 2): ["12", "21"]}


# --- the released package ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("iso", "trials"), [("e", 60), ("i", 15), ("es", 15), ("is", 15)])
def test_compat_counts_what_the_released_package_counts_and_strict_lists_the_difference(tmp_path, iso, trials):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's, not ours
        import tempowork
    wrong = 0
    for seed in range(trials):
        made = random_networks(seed, directed=False)
        rows = [r for r in made.rows() if r.u != r.v]  # loops would be adjacent to themselves there
        db = Database.of(rows, made.networks)
        try:
            theirs = tempowork.frequent(str(write_text(db, tmp_path / "db.txt")), 2, isomorphism=iso).frequent_cntr
        except (KeyError, IndexError):
            with pytest.raises(InputError, match="stops with an error"):
                released.mine(db, 2, iso)
            continue
        reported, exact = released.mine(db, 2, iso), mine(db, 2, iso)
        assert len(reported) == theirs
        spurious, missed = released.difference(db, exact, reported, iso)
        assert len(reported) - len(spurious) + len(missed) == len(exact)
        wrong += len(spurious) + len(missed)
    assert wrong > 0


# --- planted patterns and snapshots -----------------------------------------------------------------------------------


def test_planted_patterns_are_found_by_the_isomorphisms_that_tolerate_their_noise():
    recalls = {}
    for starts, durations in ((0, 0), (0, 0.03), (1.5, 0.03)):
        made = planted(3, networks=30, edges=100, start_jitter=starts, duration_jitter=durations)
        for iso in ISOS:
            recalls[iso, starts, durations] = reproduce._scores(made.db, mine(made.db, 0.3, iso), iso, made.copies)[0]
    assert all(recalls[iso, 0, 0] == 1 for iso in ISOS)
    assert recalls["i", 0, 0.03] >= 0.9 > 0.2 > recalls["e", 0, 0.03]
    assert recalls["is", 1.5, 0.03] >= 0.9 > 0.2 > max(recalls[iso, 1.5, 0.03] for iso in ("e", "i", "es"))


def test_snapshots_keep_patterns_only_where_windows_do_not_cut_them_differently():
    template = [(0, 1, 1, 0, 12), (1, 2, 1, 7, 15), (1, 3, 1, 10, 14)]
    db = networks(*([(u, v, label, s + shift, e + shift) for u, v, label, s, e in template] for shift in (0, 3, 5, 17)))
    copies = np.arange(12, dtype=np.int32).reshape(4, 3)
    found = {}
    for width in (1, 10):
        cut = snapshots(db, width, 16)
        found[width] = mine(cut.db, 4)
        assert [len(s) for s in shown(cut, copies)] == [3] * 4
    assert 3 in found[1].levels
    assert 3 not in found[10].levels


# --- limits and resuming ----------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_seed_by_seed_and_ends_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(method, "KEPT", 50)
    db = planted(0, networks=20, edges=80).db
    whole = mine(db, 0.2, "is", max_edges=4)
    done, searched, grow = [], [], method.Search.grow

    def stop(count, more=0):
        done.append(count)
        if len(done) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(method.Search, "grow", lambda self, a, b: searched.append((a, b)) or grow(self, a, b))
    with pytest.raises(KeyboardInterrupt):
        mine(db, 0.2, "is", max_edges=4, checkpoint=tmp_path / "kept", tick=stop)
    before = list(searched)
    searched.clear()
    resumed = mine(db, 0.2, "is", max_edges=4, checkpoint=tmp_path / "kept")
    assert before
    assert searched
    assert not set(before) & set(searched)
    assert list(resumed) == list(whole)
    assert resumed.finished == whole.seeds
    with pytest.raises(InputError, match="another network or other options"):
        mine(db, 0.3, "is", max_edges=4, checkpoint=tmp_path / "kept")
    next((tmp_path / "kept").glob("*.npz")).write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="is broken"):
        mine(db, 0.2, "is", max_edges=4, checkpoint=tmp_path / "kept")


@pytest.mark.parametrize("limit", [{"megabytes": 1}, {"seconds": 1e-9}])
def test_what_is_found_within_limits_is_right(limit):
    crowd = [(0, i, 1, 0, 9) for i in range(1, 16)]  # all sets of edges are connected
    fine = [(100, 101, 2, 0, 9), (101, 102, 3, 0, 9), (102, 103, 4, 0, 9)]
    db = networks(crowd + fine, crowd + fine)
    whole = {(p.networks, p.occurrences) for p in mine(networks(fine, fine), 2)}
    found = mine(db, 2, **limit)
    assert found.stopped == ("memory" if "megabytes" in limit else "time")
    assert found.finished < found.seeds
    assert all(p.support == 2 for p in found)
    if "megabytes" in limit:  # the other seeds are finished
        assert whole <= {(p.networks, p.occurrences) for p in found}
        assert 3 in {len(p.occurrence) for p in found if p.occurrences == 2}


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "line", "wrong"),
    [
        ("a.dat", "0 5 a b\n9 7 a c\n", 2, "ends at 7, before it starts at 9"),
        ("a.csv", "network,u,v,start,end\n0,1,2,5,6\n0,1,2,5,4\n", 3, "ends at 4, before it starts at 5"),
        ("a.txt", "t # 0\ne 0 1 1 1 1 5 -1\n", 2, "duration is -1"),
        ("a.txt", "t # 0\ne 0 1 1 1 1 x 3\n", 2, "start 'x' is no time"),
        ("a.txt", "t # 0\ne 0 1 1 1 5 3\n", 2, "neither a network nor an edge"),
        ("a.txt", "e 0 1 1 1 1 5 1\n", 1, "an edge before any network"),
        ("a.txt", "t # 0\nt # 0\n", 2, "begins no new network"),
        ("a.txt", "t # 0\nsome text\n", 2, "neither a network nor an edge"),
        ("a.txt", "t # 0\ne 0 1 1 1 1 0.00000000001 3\n", 2, "too fine"),
        ("a.txt", "t # 0\ne 0 1 1 1 1 9000000000000000000 3\n", 2, "too large"),
        ("a.txt", "t # 0\ne 0 1 1 1 1 nan 3\n", 2, "is no time"),
        ("a.dat", "20 a b\n40 a b c\n", 2, "has 4 columns"),
        ("a.dat", "20 a b\nnoon a b\n", 2, "time 'noon' is no time"),
        ("a.csv", "u,v,start\n1,2,3\n", 1, "no end or duration"),
        ("a.csv", "u,v,start,end\n1,2,3\n", 2, "another number of columns"),
        ("a.csv", "u,v,start,end\n,2,3,4\n", 2, "a node has no name"),
    ],
)
def test_wrong_lines_are_refused_with_file_and_line(tmp_path, capsys, name, text, line, wrong):
    path = tmp_path / name
    path.write_text(text)
    assert main(["run", "interval_graphs", str(path), "--out", str(tmp_path / "out")]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path}:{line}: " in said
    assert wrong in said
    assert not (tmp_path / "out").exists()


def test_contacts_become_intervals(tmp_path):
    path = tmp_path / "contacts.dat"
    path.write_text("# t i j Ci Cj\n40\tb\ta\tX\tY\n20 a b Y X\n100 a b Y X\n\n20 a c Y Z\n")
    db = formats.read(path)
    found = {(r.u, r.v, r.u_label, r.v_label, r.start, r.end) for r in db.rows()}
    assert found == {("a", "b", "Y", "X", 0, 40), ("a", "b", "Y", "X", 80, 100), ("a", "c", "Y", "Z", 0, 20)}
    path.write_text("a b 0\na b 1500\na b 4000\n")
    rows = formats.read(path, columns="i j t", resolution=0, gap=1800, least=60).rows()
    assert [(r.start, r.end) for r in rows] == [(0, 1500), (4000, 4060)]
    path.write_text("I J start end\na b 3 9\n")
    assert [(r.u, r.start, r.end) for r in formats.read(path).rows()] == [("a", 3, 9)]


def test_formats_agree_and_order_decimals_and_labels_may_vary(tmp_path):
    db = planted(1, networks=5, edges=30).db
    table = foveate.run("interval_graphs", action="sample", name="seq_exact")["networks"]
    table.write(tmp_path / "a.csv")
    expected = list(mine(example("seq_exact"), 2, "es"))
    assert list(mine(formats.read(tmp_path / "a.csv"), 2, "es")) == expected
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text().replace(",", ";"))
    assert list(mine(formats.read(tmp_path / "b.csv"), 2, "es")) == expected
    text = write_text(db, tmp_path / "a.txt")
    counted = [(p.networks, p.occurrences) for p in mine(db, 2)]
    assert [(p.networks, p.occurrences) for p in mine(formats.read(text), 2)] == counted
    # The same edges in another order and in tenths.
    lines = text.read_text().splitlines()
    blocks = [i for i, line in enumerate(lines) if line.startswith("t")] + [len(lines)]
    mixed = []
    for a, b in pairwise(blocks):
        edges = [line.split() for line in lines[a + 1 : b]][::-1]
        mixed += [lines[a], *(" ".join([*w[:-2], str(int(w[-2]) / 10), str(int(w[-1]) / 10)]) for w in edges)]
    (tmp_path / "mixed.txt").write_text("\n".join(mixed))
    tenths = formats.read(tmp_path / "mixed.txt")
    assert tenths.scale == 10
    assert sorted((p.networks, p.occurrences) for p in mine(tenths, 2)) == sorted(counted)
    (tmp_path / "plain.txt").write_text("t # 0\ne 0 1 0 5\ne 1 2 3 5\nt # 1\nt # 2\ne 5 6 3 5\ne 4 5 0 5\n")
    plain = formats.read(tmp_path / "plain.txt")
    assert (len(plain.networks), sizes(mine(plain, 2))) == (3, [1, 1])


def test_networks_are_cut_and_times_rounded():
    db = networks([(0, 1, 1, 0, 9), (1, 2, 1, 3, 9), (0, 1, 1, 101, 110), (1, 2, 1, 104, 110)])
    halves = db.cut(100)
    assert halves.networks == ("0/0", "0/1")
    assert sizes(mine(halves, 2)) == [2, 1]
    assert sorted(halves.rounded(10).start.tolist()) == [0, 0, 100, 100]
    with pytest.raises(InputError):
        db.cut(0.1)


def test_graphml_of_networkx_is_read(tmp_path):
    graph = nx.MultiDiGraph()
    graph.add_node("x", label="A")
    graph.add_edge("x", "y", start=0.5, duration=2)
    graph.add_edge("x", "y", start=1, end=4, label="call", network="other")
    nx.write_graphml_xml(graph, tmp_path / "g.graphml")
    rows = formats.read(tmp_path / "g.graphml").rows()
    assert {(r.network, r.u_label, r.label, float(r.start), float(r.end)) for r in rows} == {
        ("", "A", "", 0.5, 2.5),
        ("other", "A", "call", 1, 4),
    }
    (tmp_path / "cut.graphml").write_bytes((tmp_path / "g.graphml").read_bytes()[:200])
    with pytest.raises(InputError, match="is no GraphML"):
        formats.read(tmp_path / "cut.graphml")


def test_collegemsg_by_week():
    db = collegemsg()
    assert len(db.networks) == 28
    assert len(set(db.nodes)) == 1899
    assert (db.duration >= 1).all()
    assert len(db.node_labels) == 3
    assert 30_000 < len(db) < 59_835
    found = mine(db, 0.1, max_edges=2)
    assert found.least == 3
    assert len(found.levels[2]) > 100


# --- what a user gets -------------------------------------------------------------------------------------------------


def test_run_writes_patterns_graphs_drawing_and_summary(tmp_path, capsys):
    path = write_text(example("exact"), tmp_path / "db.txt")
    assert (
        main(["run", "interval_graphs", str(path), "--supp", "2", "--iso", "e", "--compat", "--out", str(tmp_path / "out")])
        == 0
    )
    capsys.readouterr()
    listed = [json.loads(line) for line in (tmp_path / "out" / "db_patterns.jsonl").read_text().splitlines()]
    assert [p["size"] for p in listed] == [1] * 4 + [2] * 5 + [3] * 4 + [4]
    assert all(p["support"] == 2 and p["networks"] == ["0", "1"] for p in listed)
    last = listed[-1]
    assert [(e["label"], e["start"], e["duration"]) for e in last["edges"]] == [
        ("1", 0, 80),
        ("3", 20, 70),
        ("2", 30, 60),
        ("4", 60, 40),
    ]
    assert [e["nodes"] for e in last["edges"]] == [[0, 1], [1, 2], [0, 2], [1, 3]]
    assert last["occurrence"] == {"network": "0", "start": 0, "edges": [0, 1, 2, 3], "nodes": ["0", "1", "2", "3"]}
    with zipfile.ZipFile(tmp_path / "out" / "db_graphs.zip") as archive:
        assert len(archive.namelist()) == 14
        (tmp_path / "p.graphml").write_bytes(archive.read("pattern_00014.graphml"))
    graph = nx.read_graphml(tmp_path / "p.graphml", force_multigraph=True)
    assert sorted(d["start"] for _, _, d in graph.edges(data=True)) == [0, 20, 30, 60]
    # A pattern is a network, so it can be mined itself.
    assert sizes(mine(formats.read(tmp_path / "p.graphml"), 1)) == [4, 5, 4, 1]
    summary = json.loads((tmp_path / "out" / "db_summary.json").read_text())
    assert summary["patterns_by_size"] == {"1": 4, "2": 5, "3": 4, "4": 1}
    assert (summary["released_package"]["reported"], summary["released_package"]["true"]) == (14, 14)


def test_sequences_tell_the_order_of_starts():
    db = networks([(0, 1, 1, 0, 9), (1, 2, 2, 0, 9), (2, 3, 3, 4, 9)])
    found = mine(db, 1, "es")
    *_, last = output.described(db, found, "es", found)
    assert last["together"] == [[0, 1]]
    assert last["order"] == [[1, 2]]


@pytest.mark.parametrize(
    "options",
    [{"supp": 1.5}, {"theta": -1.0}, {"nbins": 0}, {"max_edges": -1}, {"columns": "t who whom"}, {"cut": 1e-12}, {"draw": 99}],
)
def test_wrong_options_are_refused(tmp_path, options):
    (tmp_path / "a.dat").write_text("20 a b\n")
    with pytest.raises(InputError):
        foveate.run("interval_graphs", tmp_path / "a.dat", **options)
