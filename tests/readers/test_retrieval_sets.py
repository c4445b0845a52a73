"""Data sets of image retrieval: their layouts, their protocols, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate.errors import InputError
from foveate.readers import retrieval_sets as sets
from foveate.readers.cifar import read_cifar10
from foveate.readers.pictures import read_picture
from foveate.samples.retrieval_layouts import layout

READERS = {
    "cifar10": sets.cifar10,
    "nus_wide": sets.nus_wide,
    "coco": sets.coco,
    "flickr25k": sets.mirflickr,
    "listed": sets.listed,
    "folder": sets.folder,
}
DRAWN = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """One of each data set in miniature, and what `layout` returned; read only."""
    made = {}
    for name in READERS:
        root = tmp_path_factory.mktemp(name)
        made[name] = root, layout(name, root)
    return made


def rewrite(path: Path, change) -> Path:
    """Change the text of a file."""
    path.write_text(change(path.read_text()))
    return path


def keys(part) -> list:
    """Return what tells items apart."""
    return [item if isinstance(item, Path) else item.tobytes() for item in part.items]


def check(parts) -> None:
    """Check what holds of every data set."""
    assert list(parts) == [name for name in sets.PARTS if name in parts]
    for part in parts.values():
        assert len(part) == len(part.items) == len(set(keys(part))) > 0
        if part.labels is not None:
            assert len(part.labels) == len(part)
            assert part.labels.dtype == (bool if part.labels.ndim == 2 else np.int64)
    for held_out in {"query", "val"} & parts.keys():
        for other in parts.keys() - {held_out}:
            assert not set(keys(parts[held_out])) & set(keys(parts[other])), (held_out, other)


def same(one, other) -> bool:
    """Tell whether two splits are the same."""
    return list(one) == list(other) and all(
        keys(one[p]) == keys(other[p]) and np.array_equal(one[p].labels, other[p].labels) for p in one
    )


# Every layout
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_each_layout_is_read_as_validation_will_see_it(name, roots):
    root, first = roots[name]
    parts = READERS[name](root)
    check(parts)
    if first is not None:
        assert first == parts.get("val", parts["database"]).items[0]
        for part in parts.values():
            for path in part.items:
                assert read_picture(path).size == (40, 48)
    assert same(parts, READERS[name](str(root), seed=0))


@DRAWN
@given(name=st.sampled_from(sorted(READERS)), seed=st.integers(0, 2**32), val=st.integers(0, 3))
def test_held_out_pictures_are_in_no_other_part_and_a_seed_says_all(name, seed, val, roots):
    options = {} if name in ("cifar10", "folder") else {"val_size": val}
    parts = READERS[name](roots[name][0], seed=seed, **options)
    check(parts)
    assert same(parts, READERS[name](roots[name][0], seed=seed, **options))
    if options:
        assert len(parts.get("val", ())) == val
    if name != "folder":
        assert set(keys(parts["train"])) <= set(keys(parts["database"]))


def test_other_seeds_draw_others(roots):
    for name, size in (
        ("coco", "query_size"),
        ("flickr25k", "query_size"),
        ("listed", "train_size"),
        ("cifar10", "query_size"),
    ):
        draws = [READERS[name](roots[name][0], seed=seed, **{size: 4}) for seed in range(3)]
        part = size.removesuffix("_size")
        assert len({tuple(keys(parts[part])) for parts in draws}) > 1


# CIFAR-10
# ---------------------------------------------------------------------------------------------------------------------


@DRAWN
@given(seed=st.integers(0, 100), per_class=st.integers(1, 10), queries=st.integers(1, 11))
def test_the_protocol_of_cibhash(seed, per_class, queries, roots):
    """The database is the training split, training pictures are drawn from it by class, and the test split is divided."""
    root = roots["cifar10"][0]
    parts = sets.cifar10(root, seed, train_per_class=per_class, query_size=queries)
    check(parts)
    raw = read_cifar10(root)
    assert np.array_equal(parts["database"].items, raw["train"][0])
    assert np.bincount(parts["train"].labels).tolist() == [per_class] * 3
    assert (len(parts["query"]), len(parts["val"])) == (queries, 12 - queries)
    labels = {p.tobytes(): label for pixels, numbers in raw.values() for p, label in zip(pixels, numbers, strict=True)}
    for part in parts.values():
        assert [labels[key] for key in keys(part)] == part.labels.tolist()
        assert part.classes[2] == "bird"


@DRAWN
@given(seed=st.integers(0, 100), per_class=st.integers(1, 10), queries=st.integers(1, 4))
def test_the_protocol_of_ssdh(seed, per_class, queries, roots):
    """Queries and training pictures are drawn from both splits by class; all but the queries are the database."""
    parts = sets.cifar10(roots["cifar10"][0], seed, "ssdh", train_per_class=per_class, queries_per_class=queries)
    check(parts)
    assert np.bincount(parts["query"].labels).tolist() == [queries] * 3
    assert np.bincount(parts["train"].labels).tolist() == [per_class] * 3
    assert len(parts["database"]) == 42 - 3 * queries


def test_whole_data_sets_get_the_sizes_of_the_papers(monkeypatch):
    """CIFAR-10 and a data set of 122,218, both without their pictures."""
    labels = np.arange(60_000) % 10
    pixels = np.arange(60_000).reshape(-1, 1)
    monkeypatch.setattr(
        sets,
        "read_cifar10",
        lambda _: {"train": (pixels[:50_000], labels[:50_000]), "test": (pixels[50_000:], labels[50_000:])},
    )
    sizes = {name: len(part) for name, part in sets.cifar10("").items()}
    assert sizes == {"train": 5000, "val": 5000, "query": 5000, "database": 50_000}
    parts = sets.cifar10("", protocol="ssdh")
    assert {name: len(part) for name, part in parts.items()} == {"train": 5000, "query": 1000, "database": 59_000}
    assert set(np.bincount(parts["query"].labels)) == {100}
    assert set(np.bincount(parts["train"].labels)) == {500}
    monkeypatch.setattr(
        sets, "_read_nus_wide", lambda *_: sets.Labelled(np.arange(195_834), np.arange(195_834)[:, None] % 21 == np.arange(21))
    )
    sizes = {name: len(part) for name, part in sets.nus_wide("").items()}
    assert sizes == {"train": 10_500, "query": 2100, "database": 193_734}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train_per_class": 11}, "train_per_class: 11, and a class has 10 pictures"),
        ({"query_size": 13}, "query_size: 13, and the test split holds 12"),
        ({"query_size": -1}, "query_size: -1"),
        ({"queries_per_class": 1}, "queries_per_class: is not of the protocol cibhash"),
        ({"protocol": "ssdh", "query_size": 1}, "query_size: is not of the protocol ssdh"),
        ({"protocol": "ssdh", "queries_per_class": 15}, "queries_per_class: 15, and a class has 14"),
        ({"protocol": "other"}, "protocol: 'other'"),
    ],
)
def test_impossible_sizes_of_cifar(options, says, roots):
    with pytest.raises(InputError, match=says):
        sets.cifar10(roots["cifar10"][0], **options)


# Lists
# ---------------------------------------------------------------------------------------------------------------------


def test_lists_and_their_rows(roots):
    root, _ = roots["listed"]
    parts = sets.listed(root, train_size=4)
    assert [p.relative_to(root / "images").as_posix() for p in parts["query"].items] == [
        "astronaut/0020.png", "coffee/0021.png", "rocket/0022.png",
    ]  # fmt: skip
    assert parts["query"].labels.tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    assert (len(parts["train"]), len(parts["database"])) == (4, 10)
    assert same(parts, sets.listed(root, train_size=4))
    with pytest.raises(InputError, match="train_size: 11, and the database holds 10"):
        sets.listed(root, train_size=11)


def test_listed_training_pictures_need_no_labels(tmp_path):
    layout("listed", tmp_path)
    names = (tmp_path / "database_img.txt").read_text().split()
    (tmp_path / "train_img.txt").write_text("\r\n".join(f".\\{name}".replace("/", "\\") for name in names[3:7]) + "\r\n\r\n")
    parts = sets.listed(tmp_path)
    assert [p.relative_to(tmp_path / "images").as_posix() for p in parts["train"].items] == names[3:7]
    assert parts["train"].labels is None
    (tmp_path / "train_label_onehot.txt").write_text("1 0 0\n" * 4)
    assert sets.nus_wide(tmp_path)["train"].labels.sum() == 4
    for read in (sets.listed, sets.nus_wide):
        parts = read(tmp_path, val_size=6)  # all that are not trained on
        check(parts)
        assert {name: len(part) for name, part in parts.items()} == {"train": 4, "val": 6, "query": 3, "database": 4}
        with pytest.raises(InputError, match="val_size: 7, and 6 pictures are free"):
            read(tmp_path, val_size=7)
    with pytest.raises(InputError, match="train_per_class: is not free"):
        sets.nus_wide(tmp_path, train_per_class=2)
    with pytest.raises(InputError, match="train_size: is not free"):
        sets.listed(tmp_path, train_size=2)
    (tmp_path / "train_label_onehot.txt").write_text("1 0\n" * 4)
    with pytest.raises(InputError, match=r"train_label_onehot.txt: has rows of 2 labels, those of the database have 3"):
        sets.listed(tmp_path)


def cut_rows(rows: str) -> str:
    """Leave the last row out."""
    return "\n".join(rows.split("\n")[:-2])


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("database_img.txt", None, "database_img.txt: there is no such file"),
        ("test_label_onehot.txt", None, "test_label_onehot.txt: there is no such file"),
        ("database_img.txt", lambda t: "", "database_img.txt: the file is empty"),
        ("database_img.txt", lambda t: t.replace("coffee/0001", "\n"), "database_img.txt:2: names no file"),
        ("database_img.txt", lambda t: t.replace("coffee/0001", "a\0b"), "database_img.txt:2: names no file"),
        ("database_img.txt", lambda t: t.replace("coffee/0004", "tea/0004"), "database_img.txt:5: names tea/0004.png, which"),
        ("test_img.txt", lambda t: t.replace("coffee/0021", "coffee/0001"), "database_img.txt:2: lists 0001.png, which is"),
        ("test_label_onehot.txt", cut_rows, "test_label_onehot.txt: has 2 rows for the 3 pictures of test_img.txt"),
        ("test_label_onehot.txt", lambda t: t.replace("1 1 0", "1 2 0"), "test_label_onehot.txt:2:3: holds 2 "),
        ("test_label_onehot.txt", lambda t: t.replace("1 1 0", "1 10 0"), "test_label_onehot.txt:2:3: holds 10 "),
        ("test_label_onehot.txt", lambda t: t.replace("1 1 0", "1 1"), "test_label_onehot.txt:2: has 2 labels, the first"),
        ("test_label_onehot.txt", lambda t: t.replace("1 1 0", ""), "test_label_onehot.txt:2: has 0 labels, the first row 3"),
        ("test_label_onehot.txt", lambda t: t.replace("1 1 0", "1 cat 0"), "test_label_onehot.txt:2:3: holds cat "),
        ("test_label_onehot.txt", lambda t: t.replace(" ", " 0 "), "test_label_onehot.txt: has rows of 5 labels, those of"),
    ],
)  # fmt: skip
def test_wrong_lists_are_told_the_line(file, change, says, tmp_path):
    layout("listed", tmp_path)
    rewrite(tmp_path / file, change) if change else (tmp_path / file).unlink()
    with pytest.raises(InputError, match=says):
        sets.listed(tmp_path)


def test_lists_in_other_encodings(tmp_path):
    layout("listed", tmp_path)
    path = tmp_path / "database_img.txt"
    path.write_bytes("\ufeff".encode() + path.read_bytes())
    assert len(sets.listed(tmp_path)["database"]) == 10
    path.write_bytes(path.read_bytes().replace(b"rocket/0005", b"rock\xe9t/0005"))
    with pytest.raises(InputError, match=r"database_img.txt:6: is no UTF-8 text"):
        sets.listed(tmp_path)


@DRAWN
@given(
    rows=st.integers(1, 9).flatmap(lambda c: st.lists(st.lists(st.booleans(), min_size=c, max_size=c), min_size=1, max_size=9))
)
def test_rows_are_what_loadtxt_reads(rows, tmp_path):
    for apart, end in ((" ", "\n"), ("\t", "\r\n"), (", ", " \n")):
        path = tmp_path / "rows.txt"
        path.write_bytes("".join(apart.join(str(int(v)) for v in row) + end for row in rows).encode())
        read = sets._read_rows(path, len(rows), tmp_path / "names.txt")
        slow = np.loadtxt(path, ndmin=2, delimiter="," if apart == ", " else None)
        assert read.dtype == bool
        assert np.array_equal(read, slow)


@pytest.fixture
def one_list(tmp_path):
    """The pictures of `listed` in one list, one of them twice, as NUS-WIDE with 10 classes has it."""
    layout("listed", tmp_path)
    for new, old in (("img_tc10.txt", "img.txt"), ("targets_onehot_tc10.txt", "label_onehot.txt")):
        lines = "".join((tmp_path / f"{part}_{old}").read_text() for part in ("database", "test"))
        (tmp_path / new).write_text(lines + lines.split("\n")[0] + "\n")
    return tmp_path


def test_ten_classes_in_one_list(one_list):
    """A picture that is listed twice counts once, or it could be a query and in the database."""
    parts = sets.tc10(one_list, query_size=3, train_size=5, val_size=2)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "val": 2, "query": 3, "database": 8}
    for part in parts.values():
        assert all(row[sets_class(path)] for path, row in zip(part.items, part.labels, strict=True))
    assert len(sets.tc10(one_list)["query"]) == 1
    with pytest.raises(InputError, match="holds 13 pictures, and 9 queries and 4 validation pictures leave no database"):
        sets.tc10(one_list, query_size=9, val_size=4)
    with pytest.raises(InputError, match="train_size: 11, and the database holds 10"):
        sets.tc10(one_list, query_size=3, train_size=11)
    # The same, under the names that the hashing community uses for MIRFlickr.
    (one_list / "img_tc10.txt").rename(one_list / "img.txt")
    (one_list / "targets_onehot_tc10.txt").rename(one_list / "targets.txt")
    assert same(sets.mirflickr(one_list, query_size=3, train_size=5, val_size=2), parts)


def sets_class(path: Path) -> int:
    """Return the class that a fixture's picture was made for."""
    return ("astronaut", "coffee", "rocket").index(path.parent.name)


