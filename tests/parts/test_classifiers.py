"""Classifiers by name and by file, the networks for 32 x 32 pixels, and channels taken out of any of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.cifar_networks import CIFARVGG, build
from foveate.parts.classification import correct, evaluate, rate
from foveate.parts.classifiers import Classifier, open_classifier, prepare
from foveate.parts.counting import macs, parameters
from foveate.parts.latency import latency
from foveate.parts.pruning import prunable, shrunk
from foveate.results import Picture


@pytest.mark.parametrize(
    ("name", "size", "work"),
    [
        ("resnet20_cifar", 269_722, 40_551_040),
        ("resnet32_cifar", 464_154, 68_862_592),
        ("resnet56_cifar", 853_018, 125_485_696),
        ("resnet110_cifar", 1_727_962, 252_887_680),
        ("resnet56b_cifar", 855_770, 125_747_840),
        ("vgg16_bn_cifar", 14_728_266, 313_201_664),
    ],
)
def test_networks_have_the_sizes_that_papers_state(name, size, work):
    network = build(name)
    assert parameters(network) == size
    assert macs(network, (1, 3, 32, 32)) == work


def test_vgg_without_biases_and_at_half_width():
    assert parameters(CIFARVGG(16, conv_bias=False)) == 14_724_042
    assert build("vgg11x0.5_bn_cifar").fc.in_features == 256
    assert build("mobilenetv2_035_cifar")(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("model", ["resnet14x0.5_cifar", "test_efficientnet", "torchvision/squeezenet1_1"])
def test_a_file_says_its_network(model, tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(model, classes=7, side=64, labels=list("abcdefg")).eval()
    weights.save(classifier, tmp_path / "a.safetensors")
    torch.save(classifier.network.state_dict(), tmp_path / "bare.pth")
    x = torch.rand(2, 3, 64, 64)
    again, bare = open_classifier(str(tmp_path / "a.safetensors")), open_classifier(model, tmp_path / "bare.pth", side=64)
    assert again.labels == tuple("abcdefg")
    assert torch.equal(again(x), classifier(x))
    assert torch.equal(bare(x), classifier(x))


def test_what_cannot_be_opened_is_said(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    torch.save(build("resnet14_cifar").state_dict(), tmp_path / "other.pth")
    for arguments, said in [
        (("no_such_net",), "Unknown model"),
        (("torchvision/no_such_net",), "Unknown model"),
        (("resnet21_cifar",), "6n \\+ 2"),
        ((str(tmp_path / "broken.safetensors"),), "not a safetensors file"),
        (("resnet20_cifar", tmp_path / "broken.safetensors"), "not a safetensors file"),
        (("resnet20_cifar", tmp_path / "other.pth"), "does not fit resnet20_cifar"),
        (("resnet20_cifar", tmp_path / "missing.pth"), "no such file"),
        (("resnet14_cifar", tmp_path / "other.pth", 5), "has 10 classes"),
    ]:
        with pytest.raises(InputError, match=said):
            open_classifier(*arguments)


def test_the_packaged_classifier_knows_a_cat():
    from skimage import data

    classifier = open_classifier("tf_efficientnet_lite0", "packaged")
    logits = evaluate(classifier, classifier.prepare(Picture(data.chelsea()))[None])
    assert int(logits.argmax()) in range(281, 286)


def test_prepare_cuts_out_the_middle():
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    assert torch.equal(prepare(Picture(ramp), 32, 0.8)[0, 0] * 255, torch.arange(4.0, 36))
    assert prepare(Picture(ramp[:20]), 32).shape == (3, 32, 32)


# Channels taken out
# ---------------------------------------------------------------------------------------------------------------------

NETWORKS = ["resnet14x0.5_cifar", "resnet14bx0.5_cifar", "vgg11x0.25_bn_cifar", "mobilenetv2_035_cifar"]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_smaller_network_says_what_the_masked_one_says(name, seed):
    """Channels that a mask sets to zero where they are read may as well not be there."""
    torch.manual_seed(seed)
    classifier = Classifier(name)
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    classifier.eval()
    sites, _ = prunable(classifier.network, classifier.example())
    rng = np.random.default_rng(seed)
    keep = {n: np.sort(rng.permutation(s.channels)[: max(1, s.channels // 2)]) for n, s in sites.items()}
    smaller = classifier.with_network(shrunk(classifier.network, keep, classifier.example()))
    x = torch.rand(2, 3, 32, 32)

    def masking(inputs, mask):
        return (inputs[0] * mask.view(1, -1, *[1] * (inputs[0].ndim - 2)),)

    for name_of_site, site in sites.items():
        mask = torch.zeros(site.channels)
        mask[keep[name_of_site]] = 1
        for consumer in site.consumers:
            layer = classifier.network.get_submodule(consumer)
            layer.register_forward_pre_hook(lambda _, inputs, m=mask: masking(inputs, m))
    with torch.no_grad():
        assert torch.allclose(smaller(x), classifier(x), atol=1e-4, rtol=1e-4)
    assert smaller.parameters_in_all() < classifier.parameters_in_all()


def test_a_smaller_network_reloads_without_the_large_one(tmp_path):
    classifier = Classifier("mobilenetv2_035_cifar").eval()
    sites, _ = prunable(classifier.network, classifier.example())
    keep = {name: range(0, site.channels, 2) for name, site in sites.items()}
    smaller = classifier.with_network(shrunk(classifier.network, keep, classifier.example()))
    weights.save(smaller, tmp_path / "small.safetensors")
    again = open_classifier(str(tmp_path / "small.safetensors"))
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(x), smaller(x))
    depthwise = [m for m in again.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert depthwise and all(m.groups == m.in_channels == m.out_channels for m in depthwise)


class Odd(nn.Module):
    """A layer that is used twice, a sum, a concatenation, a grouped convolution, and one that may be pruned."""

    def __init__(self):
        super().__init__()
        self.free, self.twice, self.summed = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.left, self.right, self.mixed = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1)
        self.grouped, self.out = nn.Conv2d(8, 8, 1, groups=2), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.free(x))
        x = self.twice(F.relu(self.summed(x)))
        x = self.twice(x) + x
        x = self.mixed(torch.cat([self.left(x), self.right(x)], 1))
        return self.out(self.grouped(x).mean((2, 3)))


def test_what_hangs_together_is_refused_with_its_reason():
    torch.manual_seed(0)
    sites, refused = prunable(Odd(), torch.rand(1, 3, 8, 8))
    assert list(sites) == ["free"]
    assert "used 2 times" in refused["twice"]
    assert "concatenated" in refused["left"]
    assert "grouped" in refused["grouped"]
    assert "output" in refused["out"]
    with pytest.raises(InputError, match="used 2 times"):
        shrunk(Odd(), {"twice": [0]}, torch.rand(1, 3, 8, 8))
    with pytest.raises(InputError, match="cannot keep"):
        shrunk(Odd(), {"free": [0, 8]}, torch.rand(1, 3, 8, 8))


# Training
# ---------------------------------------------------------------------------------------------------------------------


def test_rates_start_high_and_end_low():
    for schedule in ("step", "cosine", "one-cycle"):
        values = [rate(schedule, done / 100) for done in range(101)]
        assert max(values) == pytest.approx(1)
        assert values[-1] <= 0.01
        assert min(values) >= 0
    assert rate("constant", 0.9) == 1


def test_logits_do_not_depend_on_the_batch():
    network = Classifier("resnet14x0.5_cifar").eval()
    x = torch.rand(5, 3, 32, 32)
    whole = evaluate(network, x)
    assert torch.allclose(whole, evaluate(network, x, batch=2), atol=1e-5)
    assert correct(whole, whole.argmax(1)).tolist() == [1.0] * 5


def test_latency_is_one_number_for_each_input():
    seen = []
    measured = latency(seen.append, [1, 2, 3], warmup=2)
    assert measured.shape == (3,)
    assert (measured >= 0).all()
    assert seen == [1, 1, 1, 2, 3]
