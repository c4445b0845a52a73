"""Binary codes, their files, and exact search."""

from __future__ import annotations

import builtins
import struct
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.errors import InputError, MissingExtra
from foveate.parts import hashing
from foveate.parts.hashing import (
    Codes,
    HammingIndex,
    IndexFile,
    bit_balance,
    check_packed,
    hamming,
    hamming_blocks,
    pack,
    unpack,
)
from foveate.results import Result


def some_codes(count: int, bits: int, seed: int = 0) -> np.ndarray:
    """Make random packed codes."""
    return pack(np.random.default_rng(seed).random((count, bits)) < 0.5)


def ranked(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank every pair by the bits in which it differs, then by position."""
    distances = np.array([[int((a != b).sum()) for b in unpack(database)] for a in unpack(queries)])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 6), st.integers(0, 6), st.sampled_from([8, 16, 24, 32, 40, 64, 72, 256, 320]))
def test_hamming_counts_the_bits_that_differ(seed, a, b, bits):
    rng = np.random.default_rng(seed)
    left, right = rng.random((a, bits)) < 0.5, rng.random((b, bits)) < 0.3
    assert unpack(pack(left)).tolist() == left.tolist()
    distances = hamming(pack(left), pack(right))
    assert distances.dtype == np.int32
    assert distances.tolist() == (left[:, None] != right).sum(2).tolist()


def test_hamming_is_the_same_in_blocks(monkeypatch):
    a, b = some_codes(50, 64), some_codes(37, 64, 1)
    whole = hamming(a, b)
    assert np.concatenate([values for _, values in hamming_blocks(a, b, 7)]).tolist() == whole.tolist()
    monkeypatch.setattr(hashing, "PAIRS", 100)
    assert hamming(a, b).tolist() == whole.tolist()
    assert bit_balance(a) == pytest.approx(unpack(a).mean(0))


def test_all_bits_may_differ_without_overflow():
    for bits in (248, 256, 512):
        assert hamming(pack(np.zeros((1, bits), bool)), pack(np.ones((1, bits), bool))) == bits


def test_bits_of_a_byte_go_the_other_way_in_faiss():
    signs = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    packed = np.empty((5, 4), np.uint8)
    faiss.real_to_binary(signs.size, faiss.swig_ptr(signs), faiss.swig_ptr(packed))
    assert packed.tolist() == np.packbits(signs > 0, axis=1, bitorder="little").tolist()
    assert hamming(packed, packed).tolist() == hamming(pack(signs > 0), pack(signs > 0)).tolist()


def test_bad_codes_say_so():
    for wrong in (np.zeros((3, 12), bool), np.zeros((3, 0), bool), np.zeros(8, bool), np.zeros((3, 8))):
        with pytest.raises(InputError):
            pack(wrong)
    for wrong in (np.zeros((3, 2), np.int64), np.zeros(3, np.uint8), np.zeros((3, 0), np.uint8)):
        with pytest.raises(InputError):
            check_packed(wrong)
    with pytest.raises(InputError, match="codes of 16 bits"):
        hamming(some_codes(2, 8), some_codes(2, 16))
    with pytest.raises(InputError):
        bit_balance(some_codes(0, 8))


def test_codes_come_back(tmp_path, monkeypatch):
    names = ["a.png", "ordner/ä b.jpg", "日本.png"]
    codes = Codes(some_codes(3, 32), 32, names, "head-1")
    [first] = Result({"codes": codes}, name="photos").save(tmp_path)
    assert first.name == "photos_codes.npz"
    back = Codes.read(first)
    assert (back.packed.tolist(), back.bits, back.names, back.model) == (codes.packed.tolist(), 32, tuple(names), "head-1")
    assert len(back) == 3
    monkeypatch.setattr(time, "time", lambda: 2e9)
    codes.write(tmp_path / "later.npz")
    assert (tmp_path / "later.npz").read_bytes() == first.read_bytes()
    with np.load(first, allow_pickle=False) as file:
        assert sorted(file) == ["bits", "codes", "model", "names"]


def test_no_codes_and_many_codes(tmp_path):
    for count in (0, 10_000):
        Codes(some_codes(count, 32), 32, [str(i) for i in range(count)], "m").write(tmp_path / "codes.npz")
        assert Codes.read(tmp_path / "codes.npz").packed.nbytes == 4 * count


GOOD = {"codes": np.zeros((2, 4), np.uint8), "bits": np.int64(32), "names": np.array(["a", "b"]), "model": np.array("m")}


@pytest.mark.parametrize(
    "change",
    [
        {"codes": None},
        {"model": None},
        {"codes": np.zeros((2, 4), np.int64)},
        {"codes": np.zeros((2, 4), np.uint16)},
        {"codes": np.zeros(8, np.uint8)},
        {"codes": np.zeros((2, 0), np.uint8)},
        {"bits": np.int64(64)},
        {"bits": np.float64(32)},
        {"bits": np.array([32])},
        {"names": np.array(["a", "b", "c"])},
        {"names": np.array([b"a", b"b"])},
        {"names": np.array(["a", "b"], object)},
        {"model": np.array(["m"])},
        {"model": np.array(1)},
    ],
)
def test_archives_that_do_not_fit_together(tmp_path, change):
    np.savez(tmp_path / "codes.npz", **{name: value for name, value in {**GOOD, **change}.items() if value is not None})
    with pytest.raises(InputError, match=r"codes\.npz: .*expected") as caught:
        Codes.read(tmp_path / "codes.npz")
    assert caught.value.where.endswith("codes.npz")


def test_files_that_are_no_archive(tmp_path):
    Codes(some_codes(50, 32), 32, [str(i) for i in range(50)], "m").write(tmp_path / "good.npz")
    content = (tmp_path / "good.npz").read_bytes()
    np.save(tmp_path / "plain.npy", GOOD["codes"])
    path = tmp_path / "bad.npz"
    for wrong in (b"", b"text", content[:-1], content[: len(content) // 2], (tmp_path / "plain.npy").read_bytes()):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"bad\.npz"):
            Codes.read(path)
    for missing in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            Codes.read(missing)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_refused_or_read_as_codes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "codes.npz"
    Codes(some_codes(20, 16), 16, [str(i) for i in range(20)], "m").write(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert len(Codes.read(path)) == 20
    except InputError as error:
        assert error.where == str(path)


def npy(shape: tuple[int, ...]) -> bytes:
    """Write the head of an array without its data."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


def test_bombs_are_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.npy", npy((2**22, 8)) + bytes(2**25))
    with pytest.raises(InputError, match=r"unpacks to .* bytes"):
        Codes.read(path, limit=2**24)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("codes.npy", npy((2**58, 8)))
    with pytest.raises(InputError, match=r"bomb\.npz"):
        Codes.read(path)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([8, 16, 40, 64]), st.integers(1, 120), st.integers(1, 70))
