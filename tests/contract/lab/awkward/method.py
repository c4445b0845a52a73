"""Two pictures in, one out, and what it made of the style beside it."""

import torch
from torch import Tensor, nn

from foveate.results import Picture


def prepare(picture: Picture) -> Tensor:
    """Return float32 ``(3, H, W)`` in [0, 1]."""
    return torch.tensor(picture.colour()).permute(2, 0, 1).contiguous()


def finish(mixed: Tensor, like: Picture) -> Picture:
    """Return a picture of the content's kind."""
    return like.with_colour(mixed.detach().clamp(0, 1).permute(1, 2, 0).numpy())


class Mixer(nn.Module):
    """Convolutions of the content, scaled by a code of the style.

    Args:
        width: Channels.
        drop: Share of the code that is dropped in training.

    Shape:
        content ``(B, 3, H, W)`` and style ``(B, 3, h, w)`` to ``{"mixed": (B, 3, H, W), "code": (B, width)}``.
    """

    def __init__(self, width: int = 8, drop: float = 0.1) -> None:
        super().__init__()
        self.arguments = {"width": width, "drop": drop}
        self.stylist = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.encode, self.decode = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.dropout = nn.Dropout(drop)

    def forward(self, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        """Mix."""
        code = self.stylist(style)
        features = torch.relu(self.encode(content)) * (1 + self.dropout(code))[..., None, None]
        return {"mixed": content + self.decode(features), "code": code}
