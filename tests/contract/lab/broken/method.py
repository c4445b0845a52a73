"""A network that answers by its company and its mood."""

import numpy as np
import torch
from torch import Tensor, nn

from foveate.results import Picture


def prepare(picture: Picture) -> Tensor:
    """Return float32 ``(3, H, W)``, from 0 to 1."""
    return torch.tensor(np.array(picture.pixels[..., :3], np.float32).transpose(2, 0, 1) / 255)


class Moody(nn.Module):
    """Looks at the whole batch, takes no other dtype, and has a mood that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments = {}
        self.layer = nn.Conv2d(3, 3, 1)
        self.register_buffer("mood", torch.rand(3, 1, 1), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """Answer."""
        if picture.mean() > 0.5:
            picture = 1 - picture
        return self.layer(picture - picture.mean()) + self.mood @ torch.ones(1, picture.shape[-1])
