"""Pictures to classify: ten shapes on textured ground, with a shift of camera and light that can be turned up.

Each picture is 40 x 40 pixels and shows one of ten shapes, scaled, turned, moved, textured, now and then behind a strip or two.
Severity 0 is what one trains on; from 1 to 4 the shape lies further off and more askew, and blur, gamma and noise grow.
Classifiers see the inner 32 x 32 pixels, or cut them out at random while they learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from foveate.parts.caching import cached

SIDE = 40
SEVERITIES = 5
VERSION = 1  # of the drawing; another one is drawn anew
_FINE = 2 * SIDE  # outlines are drawn at twice the size and averaged


class Shapes(NamedTuple):
    """Pictures with what they show.

    Attributes:
        pictures: uint8 ``(N, 40, 40, 3)`` RGB.
        labels: int64 ``(N,)``: position in `CLASSES`.
        severities: int64 ``(N,)``: 0 to 4.
    """

    pictures: np.ndarray
    labels: np.ndarray
    severities: np.ndarray


def shapes(count: int, seed: int, severity: int | None = 0, noisy: bool = True) -> Shapes:
    """Draw pictures, or take them as they were drawn before; classes and order are mixed.

    Args:
        count: How many.
        seed: Another one, other pictures.
        severity: 0 to 4, or None to draw one for each picture.
        noisy: Blur and sensor noise. Networks that never saw any take the least noise for something else.

    Raises:
        ValueError: If there is no such severity.
    """
    if severity is not None and not 0 <= severity < SEVERITIES:
        raise ValueError(f"severity {severity}, not 0 to {SEVERITIES - 1}")

    def make() -> dict[str, np.ndarray]:
        drawn = [_picture(np.random.default_rng((seed, i)), severity, noisy) for i in range(count)]
        pictures, labels, severities = (np.array(column) for column in zip(*drawn, strict=True))
        return {"pictures": pictures, "labels": labels, "severities": severities}

    return Shapes(**cached("shapes", [VERSION, count, seed, severity, noisy], make))


def _picture(rng: np.random.Generator, severity: int | None, noisy: bool) -> tuple[np.ndarray, int, int]:
    label = int(rng.integers(len(CLASSES)))
    drawn = int(rng.integers(SEVERITIES))
    severity = drawn if severity is None else severity
    shift = severity / (SEVERITIES - 1)

    ground_colour = rng.uniform(0.15, 0.85, 3)
    colour = _away_from(ground_colour, rng)
    ground, shape = _texture(ground_colour, rng), _texture(colour, rng)
    cover = _outline(label, shift, rng)[..., None]
    picture = ground * (1 - cover) + shape * cover
    for _ in range(int(rng.integers(3))):
        strip = _strip(rng)[..., None]
        picture = picture * (1 - strip) + rng.uniform(0, 1, 3) * strip

    picture = np.clip(picture, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5) * shift)
    blur, noise = rng.uniform(0, 0.5) * noisy + 0.8 * shift, rng.uniform(0, 0.04) * noisy + 0.05 * shift
    if blur > 0.05:
        picture = gaussian_filter(picture, (blur, blur, 0))
    picture = picture + noise * rng.standard_normal(picture.shape)
    return np.uint8(np.clip(255 * picture + 0.5, 0, 255)), label, severity


def _away_from(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a colour at a distance of 0.25 to 0.8 in RGB."""
    while True:
        direction = rng.standard_normal(3)
        other = colour + rng.uniform(0.25, 0.8) * direction / np.linalg.norm(direction)
        if np.all((other >= 0) & (other <= 1)):
            return other


def _texture(colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a surface of a colour: filtered noise with a scale of 1 to 4 pixels."""
    noise = gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(1, 4), mode="wrap")
    return colour + (rng.uniform(0.02, 0.1) / noise.std()) * noise[..., None] * rng.uniform(0.5, 1, 3)


def _outline(label: int, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Draw how much of each pixel the shape covers, ``(40, 40)``."""
    reach = 0.08 + 0.2 * shift
    x0, y0 = rng.uniform(-reach, reach, 2) * 2  # the shares are of the whole side, and coordinates run from -1 to 1
    angle = np.deg2rad(rng.uniform(-1, 1) * (25 + 20 * shift))
    radius = rng.uniform(0.35, 0.7)
    u = ((_X - x0) * np.cos(angle) + (_Y - y0) * np.sin(angle)) / radius
    v = ((_Y - y0) * np.cos(angle) - (_X - x0) * np.sin(angle)) / radius
    return _coarse(_INSIDE[CLASSES[label]](u, v))


def _strip(rng: np.random.Generator) -> np.ndarray:
    """Draw a strip of 2 to 4 pixels across the picture."""
    angle, offset, width = rng.uniform(0, np.pi), rng.uniform(-0.7, 0.7), rng.uniform(2, 4) / SIDE
    return _coarse(np.abs(_X * np.cos(angle) + _Y * np.sin(angle) - offset) < width)


def _coarse(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))


_Y, _X = (np.mgrid[:_FINE, :_FINE] + 0.5) / SIDE - 1


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v < 0.5) & (np.abs(u) * np.sqrt(3) < v + 1)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five points: within each tenth of the circle the edge is the line from the outer to the inner corner."""
    tenth = np.pi / 5
    angle = np.abs((np.arctan2(u, -v) + tenth) % (2 * tenth) - tenth)
    inner = 0.42
    across, along = np.hypot(u, v) * np.sin(angle), np.hypot(u, v) * np.cos(angle)
    corner = inner * np.cos(tenth), inner * np.sin(tenth)
    return (1 - along) * corner[1] > across * (1 - corner[0])


def _arrow(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    shaft = (np.abs(v) < 0.22) & (np.abs(u + 0.4) < 0.6)
    return shaft | ((u > 0.05) & (np.abs(v) < 0.85 * (1 - u)))


def _spiral(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    rho = np.hypot(u, v)
    return (rho < 1) & ((2 * rho - np.arctan2(v, u) / (2 * np.pi)) % 1 < 0.5)


_INSIDE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda u, v: np.hypot(u, v) < 1,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.78) < 0.22,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.8,
    "triangle": _triangle,
    "star": _star,
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.28) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
    "crescent": lambda u, v: (np.hypot(u, v) < 1) & (np.hypot(u - 0.5, v) > 0.8),
    "arrow": _arrow,
    "double bar": lambda u, v: (np.abs(np.abs(u) - 0.45) < 0.22) & (np.abs(v) < 0.9),
    "spiral": _spiral,
}
CLASSES = tuple(_INSIDE)