def test_missing_pictures_are_noticed_in_long_lists_if_they_are_first_or_last(tmp_path):
    names = [f"{i}.jpg" for i in range(1000)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "img_tc10.txt").write_text("\n".join(names))
    (tmp_path / "targets_onehot_tc10.txt").write_text("1 0 0\n" * 1000)
    assert sum(len(sets.tc10(tmp_path)[part]) for part in ("query", "database")) == 1000
    for i in (0, 999):
        (tmp_path / names[i]).unlink()
        with pytest.raises(InputError, match=rf"img_tc10.txt:{i + 1}: names {i}.jpg, which is not there"):
            sets.tc10(tmp_path)
        (tmp_path / names[i]).touch()


# NUS-WIDE as published
# ---------------------------------------------------------------------------------------------------------------------


def test_the_published_layout_of_nus_wide(roots):
    """The concepts that are most frequent count, pictures without any are left out, and so many of each are drawn."""
    root = roots["nus_wide"][0]
    parts = sets.nus_wide(root, queries_per_class=1, train_per_class=2)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "query": 3, "database": 8}
    assert parts["query"].classes == ("food", "person", "sky")
    assert (parts["query"].labels.sum(axis=0) >= 1).all()
    assert (parts["train"].labels.sum(axis=0) >= 2).all()
    everything = [*parts["query"].items, *parts["database"].items]
    assert len(everything) == 11
    assert "0011_2124494190.jpg" not in [path.name for path in everything]
    person = parts["database"].labels[[p.parent.name == "astronaut" for p in parts["database"].items], 1]
    assert person.size
    assert person.all()
    only = sets.nus_wide(root, concepts=1)
    assert only["database"].classes == ("person",)
    assert len(only["query"]) + len(only["database"]) == 6


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (
            "Groundtruth/AllLabels/Labels_sky.txt",
            lambda t: t[:-2],
            "Labels_sky.txt: has 11 rows for the 12 pictures of Imagelist",
        ),
        ("Groundtruth/AllLabels/Labels_sky.txt", lambda t: t.replace("1", "x", 1), "Labels_sky.txt:3:1: holds x"),
        ("Groundtruth/AllLabels/Labels_sky.txt", lambda t: "0 1\n" * 12, "Labels_sky.txt:1: has 2 labels in a row"),
        ("ImageList/Imagelist.txt", lambda t: t.replace("0004_", "9004_"), "Imagelist.txt:5: names coffee/9004_2124494183.jpg"),
        ("ImageList/Imagelist.txt", None, "holds Flickr, Groundtruth, ImageList "),
    ],
)
def test_wrong_files_of_nus_wide(file, change, says, tmp_path):
    layout("nus_wide", tmp_path)
    rewrite(tmp_path / file, change) if change else (tmp_path / file).unlink()
    with pytest.raises(InputError, match=says):
        sets.nus_wide(tmp_path)


