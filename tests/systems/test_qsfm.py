"""What only QSFM must do: the sharp checks of its sheet."""

import copy
import csv
import json
import re

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from torch.nn import functional as F

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import counting, weights
from foveate.parts.classifiers import Classifier, open_classifier
from foveate.parts.pruning import prunable
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples import shapes
from foveate.systems.efficiency.qsfm import Settings, Study, prune, reproduce
from foveate.systems.efficiency.qsfm import run as qsfm_run
from foveate.systems.efficiency.qsfm.budget import Costs, by_resolution, by_sensitivity, read_counts, uniform
from foveate.systems.efficiency.qsfm.data import Folder, Sample
from foveate.systems.efficiency.qsfm.merging import expressed, fold, recalibrate
from foveate.systems.efficiency.qsfm.selection import by_pairs, removal_order, twins
from foveate.systems.efficiency.qsfm.similarity import Alikeness, cosine, measure, psnr, squared_distance, ssim, tapped_modules
from foveate.systems.efficiency.qsfm.train import layer_by_layer


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run(*arguments, status=0):
    assert main(["run", "qsfm", *map(str, arguments)]) == status


@pytest.fixture
def small(tmp_path):
    """The file of an untrained network of the embedded classes."""
    torch.manual_seed(0)
    weights.save(Classifier("resnet14x0.5_cifar", 10, labels=shapes.CLASSES, crop=0.8), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.fixture
def photos(tmp_path):
    """Pictures without labels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(shapes.shapes(16, 3).pictures):
        write_as(Picture(pixels), folder / f"{i:02}.png")
    return folder


QUICK = ("--samples", "16", "--tests", "32", "--latency", "0", "--onnx", "false")


# ---------------------------------------------------------------------------------------------------------------------
# similarity
# ---------------------------------------------------------------------------------------------------------------------


def maps_of(seed, channels=5, side=16, pictures=2):
    """Random maps with two constant ones and two of zeros among them."""
    maps = torch.randn(pictures, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    return torch.cat(
        [maps, torch.full_like(maps[:, :1], 2), torch.full_like(maps[:, :1], -1), torch.zeros_like(maps[:, :2])], 1
    )


@pytest.mark.parametrize(("window", "side"), [("global", 7), ("gauss11", 17)])
def test_ssim_is_scikit_images(window, side):
    """Works when 3: constant maps too; two maps of zeros are alike."""
    maps = maps_of(0, side=side)
    reach = float(maps.max() - maps.min())
    # On maps of 7 pixels, the one uniform window that fits is the whole map.
    options = {"win_size": 7} if window == "global" else {"gaussian_weights": True, "sigma": 1.5}
    options |= {"data_range": reach, "use_sample_covariance": False}
    found = ssim(maps, reach, window)
    for i in range(maps.shape[1]):
        for j in range(maps.shape[1]):
            pairs = [(m[i].numpy(), m[j].numpy()) for m in maps]
            expected = sum(structural_similarity(x, y, **options) for x, y in pairs)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)
    assert float(found[-1, -2]) == 2


def test_psnr_is_scikit_images():
    maps = maps_of(1)
    reach = float(maps.max() - maps.min())
    found = psnr(squared_distance(maps) / maps[:, 0].numel(), reach)
    for i in range(4):
        for j in range(i):
            expected = peak_signal_noise_ratio(maps[:, i].numpy(), maps[:, j].numpy(), data_range=reach)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-6)
    assert float(found[-1, -2]) == float(found[0, 0]) == 200
    assert torch.isfinite(psnr(torch.zeros(2, 2), 0.0)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), side=st.integers(1, 13), window=st.sampled_from(["global", "gauss11"]))
def test_similarities_are_symmetric_bounded_and_never_nan(seed, side, window):
    maps = maps_of(seed, side=side)
    for found in (ssim(maps, float(maps.max() - maps.min()), window) / len(maps), cosine(maps) / len(maps)):
        torch.testing.assert_close(found, found.T)
        assert float(found.abs().max()) <= 1 + 1e-9
        torch.testing.assert_close(found.diagonal(), torch.ones_like(found.diagonal()))


def test_ssim_survives_a_large_offset():
    """Where E[x^2] - E[x]^2 in float32 has lost all of the variance."""
    x = torch.rand(1, 2, 8, 8) * 1e-2 + 1000
    assert abs(float(ssim(x, 0.01)[0, 1]) - float(ssim(x - 1000, 0.01)[0, 1])) < 0.1


class Functional(nn.Module):
    """Activations as functions, in place, and as modules; a pool behind one of them."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.three = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1)
        self.act, self.fc = nn.SiLU(), nn.Linear(4 * 16, 3)

    def forward(self, x):
        self.seen = [self.norm(self.one(x))]
        x = F.relu(self.seen[0])
        self.seen.append(x)
        x = self.two(F.max_pool2d(x, 2)).relu_()
        self.seen.append(x)
        x = self.act(self.three(x))
        self.seen.append(x)
        return self.fc(F.avg_pool2d(x, 2).flatten(1))


def test_maps_are_taken_behind_the_activation_however_it_is_written():
    torch.manual_seed(0)
    network, pictures = Functional().eval(), torch.rand(4, 3, 16, 16)
    sites, _ = prunable(network, pictures[:1])
    assert list(sites) == ["one", "two", "three"]
    found = measure(network, sites, pictures, batch=3)
    raw = measure(network, sites, pictures, tap="bn")
    with torch.no_grad():
        network(pictures)
    for name, maps in zip(sites, network.seen[1:], strict=True):
        reach = float(maps.max() - maps.min())
        assert found[name].reach == pytest.approx(reach, rel=1e-6)
        np.testing.assert_allclose(found[name].similarity, ssim(maps, reach).numpy() / 4, atol=1e-6)
    assert raw["one"].reach == pytest.approx(float(network.seen[0].max() - network.seen[0].min()), rel=1e-6)


def test_the_hidden_channels_of_an_inverted_residual_are_measured_behind_the_depthwise_convolution():
    network = Classifier("mobilenetv2_035_cifar").network.eval()
    sites, _ = prunable(network, torch.zeros(1, 3, 32, 32))
    found = tapped_modules(network, sites, torch.zeros(1, 3, 32, 32), "act")
    assert found["blocks.1.0.conv_pw"] == "blocks.1.0.bn2"
    assert tapped_modules(network, sites, torch.zeros(1, 3, 32, 32), "conv")["blocks.1.0.conv_pw"] == "blocks.1.0.conv_dw"


# ---------------------------------------------------------------------------------------------------------------------
# selection
# ---------------------------------------------------------------------------------------------------------------------


def slow_pairs(q, norms):
    """The sheet's rule, pair by pair."""
    left, gone = list(range(len(q))), []
    while len(left) > 1:
        pairs = [(-q[i, j], i, j) for i in left for j in left if i < j]
        _, i, j = min(pairs)
        sums = {c: sum(q[c, o] for o in left if o != c) for c in (i, j)}
        if abs(sums[i] - sums[j]) > 1e-9 * max(1, abs(sums[i]), abs(sums[j])):
            drop = max((i, j), key=sums.get)
        elif norms[i] != norms[j]:
            drop = min((i, j), key=lambda c: norms[c])
        else:
            drop = j
        gone.append(drop)
        left.remove(drop)
    return gone + left


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), channels=st.integers(1, 14), coarse=st.booleans())
def test_pairs_are_eliminated_as_the_rule_says(seed, channels, coarse):
    draw = np.random.default_rng(seed)
    q = draw.random((channels, channels))
    q = np.round(q + q.T) if coarse else q + q.T  # rounded: ties everywhere
    norms = np.round(draw.random(channels), 1)
    assert by_pairs(q, norms).tolist() == slow_pairs(q, norms)