def test_search_is_the_ranking_by_brute_force(seed, bits, k, count):
    # Few bits and codes that repeat: nearly every last place is shared by several.
    rng = np.random.default_rng(seed)
    database = some_codes(80, bits, seed)[rng.integers(0, 80, 100)]
    queries = some_codes(count, bits, seed + 1)
    positions, distances = HammingIndex(database).search(queries, k)
    expected = ranked(queries, database, k)
    assert (positions.dtype, distances.dtype) == (np.int64, np.int32)
    assert positions.tolist() == expected[0].tolist()
    assert distances.tolist() == expected[1].tolist()


@pytest.mark.parametrize("counters", [0, 2**40])
def test_ties_are_in_order_whatever_faiss_does(monkeypatch, counters):
    """With faiss's heaps and with its counting, over more codes than it takes at a time, on all threads."""
    monkeypatch.setattr(hashing, "COUNTERS", counters)
    database = some_codes(100, 16)[np.random.default_rng(0).integers(0, 100, 70_000)]
    queries = some_codes(40, 16, 1)
    positions, distances = HammingIndex(database).search(queries, 1500)
    everything = hamming(queries, database)
    order = np.argsort(everything, axis=1, kind="stable")[:, :1500]
    assert np.array_equal(positions, order)
    assert np.array_equal(distances, np.take_along_axis(everything, order, 1))


