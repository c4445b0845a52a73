"""The restricted unpickler: what Python's own reader reads of plain data, and nothing else."""

from __future__ import annotations

import collections
import math
import os
import pickle  # noqa: TID251 - writes the files that are read here, and reads our own to compare
import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate.errors import InputError
from foveate.readers.unpickling import MAX_DEPTH, read_pickle

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(2**70, 2**80),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner, inner, inner),
    max_leaves=20,
)
FILES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder, content: bytes):
    """Write bytes to a file."""
    path = folder / "a.pkl"
    path.write_bytes(content)
    return path


# What is read
# ---------------------------------------------------------------------------------------------------------------------


@FILES
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_plain_values_are_as_python_reads_them(value, protocol, tmp_path):
    read = read_pickle(write(tmp_path, pickle.dumps(value, protocol)))
    assert read == value
    assert repr(read) == repr(value)  # types, too


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.arange(12, dtype=">i4").reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.zeros((0, 5), np.float16),
        np.array(2.5),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["cat", "été"]),
        np.array([b"cat", b"a"]),
        np.arange(20)[::3],
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_come_back_with_kind_order_and_shape_and_may_be_written_to(array, protocol, tmp_path):
    read = read_pickle(write(tmp_path, pickle.dumps({"a": array, "again": [array]}, protocol)))
    assert type(read["a"]) is np.ndarray
    assert read["a"].dtype == array.dtype
    assert np.array_equal(read["a"], array)
    assert read["a"].flags.writeable
    assert read["again"][0] is read["a"]  # remembered before it was filled


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_numpy_and_both_names_of_its_core(protocol, tmp_path):
    content = pickle.dumps([np.float32(1.5), np.int64(-3), np.arange(3)], protocol)
    for old, new in ((b"numpy._core.", b"numpy.core."), (b"numpy.core.", b"numpy._core.")):
        renamed = content if protocol >= 4 else content.replace(old, new)  # later ones write the length of the name
        number, whole, array = read_pickle(write(tmp_path, renamed))
        assert (number, type(number), whole, type(whole)) == (1.5, np.float32, -3, np.int64)
        assert array.tolist() == [0, 1, 2]


def test_python_2(tmp_path):
    """A dict as Python 2 wrote it: byte strings, among them an array's values, and a long."""
    raw = bytes([0, 128, 255, 10, 65, 66])
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nq\x02K\x00\x85U\x01btRq\x03(K\x01K\x02K\x03\x86cnumpy\ndtype\n"
        b"q\x04(U\x02u1K\x00K\x01tRq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x06\x00\x00\x00"
        + raw
        + b"tb"
    )
    path = write(tmp_path, b"\x80\x02}q\x00(U\x04dataq\x06" + array + b"U\x05labelq\x07U\x03\xe9t\xe9q\x08U\x01nL12L\nu.")
    read = read_pickle(path)
    assert read["data"].tolist() == [list(raw[:3]), list(raw[3:])]
    assert (read["label"], read["n"]) == ("été", 12)
    as_bytes = read_pickle(path, encoding="bytes")
    assert as_bytes[b"label"] == b"\xe9t\xe9"
    assert as_bytes[b"data"].tolist() == read["data"].tolist()
    with pytest.raises(InputError, match="damaged"):
        read_pickle(path, encoding="ascii")
    assert read_pickle(write(tmp_path, b"(lp0\nS'it\\'s \\xe9'\np1\naI01\naI00\naI7\naF.5\naL5L\na.")) == [
        "it's é",
        True,
        False,
        7,
        0.5,
        5,
    ]


# What is refused
# ---------------------------------------------------------------------------------------------------------------------


class Payload:
    """Runs a command when a pickle of it is read."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_is_named_and_not_run(protocol, tmp_path):
    ran = tmp_path / "ran"
    content = pickle.dumps({"data": Payload(os.system, f"touch {ran}")}, protocol)
    with pytest.raises(
        InputError, match=rf"a\.pkl: asks for {os.name}\.system, which could run anything \(expected: a pickle of"
    ):
        read_pickle(write(tmp_path, content))
    assert not ran.exists()
    pickle.loads(content)  # the payload is a real one
    assert ran.exists()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Payload(eval, "1"), r"asks for \w+\.eval"),
        (Payload(getattr, 1, "real"), r"asks for \w+\.getattr"),
        (collections.OrderedDict(a=1), "asks for collections.OrderedDict"),
        ({1, 2}, "asks for"),
        (np.array([None, {}]), "asks for an array of kind 'O8'"),
        (np.zeros(2, [("a", "i4")]), "asks for an array of kind 'V4'"),
        (np.datetime64("2021-05-14"), "asks for an array of kind 'M8'"),
        (np.dtype("f4"), "a type as a value"),
        (np.ndarray, "a type as a value"),
        ({(1, (2, 3)): 1}, "keys are no plain values"),
        (1j, r"asks for \w+\.complex"),
        (1 << 9000, "asks for a number of"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_everything_else_is_refused(value, says, protocol, tmp_path):
    with pytest.raises(InputError, match=says):
        read_pickle(write(tmp_path, pickle.dumps(value, protocol)))


def array_bytes(
    shape=b"K\x03\x85", kind=b"U\x02u1", state=b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", raw=b"U\x03abc"
):
    """Write an array by hand, with any part replaced."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + shape + b"cnumpy\ndtype\n(" + kind + b"K\x00K\x01tR" + state + b"\x89" + raw + b"tb."
    )  # fmt: skip


