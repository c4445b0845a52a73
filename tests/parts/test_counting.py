"""Parameters and multiply-accumulates, against what one counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveate.parts.counting import macs, parameters


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(5, 7), 5 * 7 + 7),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), 6 * 2 * 9),
        (nn.BatchNorm2d(8), 16),
        (nn.ReLU(), 0),
    ],
)
def test_parameters(module, expected):
    assert parameters(module) == expected


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Linear(5, 7), (2, 5), 2 * 5 * 7),
        (nn.Linear(5, 7), (2, 3, 5), 2 * 3 * 5 * 7),
        (nn.Conv1d(3, 4, 5), (2, 3, 20), 2 * 16 * 3 * 4 * 5),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 10, 12), 2 * 5 * 6 * 3 * 8 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 6, 6), 36 * 8 * 9),
        (nn.Conv2d(4, 6, 1, groups=2), (1, 4, 5, 5), 25 * 2 * 6),
        (nn.Conv3d(2, 3, 3), (1, 2, 4, 5, 6), 2 * 3 * 4 * 2 * 3 * 27),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), (1, 3, 2, 2), 4 * 12 + 32),
    ],
)
def test_macs(module, shape, expected):
    assert macs(module, shape) == expected


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_is_charged_at_either_size(groups):
    module = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups)
    weights = 4 * 6 // groups * 9
    assert macs(module, (2, 4, 5, 7)) == 2 * 5 * 7 * weights
    assert macs(module, (2, 4, 5, 7), transposed="output") == 2 * 11 * 15 * weights


def test_several_inputs_and_matrix_products():
    class Product(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    assert macs(Product(), (2, 3, 4), (2, 4, 5)) == 2 * 3 * 4 * 5


def test_counting_leaves_the_network_alone():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = {k: v.clone() for k, v in module.state_dict().items()}
    macs(module, (1, 3, 8, 8))
    assert module.training
    assert all(torch.equal(module.state_dict()[k], v) for k, v in before.items())