def test_of_three_copies_one_stays():
    q = np.full((5, 5), 0.1)
    q[:3, :3] = 1
    order = by_pairs(q, np.ones(5))
    assert len({0, 1, 2} & set(order[:2].tolist())) == 2
    assert len({0, 1, 2} & set(order[2:].tolist())) == 1
    assert set(twins(q, np.sort(order[2:])).values()) <= {0, 1, 2}
    alike = Alikeness(q, np.zeros(5, bool), 1, (4, 4))
    filters = np.ones((5, 1, 1, 1))
    assert set(removal_order("most_dissimilar", filters, alike)[:2].tolist()) == {3, 4}


def test_what_is_always_zero_goes_first():
    q = np.full((4, 4), 0.5)
    q[0, 1] = q[1, 0] = 0.9
    assert by_pairs(q, np.ones(4), np.array([False, False, False, True]))[0] == 3


def test_other_criteria_order_as_they_are_defined():
    filters = np.random.default_rng(0).normal(size=(6, 2, 3, 3))
    alike = Alikeness(np.eye(6), np.zeros(6, bool), 1, (4, 4), np.array([3.0, 1, 2, 6, 5, 4]))
    flat = filters.reshape(6, -1)
    assert removal_order("l1", filters, alike).tolist() == np.argsort(np.abs(flat).sum(1)).tolist()
    sums = [sum(np.linalg.norm(a - b) for b in flat) for a in flat]
    assert removal_order("fpgm", filters, alike).tolist() == np.argsort(sums).tolist()
    assert removal_order("hrank", filters, alike).tolist() == [1, 2, 0, 5, 4, 3]
    assert sorted(removal_order("random", filters, alike, seed=1)) == list(range(6))