HUGE = b"\x8a\x05" + (10**11).to_bytes(5, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b".",
        b"N",
        b"NN.",
        b"(.",
        b"\x80\x09N.",
        b"\x80\x04\x95" + b"\xff" * 8,
        b"\x8e" + struct.pack("<Q", 2**62) + b"a.",  # bytes, a text and an old string that are not there
        b"\x8d" + struct.pack("<Q", 2**64 - 1) + b"a.",
        b"\x96" + struct.pack("<Q", 2**40) + b"a.",
        b"T\xff\xff\xff\xffa.",
        b"\x8b\xff\xff\xff\x7fa.",
        b"cbuiltins\nbytearray\n(" + HUGE + b"tR.",
        b"cbuiltins\nbytes\n(" + HUGE + b"tR.",
        b"cnumpy\nndarray\n(" + HUGE + b"\x85tR.",  # numpy.ndarray((10**11,))
        b"]" * (10 * MAX_DEPTH) + b"a" * (10 * MAX_DEPTH - 1) + b".",
        b"]q\x00h\x00a.",  # a list in itself
        b")" + b"\x85" * 50_000 + b".",
        b"}(" + b")" + b"\x85" * 50_000 + b"Nu.",  # hashing this key exhausts the C stack
        b"}(" + b")" + b"q\x00h\x00\x86" * 60 + b"Nu.",  # and this one takes 2^60 steps
        b"}(NNNu.",
        b"}(]Nu.",
        b"Nr\xff\xff\xff\xff0j\xfe\xff\xff\xff.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"S'\\q'\n.",
        b"S'a\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"ios\nsystem\n.",
        b"(ios\nsystem\nN.",
        b"Pid\n.",
        b"\x82\x01.",
        b"]}b.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR.",  # never filled
        array_bytes(shape=b"K\x04\x85"),
        array_bytes(shape=HUGE + b"\x85", raw=b"U\x00"),
        array_bytes(shape=b"J\xff\xff\xff\xff\x85"),
        array_bytes(shape=b"G" + struct.pack(">d", 3.0) + b"\x85"),
        array_bytes(shape=b"U\x013"),
        array_bytes(shape=b"K\x00" + HUGE + b"\x86", kind=b"U\x0aU999999999", raw=b"U\x00"),
        array_bytes(kind=b"U\x02O8"),
        array_bytes(kind=b"U\x03u1,"),
        array_bytes(kind=b"K\x01"),
        array_bytes(raw=b"]"),
        array_bytes(state=b"(K\x03U\x01|NU\x01a\x85}J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x01tb"),
        array_bytes(state=b"(K\x03U\x01SNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x01tb"),
        array_bytes(state=b")b"),
    ],
    ids=lambda c: repr(c[:24]),
)
def test_hostile_and_damaged_files_are_refused_in_one_line(content, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < len(str(path)) + 300


def test_hand_written_arrays_are_read_if_nothing_is_wrong_with_them(tmp_path):
    """What the hostile ones are made from is sound; and flags that claim objects are not believed."""
    assert read_pickle(write(tmp_path, array_bytes())).tolist() == [97, 98, 99]
    flags = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
    read = read_pickle(write(tmp_path, array_bytes(state=flags)))
    assert (read.tolist(), read.dtype.hasobject) == ([97, 98, 99], False)


def test_shared_containers_are_no_explosion(tmp_path):
    """Forty lists, each of two times the one before: 2^40 ways through them."""
    value = []
    for _ in range(40):
        value = [value, value]
    assert len(read_pickle(write(tmp_path, pickle.dumps(value)))) == 2


@FILES
@given(data=st.data(), protocol=st.integers(0, 5))
def test_any_damage_gives_a_value_or_one_error(data, protocol, tmp_path):
    value = {"data": np.arange(6.0).reshape(2, 3), "labels": [1, 300, 70000, -1], "t": ("a", b"b", None, 0.5, True)}
    content = bytearray(pickle.dumps(value, protocol))
    cut = data.draw(st.integers(1, len(content)))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, cut - 1), st.integers(0, 255)), max_size=4)):
        content[at] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read_pickle(write(tmp_path, bytes(content[:cut])))
        except InputError:
            return


def test_every_cut_is_noticed(tmp_path):
    content = pickle.dumps({"data": np.arange(6), "labels": [1, 2]}, 2)
    for length in range(len(content)):
        with pytest.raises(InputError):
            read_pickle(write(tmp_path, content[:length]))


def test_missing_folders_and_large_files(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(tmp_path)
    with pytest.raises(InputError, match=r"is too large: 4 bytes \(expected: at most 3\)"):
        read_pickle(write(tmp_path, b"]]a."), limit_bytes=3)
    assert math.isinf(read_pickle(write(tmp_path, pickle.dumps(math.inf))))
