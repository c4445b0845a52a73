"""Write an embedded photograph with real-looking noise, and the clean one beside it: ``noisy_photograph.py FOLDER``."""

import sys
from pathlib import Path

import numpy as np

from foveate.parts.degradations import jpeg, signal_noise
from foveate.results import Picture, Result
from foveate.samples.photographs import photograph


def main(folder: Path) -> None:
    """Write ``coffee.png`` and ``clean/coffee.png``: sensor noise that grows with the light, then JPEG."""
    clean = Picture(photograph("coffee"))
    noisy = jpeg(signal_noise(clean.colour(), 0.15, np.random.default_rng(0)), 90)
    Result({"coffee": Picture.from_unit(noisy)}).save(folder)
    Result({"coffee": clean}).save(folder / "clean")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
