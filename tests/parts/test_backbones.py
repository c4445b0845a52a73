"""Backbones: the packaged weights know what they see, frozen ones stay, and files are told apart."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data as pictures

from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.backbones import PACKAGED, Backbone, packaged_weights
from foveate.parts.hash_network import HashNetwork

# Places of ImageNet's classes: cats, and espresso.
CATS, ESPRESSO = range(281, 286), [967]


@pytest.fixture
def vgg_small(monkeypatch):
    """A VGG whose fully connected layers are small."""
    create = timm.create_model

    def made(name, **options):
        return create("vgg11", mlp_ratio=1 / 128, **options) if name == "vgg_small" else create(name, **options)

    monkeypatch.setattr(timm, "create_model", made)


@pytest.mark.parametrize(("name", "classes"), [("chelsea", CATS), ("coffee", ESPRESSO)])
def test_packaged_weights_know_what_they_see(name, classes):
    """They come under other names and are matched by their order; a wrong match would know nothing."""
    network = timm.create_model(PACKAGED).eval()
    network.load_state_dict(packaged_weights(PACKAGED, list(network.state_dict())))
    backbone = Backbone(PACKAGED, "packaged")
    picture = torch.from_numpy(np.ascontiguousarray(getattr(pictures, name)())).permute(2, 0, 1)[None] / 255
    square = torch.nn.functional.interpolate(picture, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        features = backbone(square)
        assert features.shape == (1, backbone.width) == (1, 1280)
        assert int(network.classifier(features).argmax()) in classes


def test_a_network_with_packaged_weights_is_stored_without_them(tmp_path):
    torch.manual_seed(0)
    network = HashNetwork(PACKAGED, "packaged", bits=16, hidden=8, side=64).eval()
    weights.save(network, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 100_000
    again = weights.load(HashNetwork, tmp_path / "small.safetensors")
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(network(picture), again(picture))
    assert network.name == again.name
    again.head[0].bias.data[0] += 1
    assert network.name != again.name


def test_features_pass_the_backbone_by(vgg_small):
    network = HashNetwork("vgg_small", bits=8, hidden=4, side=32).eval()
    picture = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(network.features(picture)), network(picture))


def test_signed_features_are_those_before_the_last_activation(vgg_small):
    torch.manual_seed(0)
    signed = Backbone("vgg_small", signed=True)
    plain = Backbone("vgg_small")
    plain.load_state_dict(signed.state_dict())
    picture = torch.rand(4, 3, 64, 64)
    assert float(signed(picture).min()) < 0
    assert torch.equal(signed(picture).relu(), plain(picture))


def test_standardised_features_have_mean_zero_and_square_one():
    features = np.random.default_rng(0).normal(3, 5, (500, 6)).astype(np.float32)
    network = HashNetwork("", bits=8, hidden=0, width=6)
    network.standardise(features)
    scaled = (torch.from_numpy(features) - network.centre) / network.scale
    assert scaled.mean(0).abs().max() < 1e-5
    assert float((scaled**2).mean()) == pytest.approx(1, abs=1e-5)


def test_weights_from_a_file(vgg_small, tmp_path):
    state = Backbone("vgg_small").network.state_dict()
    save_file({**state, "head.fc.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    loaded = Backbone("vgg_small", str(tmp_path / "w.safetensors"))
    assert all(torch.equal(v, state[k]) for k, v in loaded.network.state_dict().items())
    first = next(iter(state))
    save_file({k: v for k, v in state.items() if k != first}, tmp_path / "less.safetensors")
    for name, pretrained, says in (
        ("vgg_small", str(tmp_path / "less.safetensors"), f"{first} is missing"),
        ("vgg_small", str(tmp_path / "none.safetensors"), "there are no such weights"),
        ("vgg_small", "imagenet", "there are no such weights"),
        ("vgg_small", "packaged", "no package ships weights for it"),
        ("vgg17", "no", "timm has no such network"),
    ):
        with pytest.raises(InputError, match=says):
            Backbone(name, pretrained)
