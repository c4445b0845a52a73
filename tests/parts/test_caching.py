"""What is kept on disk is made once, and made again when it is broken."""

import numpy as np
import pytest

from foveate.parts.caching import cached


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    calls = []

    def make():
        calls.append(1)
        return {"numbers": np.arange(len(calls))}

    return calls, make, tmp_path


def test_the_same_key_is_made_once(made):
    calls, make, _ = made
    first, second = (cached("numbers", {"n": 1}, make) for _ in range(2))
    assert len(calls) == 1
    assert np.array_equal(first["numbers"], second["numbers"])
    cached("numbers", {"n": 2}, make)
    assert len(calls) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_what_is_broken_is_made_again(made, content):
    calls, make, folder = made
    cached("numbers", 1, make)
    (path,) = folder.glob("numbers/*.npz")
    path.write_bytes(content)
    assert cached("numbers", 1, make)["numbers"].tolist() == [0, 1]
    assert len(calls) == 2
