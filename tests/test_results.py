"""What `run` returns, and that it is saved whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from foveate.errors import InputError
from foveate.results import Picture, Record, Result, Table, Text, write_atomically


class Breaks:
    """A part whose writing fails half way.

    Args:
        error: What is raised.
    """

    suffix: ClassVar[str] = ".bin"

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def write(self, path: Path) -> None:
        path.write_bytes(b"half of")
        raise self.error


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Saving
# ---------------------------------------------------------------------------------------------------------------------


def test_every_part_is_saved_under_its_name(tmp_path):
    parts = {
        "restored": Picture(np.zeros((2, 3, 3), np.uint8)),
        "quality": Record({"psnr": 30.5}),
        "steps": Table(["step", "loss"], [[1, 0.5], [2, 0.25]]),
        "said": Text("naïve\n"),
    }
    result = Result(parts, name="photo.of me")
    written = result.save(tmp_path / "new" / "folder")
    names = ["photo.of me_restored.png", "photo.of me_quality.json", "photo.of me_steps.csv", "photo.of me_said.txt"]
    assert written == [tmp_path / "new" / "folder" / name for name in names]
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)
    assert json.loads(written[1].read_text()) == {"psnr": 30.5}
    with written[2].open(newline="") as file:
        assert list(csv.reader(file)) == [["step", "loss"], ["1", "0.5"], ["2", "0.25"]]
    assert written[3].read_text(encoding="utf-8") == "naïve\n"
    assert [path.name for path in Result({"said": Text("")}).save(str(tmp_path))] == ["said.txt"]


def test_it_is_a_mapping():
    parts = {"b": Text("1"), "a": Text("2")}
    result = Result(parts, notes=("demo weights",))
    assert dict(result) == parts
    assert (list(result), len(result), "a" in result, "c" in result) == (["b", "a"], 2, True, False)


def test_saving_again_replaces(tmp_path):
    Result({"a": Text("old"), "b": Text("stays")}).save(tmp_path)
    Result({"a": Text("new")}).save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new", "b.txt": "stays"}


@pytest.mark.parametrize("error", [FULL, ValueError("a bug"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_changes_nothing(error, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(InputError if error is FULL else type(error)) as caught:
        Result({"a": Text("new"), "b": Breaks(error), "c": Text("new")}).save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}
    if error is FULL:
        assert str(caught.value).startswith(f"{tmp_path}: cannot be written: No space left on device")


def test_a_folder_in_the_place_of_a_file_stops_all_of_it(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"b\.txt"):
        Result({"a": Text("new"), "b": Text("new")}).save(tmp_path)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("old")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot be written"):
            Result({"a": Text("new")}).save(out)
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(out / "a.txt", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["../outside", "../../outside", "{}/outside", "below/inside", "x" * 300])
def test_names_that_no_file_can_have(name, tmp_path):
    """Nothing is written outside the folder."""
    out, name = tmp_path / "out", name.format(tmp_path)
    for result in (Result({"a": Text("")}, name=name), Result({name: Text("")})):
        with pytest.raises(InputError, match="cannot be written"):
            result.save(out)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] in (["out"], [])


def test_write_atomically(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.json"
    write_atomically(path, "ä")
    write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff"

    def full(self: Path, content: bytes) -> None:
        raise FULL

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"a\.json: cannot be written: No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"\xff"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


# The parts
# ---------------------------------------------------------------------------------------------------------------------


def test_json_is_such_that_anyone_can_read_it(tmp_path):
    """NumPy's numbers are numbers, and what JSON has no number for is null."""
    values = {
        "psnr": float("inf"), "ssim": float("nan"), "deep": [{"x": np.float32(0.5)}, (np.int64(3), -np.inf)],
        "array": np.arange(3), "flag": np.True_, "none": None, "text": "naïve", 7: 1,
    }  # fmt: skip
    Record(values).write(tmp_path / "a.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse) == {
        "psnr": None, "ssim": None, "deep": [{"x": 0.5}, [3, None]], "array": [0, 1, 2], "flag": True, "none": None,
        "text": "naïve", "7": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4,), "uint8"), ((4, 4, 1), "uint8"), ((4, 4, 5), "uint16"), ((4, 4, 3), "float32"), ((1, 4, 4, 3), "uint8")],
)
def test_a_picture_refuses_what_no_file_holds(shape, dtype):
    with pytest.raises(InputError, match="array of shape"):
        Picture(np.zeros(shape, dtype))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [None, 2, 3, 4])
def test_colours_go_out_and_come_back(bits, channels):
    """Every value there is, exactly; alpha and profile stay as they are."""
    every = np.arange(2**bits, dtype=f"uint{bits}").reshape(2**bits // 16, 16)
    pixels = every if channels is None else np.stack([np.roll(every, i) for i in range(channels)], axis=2)
    picture = Picture(pixels, b"profile")
    assert picture.grey == (channels in (None, 2))
    assert (picture.alpha is None) == (channels in (None, 3))
    colour = picture.colour()
    assert colour.shape == (*picture.size, 3)
    assert colour.dtype == np.float32
    assert (colour.min(), colour.max()) == (0, 1)
    back = picture.with_colour(colour)
    assert np.array_equal(back.pixels, pixels)
    assert back.pixels.dtype == pixels.dtype
    assert back.profile == b"profile"
    lighter = picture.with_colour(colour + 2)
    assert (lighter.colour() == 1).all()
    if picture.alpha is not None:
        assert np.array_equal(lighter.alpha, picture.alpha)


def test_from_unit_rounds_and_clips():
    values = np.array([[-1, 0, 0.4999 / 255, 0.5001 / 255, 1, 2]])
    assert Picture.from_unit(values).pixels.tolist() == [[0, 0, 0, 1, 255, 255]]
    assert Picture.from_unit(values, bits=16).pixels.tolist() == [[0, 0, 128, 129, 65535, 65535]]


def test_a_crop_is_a_window():
    picture = Picture(np.arange(20, dtype=np.uint8).reshape(4, 5), b"profile")
    cropped = picture.crop(slice(1, 3), slice(2, 5))
    assert cropped.pixels.tolist() == [[7, 8, 9], [12, 13, 14]]
    assert cropped.profile == b"profile"