def test_lists_beside_nus_wide_have_the_say(roots):
    root = roots["listed"][0]
    parts = sets.nus_wide(root, train_per_class=2, val_size=2)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "val": 2, "query": 3, "database": 8}
    with pytest.raises(InputError, match="queries_per_class: is not free"):
        sets.nus_wide(root, queries_per_class=2)
    with pytest.raises(InputError, match="train_per_class: 9, and a class has"):
        sets.nus_wide(root, train_per_class=9)


# MSCOCO
# ---------------------------------------------------------------------------------------------------------------------


def test_the_labels_of_mscoco(roots):
    root = roots["coco"][0]
    parts = sets.coco(root, query_size=3, train_size=4, val_size=1)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "val": 1, "query": 3, "database": 7}
    assert parts["query"].classes == ("person", "airplane", "cup")  # by their numbers: 1, 5, 47
    everything = {p: row for part in parts.values() for p, row in zip(part.items, part.labels.tolist(), strict=True)}
    assert len(everything) == 11
    assert not any(path.name.endswith("000016.jpg") for path in everything)  # without an annotation
    assert everything[root / "train2014" / "COCO_train2014_000000000010.jpg"] == [False, True, True]
    assert everything[root / "val2014" / "COCO_val2014_000000000045.jpg"] == [True, False, False]


