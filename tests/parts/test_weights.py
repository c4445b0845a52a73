"""Networks to and from files."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - to write the files that must be refused
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foveate.errors import InputError
from foveate.parts import weights


class Small(nn.Module):
    """A network with parameters, float and whole-numbered buffers, and two names for one weight."""

    def __init__(self, width: int = 4, tied: bool = False) -> None:
        super().__init__()
        self.arguments = {"width": width, "tied": tied}
        self.layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 3))
        if tied:
            self.again = self.layers[0]


def trained(**arguments) -> Small:
    """Make a network none of whose numbers is what it starts with."""
    network = Small(**arguments)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(torch.randint(1, 1000, value.shape) / 3)
    return network


@pytest.mark.parametrize("tied", [False, True])
def test_round_trip(tied, tmp_path):
    network = trained(width=6, tied=tied)
    weights.save(network, tmp_path / "new" / "w.safetensors")
    back = weights.load(Small, tmp_path / "new" / "w.safetensors")
    assert back.arguments == network.arguments
    assert not back.training
    assert back.state_dict().keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
        assert back.state_dict()[name].dtype == value.dtype


def test_half_is_half_the_size_and_comes_back_as_float32(tmp_path):
    network = trained(width=2000)
    for half in (False, True):
        weights.save(network, tmp_path / f"{half}.safetensors", half=half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.55 * sizes[0]
    back = weights.load(Small, tmp_path / "True.safetensors").state_dict()
    assert back["layers.1.num_batches_tracked"].dtype == torch.int64
    for name, value in network.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(back[name], expected), name
        assert back[name].dtype == value.dtype


def test_saving_leaves_the_network_alone(tmp_path):
    network = trained().half()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    weights.save(network, tmp_path / "w.safetensors", half=True)
    assert all(torch.equal(network.state_dict()[k], v) and network.state_dict()[k].dtype == v.dtype for k, v in before.items())


def test_a_transposed_weight_is_stored_as_it_reads(tmp_path):
    value = torch.arange(6.0).reshape(2, 3).t()
    weights.write({"x": value, "part": value[1:]}, {}, tmp_path / "w.safetensors")
    state, arguments = weights.read(tmp_path / "w.safetensors")
    assert arguments == {}
    assert torch.equal(state["x"], value)
    assert torch.equal(state["part"], value[1:])


def test_a_training_checkpoint_loads(tmp_path):
    network = trained()
    state = {f"network.{k}": v for k, v in network.state_dict().items()} | {"loss.weight": torch.zeros(1)}
    torch.save({"state_dict": state, "arguments": network.arguments, "epoch": 3}, tmp_path / "last.ckpt")
    back = weights.load(Small, tmp_path / "last.ckpt")
    assert all(torch.equal(back.state_dict()[k], v) for k, v in network.state_dict().items())


class Opens:
    """What a stranger's pickle may do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (os.fspath(self.path), "w"))


def wrong_files(folder: Path) -> dict[str, Path]:
    """Write files that are no weights of `Small`."""
    made: dict[str, Path] = {}

    def name(key: str, suffix: str) -> Path:
        made[key] = folder / (key.replace(" ", "_") + suffix)
        return made[key]

    good = folder / "good.safetensors"
    weights.save(trained(), good)
    state = trained().state_dict()
    name("missing", ".safetensors")
    name("folder", ".safetensors").mkdir()
    name("empty", ".safetensors").touch()
    name("empty checkpoint", ".ckpt").touch()
    name("text", ".safetensors").write_text("not weights")
    name("truncated", ".safetensors").write_bytes(good.read_bytes()[:-10])
    name("header too long", ".safetensors").write_bytes(b"\xff" * 8 + good.read_bytes()[8:])
    name("truncated checkpoint", ".ckpt")
    torch.save({"state_dict": {}, "arguments": {}}, made["truncated checkpoint"])
    made["truncated checkpoint"].write_bytes(made["truncated checkpoint"].read_bytes()[:-100])
    save_file(state, name("no arguments", ".safetensors"))
    save_file(state, name("arguments are no JSON", ".safetensors"), metadata={"arguments": "{"})
    save_file(state, name("arguments are a list", ".safetensors"), metadata={"arguments": "[1]"})
    save_file(state, name("other arguments", ".safetensors"), metadata={"arguments": json.dumps({"depth": 3})})
    save_file(state, name("other size", ".safetensors"), metadata={"arguments": json.dumps({"width": 5})})
    save_file({"x": torch.zeros(1)}, name("other names", ".safetensors"), metadata={"arguments": "{}"})
    for key, content in {
        "stranger": {"state_dict": Opens(folder / "opened"), "arguments": {}},
        "module": trained(),
        "tensor": torch.zeros(3),
        "bare state": state,
        "state is no dict": {"state_dict": 3, "arguments": {}},
        "state of numbers": {"state_dict": {"network.x": 3}, "arguments": {}},
        "arguments are a number": {"state_dict": state, "arguments": 3},
    }.items():
        torch.save(content, name(key, ".ckpt"))
    name("pickle", ".ckpt").write_bytes(pickle.dumps({"state_dict": Opens(folder / "opened")}))
    return made


def test_wrong_files(tmp_path):
    """Each is refused in one line that names the file, and nothing in it is run."""
    for key, path in wrong_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            weights.load(Small, path)
        assert str(path) in str(caught.value), key
        assert "\n" not in str(caught.value), key
    assert not (tmp_path / "opened").exists()


def test_a_checkpoint_to_go_on_from_is_read_without_running_code(tmp_path):
    torch.save({"state_dict": Opens(tmp_path / "opened")}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="safe to read"):
        weights.read_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "opened").exists()


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        weights.save(trained(), tmp_path / "file" / "w.safetensors")
