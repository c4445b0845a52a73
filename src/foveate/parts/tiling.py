"""Windows over a picture of any size, and their outputs blended back into one picture.

A network whose normalisation takes statistics over its input (instance norm) or whose memory grows with it should see a
photograph in windows of the size it was trained on. The windows are placed as in the released HINet code; where they
overlap, one is faded into the next instead of averaged, so that no seam shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]


def offsets(length: int, tile: int, overlap: int = 0) -> list[int]:
    """Place windows of ``tile`` along ``length``, evenly, the last one flush with the end.

    Args:
        length: Length to cover in pixels.
        tile: Length of a window. A shorter length is one window.
        overlap: Pixels that neighbours share at least; 0 gives the placement of the released HINet code.

    Example:
        >>> offsets(720, 256), offsets(257, 256), offsets(100, 256), offsets(720, 256, overlap=32)
        ([0, 232, 464], [0, 1], [0], [0, 155, 310, 464])
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap {overlap} must be at least 0 and less than the tile, {tile}")
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    step = math.ceil((length - tile) / (count - 1))
    return [min(i * step, length - tile) for i in range(count)]


def fade(before: Tensor, after: Tensor, shared: int, dim: int) -> Tensor:
    """Join two pieces along ``dim``, fading the first into the second over the ``shared`` pixels.

    Where both say the same, so does the result, bit for bit; the weights of the two always add up to one.
    """
    kept = before.shape[dim] - shared
    if shared == 0:
        return torch.cat([before, after], dim)
    ramp = (torch.arange(1, shared + 1, dtype=before.dtype, device=before.device) / (shared + 1)).reshape(
        [-1 if d == dim % before.ndim else 1 for d in range(before.ndim)]
    )
    joint = torch.lerp(before.narrow(dim, kept, shared), after.narrow(dim, 0, shared), ramp)
    return torch.cat([before.narrow(dim, 0, kept), joint, after.narrow(dim, shared, after.shape[dim] - shared)], dim)


@dataclass
class Canvas:
    """One picture in the making: windows out, network outputs in, finished rows on.

    Only the rows that later windows still reach are held, so memory grows with the picture's width and not its height.

    Args:
        height: Height of the picture.
        width: Width of the picture.
        read: Gives the network's input ``(C, h, w)`` for a window.
        write: Takes finished rows, ``(first row, (C, h, W) tensor)``, from top to bottom.
        tile: Side of the windows.
        overlap: Pixels that neighbouring windows share at least.
    """

    height: int
    width: int
    read: Callable[[slice, slice], Tensor]
    write: Callable[[int, Tensor], None]
    tile: int = 256
    overlap: int = 32
    _row: Tensor | None = field(default=None, init=False)
    _strip: Tensor | None = field(default=None, init=False)
    _placed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Lay out the windows."""
        self.tops = offsets(self.height, self.tile, self.overlap)
        self.lefts = offsets(self.width, self.tile, self.overlap)
        self._top = 0  # first picture row that _strip holds

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.tops) * len(self.lefts)

    @property
    def done(self) -> bool:
        """Whether every window was placed."""
        return self._placed == len(self)

    def windows(self) -> Iterator[Tensor]:
        """Read the windows row by row: ``(C, h, w)``, all of one size within a picture."""
        for top in self.tops:
            for left in self.lefts:
                yield self.read(slice(top, min(top + self.tile, self.height)), slice(left, min(left + self.tile, self.width)))

    def place(self, output: Tensor) -> None:
        """Take the network's output for the next window, in the order of `windows`."""
        row, column = divmod(self._placed, len(self.lefts))
        self._placed += 1
        if column == 0:
            self._row = output
        else:
            self._row = fade(self._row, output, self._row.shape[-1] - self.lefts[column], dim=-1)
        if column + 1 == len(self.lefts):
            self._finish_row(row)

    def _finish_row(self, row: int) -> None:
        """Fade a full row of windows into the strip, and pass on the rows that no later window reaches."""
        if self._strip is None:
            self._strip = self._row
        else:
            reached = self._top + self._strip.shape[-2]
            self._strip = fade(self._strip, self._row, reached - self.tops[row], dim=-2)
        end = self.tops[row + 1] if row + 1 < len(self.tops) else self.height
        if end > self._top:
            self.write(self._top, self._strip[..., : end - self._top, :])
            self._strip, self._top = self._strip[..., end - self._top :, :].clone(), end


def stream(
    network: Network, canvases: Iterable[Canvas], batch: int = 4, tick: Callable[[int], None] = lambda done: None
) -> Iterator[Canvas]:
    """Run a network over many pictures' windows, batching windows of one size across pictures.

    Args:
        network: ``(B, C, h, w)`` to the same.
        canvases: The pictures; taken one by one, as they are needed.
        batch: Windows per forward pass.
        tick: Told after each forward pass how many windows it did.

    Yields:
        Each canvas once all of its windows are placed, in order.
    """
    waiting: list[tuple[Canvas, Tensor]] = []

    def flush() -> Iterator[Canvas]:
        outputs = network(torch.stack([window for _, window in waiting]))
        for (canvas, _), output in zip(waiting, outputs, strict=True):
            canvas.place(output)
            if canvas.done:
                yield canvas
        tick(len(waiting))
        waiting.clear()

    for canvas in canvases:
        for window in canvas.windows():
            if waiting and (len(waiting) == batch or waiting[0][1].shape != window.shape):
                yield from flush()
            waiting.append((canvas, window))
    if waiting:
        yield from flush()


def tiled(network: Network, picture: Tensor, tile: int = 256, overlap: int = 32, batch: int = 4) -> Tensor:
    """Run a network over one tensor in windows.

    Args:
        network: ``(B, C, h, w)`` to the same.
        picture: ``(C, H, W)``.
        tile: Side of the windows.
        overlap: Pixels that neighbours share at least.
        batch: Windows per forward pass.

    Returns:
        ``(C, H, W)``.

    Example:
        >>> picture = torch.rand(3, 300, 500)
        >>> bool((tiled(lambda x: x, picture) == picture).all())
        True
    """
    rows: list[Tensor] = []
    canvas = Canvas(
        picture.shape[-2], picture.shape[-1],
        lambda r, c: picture[..., r, c], lambda _, strip: rows.append(strip.clone()), tile, overlap,
    )  # fmt: skip
    for _ in stream(network, [canvas], batch):
        pass
    return torch.cat(rows, dim=-2)