def test_one_year_one_split_and_other_folders(tmp_path):
    layout("coco", tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "train2014").rename(tmp_path / "images" / "train2014")
    (tmp_path / "annotations" / "instances_val2014.json").unlink()
    assert sum(len(sets.coco(tmp_path)[part]) for part in ("query", "database")) == 7
    with pytest.raises(InputError, match=r"has no such annotations \(expected: annotations/instances_train2017.json"):
        sets.coco(tmp_path, year=2017)


def edit(change):
    """Make a change of the text out of one of the data."""

    def write(text):
        data = json.loads(text)
        change(data)
        return json.dumps(data)

    return write


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t[: len(t) // 2], r"instances_val2014.json:1:\d+: is cut off or no JSON"),
        (lambda t: "[" * 100_000, "instances_val2014.json: is no JSON|instances_val2014.json:1"),
        (lambda t: "[]", "is laid out in another way"),
        (edit(lambda d: d.pop("annotations")), "lacks 'annotations'"),
        (edit(lambda d: d["images"][0].pop("file_name")), "lacks 'file_name'"),
        (edit(lambda d: d.update(images=3)), "is laid out in another way"),
        (edit(lambda d: d["annotations"][0].update(image_id=7)), "has an annotation of picture 7, which it does not list"),
        (edit(lambda d: d["annotations"][0].update(image_id=None)), "is laid out in another way"),
        (edit(lambda d: d["annotations"][0].update(category_id=9)), "has an annotation of category 9"),
        (edit(lambda d: d["categories"][0].update(name="cat")), "has other categories than the other split"),
        (
            edit(lambda d: d["images"][0].update(file_name="gone.jpg")),
            "instances_val2014.json: names gone.jpg, which is not there",
        ),
    ],
)
def test_wrong_annotations(change, says, tmp_path):
    layout("coco", tmp_path)
    rewrite(tmp_path / "annotations" / "instances_val2014.json", change)
    with pytest.raises(InputError, match=says) as caught:
        sets.coco(tmp_path)
    assert "instances_val2014.json" in str(caught.value)


