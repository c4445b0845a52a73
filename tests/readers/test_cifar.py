"""CIFAR-10 batches, pickled and binary."""

from __future__ import annotations

import pickle  # noqa: TID251 - the format of this data set

import numpy as np
import pytest
import torchvision

from foveate.errors import InputError
from foveate.readers.cifar import CLASSES, read_cifar10
from foveate.samples.retrieval_layouts import layout

PICKLED = "cifar-10-batches-py"


@pytest.fixture
def root(tmp_path):
    """A data set in miniature."""
    layout("cifar10", tmp_path)
    return tmp_path


def change(root, name="test_batch", **entries):
    """Replace entries of a batch; None takes one away."""
    path = root / PICKLED / name
    batch = pickle.loads(path.read_bytes()) | entries
    path.write_bytes(pickle.dumps({key: value for key, value in batch.items() if value is not None}))


def test_the_pictures_are_those_that_torchvision_reads(root, monkeypatch):
    read = read_cifar10(root)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    for part in ("train", "test"):
        theirs = torchvision.datasets.CIFAR10(root, train=part == "train")
        pixels, labels = read[part]
        assert pixels.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.array_equal(pixels, theirs.data)
        assert labels.tolist() == theirs.targets
    assert tuple(theirs.classes) == CLASSES
    assert [len(labels) for _, labels in read.values()] == [30, 12]
    inner = read_cifar10(root / PICKLED)
    assert np.array_equal(inner["test"][0], read["test"][0])


def test_the_binary_version_is_the_same(root):
    pickled = read_cifar10(root)
    binary = root / "binary" / "cifar-10-batches-bin"
    binary.mkdir(parents=True)
    for path in (root / PICKLED).glob("*batch*"):
        if path.name != "batches.meta":
            batch = pickle.loads(path.read_bytes())
            records = np.column_stack([np.array(batch["labels"], np.uint8), batch["data"]])
            records.tofile(binary / f"{path.name}.bin")
    read = read_cifar10(root / "binary")
    for part in read:
        assert all(np.array_equal(a, b) for a, b in zip(read[part], pickled[part], strict=True))
    path = binary / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_2.bin: has 18,437 bytes \(expected: a multiple of 3,073"):
        read_cifar10(binary)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"labels": None, "fine_labels": [1] * 12}, "holds batch_label, data, filenames, fine_labels"),
        ({"data": np.zeros((12, 3072))}, r"its data are float64 of shape \(12, 3072\)"),
        ({"data": np.zeros((12, 1024), np.uint8)}, "its data are uint8 of shape"),
        ({"data": [1, 2]}, "its data are list"),
        ({"labels": [0] * 11}, "has 11 labels for 12 pictures"),
        ({"labels": [0] * 11 + [10]}, "picture 11 has the label 10"),
        ({"labels": ["cat"] * 12}, "its labels are no list of whole numbers"),
        ({"labels": [[1], [1, 2]] * 6}, "its labels are no list of whole numbers"),
        ({"labels": [10**30] * 12}, "its labels are no list of whole numbers"),
    ],
)
def test_other_layouts_are_told_what_was_found(entries, says, root):
    change(root, **entries)
    with pytest.raises(InputError, match=rf"test_batch: {says}"):
        read_cifar10(root)


def test_what_is_missing_is_named(root, tmp_path):
    (root / PICKLED / "data_batch_3").rename(root / "away")
    with pytest.raises(InputError, match=f"{PICKLED}: has no data_batch_3 "):
        read_cifar10(root)
    with pytest.raises(InputError, match="there is no such folder"):
        read_cifar10(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        read_cifar10(root / "away")
    (tmp_path / "packed").mkdir()
    with pytest.raises(InputError, match="packed: holds nothing"):
        read_cifar10(tmp_path / "packed")
    (tmp_path / "packed" / "cifar-10-python.tar.gz").touch()
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz, still packed"):
        read_cifar10(tmp_path / "packed")
    (root / PICKLED / "data_batch_3").write_bytes((root / "away").read_bytes()[:5000])
    with pytest.raises(InputError, match="data_batch_3: is no pickle, or a damaged one: cut off"):
        read_cifar10(root)
