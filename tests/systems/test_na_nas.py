"""What only na_nas must do: the sharp checks of its sheet."""

import csv
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn import functional

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts.counting import parameters
from foveate.systems.efficiency.na_nas import fitting, reproduce, table
from foveate.systems.efficiency.na_nas.data import Folder, SampleHalves
from foveate.systems.efficiency.na_nas.examples import layout
from foveate.systems.efficiency.na_nas.method import CellNetwork, Supernet
from foveate.systems.efficiency.na_nas.neighbourhood import (
    AGGREGATES,
    Neighbourhood,
    architecture_step,
    distance,
    mixed,
    moved,
)
from foveate.systems.efficiency.na_nas.search import Scores, search
from foveate.systems.efficiency.na_nas.spaces import SPACES
from foveate.systems.efficiency.na_nas.train import Searching

NANO, NB201, DARTS = SPACES["nano"], SPACES["nb201"], SPACES["darts"]
DARTS_V2 = (
    "|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~1|skip_connect~0|+|skip_connect~0|dil_conv_3x3~2|"
    "/|max_pool_3x3~0|max_pool_3x3~1|+|skip_connect~2|max_pool_3x3~1|+|max_pool_3x3~0|skip_connect~2|+|skip_connect~2|max_pool_3x3~1|"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path_factory.mktemp("cache")))


def run(*arguments, status=0):
    assert main(["run", "na_nas", *map(str, arguments)]) == status


