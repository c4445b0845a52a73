"""Pickles of arrays and plain containers, read without running them.

Some data sets are pickles (CIFAR batches, word vectors, meshes). A pickle is a program for a small stack machine, and Python's
own reader calls whatever the program names. This one is that machine with nothing to call: dict, list, tuple, str, bytes, int,
float, bool and None are made directly, arrays are made from their shape, kind and bytes, and everything else is refused.

Note:
    Restricting `pickle.Unpickler.find_class` keeps foreign functions out, and yet a file can crash the process:
    `numpy.dtype.__setstate__` believes the flags and field offsets that it is given, a key of nested tuples exhausts the C
    stack when it is hashed, and one large memo index allocates gigabytes. Hence `pickle` is not used at all.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveate.errors import InputError

EXPECTED = "a pickle of arrays and plain containers (dict, list, tuple, str, bytes, int, float)"
MAX_BYTES = 2**30
MAX_DEPTH = 64  # of containers within containers

_KINDS = re.compile(r"[<>=|]?([?]|b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,8})")
_ESCAPES = re.compile(rb"""([^\\]|\\[\\'"nrt]|\\x[0-9a-fA-F]{2})*""")  # that Python 2 writes
_SCALARS = (str, bytes, int, float, bool, type(None), np.generic)
_MARK = object()


def read_pickle(
    path: str | Path, encoding: Literal["latin1", "ascii", "utf-8", "bytes"] = "latin1", limit_bytes: int = MAX_BYTES
) -> Any:
    """Read a pickle of any protocol (0 to 5), written by Python 2 or 3, without running it.

    Args:
        path: The file.
        encoding: What the byte strings of Python 2 become: text in this encoding, or ``bytes`` as they are. Arrays that
            Python 2 wrote need ``latin1`` or ``bytes``.
        limit_bytes: Largest file that is read.

    Returns:
        Dicts, lists, tuples, strings, bytes, numbers and numpy arrays (writable; of bools, numbers or strings).

    Raises:
        InputError: If the file is missing, too large, cut off or damaged, or asks for anything else; a function or class that
            it asks for is named.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise InputError(path, f"is too large: {size:,} bytes", f"at most {limit_bytes:,}")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, "there is no such file", EXPECTED) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", EXPECTED) from error
    if not data:
        raise InputError(path, "the file is empty", EXPECTED)
    try:
        value = _Machine(data, encoding).run()
        _check_depth(value)
    except _Refused as error:
        raise InputError(path, str(error), EXPECTED) from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError, struct.error) as error:
        raise InputError(path, f"is no pickle, or a damaged one: {error}", EXPECTED) from error
    return value


class _Refused(Exception):
    """The file asks for something that is not admitted."""


class _Global:
    """A name that the file asks for, and what is done in its place."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class _Kind:
    """A `numpy.dtype` to be: its code, and the byte order that the state brings."""

    def __init__(self, code: str | bytes) -> None:
        self.code, self.order = _text(code), ""
        if not _KINDS.fullmatch(self.code):
            raise _Refused(f"asks for an array of kind {self.code[:20]!r}")

    def build(self, state: tuple) -> None:
        """Take the byte order, and refuse fields and sub-arrays."""
        if any(part is not None for part in state[2:5]):
            raise _Refused("asks for an array with fields")
        self.order = _text(state[1]).strip("|=")
        if self.order not in ("", "<", ">"):
            raise ValueError(f"no byte order {self.order[:20]!r}")

    def dtype(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order) if self.order else np.dtype(self.code)


class _Array:
    """An array to be: the file makes it empty, remembers it, and fills it later."""

    def __init__(self) -> None:
        self.memo_keys: list[int] = []  # under which the finished array is to be remembered

    @staticmethod
    def build(state: tuple) -> np.ndarray:
        _, shape, kind, by_columns, raw = state
        return _array(raw, kind, shape, "F" if by_columns else "C")


def _text(value: str | bytes) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value


def _array(raw: str | bytes | bytearray, kind: _Kind, shape: tuple, order: str) -> np.ndarray:
    if not isinstance(kind, _Kind) or not isinstance(raw, str | bytes | bytearray):
        raise _Refused("asks for an array of objects")
    # Python 2 wrote bytes as a string.
    dtype, raw = kind.dtype(), raw.encode("latin1") if isinstance(raw, str) else raw
    if any(type(side) is not int or side < 0 for side in shape) or len(shape) > 32:
        raise _Refused(f"asks for an array of shape {str(shape)[:60]}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise _Refused(f"asks for an array of shape {str(shape)[:60]} and kind {dtype}, with {len(raw):,} bytes to fill it")
    return np.ndarray(shape, dtype, raw, order="F" if _text(order) == "F" else "C").copy(order="K")


def _reconstruct(kind: object, *_: object) -> _Array:
    if not isinstance(kind, _Global) or kind is not _ADMITTED["numpy", "ndarray"]:
        raise _Refused("asks for an array of an unknown class")
    return _Array()


def _no_call(*_: object) -> None:
    raise _Refused("asks for an array by its bare class")


def _scalar(kind: _Kind, raw: str | bytes) -> Any:
    return _array(raw, kind, (), "C")[()]


def _encode(text: str, encoding: str) -> bytes:
    """Make bytes of text, as protocols 0 to 2 write the bytes of Python 3."""
    if _text(encoding) != "latin1":
        raise _Refused(f"asks for text encoded as {encoding[:20]!r}")
    return text.encode("latin1")


def _bytes(kind: type[bytes] | type[bytearray]) -> Callable[..., bytes | bytearray]:
    def make(content: str | bytes = b"", encoding: str = "latin1") -> bytes | bytearray:
        if not isinstance(content, str | bytes):  # a number would be a size
            raise ValueError("bytes of no text and no bytes")
        return kind(_encode(content, encoding) if isinstance(content, str) else content)

    return make


# Modules were renamed with Python 3 and with numpy 2.
_ADMITTED = {
    ("numpy", "ndarray"): _Global(_no_call),
    ("numpy", "dtype"): _Global(lambda code, *_: _Kind(code)),
    ("_codecs", "encode"): _Global(_encode),
    **{
        (f"numpy.{core}.{module}", name): _Global(call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array),
        )
    },
    **{(module, kind.__name__): _Global(_bytes(kind)) for module in ("builtins", "__builtin__") for kind in (bytes, bytearray)},
}


class _Machine:
    """The stack machine: one method for each group of instructions, named as in `pickletools`."""

    def __init__(self, data: bytes, encoding: str) -> None:
        self.data, self.encoding, self.at = data, encoding, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Run to the end and return what lies on the stack."""
        while (code := self.take(1)) != b".":
            step = _STEPS.get(code)
            if step is None:
                # What is an instruction to Python's reader is refused; what is none is no pickle.
                known = code in b"ioPQ\x81\x82\x83\x84\x8f\x90\x91\x92\x97\x98"
                if code == b"i":
                    self.find(self.line(), self.line())
                where = f"at byte {self.at - 1:,}"
                raise _Refused(f"asks for an object {where}") if known else ValueError(f"no instruction {code!r} {where}")
            step(self)
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise ValueError(f"{len(self.stack)} values at its end")
        return self.stack[0]

    # Reading

    def take(self, count: int) -> bytes:
        """Take some bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise ValueError(f"cut off: no {count:,} bytes at byte {self.at:,} of {len(self.data):,}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """Take a number of a `struct` format."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Take the text up to the end of the line."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise ValueError(f"cut off: a line at byte {self.at:,} of {len(self.data):,} has no end")
        text, self.at = self.data[self.at : end], end + 1
        return text.decode("latin1").rstrip("\r")

    # Writing

    def pop(self) -> Any:
        """Take the value on top."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def since_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                values = self.stack[start + 1 :]
                del self.stack[start:]
                return values
        raise ValueError("a mark is missing")

    def top(self, kind: type) -> Any:
        """Look at the value on top, a container of one kind."""
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"no {kind.__name__} to put values into")
        return self.stack[-1]

    def old_string(self, content: bytes) -> None:
        """Push a string of Python 2."""
        self.stack.append(content if self.encoding == "bytes" else content.decode(self.encoding))

    def quoted(self) -> None:
        """Push a string of Python 2 that stands quoted on a line of its own."""
        text = self.line().strip()
        if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
            raise ValueError("a string is not quoted")
        content = text[1:-1].encode("latin1")
        if not _ESCAPES.fullmatch(content):
            raise ValueError("a string has an unknown escape")
        self.old_string(codecs.escape_decode(content)[0])  # type: ignore[attr-defined]

    def integer(self) -> None:
        """Push a number that stands on a line, where 00 and 01 are truth values."""
        text = self.line()
        self.stack.append(text == "01" if text in ("00", "01") else _integer(text))

    def long(self, form: str) -> None:
        """Push a large number of so many bytes."""
        count = self.number(form)
        if count > 1024:
            raise _Refused(f"asks for a number of {count:,} bytes")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        """Push a tuple of the last values."""
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        """Extend the list on top."""
        self.top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Extend the dict on top by keys and values in turn."""
        for key in values[::2]:
            # Hashing a deep or shared nest of tuples could take the stack or for ever.
            if not (isinstance(key, _SCALARS) or (type(key) is tuple and all(isinstance(k, _SCALARS) for k in key))):
                raise _Refused("asks for a dict whose keys are no plain values")
        self.top(dict).update(zip(values[::2], values[1::2], strict=True))

    def append_one(self) -> None:
        """Append the value on top to the list below it."""
        value = self.pop()
        self.append([value])

    def append_all(self) -> None:
        """Append the values since the mark to the list below it."""
        values = self.since_mark()
        self.append(values)

    def set_one(self) -> None:
        """Set one item of the dict below the value and its key."""
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def set_all(self) -> None:
        """Set the items since the mark in the dict below it."""
        values = self.since_mark()
        self.set_items(values)

    def new_dict(self) -> None:
        """Push a dict of the items since the mark."""
        values = self.since_mark()
        self.stack.append({})
        self.set_items(values)

    def put(self, key: int) -> None:
        """Remember the value on top."""
        value = self.stack[-1]
        if value is _MARK:
            raise ValueError("a value is missing")
        if isinstance(value, _Array):
            value.memo_keys.append(key)
        self.memo[key] = value

    def get(self, key: int) -> None:
        """Push a remembered value."""
        if key not in self.memo:
            raise ValueError(f"nothing is remembered as {key}")
        self.stack.append(self.memo[key])

    # What stands for calls

    def find(self, module: object, name: object) -> None:
        """Push what stands for a function or class."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is not text")
        if (module, name) not in _ADMITTED:
            raise _Refused(f"asks for {module[:80]}.{name[:80]}, which could run anything")
        self.stack.append(_ADMITTED[module, name])

    def find_below(self) -> None:
        """Push what stands for the function or class whose module and name lie on top."""
        name, module = self.pop(), self.pop()
        self.find(module, name)

    def reduce(self) -> None:
        """Do what stands for a call."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise ValueError("a call of what is no function")
        self.stack.append(function.call(*arguments))

    def build(self) -> None:
        """Give an array or a kind its state."""
        state, value = self.pop(), self.pop()
        if not isinstance(value, _Array | _Kind) or type(state) is not tuple:
            raise _Refused("asks for an object with a state of its own")
        if isinstance(value, _Kind):
            value.build(state)
            self.stack.append(value)
            return
        array = value.build(state)
        self.memo.update(dict.fromkeys(value.memo_keys, array))
        self.stack.append(array)


def _integer(text: str) -> int:
    """Read a decimal; very long ones would take quadratic time."""
    if len(text) > 2500:
        raise _Refused(f"asks for a number of {len(text):,} digits")
    return int(text.removesuffix("L"))


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(make(machine))


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: _check_protocol(m.number("<B")),
    b"\x95": lambda m: m.take(8) and None,  # a frame's length
    b"(": lambda m: m.stack.append(_MARK),
    b"0": lambda m: m.stack.pop() and None,
    b"1": lambda m: m.since_mark() and None,
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"I": _Machine.integer,
    b"J": _push(lambda m: m.number("<i")),
    b"K": _push(lambda m: m.number("<B")),
    b"M": _push(lambda m: m.number("<H")),
    b"L": _push(lambda m: _integer(m.line())),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"F": _push(lambda m: float(m.line())),
    b"G": _push(lambda m: m.number(">d")),
    b"S": _Machine.quoted,
    b"T": lambda m: m.old_string(m.take(m.number("<i"))),
    b"U": lambda m: m.old_string(m.take(m.number("<B"))),
    b"V": _push(lambda m: m.line().encode("latin1").decode("raw-unicode-escape")),
    b"X": _push(lambda m: m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": _push(lambda m: m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": _push(lambda m: m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"B": _push(lambda m: m.take(m.number("<I"))),
    b"C": _push(lambda m: m.take(m.number("<B"))),
    b"\x8e": _push(lambda m: m.take(m.number("<Q"))),
    b"\x96": _push(lambda m: bytearray(m.take(m.number("<Q")))),
    b"]": _push(lambda m: []),
    b"l": _push(_Machine.since_mark),
    b"a": _Machine.append_one,
    b"e": _Machine.append_all,
    b")": _push(lambda m: ()),
    b"t": _push(lambda m: tuple(m.since_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"}": _push(lambda m: {}),
    b"d": _Machine.new_dict,
    b"s": _Machine.set_one,
    b"u": _Machine.set_all,
    b"p": lambda m: m.put(_integer(m.line())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: m.get(_integer(m.line())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": lambda m: m.find(m.line(), m.line()),
    b"\x93": _Machine.find_below,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}


def _check_protocol(protocol: int) -> None:
    if protocol > 5:
        raise ValueError(f"protocol {protocol}")


def _check_depth(value: Any) -> None:
    """Refuse containers nested too deep or within themselves, and arrays that were never filled."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: dict[int, Any] = {}  # a container that several share is looked at once
        for one in level:
            if isinstance(one, list | tuple | dict):
                for part in one.values() if isinstance(one, dict) else one:
                    if isinstance(part, list | tuple | dict | _Array | _Kind | _Global):
                        inner[id(part)] = part
            elif isinstance(one, _Array | _Kind | _Global):
                raise _Refused("asks for an unfinished array, or for a type as a value")
        level = list(inner.values())
        if not level:
            return
    raise _Refused(f"nests containers more than {MAX_DEPTH} deep")
