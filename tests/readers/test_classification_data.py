"""Labelled pictures: real layouts in miniature, the embedded sets, and what training and evaluation see of them."""

import gzip
import pickle  # noqa: TID251 - the format of this data set
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from foveate.errors import InputError
from foveate.parts.classification import base_classifier
from foveate.parts.training import Draw
from foveate.readers import labelled_pictures as sets
from foveate.readers.classification_data import Digits, Folder, Shapes, Views
from foveate.readers.idx import read_idx
from foveate.readers.labelled import Labelled
from foveate.results import Picture
from foveate.samples import shapes


def save(path, value=0, size=(9, 11)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def idx(values):
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


# Layouts
# ---------------------------------------------------------------------------------------------------------------------


def test_class_folders_are_divided_class_by_class(tmp_path):
    for name, count in (("cat", 20), ("dog", 40)):
        for i in range(count):
            save(tmp_path / name / f"{i}.png", i)
    parts = sets.folder(tmp_path, seed=1)
    counts = {part: np.bincount(found.labels).tolist() for part, found in parts.items()}
    assert counts == {"train": [14, 28], "val": [3, 6], "test": [3, 6]}
    assert parts["train"].classes == ("cat", "dog")
    everything = [path for found in parts.values() for path in found.items]
    assert len(set(everything)) == len(everything) == 60
    for found in parts.values():
        assert [path.parent.name for path in found.items] == [found.classes[label] for label in found.labels]


def test_parts_that_are_there_are_kept(tmp_path):
    for part in ("train", "validation"):
        for name in "ab":
            for i in range(10):
                save(tmp_path / part / name / f"{i}.png")
    parts = sets.folder(tmp_path)
    assert {path.parts[-3] for path in parts["val"].items} == {"validation"}
    assert len(parts["train"]) + len(parts["test"]) == 20
    for name in "ac":
        save(tmp_path / "test" / name / "0.png")
    with pytest.raises(InputError, match="other classes than train: b, c"):
        sets.folder(tmp_path)


@pytest.mark.parametrize(
    ("made", "said"),
    [((), "has no pictures"), (("a.png", "b.png"), "2 pictures and no folders"), (("x/a.png",), "one class only, x")],
)
def test_what_is_no_data_set_is_said(tmp_path, made, said):
    for name in made:
        save(tmp_path / name)
    with pytest.raises(InputError, match=said):
        sets.folder(tmp_path)


def test_mnist_plain_and_gzipped(tmp_path):
    rng = np.random.default_rng(0)
    kept = {}
    for prefix, count in (("train", 40), ("t10k", 8)):
        pictures, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        kept[prefix] = pictures, labels
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(pictures))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    parts = sets.mnist(tmp_path)
    assert np.array_equal(parts["test"].items, kept["t10k"][0])
    assert len(parts["train"]) + len(parts["val"]) == 40
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"holds 6,267 values \(expected: 6,272, as its head says\)"):
        sets.mnist(tmp_path)
    (tmp_path / "no").write_bytes(b"\x1f\x8bnot really")
    with pytest.raises(InputError, match="damaged or cut off"):
        read_idx(tmp_path / "no")


def test_cifar100_has_fine_labels(tmp_path):
    rng = np.random.default_rng(0)
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    for part, count in (("train", 200), ("test", 50)):
        batch = {"data": rng.integers(0, 256, (count, 3072), np.uint8), "fine_labels": [i % 100 for i in range(count)]}
        (root / part).write_bytes(pickle.dumps(batch))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"c{i}" for i in range(100)]}))
    parts = sets.cifar100(tmp_path)
    assert parts["test"].classes[7] == "c7"
    assert parts["test"].items.shape == (50, 32, 32, 3)
    (root / "test").write_bytes(pickle.dumps({"data": batch["data"], "fine_labels": [100] * 50}))
    with pytest.raises(InputError, match="has the label 100"):
        sets.cifar100(tmp_path)


def test_imagenet_without_its_training_part(tmp_path):
    for name in ("n01", "n02"):
        for i in range(20):
            save(tmp_path / "val" / name / f"{i}.JPEG")
    parts = sets.imagenet(tmp_path)
    assert [len(parts[part]) for part in sets.PARTS] == [18, 2, 20]


# What is seen
# ---------------------------------------------------------------------------------------------------------------------


def test_training_moves_and_evaluation_does_not():
    data = Shapes(count=8, held_out=4)
    views = Views(data.parts()["train"], data)
    plain = views[3]["image"]
    assert torch.equal(plain, views[3]["image"])
    middle = shapes.shapes(8, 0).pictures[3][4:36, 4:36]
    assert np.array_equal((plain * 255).round().byte().permute(1, 2, 0).numpy(), middle)
    moved = [views[Draw(3, 0, epoch)]["image"] for epoch in range(6)]
    assert torch.equal(moved[2], views[Draw(3, 0, 2)]["image"])
    assert len({tuple(m.flatten()[:500].tolist()) for m in moved}) > 3


def test_the_three_parts_of_the_embedded_sets_share_nothing():
    digits = Digits().parts()
    assert [len(digits[part]) for part in sets.PARTS] == [1000, 297, 500]
    drawn = Shapes(count=30, held_out=30).parts()
    flat = {part: {p.tobytes() for p in drawn[part].items} for part in sets.PARTS}
    assert not flat["train"] & flat["test"] and not flat["val"] & flat["test"] and not flat["train"] & flat["val"]


def test_shapes_come_the_same_again_and_get_harder():
    few, many = shapes.shapes(5, 77), shapes._picture(np.random.default_rng((77, 4)), 0, True)
    assert np.array_equal(few.pictures[4], many[0])
    hard = shapes.shapes(60, 77, severity=None)
    assert set(hard.severities.tolist()) == {0, 1, 2, 3, 4}
    assert len(shapes.CLASSES) == 10


def test_a_base_network_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    data = Digits(side=16, batch_size=32)
    first = base_classifier("resnet14x0.25_cifar", data, "digits", 4)
    monkeypatch.setattr("foveate.parts.classification.fit", None)
    again = base_classifier("resnet14x0.25_cifar", data, "digits", 4)
    x = data.tensors("val")[0][:3]
    assert x.shape == (3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(first(x), again(x), atol=1e-6)
    assert torch.equal(again.prepare(Picture(data.parts()["val"].items[0])), x[0])


def test_a_folder_as_training_data(tmp_path):
    for name in "ab":
        for i in range(8):
            save(tmp_path / name / f"{i}.png", 20 * i, (30, 50))
    data = Folder(str(tmp_path), side=24)
    pictures, labels = data.tensors("train")
    assert pictures.shape[1:] == (3, 24, 24)
    assert labels.tolist() == sorted(labels.tolist())
    assert data.classes == ("a", "b")


def test_labelled_items_are_taken_by_place():
    whole = Labelled(np.arange(4), np.arange(4), ("x",), tuple("abcd"))
    assert whole.take(np.array([2, 0])).names == ("c", "a")
