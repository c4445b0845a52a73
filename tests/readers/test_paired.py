"""Pairs of degraded and clean pictures."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import InputError
from foveate.parts.dihedral import dihedral
from foveate.parts.training import Draw
from foveate.readers import paired
from foveate.readers.paired import Pair, PairedPictures, cut, draw_move, draw_window, same_names
from foveate.readers.pictures import read_picture
from foveate.results import Picture


def write(path: Path, height: int = 20, width: int = 30, seed: int = 0, bits: int = 8) -> Path:
    """Write a random picture."""
    pixels = np.random.default_rng(seed).integers(0, 2**bits, (height, width, 3)).astype(f"uint{bits}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture(pixels).write(path)
    return path


def prepare(picture: Picture) -> torch.Tensor:
    """Turn a picture into a tensor, as a system does."""
    return torch.from_numpy(picture.colour().transpose(2, 0, 1).copy())


# Which belongs to which
# ---------------------------------------------------------------------------------------------------------------------


def test_pairs_are_found_by_their_path_below_the_folder(tmp_path):
    """Suffixes may differ, names may have dots, folders may lie within folders."""
    for name in ("b.png", "a.dots.png", "scene/a.png", "scene/deep/c.png"):
        write(tmp_path / "clean" / name)
    for name in ("b.PNG", "a.dots.png", "scene/a.png", "scene/deep/c.png"):
        write(tmp_path / "noisy" / name)
    (tmp_path / "noisy" / "notes.txt").touch()
    pairs = same_names(tmp_path / "noisy", tmp_path / "clean")
    assert [p.clean.relative_to(tmp_path / "clean").as_posix() for p in pairs] == [
        "a.dots.png", "b.png", "scene/a.png", "scene/deep/c.png",
    ]  # fmt: skip
    assert pairs[1] == Pair(tmp_path / "noisy" / "b.PNG", tmp_path / "clean" / "b.png")


@pytest.mark.parametrize(
    ("noisy", "clean", "says"),
    [
        (None, ["a.png"], "noisy: there is no such folder"),
        (["a.png"], None, "clean: there is no such folder"),
        ([], [], "noisy: holds no pictures"),
        (["a.png", "b.png"], ["a.png"], "1 pictures have no partner, the first is b"),
        ([], ["a.png", "b.png"], "2 pictures have no partner, the first is a"),
        (["s/a.png"], ["t/a.png"], "2 pictures have no partner, the first is s/a"),
        (["a.png", "a.jpg"], ["a.png"], "a.jpg"),
        (["a.png"], ["a.tif", "a.png"], "a.png"),
    ],
)
def test_pairing_errors(noisy, clean, says, tmp_path):
    """Two candidates for one partner are an error too: which one was meant?"""
    for side, names in (("noisy", noisy), ("clean", clean)):
        if names is not None:
            (tmp_path / side).mkdir()
        for name in names or []:
            (tmp_path / side / name).parent.mkdir(exist_ok=True)
            (tmp_path / side / name).touch()
    with pytest.raises(InputError) as caught:
        same_names(tmp_path / "noisy", tmp_path / "clean")
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


# Crops and moves
# ---------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 60), st.integers(0, 10))
def test_a_window_lies_within_the_picture(height, width, crop, seed):
    rows, columns = draw_window((height, width), crop, np.random.default_rng(seed))
    side = min(crop, height, width)
    assert rows.start >= 0
    assert columns.start >= 0
    assert rows.stop - rows.start == columns.stop - columns.start == side
    assert rows.stop <= height
    assert columns.stop <= width


def test_every_window_and_every_move_is_drawn():
    rng = np.random.default_rng(0)
    assert {draw_window((5, 4), 3, rng)[0].start for _ in range(100)} == {0, 1, 2}
    assert {draw_window((5, 4), 3, rng)[1].start for _ in range(100)} == {0, 1}
    assert {draw_move("all", rng) for _ in range(200)} == set(range(8))
    assert {draw_move("none", rng) for _ in range(20)} == {0}
    half = [draw_move("half", rng) for _ in range(4000)]
    assert set(half) == set(range(8))
    assert half.count(0) == pytest.approx(2000, abs=150)


def test_a_draw_gives_the_same_crop_of_both_sides_every_time(tmp_path):
    same = write(tmp_path / "a.png", bits=16)
    data = PairedPictures([Pair(same, same)], prepare, crop=8)
    whole = data[0]["clean"]
    crops = [data[Draw(0, seed=1, epoch=epoch)] for epoch in range(12)]
    for crop in crops:
        assert torch.equal(crop["degraded"], crop["clean"])
        assert crop["clean"].shape == (3, 8, 8)
        assert crop["clean"].is_contiguous()
        views = [dihedral(whole, move) for move in range(8)]
        assert any(torch.equal(view.unfold(1, 8, 1).unfold(2, 8, 1)[:, y, x], crop["clean"])
                   for view in views for y in range(view.shape[1] - 7) for x in range(view.shape[2] - 7))  # fmt: skip
    assert torch.equal(data[Draw(0, 1, 3)]["clean"], crops[3]["clean"])
    assert len({crop["clean"].numpy().tobytes() for crop in crops}) > 9
    assert torch.equal(PairedPictures([Pair(same, same)], prepare, crop=8)[Draw(0, 1, 3)]["clean"], crops[3]["clean"])


def test_without_a_draw_it_is_the_whole_pair(tmp_path):
    pair = Pair(write(tmp_path / "a.png", seed=1), write(tmp_path / "b.png", seed=2))
    data = PairedPictures([pair], prepare, crop=8)
    assert len(data) == 1
    for side, path in zip(("degraded", "clean"), pair, strict=True):
        assert torch.equal(data[0][side], prepare(read_picture(path)))


def test_a_small_picture_is_mirrored_to_the_crop(tmp_path):
    small = write(tmp_path / "a.png", height=5, width=9)
    assert PairedPictures([Pair(small, small)], prepare, crop=8)[Draw(0, 0, 0)]["clean"].shape == (3, 8, 8)


def test_pairs_of_two_sizes_are_refused(tmp_path):
    pair = Pair(write(tmp_path / "a.png", height=20), write(tmp_path / "b.png", height=21))
    with pytest.raises(InputError, match=r"a\.png: is 30 x 20 but b\.png is 30 x 21"):
        PairedPictures([pair], prepare)[0]


# Cutting
# ---------------------------------------------------------------------------------------------------------------------


def scenes(folder: Path, count: int = 3) -> list[Pair]:
    """Write pairs whose file names are the same in every scene."""
    names = [f"scene{i}/frame.png" for i in range(count)]
    for i, name in enumerate(names):
        for side in ("noisy", "clean"):
            write(folder / side / name, seed=i + 10 * (side == "clean"), height=20 + i, width=30, bits=8 + 8 * (i == 1))
    return same_names(folder / "noisy", folder / "clean")


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_squares_cover_the_pictures_exactly(tmp_path):
    pairs = scenes(tmp_path)
    squares = cut(pairs, tmp_path / "cut", side=16, stride=8)
    assert len(squares) == sum(len(paired._starts(20 + i, 16, 8)) * len(paired._starts(30, 16, 8)) for i in range(3))
    for side in ("degraded", "clean"):
        covered = [np.zeros((20 + i, 30), bool) for i in range(3)]
        for square in squares:
            path = getattr(square, side)
            scene = next(i for i in range(3) if f"scene{i}" in path.stem)
            top, left = map(int, path.stem.split("_")[-2:])
            whole = read_picture(getattr(pairs[scene], side)).pixels
            cutout = read_picture(path).pixels
            assert np.array_equal(cutout, whole[top : top + 16, left : left + 16])
            assert cutout.shape == (16, 16, 3)
            assert cutout.dtype == whole.dtype
            covered[scene][top : top + 16, left : left + 16] = True
        assert all(c.all() for c in covered)


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 512), st.integers(1, 512))
def test_squares_of_a_row(length, side, stride):
    starts = paired._starts(length, side, stride)
    assert starts[0] == 0
    assert starts[-1] == max(length - side, 0)
    assert starts == sorted(set(starts))
    assert all(b - a <= stride for a, b in itertools.pairwise(starts))


def test_an_interrupted_cut_goes_on(tmp_path, monkeypatch):
    """Stopped in the middle of a picture, even in the middle of a file."""
    pairs = scenes(tmp_path)
    expected = cut(pairs, tmp_path / "unbroken", side=16, stride=8)
    whole, written = Picture.write, []

    def write_some(picture: Picture, path: Path) -> None:
        written.append(path)
        if len(written) == 13:
            path.write_bytes(b"half a file")
            raise KeyboardInterrupt
        whole(picture, path)

    monkeypatch.setattr(Picture, "write", write_some)
    with pytest.raises(KeyboardInterrupt):
        cut(pairs, tmp_path / "cut", side=16, stride=8)
    count = len(written)
    squares = cut(pairs, tmp_path / "cut", side=16, stride=8)
    assert contents(tmp_path / "cut") == contents(tmp_path / "unbroken")
    assert len(squares) == len(expected)
    again = len(written) - count
    assert again < 2 * len(expected), "what was done is not done again"
    cut(pairs, tmp_path / "cut", side=16, stride=8)
    assert len(written) == count + again


def test_cutting_refuses_what_does_not_fit(tmp_path):
    """Before anything of the pair is written, so that a mended pair can be cut."""
    pair = Pair(write(tmp_path / "noisy" / "a.png", height=40), write(tmp_path / "clean" / "a.png", height=41))
    with pytest.raises(InputError, match=r"a\.png: is 30 x 40 but a\.png is 30 x 41"):
        cut([pair], tmp_path / "cut", side=16, stride=8)
    write(tmp_path / "clean" / "a.png", height=40)
    assert len(cut([pair], tmp_path / "cut", side=16, stride=8)) == 4 * 3


def test_scenes_of_one_name_are_refused(tmp_path):
    """Rather than cut only the first of them."""
    for name in ("a/x/y/1.png", "b/x/y/1.png"):
        for side in ("noisy", "clean"):
            write(tmp_path / side / name)
    with pytest.raises(InputError, match="x_y_1"):
        cut(same_names(tmp_path / "noisy", tmp_path / "clean"), tmp_path / "cut", side=16, stride=8)


def test_cutting_into_an_unwritable_place(tmp_path):
    pairs = scenes(tmp_path, 1)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        cut(pairs, tmp_path / "file" / "cut", side=16, stride=8)