# ---------------------------------------------------------------------------------------------------------------------
# merging and planted copies
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("criterion", "quantifier"), [("qsfm", "ssim"), ("qsfm", "psnr"), ("qsfm", "cosine"), ("qsfm", "l2")])
def test_planted_copies_go_first_and_nobody_misses_them(criterion, quantifier):
    """Works when 2."""
    network = reproduce.lively(0)
    copies = reproduce.plant(network.network, 0)
    pictures = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    study = Study(network, pictures, Settings(quantifier, criterion=criterion, merge="twin"))
    counts = {name: channels - 3 for name, channels in study.costs.channels.items()}
    pruned = study.pruned(counts)
    for name, pairs in copies.items():
        kept = set(pruned.kept[name].tolist())
        assert all(len({i, j} & kept) == 1 for i, j in pairs)
        twin = {j: t.index for j, t in pruned.twins[name].items()}
        assert all({j, i} in [set(p) for p in pairs] for j, i in twin.items())
        removed = np.array(sorted(twin))
        for product in study.products[name].values():
            one = expressed(product, pruned.kept[name], removed, twin, "twin")
            np.testing.assert_allclose(one.sum(1), 1, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(pruned.network(pictures), network(pictures), atol=1e-5, rtol=0)


def test_least_squares_is_numpys():
    draw = np.random.default_rng(0)
    maps = draw.normal(size=(6, 200))
    kept, removed = np.array([0, 2, 5]), np.array([4, 1, 3])
    found = expressed(maps @ maps.T, kept, removed, {}, "lsq")
    expected = np.linalg.lstsq(maps[kept].T, maps[removed].T, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not expressed(np.zeros((6, 6)), kept, removed, {4: 0, 1: 0, 3: 0}, "lsq").any()
    assert not expressed(np.zeros((6, 6)), kept, removed, {4: 0, 1: 0, 3: 0}, "twin").any()


def test_judging_before_surgery_is_judging_after_it():
    """Sensitivities are measured on weights that were folded; surgery gives the same logits, behind flat maps too."""
    torch.manual_seed(0)
    network, pictures = Functional().eval(), torch.rand(6, 3, 16, 16)
    study = Study(network, pictures, Settings())
    counts = {"one": 4, "two": 3, "three": 2}
    pruned = study.pruned(counts)
    folded = copy.deepcopy(network)
    for name, site in study.sites.items():
        gone = np.setdiff1d(np.arange(site.channels), pruned.kept[name])
        for consumer, c in study._coefficients(name, pruned.kept[name], gone).items():
            fold(folded.get_submodule(consumer), site.channels, pruned.kept[name], gone, c)
    with torch.no_grad():
        torch.testing.assert_close(pruned.network(pictures), folded(pictures), atol=1e-5, rtol=1e-5)
    assert [m.out_channels for m in pruned.network.modules() if isinstance(m, nn.Conv2d)] == [4, 3, 2]
    assert network.one.out_channels == 6


def test_recalibration_is_asked_for():
    network = reproduce.lively(0)
    pictures = torch.rand(8, 3, 32, 32)
    study = Study(network, pictures, Settings(merge="off"))
    counts = dict.fromkeys(study.sites, 8)
    plain, again = (study.under(recalibrate=r).pruned(counts).network for r in (False, True))
    kept = study.pruned(counts).kept["layer1.0.conv1"]
    before = network.network.layer1[0].bn1.running_mean
    assert torch.equal(plain.network.layer1[0].bn1.running_mean, before[kept])
    assert not torch.equal(again.network.layer1[0].bn1.running_mean, before[kept])
    momentum = again.network.bn1.momentum
    recalibrate(again, pictures)
    assert momentum == again.network.bn1.momentum == 0.1
    assert not any(m.training for m in again.modules())


# ---------------------------------------------------------------------------------------------------------------------
# budgets
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet56():
    network = Classifier("resnet56_cifar").network.eval()
    sites, _ = prunable(network, torch.zeros(1, 3, 32, 32))
    assert len(sites) == 27
    assert all(name.endswith("conv1") for name in sites)
    return network, sites, Costs.of(network, sites, torch.zeros(1, 3, 32, 32))


def test_the_papers_budget_in_figures(resnet56):
    """Works when 6, counted; surgery counts the same in `test_run_reaches_the_papers_budget`."""
    _, sites, costs = resnet56
    assert (costs.parameters(costs.channels), costs.macs(costs.channels)) == (853018, 125485696)
    for widths, size in {
        (7, 25, 21): (359908, 64825984),
        (9, 20, 23): (360034, 64973440),
        (12, 12, 26): (357694, 64549504),
    }.items():
        counts = {name: widths[int(name[5]) - 1] for name in sites}
        assert (costs.parameters(counts), costs.macs(counts)) == size
    found = by_resolution(costs, 1 - 0.4827, 1 - 0.5790)
    assert 1 - costs.parameters(found) / 853018 == pytest.approx(0.579, abs=0.005)
    assert 1 - costs.macs(found) / 125485696 == pytest.approx(0.483, abs=0.005)


@pytest.mark.parametrize("of", ["macs", "parameters", "filters"])
@pytest.mark.parametrize("keep", [0.25, 0.5, 0.9, 1.0])
def test_budgets_are_met_within_two_per_cent(resnet56, of, keep):
    """Works when 1; never above."""
    _, sites, costs = resnet56
    losses = {name: [(n + 1) * (0.9 - level) for level in (0.9, 0.7, 0.5, 0.3, 0.1)] for n, name in enumerate(sites)}
    for counts in (uniform(costs, keep, of), by_sensitivity(costs, losses, keep, of)):
        share = costs.total(of, counts) / costs.total(of)
        assert keep * 0.98 <= share <= keep * (1 + 1e-9)
        assert all(1 <= count <= costs.channels[name] for name, count in counts.items())
    assert counts[next(iter(sites))] <= counts[list(sites)[8]]  # what is missed less is cut more


def test_impossible_budgets_are_refused(resnet56):
    costs = resnet56[2]
    for keep, says in ((0.01, r"0.01 cannot be reached.*at least 0.0"), (0, "a share above 0"), (1.2, "a share above 0")):
        with pytest.raises(InputError, match=says):
            uniform(costs, keep)
    with pytest.raises(InputError, match="cannot be met together"):
        by_resolution(costs, 0.9, 0.05)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"layer1.0.conv1": 99}', "cannot keep 99"),
        ('{"layer1.0.conv1": 0}', "cannot keep 0"),
        ('{"layer1.0.conv1": true}', "cannot keep True"),
        ('{"nowhere": 3}', "'nowhere' is no layer"),
        ('{"layer1.0', "is not valid JSON"),
        ("layer,filters\nlayer1.0.conv1,8\nlayer1.1.conv1,many\n", "f:3: layer1.1.conv1 cannot keep 'many'"),
        ("name;count\n", "has the columns name;count"),
        ("", "has the columns none"),
    ],
)
def test_count_files_that_do_not_fit_are_refused(resnet56, tmp_path, text, says):
    (tmp_path / "f").write_text(text)
    with pytest.raises(InputError) as caught:
        read_counts(tmp_path / "f", resnet56[1])
    assert says in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# networks of others