# MIRFlickr
# ---------------------------------------------------------------------------------------------------------------------


def test_the_tags_of_mirflickr(roots):
    root = roots["flickr25k"][0]
    parts = sets.mirflickr(root, query_size=3, train_size=4)
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "query": 3, "database": 9}
    assert parts["query"].classes == ("food", "people", "sky")
    assert sets.mirflickr(root, tags=38)["query"].classes == ("food", "people", "people_r1", "sky", "sky_r1")
    rows = {p.name: row for part in parts.values() for p, row in zip(part.items, part.labels.tolist(), strict=True)}
    assert len(rows) == 12
    assert rows["im2.jpg"] == [True, True, False]
    assert rows["im12.jpg"] == [False, False, True]
    assert [int(p.stem[2:]) for p in parts["database"].items] == sorted(int(p.stem[2:]) for p in parts["database"].items)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("2", "13", 1), "food.txt:1: names picture 13, and there is no such file"),
        (lambda t: t.replace("5", "five"), "food.txt:2: holds five"),
        (lambda t: t.replace("5", ""), "food.txt:2: holds nothing"),
        (lambda t: "", "food.txt: the file is empty"),
    ],
)
def test_wrong_tags(change, says, tmp_path):
    layout("flickr25k", tmp_path)
    rewrite(tmp_path / "mirflickr25k_annotations_v080" / "food.txt", change)
    with pytest.raises(InputError, match=says):
        sets.mirflickr(tmp_path)


