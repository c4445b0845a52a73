"""Pictures in folders by colour, and drawn ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foveate.errors import InputError
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Picture
from lab.gradientless.method import prepare

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def paint(name: str, rng: np.random.Generator, noise: float = 20) -> Picture:
    """Paint a small picture in a colour, unevenly."""
    return Picture(np.clip(COLOURS[name] + rng.normal(0, noise, (6, 5, 3)), 0, 255).astype(np.uint8))


class Classes:
    """Pictures under ``<part>/<colour>/``."""

    def __init__(self, root: str = "") -> None:
        self.root = Path(root)

    def parts(self) -> dict[str, Sequence[Path]]:
        """List the pictures of each part."""
        if not (self.root / "train").is_dir():
            raise InputError(self.root, "has no folder train/", "train/<colour>/ and val/<colour>/ with pictures")
        return {part: find_pictures(self.root / part) for part in ("train", "val")}

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return ``features`` and ``names``."""
        files = self.parts()[part]
        features = np.stack([prepare(read_picture(path)) for path in files])
        return {"features": features, "names": np.array([path.parent.name for path in files])}


class Sample:
    """Painted pictures.

    Args:
        noise: Unevenness of the colour.
        seed: Seed of the pictures.
    """

    def __init__(self, noise: float = 20, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return ``features`` and ``names``."""
        rng = np.random.default_rng((self.seed, part == "test"))
        names = np.array(list(COLOURS) * 8)
        return {"features": np.stack([prepare(paint(name, rng, self.noise)) for name in names]), "names": names}