# ---------------------------------------------------------------------------------------------------------------------


class Awkward(nn.Module):
    """One layer is concatenated, one is used twice, one is free."""

    def __init__(self):
        super().__init__()
        self.joined, self.free = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(9, 8, 3, padding=1)
        self.twice, self.fc = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 2)

    def forward(self, x):
        x = F.relu(self.free(torch.cat([F.relu(self.joined(x)), x], 1)))
        return self.fc(self.twice(F.relu(self.twice(x))).mean((2, 3)))


def test_what_cannot_be_pruned_is_named_and_the_rest_is_pruned():
    """Works when 8: shared weights are refused with everything that runs into them."""

    class More(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.awkward = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1), Awkward()

        def forward(self, x):
            return self.awkward(self.second(F.relu(self.first(x))))

    network, pictures = More().eval(), torch.rand(3, 3, 8, 8)
    pruned = prune(network, pictures, 0.5, of="filters", settings=Settings(ratio="uniform"))
    assert list(pruned.kept) == ["first"]
    assert len(pruned.kept["first"]) == 4
    assert {"second", "awkward.joined", "awkward.twice"} <= pruned.refused.keys()
    assert "used 2 times" in pruned.refused["awkward.twice"]
    assert pruned.network(pictures).shape == (3, 2)