def test_ties_are_in_order_if_faiss_shuffles_them():
    class Shuffling:
        """Return neighbours in the worst order that faiss's contract allows: ties last position first."""

        def __init__(self, index):
            self.inner, self.d, self.ntotal, self.query_batch_size = index, index.d, index.ntotal, 32

        def search(self, queries, k):
            everything = hamming(queries, database)
            order = everything.shape[1] - 1 - np.argsort(everything[:, ::-1], axis=1, kind="stable")[:, :k]
            return np.take_along_axis(everything, order, 1), order

        def range_search(self, queries, radius):
            return self.inner.range_search(queries, radius)

    database, queries = some_codes(200, 8), some_codes(9, 8, 1)
    index = HammingIndex(database)
    index.index = Shuffling(index.index)
    for k in (1, 20, 199, 200):
        assert index.search(queries, k)[0].tolist() == ranked(queries, database, k)[0].tolist()


def test_radius_search_is_that_of_brute_force(monkeypatch):
    database, queries = some_codes(300, 16), some_codes(11, 16, 1)
    distances = hamming(queries, database)
    index = HammingIndex(database)
    for hits in (2**24, 700):
        monkeypatch.setattr(hashing, "HITS", hits)
        for radius in (0, 3, 16, 99):
            offsets, positions, found = index.within(queries, radius)
            assert (len(offsets), offsets[0], offsets[-1]) == (12, 0, len(positions))
            for row, (start, stop) in enumerate(pairwise(offsets)):
                order = np.argsort(distances[row], kind="stable")
                order = order[distances[row, order] <= radius]
                assert positions[start:stop].tolist() == order.tolist()
                assert found[start:stop].tolist() == distances[row, order].tolist()


def test_search_at_the_edges():
    index = HammingIndex(some_codes(5, 16))
    assert (index.bits, len(index)) == (16, 5)
    assert index.search(some_codes(0, 16), 3)[0].shape == (0, 3)
    assert index.search(some_codes(2, 16), 9)[0].shape == (2, 5)
    assert [part.tolist() for part in index.within(some_codes(0, 16), 3)] == [[0], [], []]
    assert HammingIndex(some_codes(0, 16)).search(some_codes(2, 16), 3)[0].shape == (2, 0)
    for call in (
        lambda: index.search(some_codes(2, 8), 3),
        lambda: index.search(some_codes(2, 16), 0),
        lambda: index.within(some_codes(2, 16), -1),
        lambda: index.within(some_codes(2, 16).astype(np.int64), 1),
    ):
        with pytest.raises(InputError):
            call()


def test_index_file_is_faiss_own(tmp_path):
    codes, queries = some_codes(40, 24), some_codes(3, 24, 1)
    [path] = Result({"index": IndexFile(HammingIndex(codes))}, name="photos").save(tmp_path)
    assert path.name == "photos_index.faiss"
    opened = faiss.read_index_binary(str(path))
    assert opened.search(queries, 1)[0].tolist() == HammingIndex(codes).search(queries, 1)[1].tolist()
    faiss.write_index_binary(opened, str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "theirs.faiss").read_bytes() == path.read_bytes()
    back = IndexFile.read(path).index
    assert [part.tolist() for part in back.search(queries, 9)] == [
        part.tolist() for part in HammingIndex(codes).search(queries, 9)
    ]


def test_files_that_are_no_index(tmp_path):
    IndexFile(HammingIndex(some_codes(40, 24))).write(tmp_path / "good.faiss")
    content = (tmp_path / "good.faiss").read_bytes()
    other = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(16), 16, 1)
    flat = faiss.IndexFlatL2(4)
    path = tmp_path / "bad.faiss"
    huge = bytearray(content)
    struct.pack_into("<q", huge, 12, 2**60)
    for wrong in (
        b"",
        content[:20],
        content[:-1],
        content + b"x",
        bytes(huge),
        faiss.serialize_index(flat).tobytes(),
        faiss.serialize_index_binary(other).tobytes(),
    ):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"bad\.faiss"):
            IndexFile.read(path)
    with pytest.raises(InputError, match="No such file"):
        IndexFile.read(tmp_path / "none.faiss")


def test_without_faiss_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda: HammingIndex(some_codes(3, 8)), lambda: IndexFile.read(Path("any.faiss"))):
        with pytest.raises(MissingExtra, match=r"foveate\[embedding\]"):
            call()