def rows(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def any_cell(space):
    return st.tuples(*[st.integers(0, len(space.operations) - 1)] * space.edges)


# ---------------------------------------------------------------------------------------------------------------------
# spaces
# ---------------------------------------------------------------------------------------------------------------------


def test_space_info_counts_neighbours_and_cells_that_let_nothing_through(tmp_path):
    run("info", "--out", tmp_path)
    found = {row["space"]: row for row in rows(tmp_path / "na_nas_spaces.csv")}
    expected = {
        "nb201": {"cells": 15625, "at_1": 24, "at_2": 240, "ball_1": 25, "ball_2": 265, "unconnected": 341},
        "nano": {"cells": 125, "at_1": 12, "at_2": 48, "at_3": 64, "unconnected": 9},
        "nano6": {"cells": 729, "at_1": 12, "at_2": 60, "unconnected": 67},
        "darts": {"edges": 28, "at_1": 196},
    }
    for name, counts in expected.items():
        assert {column: int(found[name][column]) for column in counts} == counts


@pytest.mark.parametrize("name", ["nano", "nano6"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_neighbours_are_all_cells_that_differ_on_so_many_edges(name, d):
    space = SPACES[name]
    cell = space.draw(np.random.default_rng(d))
    expected = {c for c in space.every() if 0 < sum(a != b for a, b in zip(c, cell, strict=True)) <= d}
    found = space.neighbours(cell, d)
    assert set(found) == expected
    assert len(found) == len(expected) == space.count(d)


def test_neighbours_are_drawn_without_replacement_and_uniformly():
    rng, drawn = np.random.default_rng(0), []
    for _ in range(600):
        changes = DARTS.draw_changes(3, 1, rng)
        assert len(set(changes)) == 3
        drawn += changes
    counts = np.unique([e * 8 + s for ((e, s),) in drawn], return_counts=True)[1]
    assert len(counts) == 196
    assert counts.max() < 30  # 9.2 on average
    assert len(DARTS.draw_changes(5, 3, rng)) == 5  # out of more than a million
    assert NANO.draw_changes(12, 1, rng) == NANO.changes(1)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(SPACES.values())).flatmap(lambda s: st.tuples(st.just(s), any_cell(s))))
def test_cells_go_through_text(case):
    space, cell = case
    text = space.text(cell)
    if space.inputs == 1 or "||" not in text:
        assert space.parse(text) == cell


@pytest.mark.parametrize(
    ("space", "text", "says"),
    [
        (NANO, "|nor_conv_3x3~0|+|none~0|conv_7x7~1|", "column 26: unknown operation 'conv_7x7'"),
        (NANO, "|nor_conv_3x3~0|+|none~0|", "column 18: node 2 has 1 edges"),
        (NANO, "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|", "column 1: 3 nodes"),
        (NANO, "|nor_conv_3x3~0|+|none~0|none~2|", "column 26: the edge 'none~2' comes from node '2'"),
        (NANO, "nor_conv_3x3~0|+|none~0|none~1|", "column 1:"),
        (DARTS, DARTS_V2.replace("max_pool_3x3~1|+|max", "max_pool_3x3~2|+|max"), "comes from node '2'"),
        (DARTS, DARTS_V2.partition("/")[0], "column 1: 1 cell"),
        (DARTS, DARTS_V2.replace("/|max_pool_3x3~0", "/|maxpool~0"), "column 130: unknown operation 'maxpool'"),
    ],
)
def test_a_wrong_cell_is_refused_at_its_column(space, text, says, tmp_path):
    with pytest.raises(InputError) as error:
        space.parse(text)
    assert says in str(error.value)
    (tmp_path / "arch.json").write_text(json.dumps({"cell": text, "space": space.name}))
    with pytest.raises(InputError, match=r"arch\.json"):
        foveate.run("na_nas", tmp_path / "arch.json", tmp_path, action="train_final")


def test_a_cell_is_connected_if_a_path_is():
    space = SPACES["nano6"]
    for cell in space.every():
        graph = nx.DiGraph([pair for pair, operation in zip(space.pairs, cell, strict=True) if operation])
        graph.add_nodes_from((0, 3))
        assert space.connected(cell) == nx.has_path(graph, 0, 3)


def test_cells_that_compute_the_same_are_told():
    function = {text: NANO.function(NANO.parse(text)) for text in (
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|", "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|",
        "|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|", "|nor_conv_3x3~0|+|skip_connect~0|skip_connect~1|",
        "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|",
    )}  # fmt: skip
    first, second, third, fourth, fifth = function.values()
    assert first == second == third == "nor_conv_3x3(x0)"
    assert fourth == fifth == "nor_conv_3x3(x0)+x0"


@pytest.mark.parametrize(("operation", "count"), [(3, 1_531_546), (2, 241_306), (1, 73_306)])
def test_sizes_of_nas_bench_201(operation, count):
    with torch.device("meta"):
        assert parameters(CellNetwork(NB201.text((operation,) * 6))) == count


def test_sizes_of_darts():
    with torch.device("meta"):
        supernet = Supernet()
        assert sum(p.numel() for p in supernet.weights()) == 1_930_618
        assert supernet.alpha.numel() == 2 * 14 * 8
        assert parameters(CellNetwork(DARTS_V2, "darts", 36, 20)) == 3_349_342
        network = CellNetwork(DARTS_V2, "darts", 48, 14, 1000, auxiliary=True, stem="imagenet").train()
        logits, extra = network.with_auxiliary(torch.empty(2, 3, 224, 224))
        assert logits.shape == extra.shape == (2, 1000)


def test_darts_keeps_the_two_strongest_edges_of_a_node_and_never_none():
    torch.manual_seed(0)
    supernet = Supernet(width=4, cells=3)
    with torch.no_grad():
        supernet.alpha.normal_()
        supernet.alpha[:, 0] += 10
    cell = supernet.derived()
    weights = supernet.alpha.detach().softmax(1)[:, 1:].max(1).values
    for kind, target in itertools.product(range(2), range(2, 6)):
        edges = [14 * kind + i for i, pair in enumerate(DARTS.pairs) if pair[1] == target]
        kept = [e for e in edges if cell[e]]
        assert sorted(kept) == sorted(sorted(edges, key=lambda e: -weights[e])[:2])
    small = Supernet("nano6", 2, 1)
    with torch.no_grad():
        small.alpha.copy_(torch.tensor([[9.0, 1.0, 2.0]] * 3 + [[9.0, 2.0, 1.0]] * 3))
    assert small.derived() == (2, 2, 2, 1, 1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# the neighbourhood
# ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=2, max_size=7, unique=True), st.sampled_from(AGGREGATES), st.booleans())
def test_aggregates_and_their_slopes(values, aggregate, include_self):
    losses = np.array(values)
    around = Neighbourhood(aggregate, neighbours=len(values) - 1, include_self=include_self)
    kept = losses if include_self else losses[1:]
    slow = {
        "self": losses[0], "mean": sum(kept) / len(kept), "median": sorted(kept)[len(kept) // 2], "worst": max(kept),
        "mean-std": np.mean(kept) + np.sqrt(np.mean((kept - np.mean(kept)) ** 2)),
    }  # fmt: skip
    if aggregate != "median" or len(kept) % 2:
        assert float(around.value(losses, 50)) == pytest.approx(float(slow[aggregate]))
    gaps = np.abs(losses[:, None] - losses)[~np.eye(len(losses), dtype=bool)]
    if gaps.min() > 1e-3:
        measured = [
            (around.value(losses + step, 50) - around.value(losses - step, 50)) / 2e-6 for step in 1e-6 * np.eye(len(losses))
        ]
        np.testing.assert_allclose(around.slopes(losses, 50), measured, atol=1e-5)


def test_the_unbiased_estimate_is_the_exact_mean_on_average_and_the_plain_one_is_not():
    errors = np.random.default_rng(0).random(13)
    total, drawn = 12, 3
    exact = Neighbourhood("mean", expectation="exact").value(errors, total)
    assert exact == pytest.approx(errors.mean())
    means = {}
    for expectation in ("unbiased", "sampled"):
        around = Neighbourhood("mean", neighbours=drawn, expectation=expectation)
        draws = itertools.combinations(range(1, 13), drawn)
        means[expectation] = np.mean([around.value(errors[[0, *some]], total) for some in draws])
    assert means["unbiased"] == pytest.approx(exact)
    assert abs(means["sampled"] - exact) > 1e-3  # the centre counts for a quarter there
    with pytest.raises(InputError, match="no unbiased"):
        Neighbourhood("worst", expectation="unbiased")


@settings(max_examples=20, deadline=None)
@given(any_cell(SPACES["nano6"]), st.integers(0, 231))
def test_on_one_hot_rows_a_relaxed_neighbour_is_the_discrete_one(cell, number):
    space = SPACES["nano6"]
    change = space.change(number, 3)
    mixing = functional.one_hot(torch.tensor(cell), 3).double()
    other = space.changed(cell, change)
    assert torch.equal(moved(mixing, change), functional.one_hot(torch.tensor(other), 3).double())
    assert distance(mixing, moved(mixing, change)) == len(change)
    halfway = mixed(mixing, change, [0.5] * len(change))
    assert distance(mixing, halfway) == pytest.approx(len(change) / 2)
    assert torch.equal(mixed(mixing, change, [1.0] * len(change)), moved(mixing, change))


def test_all_shifts_of_an_edge_average_to_what_it_does_not_weigh():
    mixing = torch.rand(6, 3, dtype=torch.float64).softmax(1)
    mean = torch.stack([moved(mixing, ((2, shift),))[2] for shift in (1, 2)]).mean(0)
    torch.testing.assert_close(mean, (1 - mixing[2]) / 2)


def test_relaxed_neighbours_are_the_discrete_ones_in_the_limit_and_gradients_are_right():
    found = reproduce.relaxation(0, "quick")
    assert found["neighbours"]["error"] < 1e-4
    assert found["gradient"]["error"] < 1e-5


def test_without_neighbours_the_search_is_darts_bit_for_bit():
    found = reproduce.plain(0, "quick")
    assert found["self"]["differing"] == found["k0"]["differing"] == 0
    assert found["na"]["differing"] > 0


def test_an_architecture_step_passes_the_supernet_once_for_each_neighbour_and_itself():
    supernet = Supernet("nano6", 2, 1, 3)
    batch = torch.rand(4, 3, 8, 8), torch.arange(4) % 3
    passes = []
    supernet.stack.register_forward_hook(lambda *_: passes.append(1))
    for around, count in (
        (Neighbourhood("self"), 1),
        (Neighbourhood("mean", neighbours=4), 5),
        (Neighbourhood("mean", expectation="exact"), 13),
        (Neighbourhood("worst", d=2, expectation="exact"), 73),
    ):
        passes.clear()
        step = architecture_step(supernet, batch, around, np.random.default_rng(0))
        assert len(passes) == len(step.losses) == count
    assert step.value == step.losses.max()
    assert all(p.grad is None for p in supernet.parameters())


def test_exact_gradient_is_the_mean_of_all_sampled_ones():
    torch.manual_seed(0)
    supernet = Supernet("nano6", 2, 1, 3).double()
    batch = torch.rand(4, 3, 8, 8, dtype=torch.float64), torch.arange(4) % 3
    exact = architecture_step(supernet, batch, Neighbourhood("mean", expectation="exact"), np.random.default_rng(0))
    loss = sum(
        functional.cross_entropy(supernet(batch[0], moved(supernet.probabilities(), change)), batch[1])
        for change in [(), *supernet.space.changes(1)]
    )
    (expected,) = torch.autograd.grad(loss / 13, supernet.alpha)
    torch.testing.assert_close(exact.gradient, expected)


def test_second_order_is_the_slope_of_the_unrolled_loss():
    torch.manual_seed(0)
    supernet = Supernet("nano6", 2, 1, 3).double()
    with torch.no_grad():
        supernet.alpha.mul_(500)
    training, validation = ((torch.rand(6, 3, 8, 8, dtype=torch.float64), torch.arange(6) % 3) for _ in range(2))
    around, rate = Neighbourhood("mean-std", neighbours=2), 0.05
    velocity = [torch.randn_like(p) for p in supernet.weights()]
    options = {"training": training, "rate": rate, "velocity": velocity, "decay": 0.01, "momentum": 0.9}
    gradient = architecture_step(supernet, validation, around, np.random.default_rng(3), **options).gradient
    changes = around.draw(supernet.space, np.random.default_rng(3))

    def unrolled():
        loss = functional.cross_entropy(supernet(training[0]), training[1])
        slopes = torch.autograd.grad(loss, supernet.weights())
        names = [name for name, _ in supernet.named_parameters() if name != "alpha"]
        stepped = {
            n: w.detach() - rate * (g + 0.01 * w.detach() + 0.9 * v)
            for n, w, g, v in zip(names, supernet.weights(), slopes, velocity, strict=True)
        }
        losses = [
            float(functional.cross_entropy(functional_call(supernet, stepped, (validation[0], m)), validation[1]).detach())
            for m in (moved(supernet.probabilities(), change) for change in [(), *changes])
        ]
        return float(around.value(np.array(losses), 12))

    for place in ((0, 1), (3, 2), (5, 1)):
        values = []
        for side in (1e-6, -1e-6):
            with torch.no_grad():
                supernet.alpha[place] += side
            values.append(unrolled())
            with torch.no_grad():
                supernet.alpha[place] -= side
        assert float(gradient[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# search among cells
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path):
    """A table whose errors are drawn."""
    rng = np.random.default_rng(0)
    cells = {NANO.text(c): {"search": rng.random(3).tolist(), "test": rng.random(2).tolist()} for c in NANO.every()}
    path = tmp_path / "made_up.json"
    table.write_table(path, NANO, cells, {"data": "made up"})
    return path


def test_the_embedded_table_is_searched_in_seconds(tmp_path):
    run("search", "--method", "na-rs", "--space", "nano", "--table", table.EMBEDDED, "--out", tmp_path)
    arch = json.loads((tmp_path / "na_nas_arch.json").read_text())
    cell = NANO.parse(arch["cell"])
    flat = rows(tmp_path / "na_nas_flatness.csv")
    assert {NANO.parse(row["cell"]) for row in flat} == set(NANO.neighbours(cell))
    found = table.read_table()
    near = 1 - found.search.mean(1)[[found.row(c) for c in (cell, *NANO.neighbours(cell))]]
    assert arch["aggregated"] == pytest.approx(near.mean())
    assert arch["flatness"]["all"]["worst"] == pytest.approx(near[1:].max())
    assert "digraph" in (tmp_path / "na_nas_graph.dot").read_text()


def test_the_embedded_table_is_whole_and_says_how_its_settings_are_related():
    found = table.read_table()
    assert found.search.shape == (125, 3)
    said = json.loads(table.EMBEDDED.read_text())
    assert found.rank_correlation() == pytest.approx(said["rank_correlation_by_noise"][str(said["noise"])], abs=1e-4)
    assert np.all(found.test[~found.connected] == 0.1)


def test_the_builder_of_the_table_goes_on_where_it_stopped(tmp_path, monkeypatch):
    space = SPACES["nano6"]
    cells = [(0,) * 6, (2, 0, 0, 0, 0, 0), (1, 0, 2, 0, 0, 1)]
    monkeypatch.setattr(type(space), "every", lambda self: iter(cells))
    monkeypatch.setattr(table, "SETTINGS", {"search": table.Setting(2, 1, 1, 50, 2), "test": table.Setting(2, 1, 1, 50, 2)})
    trained, calls = table.trained, []

    def breaking(cell, *rest):
        calls.append(cell)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return trained(cell, *rest)

    whole = table.build(space, tmp_path / "whole")
    monkeypatch.setattr(table, "trained", breaking)
    with pytest.raises(KeyboardInterrupt):
        table.build(space, tmp_path / "broken")
    again = table.build(space, tmp_path / "broken")
    for text, entry in whole.items():
        assert {k: again[text][k] for k in ("search", "test", "macs")} == {k: entry[k] for k in ("search", "test", "macs")}
    assert whole[space.text(cells[0])]["test"] == [[0.1] * 4] * 2
    assert table.at_level(whole, 1)[space.text(cells[1])]["test"] == [s[1] for s in whole[space.text(cells[1])]["test"]]


def test_a_cell_is_scored_once_however_often_it_is_asked_for(made_up, tmp_path):
    found = table.read_table(made_up)
    calls = []

    def evaluate(cell):
        calls.append(cell)
        return 1 - float(found.search.mean(1)[found.row(cell)])

    outcome = search(NANO, Scores(evaluate), Neighbourhood("mean", neighbours=12), rng=np.random.default_rng(0))
    assert len(calls) == len(set(calls)) == outcome.tried[-1].unique
    assert outcome.scores.asked == 20 * 13
    run("search", "--table", made_up, "--out", tmp_path)
    log = rows(tmp_path / "na_nas_log.csv")
    assert len(log) == 260
    assert sum(row["new"] == "True" for row in log) == int(log[-1]["unique"]) == len(calls)
    assert list(dict.fromkeys(NANO.parse(row["cell"]) for row in log)) == calls


def test_random_search_has_the_same_candidates_with_and_without_neighbours(made_up):
    found = table.read_table(made_up)
    outcomes = [
        search(NANO, Scores(lambda c: float(found.search[found.row(c), 0])), around, rng=np.random.default_rng(4))
        for around in (Neighbourhood("self"), Neighbourhood("worst", neighbours=5))
    ]
    plain, aware = ([t.cell for t in o.tried] for o in outcomes)
    assert plain == aware
    assert outcomes[0].best.value == min(t.own for t in outcomes[0].tried)
    more = search(
        NANO, Scores(lambda c: float(found.search[found.row(c), 0])), Neighbourhood("self"), evaluations=60,
        rng=np.random.default_rng(4),
    )  # fmt: skip
    assert [t.cell for t in more.tried][:20] == plain
    assert len(more.scores.known) == 60


def test_evolution_finds_what_a_smooth_landscape_hides_from_few_draws():
    space = SPACES["nb201"]
    errors = [
        search(
            space, Scores(lambda c: sum(o != 3 for o in c) / 6), Neighbourhood("self"), method, 80, rng=np.random.default_rng(s)
        )
        for s in range(3)
        for method in ("evolution", "random")
    ]
    evolved, drawn = (np.mean([o.best.own for o in errors[i::2]]) for i in range(2))
    assert evolved < drawn


def test_dedup_leaves_out_neighbours_that_compute_the_same(made_up):
    found = table.read_table(made_up)
    lookup = Scores(lambda c: float(found.search[found.row(c), 0]))
    around = Neighbourhood("mean", neighbours=12)
    both = [search(NANO, lookup, around, rng=np.random.default_rng(1), dedup=dedup) for dedup in (False, True)]
    for one, other in zip(*(o.tried for o in both), strict=True):
        kept = [n for n in one.neighbours if NANO.function(n[0]) != NANO.function(one.cell)]
        assert list(other.neighbours) == kept
    assert any(len(o.neighbours) < 12 for o in both[1].tried)


def test_rows_of_a_table_and_their_neighbours(made_up):
    found = table.read_table(made_up)
    around = found.around(2)
    for row in (0, 57, 124):
        assert [found.cells[r] for r in around[row]] == NANO.neighbours(found.cells[row], 2)
        assert found.row(found.cells[row]) == row


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["cells"].pop("|none~0|+|none~0|none~1|"), "lacks the cell"),
        (lambda c: c["cells"]["|none~0|+|none~0|none~1|"].update(search=[0.1, 2.0, 0.3]), "numbers from 0 to 1"),
        (lambda c: c["cells"]["|none~0|+|none~0|none~1|"].update(test=[0.1]), "in the test setting"),
        (lambda c: c.update(space="darts"), "cannot hold all"),
        (lambda c: c.update(space="mine"), "no table of cells"),
    ],
)
def test_a_wrong_table_is_refused(change, says, made_up):
    content = json.loads(made_up.read_text())
    change(content)
    made_up.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        foveate.run("na_nas", action="search", table=made_up)
    assert "made_up.json" in str(error.value)
    assert says.replace("no table", "not a table") in str(error.value)


def test_a_table_of_another_space_or_none_is_refused(made_up, tmp_path):
    for options, says in (
        ({"space": "nano6", "table": made_up}, "is a table of nano"),
        ({"space": "nb201"}, "no table of nb201"),
        ({"table": tmp_path / "none.json"}, "no such file"),
        ({"method": "darts", "table": made_up}, "learns from pictures"),
        ({"table": made_up, "aggregate": "worst", "expectation": "unbiased"}, "no unbiased"),
        ({"table": made_up, "data": tmp_path}, "both are given"),
    ):
        with pytest.raises(InputError, match=says):
            foveate.run("na_nas", action="search", **options)


def test_nas_bench_201_is_read_through_its_package(monkeypatch):
    """The package's four calls, on a space of a few cells."""
    asked = []

    def info(index, dataset, hp, is_random):
        asked.append((dataset, hp, is_random))
        return {"valid-accuracy": 50.0 + index, "test-accuracy": 60.0 + index}

    api = SimpleNamespace(query_index_by_arch=lambda text: len(text) % 7, get_more_info=info)
    monkeypatch.setitem(SPACES, "nb201", NANO)
    found = table.from_nats(api)
    assert set(asked) == {("cifar10-valid", "12", False), ("cifar10", "200", False)}
    assert found.search.shape == (125, 1)
    row = found.row(NANO.parse("|none~0|+|none~0|none~1|"))
    assert found.search[row, 0] == pytest.approx(0.5 + len("|none~0|+|none~0|none~1|") % 7 / 100)
    assert found.test[row, 0] == pytest.approx(found.search[row, 0] + 0.1)


def test_partial_correlation_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    given_, one, other = rng.standard_normal((3, 40))
    one, other = one + given_, other - given_
    ranks = np.argsort(np.argsort([one, other, given_], axis=1), axis=1)
    (_, ab, ac), (_, _, bc), _ = np.corrcoef(ranks)
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    assert reproduce.partial_correlation(one, other, given_) == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------------------------
# training
# ---------------------------------------------------------------------------------------------------------------------


def small_search():
    torch.manual_seed(0)
    module = Searching("nano6", 2, 1, k=2, w_step="neighbor", epochs=3, alpha_lr=0.02)
    return module, SampleHalves(count=40, held_out=10, side=8, shift=1, batch_size=10)


def test_an_interrupted_search_ends_as_one_that_was_not(monkeypatch):
    states = []
    for stop in (None, 2, 3):  # after the first epoch, and in the middle of the second
        module, data = small_search()
        data.setup("fit")
        if stop is not None:
            step, done = Searching.training_step, []

            def stopping(self, *arguments, stop=stop, step=step, done=done):
                if len(done) == stop:
                    raise RuntimeError("the power failed")
                done.append(1)
                return step(self, *arguments)

            with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
                patch.setattr(Searching, "training_step", stopping)
                fitting.fit_kept(module, data, 3, [stop], "searching")
            module, data = small_search()
            data.setup("fit")
        fitting.fit_kept(module, data, 3, [stop], "searching")
        adam, sgd = module.optimizers(use_pl_optimizer=False)
        moments = [v for o in (adam, sgd) for s in o.state.values() for v in s.values() if torch.is_tensor(v)]
        states.append([*module.network.state_dict().values(), *moments, module.history])
        assert [row["epoch"] for row in module.history] == [1, 2, 3]
    for other in states[1:]:
        assert other[-1] == states[0][-1]
        assert all(torch.equal(a, b) for a, b in zip(states[0][:-1], other[:-1], strict=True))


def test_halves_share_no_picture_and_an_epoch_sees_each_once():
    data = SampleHalves(count=20, held_out=4, side=8, shift=0, batch_size=5)
    batches = data.train_dataloader()
    pictures = data.tensors("train")[0]
    seen = {"image": [], "other_image": []}
    for _, batch in zip(range(2), iter(batches), strict=False):
        for name, found in seen.items():
            found += [int((pictures == image).flatten(1).all(1).nonzero()) for image in batch[name]]
    assert sorted(seen["image"] + seen["other_image"]) == list(range(20))


def test_cutout_blanks_a_square():
    data = Folder(cutout=4, side=16, shift=0, mirror=False)
    picture = torch.rand(3, 16, 16)
    changed = (data.augmented(picture, np.random.default_rng(0)) != picture).all(0)
    assert 4 <= int(changed.sum()) <= 16


def test_a_found_cell_is_trained_on_a_folder_and_used_on_another(tmp_path):
    layout("folder", tmp_path / "photos")
    arch = {"cell": "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|", "space": "nano"}
    (tmp_path / "arch.json").write_text(json.dumps(arch))
    small = ("--epochs", 2, "--width", 4, "--cells", 1, "--batch", 4, "--side", 16)
    run("train_final", tmp_path / "arch.json", tmp_path / "photos", *small, "--out", tmp_path)
    report = json.loads((tmp_path / "arch_report.json").read_text())
    assert report["classes"] == ["disc", "ring"]
    run("predict", tmp_path / "arch_weights.safetensors", tmp_path / "photos" / "test", "--out", tmp_path)
    told = rows(tmp_path / "arch_weights_predictions.csv")
    assert [row["file"] for row in told] == [f"{c}/0{i}.png" for c in ("disc", "ring") for i in range(2)]
    right = np.mean([row["file"].startswith(row["class"]) for row in told])
    assert right == pytest.approx(report["test_accuracy"])
    assert all(float(row["disc"]) + float(row["ring"]) == pytest.approx(1, abs=1e-5) for row in told)


def test_cells_are_scored_by_short_trainings_that_are_kept(tmp_path, monkeypatch):
    layout("folder", tmp_path / "photos")
    options = {"data": tmp_path / "photos", "space": "nano6", "candidates": 2, "n_nb": 1, "epochs": 1, "width": 2, "side": 8}
    first = foveate.run("na_nas", action="search", batch=4, **options)
    monkeypatch.setattr(fitting, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = foveate.run("na_nas", action="search", batch=4, **options)
    assert first["arch"].values == again["arch"].values
    assert first["arch"].values["unique_evaluations"] == 4


def test_darts_searches_on_the_drawn_shapes_and_tells_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr("foveate.systems.efficiency.na_nas.run.open_data", lambda *_, **__: small_search()[1])
    found = foveate.run("na_nas", action="search", method="na-darts", space="nano6", epochs=2, width=2, batch=10, k=1)
    assert len(found["log"].rows) == 2
    assert len(found["flatness"].rows) == 12
    assert "none" not in found["arch"].values["cell"]