@pytest.mark.parametrize("model", ["torchvision/mnasnet0_5", "test_resnet", "test_byobnet"])
def test_any_network_of_the_libraries(model):
    torch.manual_seed(0)
    network = Classifier(model, 5, 64).eval()
    study = Study(network, torch.rand(4, 3, 64, 64), Settings(ratio="uniform"))
    counts = study.counts(0.8)
    pruned = study.pruned(counts).network
    assert pruned.macs() == study.costs.macs(counts) <= 0.8 * network.macs()
    assert counting.parameters(pruned) == study.costs.parameters(counts)
    assert pruned(torch.rand(2, 3, 64, 64)).shape == (2, 5)


def test_mobilenet_stays_whole():
    """Works when 5: groups are channels, sums fit, gradients reach all; ONNX is checked in the run below."""
    found = reproduce.depthwise(0, "quick")["mobilenetv2"]
    assert found["mismatches"] == 0
    assert found["depthwise"] == 17
    assert 49 < found["macs_left"] <= 50


# ---------------------------------------------------------------------------------------------------------------------
# the command
# ---------------------------------------------------------------------------------------------------------------------


def test_run_writes_a_network_that_needs_no_original(photos, tmp_path):
    """Works when 1, 5, 7 and 9: a label-less folder, a MobileNetV2, its budget, safetensors and ONNX that say the same."""
    out = tmp_path / "out"
    name = "mobilenetv2_035_cifar"
    quick = ("--ratio", "uniform", "--latency", "4", "--samples", "8")
    run(name, "--images", photos, "--keep", "0.5", *quick, "--out", out)
    rows = list(csv.DictReader((out / f"{name}_table.csv").read_text().splitlines()))
    assert [row["network"] for row in rows] == ["before", "pruned"]
    assert 0.49 <= float(rows[1]["macs_left"]) <= 0.5
    assert rows[1]["accuracy"] == ""
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    network = open_classifier(str(out / f"{name}_network.safetensors"))
    assert network.macs() == int(rows[1]["macs"])
    assert network.parameters_in_all() == int(rows[1]["parameters"])
    report = json.loads((out / f"{name}_report.json").read_text())
    assert report["layers"].keys() == json.loads((out / f"{name}_counts.json").read_text()).keys()
    layer = report["layers"]["blocks.1.0.conv_pw"]
    assert len(layer["kept"]) + len(layer["removed"]) == layer["filters"]
    assert all(entry["twin"] in layer["kept"] for entry in layer["removed"].values())
    pictures = torch.rand(3, 3, 32, 32)
    session = onnxruntime.InferenceSession(str(out / f"{name}_onnx.onnx"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"image": pictures.numpy()})
    with torch.no_grad():
        expected = network(pictures).numpy()
    np.testing.assert_allclose(answer, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


def test_run_reaches_the_papers_budget(photos, tmp_path):
    """Works when 6: by two budgets, and again by the file that the first run wrote."""
    budgets = ("--keep", "0.5173", "--parameters", "0.421")
    run("resnet56_cifar", "--images", photos, *budgets, *QUICK, "--out", tmp_path / "one")
    counts = tmp_path / "one" / "resnet56_cifar_counts.json"
    run("resnet56_cifar", "--images", photos, "--counts", counts, *QUICK, "--out", tmp_path / "two")
    tables = [(tmp_path / place / "resnet56_cifar_table.csv").read_text() for place in ("one", "two")]
    for table in tables:
        pruned = list(csv.DictReader(table.splitlines()))[1]
        assert 1 - float(pruned["parameters_left"]) == pytest.approx(0.579, abs=0.005)
        assert 1 - float(pruned["macs_left"]) == pytest.approx(0.483, abs=0.005)
    assert counts.read_text() == (tmp_path / "two" / counts.name).read_text()


def test_runs_repeat_but_for_the_times(small, photos):
    options = {"images": photos, "samples": 8, "tests": 16, "latency": 0, "onnx": False}
    first, second = (foveate.run("qsfm", small, **options) for _ in range(2))
    assert first["table"].rows == second["table"].rows
    assert str(first["report"].values) == str(second["report"].values)
    for key, value in first["network"].network.state_dict().items():
        assert torch.equal(value, second["network"].network.state_dict()[key])


def test_labels_change_nothing_but_the_accuracy(small, tmp_path):
    """Works when 9: scoring sees no labels, so their names may be swapped."""
    drawn = shapes.shapes(40, 5)
    for folder, shift in (("one", 0), ("two", 1)):
        for part, members in (("train", range(20)), ("val", range(20, 30)), ("test", range(30, 40))):
            for i in members:
                place = tmp_path / folder / part / shapes.CLASSES[(i + shift) % 2]
                place.mkdir(parents=True, exist_ok=True)
                write_as(Picture(drawn.pictures[i]), place / f"{i:02}.png")
    options = {"samples": 20, "tests": 10, "latency": 0, "onnx": False, "merge": "off", "ratio": "uniform"}
    one, two = (foveate.run("qsfm", small, images=tmp_path / folder, **options) for folder in ("one", "two"))
    assert one["counts"].values == two["counts"].values
    assert [row[5] for row in one["table"].rows] != ["", ""]
    kept = [{n: v["kept"].tolist() for n, v in r["report"].values["layers"].items()} for r in (one, two)]
    assert kept[0] == kept[1]


def test_fine_tuning_in_the_run_and_layer_by_layer(small):
    options = {"samples": 8, "tests": 32, "latency": 0, "onnx": False, "keep": 0.8}
    network = open_classifier(str(small))
    data = Sample(64, 32, batch_size=32)
    counts = {"layer1.0.conv1": 4, "layer2.0.conv1": 9}
    tuned, kept = layer_by_layer(network, data.tensors("train")[0][:16], counts, data, 1)
    assert {name: len(k) for name, k in kept.items()} == counts
    assert tuned.network.layer2[0].conv1.out_channels == 9
    assert network.network.layer2[0].conv1.out_channels == 16
    with pytest.raises(InputError, match="has no labels to fine-tune with"):
        foveate.run("qsfm", small, images=_loose(small.parent), finetune_epochs=1, ratio="uniform", **options)


def _loose(folder):
    place = folder / "loose"
    place.mkdir()
    for i, pixels in enumerate(shapes.shapes(4, 3).pictures):
        write_as(Picture(pixels), place / f"{i}.png")
    return place


def test_train_goes_on_from_a_pruned_file_and_classify_uses_it(small, photos, tmp_path, monkeypatch, capsys):
    """Works when 7; exact resuming is the contract's."""
    monkeypatch.chdir(tmp_path)
    run(small, *QUICK, "--out", "out")
    arguments = [
        "--model.weights=out/small_network.safetensors", "--data.init_args.count=32", "--data.init_args.held_out=16",
        "--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        "--trainer.log_every_n_steps=1",
    ]  # fmt: skip
    main(["train", "qsfm", *arguments])
    (checkpoint,) = tmp_path.glob("runs/qsfm/finetuner/version_0/checkpoints/last.ckpt")
    pruned = open_classifier("out/small_network.safetensors")
    assert open_classifier(str(checkpoint)).macs() == pruned.macs()
    run("classify", photos / "00.png", "--model", checkpoint, "--top", "2", "--out", "out")
    rows = list(csv.DictReader((tmp_path / "out" / "00_answer.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert all(row["class"] in shapes.CLASSES for row in rows)


def test_the_command_sees_what_training_validates_on(photos, monkeypatch):
    """One `prepare` for both, with the network's crop."""
    for place in ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"):
        (photos / place).mkdir(parents=True)
        write_as(Picture(shapes.shapes(4, 3).pictures[0]), photos / place / "one.png")
    network = foveate.load("qsfm")
    data = Folder(root=str(photos), side=network.side, crop=network.crop)
    data.setup("fit")
    seen = []
    monkeypatch.setattr(qsfm_run, "evaluate", lambda _, views: seen.append(views) or torch.zeros(len(views), 10))
    foveate.run("qsfm", photos / "val/a/one.png", action="classify")
    assert torch.equal(seen[0][0], next(iter(data.val_dataloader()))["image"][0])


def test_the_demo_network_knows_its_shapes():
    drawn = shapes.shapes(60, 99, noisy=False)
    network = foveate.load("qsfm")
    middle = torch.from_numpy(drawn.pictures[:, 4:-4, 4:-4].copy()).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        right = (network(middle).argmax(1).numpy() == drawn.labels).mean()
    assert right > 0.7


def test_what_the_user_can_mend_is_one_line(small, photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "torn.safetensors").write_bytes(small.read_bytes()[:1000])
    (tmp_path / "torn.ckpt").write_bytes(b"PK" + bytes(500))
    cases = {
        ("mixer_s32_224", "--images", photos): "none of its convolutions can be pruned|has no convolution",
        (
            "vit_tiny_patch16_224",
            "--images",
            photos,
        ): "vit_tiny_patch16_224: none of its convolutions can",
        ("resnet5000", "--images", photos): "resnet5000: cannot be opened",
        ("torchvision/resnet5000", "--images", photos): "torchvision/resnet5000: cannot be opened",
        (small, "--images", empty): "empty: has no pictures",
        (small, "--images", tmp_path / "nowhere"): "nowhere: there is no such folder",
        (tmp_path / "torn.safetensors",): "torn.safetensors: is not a safetensors file",
        (tmp_path / "torn.ckpt",): "torn.ckpt: is not a checkpoint",
        ("resnet20_cifar",): "--images: is needed",
        (small, "--keep", "0.001"): "keep: 0.001 cannot be reached",
        (empty,): "empty: ",
    }
    for arguments, says in cases.items():
        capsys.readouterr()
        run("prune", *arguments, *QUICK, "--out", tmp_path / "none", status=2)
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert re.search(says, line), line
    assert not (tmp_path / "none").exists()


def test_a_network_without_any_convolution():
    with pytest.raises(InputError, match="Sequential: has no convolution"):
        prune(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(2, 3, 4, 4))
    with pytest.raises(InputError, match="there are none"):
        prune(nn.Conv2d(3, 3, 1), torch.rand(0, 3, 4, 4))
