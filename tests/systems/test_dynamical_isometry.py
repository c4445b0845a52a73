"""What only dynamical_isometry must do: the sharp checks of its sheet."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.classifiers import Classifier
from foveate.parts.counting import parameters
from foveate.parts.pruning import prunable
from foveate.parts.training import Draw
from foveate.readers.pictures import find_pictures, read_picture, write_as
from foveate.results import Picture
from foveate.systems.efficiency.dynamical_isometry import method, tuning
from foveate.systems.efficiency.dynamical_isometry.data import Folder, Sample, Whole, _Cut
from foveate.systems.efficiency.dynamical_isometry.jacobian import directions, isometry, jacobian, singular_values
from foveate.systems.efficiency.dynamical_isometry.method import SmallClassifier
from foveate.systems.efficiency.dynamical_isometry.repairs import (
    approximately_isometric,
    away_from_isometry,
    delta_orthogonal,
    layers,
    orthogonalised,
    repair,
)
from foveate.systems.efficiency.dynamical_isometry.train import FineTuner


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def digits():
    data = Whole(Sample())
    data.setup("fit")
    return data


def small(model="mlp7_linear", seed=0, **arguments):
    torch.manual_seed(seed)
    return SmallClassifier(model, **arguments)


# --- the measure -----------------------------------------------------------------------------------------------------


def test_jacobian_is_that_of_finite_differences():
    torch.manual_seed(0)
    layered = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.BatchNorm1d(9), nn.Linear(9, 6), nn.Softplus(), nn.Linear(6, 4))
    layered.double()(torch.randn(50, 7).double())  # running statistics
    x, step = torch.randn(3, 7).double(), 1e-6
    values, outputs, measured = singular_values(layered, x)
    assert (outputs, measured, layered.training) == (4, 0, True)
    layered.eval()
    for sample, found in zip(x, values, strict=True):
        with torch.no_grad():
            columns = [(layered((sample + e)[None]) - layered((sample - e)[None]))[0] / (2 * step) for e in step * torch.eye(7)]
        expected = torch.linalg.svdvals(torch.stack(columns, 1))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_linear_networks_values_are_those_of_the_product_of_its_weights():
    network = small().double()
    product = torch.eye(1024, dtype=torch.float64)
    for layer in layers(network.network).values():
        product = layer.weight.detach() @ product
    values, *_ = singular_values(network.network, torch.rand(2, 1, 32, 32, dtype=torch.float64))
    torch.testing.assert_close(values, torch.linalg.svdvals(product).expand(2, -1), atol=1e-12, rtol=1e-9)


def test_groups_of_samples_change_nothing_and_normalisation_in_front_would():
    network = small("lenet5")
    x = torch.rand(5, 1, 32, 32)
    whole, *_ = singular_values(network.network, x)
    grouped, *_ = singular_values(network.network, x, held=2 * 10 * 1024)
    torch.testing.assert_close(whole, grouped, atol=1e-6, rtol=1e-5)
    outside = isometry(network, x)
    assert outside.mean == pytest.approx(method.trainability(network, x).mean / 0.3081, rel=1e-4)


def test_many_outputs_are_measured_in_random_orthonormal_directions():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 1000))
    x = torch.rand(2, 3, 4, 4)
    found = isometry(network, x, seed=3)
    assert (found.directions, found.outputs) == (64, 1000)
    expected = torch.linalg.svdvals(directions(1000, 64, 3) @ network[1].weight.detach().double())
    assert found.mean == pytest.approx(float(expected.mean()), rel=1e-5)
    exact = isometry(nn.Sequential(nn.Flatten(), nn.Linear(48, 64)), x)
    assert exact.directions == 0


def test_what_is_no_classifier_is_refused():
    for network in (nn.Flatten(2), nn.Conv2d(3, 4, 3)):
        with pytest.raises(InputError, match="logits"):
            jacobian(network, torch.rand(2, 3, 8, 8))


# --- repairs ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(ratio=st.floats(0.1, 0.9), seed=st.integers(0, 100), double=st.booleans())
def test_orthp_gives_linear_networks_exact_isometry(ratio, seed, double):
    dense = small(seed=seed).to(torch.float64 if double else torch.float32)
    cut = method.recovered(dense, ratio, how="orthp").subject
    x = torch.rand(2, 3, 32, 32, dtype=next(cut.parameters()).dtype)
    values, *_ = singular_values(cut.network, method.normalised(cut, x))
    assert values.shape == (2, 10)
    assert (values - 1).abs().max() < (1e-10 if double else 1e-4)


@settings(max_examples=30, deadline=None)
@given(
    out=st.integers(1, 12),
    inputs=st.integers(1, 6),
    taps=st.sampled_from([1, 3]),
    gain=st.sampled_from([1.0, math.sqrt(2)]),
    dead=st.booleans(),
)
def test_orthogonalising_twice_is_orthogonalising_once(out, inputs, taps, gain, dead):
    weight = torch.randn(out, inputs, taps, taps, generator=torch.Generator().manual_seed(out))
    if dead:
        weight[0] = 0
    once = orthogonalised(weight, gain)
    torch.testing.assert_close(orthogonalised(once, gain), once, atol=1e-6, rtol=0)
    matrix = once.flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram)), atol=1e-5, rtol=0)


def test_orthogonalising_turns_no_filter_about_and_takes_groups_apart():
    torch.manual_seed(0)
    weight = torch.randn(4, 40)
    assert (orthogonalised(weight) * weight).sum(1).min() > 0
    depthwise = torch.randn(6, 1, 3, 3)
    torch.testing.assert_close(
        orthogonalised(depthwise, groups=6), depthwise / depthwise.flatten(1).norm(dim=1)[:, None, None, None]
    )
    halves = torch.cat([orthogonalised(part) for part in depthwise.split(3)])
    torch.testing.assert_close(orthogonalised(depthwise, groups=2), halves)


def test_delta_kernels_have_a_centre_alone_and_isometry_where_they_do_not_narrow():
    kernel = delta_orthogonal(torch.Size((8, 5, 3, 3)), 1.0, torch.Generator().manual_seed(0))
    centre = kernel[:, :, 1, 1].clone()
    kernel[:, :, 1, 1] = 0
    assert not kernel.any()
    torch.testing.assert_close(centre.T @ centre, torch.eye(5, dtype=torch.float64))


def test_delta_orth_names_the_layers_that_narrow():
    classifier = Classifier("resnet20_cifar")
    cut = method.recovered(classifier, 0.5, how="delta_orth")
    (note,) = cut.notes
    narrowing = [
        n for n, m in layers(cut.subject.network).items() if isinstance(m, nn.Conv2d) and m.in_channels > m.out_channels
    ]
    assert "layer1.0.conv1 (16 → 8)" in note
    assert "does not reach isometry" in note
    assert all(name in note for name in narrowing)
    assert note.count("→") == len(narrowing) > 5


def test_approximate_isometry_comes_nearer_and_says_what_it_cannot_reach():
    torch.manual_seed(0)
    weight = 0.1 * torch.randn(6, 20)
    near = approximately_isometric(weight, steps=2000)
    assert away_from_isometry(near) < 1e-4 < away_from_isometry(weight)
    # One step of an Adam made anew is the gradient's sign times the rate.
    first = approximately_isometric(weight, steps=1)
    torch.testing.assert_close((first - weight).abs(), torch.full_like(weight, 1e-3), atol=1e-6, rtol=0)
    notes = repair(nn.Sequential(nn.Linear(3, 7)), "approx_isometry", steps=5)
    assert "0 (" in notes[0]


@pytest.mark.parametrize("how", ["orth_scratch", "delta_orth", "kaiming", "reset"])
def test_what_starts_from_noise_forgets_and_is_seeded(how):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    network(torch.rand(4, 3, 5, 5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = []
    for _ in range(2):
        network.load_state_dict(before)
        repair(network, how, seed=5)
        drawn.append([p.clone() for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert not torch.equal(before["0.weight"], network[0].weight)
    assert torch.equal(network[1].running_mean, torch.zeros(8))
    assert not torch.equal(before["1.running_mean"], torch.zeros(8))
    if how != "reset":
        assert not network[0].bias.any()


def test_orthp_leaves_biases_and_norms_and_rescaling_gives_hes_deviation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    network(torch.rand(4, 3, 3, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    repair(network, "orthp")
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["0.weight", "3.weight"]
    repair(network, "rescale")
    assert float(network[0].weight.detach().std(correction=0)) == pytest.approx(math.sqrt(2 / 27), rel=1e-5)


def test_gain_follows_what_bends_also_where_it_is_no_module():
    class Bent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return torch.relu_(self.layer(x))

    assert method.natural_gain(Bent(), torch.rand(1, 4)) == math.sqrt(2)
    assert method.natural_gain(small("lenet5_linear").network, torch.rand(1, 1, 32, 32)) == 1.0


# --- pruning ---------------------------------------------------------------------------------------------------------


def test_sizes_are_the_papers():
    dense = small()
    assert parameters(dense) == 154_010
    assert parameters(method.recovered(dense, 0.8).subject) == 22_810
    assert parameters(method.recovered(dense, 0.9).subject) == 10_910
    assert parameters(small("lenet5")) == 61_706
    assert parameters(Classifier("resnet56_cifar")) == 853_018


@pytest.mark.parametrize(
    ("ratio", "widths"), [(0.3, (11, 22, 44)), (0.5, (8, 16, 32)), (0.7, (4, 9, 19)), (0.9, (1, 3, 6)), (0.95, (1, 1, 3))]
)
def test_rounding_up_gives_resnet_56_its_widths(ratio, widths):
    assert tuple(units - method.removed(ratio, units) for units in (16, 32, 64)) == widths


def test_the_first_convolution_of_each_block_is_cut():
    found, refused = method.prunable(Classifier("resnet20_cifar"))
    assert list(found) == [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]
    assert {"conv1", "layer1.0.conv2", "fc"} <= refused.keys()
    chosen = method.ratios(method.prunable(Classifier("vgg11_bn_cifar"))[0], 0.5, "vgg11_bn_cifar")
    assert list(chosen.values()) == [0.0] + [0.5] * 7


@pytest.mark.parametrize("name", ["mlp7_linear", "mlp7_relu", "lenet5", "resnet20_cifar", "test_resnet.r160_in1k"])
def test_the_compact_network_says_what_the_masked_one_says(name):
    torch.manual_seed(0)
    dense = method.opened(name, classes=7, side=32)
    for module in dense.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_mean)
    found, _ = method.prunable(dense)
    keep = method.kept_units(dense, method.ratios(found, 0.6))
    compact = method.pruned(dense, keep)
    assert parameters(compact) < parameters(dense)
    pictures = torch.rand(2, 3, 32, 32)

    sites, _ = prunable(dense.network, method.example(dense))
    for layer, units in keep.items():
        gone = [i for i in range(found[layer]) if i not in units]

        def silence(_module, inputs, gone=gone):
            """Hide units from a layer that reads them: it gets 0, as from units that are not there."""
            seen = inputs[0].clone()
            seen[:, gone] = 0
            return (seen,)

        for consumer in sites[layer].consumers:
            dense.network.get_submodule(consumer).register_forward_pre_hook(silence)
    with torch.no_grad():
        torch.testing.assert_close(compact(pictures), dense(pictures), atol=1e-5, rtol=1e-5)


def test_the_least_norms_go():
    network = small("lenet5")
    with torch.no_grad():
        network.network[0].weight.mul_(torch.tensor([3.0, 1, 6, 2, 5, 4]).reshape(6, 1, 1, 1) / network.network[0].weight.abs())
    assert method.kept_units(network, {"0": 0.5}) == {"0": [2, 4, 5]}
    assert method.kept_units(network, {"0": 0.5}, "max") == {"0": [0, 1, 3]}
    assert method.kept_units(network, {"0": 0.5}, "random", 1) == method.kept_units(network, {"0": 0.5}, "random", 1)


def test_patterns_of_ratios():
    found = {"layer1.0.conv1": 16, "layer1.1.conv1": 16, "layer2.0.conv1": 32}
    assert list(method.ratios(found, "*layer1*:0.3,layer1.1.*:0.5").values()) == [0.3, 0.5, 0.0]
    for wrong in ("*layer9*:0.5", "1.0", "half", "*:-1"):
        with pytest.raises(InputError):
            method.ratios(found, wrong)
    with pytest.raises(InputError, match="no layer"):
        method.ratios({}, 0.5)


def test_a_network_without_hidden_units_has_nothing_to_cut():
    flat = Classifier.of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)), 10, 8, name="softmax regression")
    with pytest.raises(InputError, match="softmax regression: has no layer whose units can be cut"):
        method.recovered(flat, 0.5)
    with pytest.raises(InputError, match="no convolution"):
        method.recovered(flat, 0, how="delta_orth")


def test_single_weights_are_masked_stay_masked_and_take_no_repair(digits):
    dense = small()
    with pytest.raises(InputError, match="fill in"):
        method.recovered(dense, 0.8, "weight", how="orthp")
    module = FineTuner(dense, ratio=0.8, unit="weight")
    assert {name: int(mask.sum()) for name, mask in module.masks.items()}["1"] == 20_480
    tuning.tune(module, digits, 1, digits.held["train"][0][:1])
    for name, mask in module.masks.items():
        weight = module.network.network.get_submodule(name).weight
        assert not weight[~mask].any()
        assert weight[mask].all()


# --- fine-tuning -----------------------------------------------------------------------------------------------------


def test_resumed_it_leaves_the_log_of_an_unbroken_run(digits, tmp_path):
    seen, dense = digits.held["train"][0][:4], small()

    def go(checkpoint=None, stop_after=0):
        module = FineTuner(dense, 0.01, ratio=0.5, repair="orthp")
        rows = tuning.tune(module, digits, 4, seen, checkpoint=checkpoint, stop_after=stop_after)
        return rows, module.network.state_dict()

    unbroken, weights_of_it = go()
    path = tmp_path / "run.ckpt"
    stopped, _ = go(path, stop_after=2)
    assert [row["epoch"] for row in stopped] == [0, 1, 2]
    resumed, weights_again = go(path)
    assert resumed == unbroken
    assert all(torch.equal(value, weights_again[name]) for name, value in weights_of_it.items())
    assert [row["lr"] for row in unbroken[1:]] == pytest.approx([0.01, 0.01, 0.001, 0.0001])


def test_scratch_and_pruned_runs_differ_in_their_start_alone(digits):
    seen, dense = digits.held["train"][0][:4], small()
    logs = {}
    for how in ("none", "orthp", "reset"):
        logs[how] = tuning.tune(FineTuner(dense, 0.01, ratio=0.8, repair=how), digits, 2, seen)
    hashes = {how: [row.get("data") for row in rows] for how, rows in logs.items()}
    assert hashes["none"] == hashes["orthp"] == hashes["reset"]
    assert hashes["none"][1] != hashes["none"][2]
    assert len({rows[0]["jsv_mean"] for rows in logs.values()}) == 3
    assert logs["orthp"][0]["jsv_mean"] == pytest.approx(1, abs=1e-4)


def test_what_a_log_says():
    accuracies, values, rates = (0.1, 0.4, 0.6, 0.5), (0.1, 0.5, 0.97, 1.0), (None, 0.1, 0.1, 0.01)
    rows = [
        {"epoch": i, "test_accuracy": a, "jsv_mean": v, "lr": r}
        for i, (a, v, r) in enumerate(zip(accuracies, values, rates, strict=True))
    ]
    assert tuning.told(rows) == {
        "last": 0.5, "best": 0.6, "trainability": pytest.approx(0.5), "jsv_before": 0.1, "jsv_last": 1.0, "epochs_to_jsv": 2,
    }  # fmt: skip


def test_batches_cut_at_once_are_those_cut_one_by_one():
    pictures, labels = torch.rand(9, 3, 12, 12), torch.arange(9)
    draws = [Draw(i, 4, 2) for i in (3, 8, 0, 5)]
    found = _Cut(pictures, labels, 3, True).__getitems__(draws)
    for draw, image, label in zip(draws, found["image"], found["label"], strict=True):
        top, left, turned = (int(n) for n in draw.generator().integers((7, 7, 2)))
        wide = nn.functional.pad(pictures[draw.index], (3,) * 4, mode="reflect")
        cut = wide[:, top : top + 12, left : left + 12]
        assert torch.equal(image, cut.flip(2) if turned else cut)
        assert label == draw.index


# --- as a user -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for part, count in (("cats", 12), ("dogs", 12)):
        (folder / part).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 128, (40, 50, 3)) + (120 if part == "dogs" else 0)
            write_as(Picture(pixels.astype(np.uint8)), folder / part / f"{i}.png")
    return folder


def test_diagnose_an_ordinary_torch_model_on_a_folder_of_pictures(tmp_path, photos):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=10)
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    found = foveate.run(
        "dynamical_isometry", "torchvision/resnet18", pictures=photos, weights=tmp_path / "mine.pth", side=32, samples=8
    )
    report = found["report"].values
    assert (report["classes"], report["samples"], report["directions"]) == (10, 8, 0)
    assert report["parameters"] == parameters(theirs)
    # The same by hand: its eval-mode Jacobian at the pictures' normalised views.
    subject = method.opened("torchvision/resnet18", tmp_path / "mine.pth", side=32)
    paths = find_pictures(photos)
    order = np.random.default_rng(0).permutation(len(paths))[:8]
    views = torch.stack([Folder(str(photos), crop=subject.crop).plain(read_picture(paths[i])) for i in order])
    theirs.eval()
    assert report["jsv_mean"] == pytest.approx(isometry(theirs, method.normalised(subject, views)).mean, rel=1e-4)
    saved = [path.name for path in found.save(tmp_path / "out")]
    assert saved == ["resnet18_report.json", "resnet18_layers.csv", "resnet18_spectrum.png"]


def test_diagnose_says_that_a_thousand_outputs_are_projected(photos):
    found = foveate.run("dynamical_isometry", "test_resnet.r160_in1k", pictures=photos, samples=2, side=32)
    assert found["report"].values["directions"] == 64
    assert any("64 random orthonormal directions" in note for note in found.notes)


def test_prune_writes_a_network_that_opens_a_log_and_a_plot(tmp_path, capsys):
    arguments = ["prune", "mlp7_linear", "--ratio", "0.8", "--repair", "orthp", "--ft_lr", "0.001", "--dense_epochs", "2"]
    assert main(["run", "dynamical_isometry", *arguments, "--epochs", "2", "--out", str(tmp_path)]) == 0
    log = json.loads((tmp_path / "mlp7_linear_log.json").read_text())
    assert [row["epoch"] for row in log["epochs"]] == [0, 1, 2]
    assert log["epochs"][0]["jsv_mean"] == pytest.approx(1, abs=1e-4)
    assert {"lr", "train_loss", "test_accuracy", "jsv_std", "jsv_min", "jsv_max", "condition"} <= log["epochs"][1].keys()
    assert (log["dense"]["parameters"], log["pruned"]["parameters"]) == (154_010, 22_810)
    assert read_picture(tmp_path / "mlp7_linear_plot.png").size == (560, 1000)
    again = method.opened(tmp_path / "mlp7_linear_model.safetensors")
    assert parameters(again) == 22_810
    capsys.readouterr()


def test_compare_gives_a_row_for_each_repair_and_rate_on_your_own_pictures(tmp_path, photos):
    options = {"data": photos, "side": 32, "epochs": 1, "dense_epochs": 1, "batch_size": 8, "jsv_samples": 2, "ratio": 0.5}
    found = foveate.run("dynamical_isometry", "resnet8_cifar", action="compare", repairs="none,orthp", **options)
    table = found["table"]
    assert [row[:3] for row in table.rows] == [(r, lr, 1) for r in ("none", "orthp") for lr in ("0.01", "0.001")]
    hashes = {log[0][1]["data"] for log in found["logs"].values.values()}
    assert len(hashes) == 1
    compact = foveate.run("dynamical_isometry", "resnet8_cifar", action="prune", **options)
    path = next(p for p in compact.save(tmp_path) if p.suffix == ".safetensors")
    assert method.opened(path).network.layer3[0].conv1.out_channels == 32
    assert weights.read(path)[1]["classes"] == 2


def test_scratch_b_trains_as_long_as_the_dense_network_would_cost(tmp_path):
    weights.save(small(widths=(40,) * 6), tmp_path / "n.safetensors")
    settings_of = {"action": "prune", "ratio": 0.75, "repair": "reset", "epochs": 1, "jsv_samples": 1, "scratch": "B"}
    log = foveate.run("dynamical_isometry", tmp_path / "n.safetensors", **settings_of)["log"].values
    assert log["settings"]["epochs"] == round(log["dense"]["macs"] / log["pruned"]["macs"]) == 5
    with pytest.raises(InputError, match="scratch"):
        foveate.run("dynamical_isometry", tmp_path / "n.safetensors", **{**settings_of, "repair": "orthp"})


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no convolution", "delta_orth"),
        ("no such model", "resnet99"),
        ("empty folder", "has no pictures"),
        ("corrupt checkpoint", "network.ckpt"),
        ("corrupt safetensors", "network.safetensors"),
        ("unstructured", "unit=weight"),
        ("other classes", "classes"),
        ("repairs", "magic"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(what, said, tmp_path, photos, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("network.ckpt", "network.safetensors"):
        (tmp_path / name).write_bytes(b"PK" + bytes(300) if name.endswith("ckpt") else bytes(300))
    weights.save(small(), tmp_path / "n.safetensors")
    network = str(tmp_path / "n.safetensors")
    arguments = {
        "no convolution": ["prune", "mlp7_relu", "--dense_epochs", "1000000", "--repair", "delta_orth"],
        "no such model": ["diagnose", "resnet99"],
        "empty folder": ["diagnose", network, "--pictures", str(tmp_path / "empty")],
        "corrupt checkpoint": ["diagnose", str(tmp_path / "network.ckpt")],
        "corrupt safetensors": ["prune", str(tmp_path / "network.safetensors")],
        "unstructured": ["prune", network, "--unit", "weight", "--repair", "orthp"],
        "other classes": ["prune", network, "--data", str(photos)],
        "repairs": ["compare", network, "--repairs", "magic"],
    }[what]
    assert main(["run", "dynamical_isometry", *arguments, "--out", str(tmp_path / "out")]) != 0
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1
    assert said in errors[0]
    assert not list((tmp_path / "out").glob("*"))


def test_foveate_train_prunes_repairs_and_fine_tunes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights.save(small(), tmp_path / "dense.safetensors")
    settings_of = ["--model.weights", "dense.safetensors", "--model.ratio", "0.8", "--model.repair", "orthp"]
    assert main(["train", "dynamical_isometry", *settings_of, "--trainer.max_steps", "3", "--trainer.accelerator", "cpu"]) == 0
    written = next((tmp_path / "runs").rglob("weights.safetensors"))
    assert parameters(method.opened(written)) == 22_810
    capsys.readouterr()