def test_missing_pictures_or_tags_of_mirflickr(tmp_path):
    layout("flickr25k", tmp_path)
    with pytest.raises(InputError, match="tags: 5"):
        sets.mirflickr(tmp_path, tags=5)
    (tmp_path / "mirflickr").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"holds no im1.jpg"):
        sets.mirflickr(tmp_path)
    with pytest.raises(InputError, match="has no annotations"):
        sets.mirflickr(tmp_path / "elsewhere")


# A user's own
# ---------------------------------------------------------------------------------------------------------------------


def test_folders_of_parts(roots, tmp_path):
    parts = sets.folder(roots["folder"][0])
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "val": 3, "query": 3, "database": 6}
    for part in parts.values():
        assert [part.classes[label] for label in part.labels] == [path.parent.name for path in part.items]
    layout("folder", tmp_path)
    for name in ("val", "database"):
        (tmp_path / name).rename(tmp_path.parent / f"{tmp_path.name}_{name}")
    parts = sets.folder(tmp_path)
    assert parts["database"] is parts["train"]
    (tmp_path / "train").rename(tmp_path.parent / f"{tmp_path.name}_train")
    with pytest.raises(InputError, match="has only query"):
        sets.folder(tmp_path)


def test_folders_without_parts(tmp_path):
    """All pictures are in both; labels need a sub-folder for every picture; a folder `train` may be a class."""
    layout("folder", tmp_path / "whole")
    (tmp_path / "whole" / "train").rename(tmp_path / "classes")
    (tmp_path / "classes" / "rocket").rename(tmp_path / "classes" / "train")
    parts = sets.folder(tmp_path / "classes")
    assert list(parts) == ["train", "database"]
    assert len(parts["train"]) == len(parts["database"]) == 6
    assert parts["train"].classes == ("astronaut", "coffee", "train")
    assert parts["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    parts = sets.folder(tmp_path / "classes", query_size=2, val_size=1)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 3, "val": 1, "query": 2, "database": 3}
    (tmp_path / "classes" / "coffee" / "1.png").rename(tmp_path / "classes" / "1.png")
    assert sets.folder(tmp_path / "classes")["train"].labels is None
    flat = sets.folder(tmp_path / "classes" / "astronaut")
    assert (len(flat["database"]), flat["database"].labels) == (2, None)


def test_folders_that_cannot_be_meant(tmp_path):
    with pytest.raises(InputError, match="holds no pictures"):
        sets.folder(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        sets.folder(tmp_path / "none")
    layout("folder", tmp_path)
    with pytest.raises(InputError, match="query_size: is not free"):
        sets.folder(tmp_path, query_size=1)
    (tmp_path / "val").rename(tmp_path / "valid")
    with pytest.raises(InputError, match=r"valid/astronaut/30.png: lies beside the folders database, query, train"):
        sets.folder(tmp_path)


# Features
# ---------------------------------------------------------------------------------------------------------------------


def save(folder: Path, **arrays) -> Path:
    """Write an ``.npz``."""
    path = folder / "features.npz"
    rows = {"features": np.arange(24.0).reshape(8, 3)} | arrays
    np.savez_compressed(path, **{name: array for name, array in rows.items() if array is not None})
    return path


def test_features_with_everything(tmp_path):
    part = np.array(["train", "database", "query", "val"] * 2)
    names = np.array([f"{i}.jpg" for i in range(8)])
    parts = sets.features(save(tmp_path, part=part, names=names, labels=np.arange(8) % 3))
    assert {name: len(p) for name, p in parts.items()} == dict.fromkeys(sets.PARTS, 2)
    assert parts["query"].items.dtype == np.float32
    assert parts["query"].items.tolist() == [[6, 7, 8], [18, 19, 20]]
    assert parts["query"].labels.tolist() == [2, 0]
    assert parts["query"].names == ("2.jpg", "6.jpg")


def test_features_alone(tmp_path):
    parts = sets.features(save(tmp_path, labels=np.array(list("abacabab"))))
    assert list(parts) == ["train", "database"]
    assert parts["train"].classes == ("a", "b", "c")
    assert parts["train"].labels.tolist() == [0, 1, 0, 2, 0, 1, 0, 1]
    parts = sets.features(save(tmp_path, labels=np.eye(8)[:, :4]), query_size=3)
    check(parts)
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "query": 3, "database": 5}
    assert parts["query"].labels.shape == (3, 4)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"features": None, "codes": np.zeros(3)}, "holds codes"),
        ({"features": np.zeros(8)}, r"its features are float64 of shape \(8,\)"),
        ({"features": np.zeros((0, 3))}, "its features are"),
        ({"features": np.array([["a"]])}, "its features are <U1"),
        ({"features": np.array([[{}]], dtype=object)}, "is damaged or no .npz: Object arrays cannot be loaded"),
        ({"features": np.array([[0.0], [np.nan]])}, "row 1 of its features is not finite"),
        ({"features": np.array([[1e300], [1.0]])}, "row 0 of its features is not finite"),
        ({"labels": np.zeros(7, int)}, r"its labels are int64 of shape \(7,\)"),
        ({"labels": np.full((8, 2), 2)}, r"its labels are int64 of shape \(8, 2\)"),
        ({"names": np.zeros(8)}, "its names are float64"),
        ({"part": np.array(["train"] * 7 + ["test"])}, "has a part 'test'"),
        ({"part": np.array(["query"] * 8)}, "has only query"),
        ({"part": np.array(["train", "query"] * 4), "names": np.array(["a"] * 8)}, "has a as a query and in another part"),
    ],
)
def test_wrong_features(arrays, says, tmp_path):
    with pytest.raises(InputError, match=rf"features.npz: {says}"):
        sets.features(save(tmp_path, **arrays))


def test_damaged_and_huge_archives(tmp_path, monkeypatch):
    path = save(tmp_path, features=np.random.default_rng(0).normal(size=(50, 8)))
    content = path.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content[:200] + bytes(50) + content[250:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is damaged or no \.npz"):
            sets.features(path)
    path.write_bytes(content)
    monkeypatch.setattr(sets, "MAX_FEATURES", 1000)
    with pytest.raises(InputError, match="is too large: 3,328 bytes unpacked"):
        sets.features(path)
    with pytest.raises(InputError, match="there is no such file"):
        sets.features(tmp_path / "none.npz")
