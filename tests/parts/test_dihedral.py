"""The eight flips and quarter turns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from foveate.parts.dihedral import dihedral, ensemble, undo

PICTURE = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)


def test_the_eight_are_those_of_numpy():
    pixels = PICTURE[0, 0].numpy()
    for move in range(8):
        expected = np.rot90(np.fliplr(pixels) if move >= 4 else pixels, move % 4)
        assert np.array_equal(dihedral(PICTURE, move)[0, 0].numpy(), expected)


def test_they_differ_and_nothing_is_missing():
    """Any two in a row are one of the eight again."""
    square = PICTURE[..., :4]
    views = [dihedral(square, move) for move in range(8)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(views, 2))
    for one, two in itertools.product(range(8), repeat=2):
        assert any(torch.equal(dihedral(dihedral(square, one), two), view) for view in views)


@pytest.mark.parametrize("move", range(8))
def test_undo(move):
    assert torch.equal(undo(dihedral(PICTURE, move), move), PICTURE)
    assert torch.equal(dihedral(undo(PICTURE, move), move), PICTURE)


def test_the_ensemble_of_a_network_that_turns_along_is_the_network():
    torch.testing.assert_close(ensemble(lambda x: x.square())(PICTURE), PICTURE.square())


def test_the_ensemble_turns_with_its_input_whatever_the_network():
    kernel = torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    network = ensemble(lambda x: torch.nn.functional.conv2d(x, kernel, padding=1))
    for move in range(8):
        torch.testing.assert_close(network(dihedral(PICTURE, move)), dihedral(network(PICTURE), move))


def test_the_ensemble_asks_for_every_view_once():
    seen = []
    ensemble(lambda x: seen.append(x) or x)(PICTURE)
    for move in range(8):
        assert sum(torch.equal(x, dihedral(PICTURE, move)) for x in seen) == 1
